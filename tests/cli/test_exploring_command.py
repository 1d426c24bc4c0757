"""``mirada explore`` as a person calls it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mirada.testing import class_folders, photo

Mirada = Callable[..., "object"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty photographs of one class, five of another, one of them twice, one broken."""
    home = tmp_path / "photos"
    class_folders(home, 1, 20, size=48, class_names=["many"])
    class_folders(home, 1, 5, size=64, class_names=["few"], seed=5)
    shutil.copy(home / "few" / "0000.jpg", home / "few" / "again.jpg")
    (home / "few" / "grey.png").write_bytes(photo(3, (64, 64), "png_grey"))
    (home / "few" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    return home


def test_numbers_as_json_and_as_text(mirada: Mirada, folder: Path, backbone_file: Path) -> None:
    mirada("add", folder)
    called = mirada("explore", "--json", "--backbone", backbone_file)
    assert called.status == 0, called.err
    made = called.document
    assert made["n"]["photographs"] == 27
    assert made["n"]["rejected"] == 1
    assert [(row["label"], row["n"]) for row in made["classes"]] == [("many", 20), ("few", 7)]
    assert made["classes"][0]["commonest_size"] == {"width": 48, "height": 48, "n": 20}
    assert made["classes"][1]["n_grey"] == 1
    assert made["copies"]["exact"] == {"n_groups": 1, "n_photos": 2, "n_extra": 1, "n_conflicts": 0}
    assert made["balance"]["ratio"] == pytest.approx(20 / 7)
    assert made["html"] is None
    assert {row["label"] for row in made["extremes"]} == {"few", "many"}
    said = mirada("explore", "--no-map")
    assert said.status == 0
    assert "48 × 48" in said.out
    assert "could not be read" in said.out


def test_the_page_is_written_and_a_vanished_photograph_told(mirada: Mirada, folder: Path, backbone_file: Path) -> None:
    mirada("add", folder)
    (folder / "many" / "0013.jpg").unlink()
    page = folder.parent / "pages" / "page.html"
    called = mirada("explore", "--json", "--html", page, "--backbone", backbone_file)
    assert called.status == 0, called.err
    assert any("0013.jpg" in note for note in called.document["notes"])
    assert called.document["all"]["n_measured"] == 26
    text = page.read_text(encoding="utf-8")
    assert "map-data" in text
    assert text.count("data:image/webp") > 10
    data = json.loads(text.split('id="map-data">')[1].split("</script>")[0])
    assert data["n"] == 26  # it has no embedding
    assert "0013.jpg" not in data["files"]


def test_without_labels_with_one_photograph_and_with_none(mirada: Mirada, tmp_path: Path, backbone_file: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    (flat / "one.jpg").write_bytes(photo(1))
    mirada("--workspace", tmp_path / "w", "add", flat)
    page = tmp_path / "one.html"
    called = mirada("--workspace", tmp_path / "w", "explore", "--html", page, "--backbone", backbone_file, "--json")
    assert called.status == 0, called.err
    assert called.document["n"]["photographs"] == 1
    assert called.document["balance"] is None or called.document["balance"]["level"] == "one_class"
    assert page.exists()


def test_an_empty_workspace_and_a_slip_get_a_sentence(mirada: Mirada, tmp_path: Path, folder: Path) -> None:
    assert mirada("explore").status == 1
    from mirada.workspace import Workspace

    Workspace.create(tmp_path / "bare")
    called = mirada("--workspace", tmp_path / "bare", "explore", "--no-map")
    assert called.status == 1
    assert "no photograph in the workspace" in called.err
    assert "mirada add" in called.err
    mirada("add", folder)
    assert mirada("explore", "--no-map", "--backbone", "x").status == 2
    assert mirada("explore", "--no-map", "--html", folder).status == 2
