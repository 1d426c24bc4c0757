"""``mirada clean`` as people call it: what it finds, what it survives, what it tells."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mirada.catalog.catalog import Catalog
from mirada.clean.base import checks
from mirada.clean.builtin import register_builtin
from mirada.testing import class_folders, render_sample_set

Mirada = Callable[..., Any]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three classes of twelve photographs, one copied, one resized into another class, one broken."""
    class_folders(tmp_path / "photos", 3, 12, size=96)
    classes = sorted(path for path in (tmp_path / "photos").iterdir())
    first = sorted(classes[0].iterdir())[0]
    shutil.copy(first, first.with_name("zz_same" + first.suffix))
    Image.open(sorted(classes[1].iterdir())[0]).resize((72, 72)).save(classes[1] / "zz_small.png")
    (classes[2] / "broken.jpg").write_bytes(b"no photograph")
    return tmp_path / "photos"


def test_everything_planted_is_found(mirada: Mirada, photos: Path) -> None:
    called = mirada("clean", photos, "--json")
    assert called.status == 0, called.err
    document = called.document
    register_builtin()
    assert list(document["checks"]) == [check.name for check in checks()]
    assert (document["n_samples"], document["n_rejected"]) == (38, 1)
    found = {name: check["n_issues"] for name, check in document["checks"].items()}
    assert (found["corrupt"], found["exact_duplicate"]) == (1, 1)
    # The drawn photographs of a class are alike; the planted copy is among what is told.
    copies = mirada("issues", "--check", "near_duplicate", "--json").document
    (small,) = [issue for issue in copies if Path(issue["uri"]).name == "zz_small.png"]
    assert "resized" in small["evidence"]["kinds"]
    with Catalog.open("sqlite:///mirada/catalog.sqlite") as catalog:
        groups = {sample.uri: sample.group_id for sample in catalog.samples()}
    assert groups[small["uri"]] == groups[small["evidence"]["uri"]] is not None


def test_the_sample_sets_dirt_is_found(mirada: Mirada, tmp_path: Path) -> None:
    truth = render_sample_set(tmp_path / "sample", seed=3, n=300)
    called = mirada("clean", truth.photos_path, "--json")
    assert called.status == 0, called.err
    wrong = {photo.name for photo in truth.photos if photo.kind == "label"}
    queue = mirada("issues", "--check", "label", "--json").document
    first = {Path(issue["uri"]).name for issue in queue[: 2 * len(wrong)]}
    assert len(first & {Path(name).name for name in wrong}) >= 0.8 * len(wrong)


def test_again_is_the_same_with_the_same_numbers(mirada: Mirada, photos: Path) -> None:
    mirada("clean", photos)
    before = mirada("issues", "--json").document
    mirada("clean")
    assert mirada("issues", "--json").document == before


def test_the_folder_does_not_change_the_label_queue(mirada: Mirada, tmp_path: Path) -> None:
    queues = []
    for place in ("here", "somewhere/else"):
        truth = render_sample_set(tmp_path / place, seed=4, n=150)
        called = mirada("--workspace", tmp_path / f"w{len(queues)}", "clean", truth.photos_path, "--check", "label")
        assert called.status == 0, called.err
        issues = mirada("--workspace", tmp_path / f"w{len(queues)}", "issues", "--check", "label", "--json").document
        queues.append({Path(issue["uri"]).name: issue["score"] for issue in issues})  # equal scores stand in any order
    assert queues[0] == pytest.approx(queues[1], abs=1e-4)
    assert queues[0]


def test_a_photograph_that_vanished_and_one_that_changed_are_told(mirada: Mirada, photos: Path) -> None:
    mirada("add", photos)
    files = sorted(photos.glob("*/*.jpg"))
    files[5].unlink()
    files[20].write_bytes(files[21].read_bytes())
    called = mirada("clean", "--json")
    assert called.status == 0, called.err
    assert any("2 photographs could not be looked at" in note for note in called.document["notes"])
    assert called.document["checks"]["exact_duplicate"]["n_issues"] == 1


@pytest.mark.parametrize("kind", ["one class", "identical", "no labels", "one photograph", "small class"])
def test_poor_sets_are_cleaned_as_far_as_they_go(mirada: Mirada, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "poor"
    n_classes, n = {"one class": (1, 6), "one photograph": (1, 1), "small class": (3, 8)}.get(kind, (2, 6))
    class_folders(folder, n_classes, n)
    files = sorted(folder.glob("*/*"))
    if kind == "identical":
        for path in files[1:]:
            shutil.copy(files[0], path)
    if kind == "small class":
        for path in sorted(sorted(folder.iterdir())[0].iterdir())[1:]:
            path.unlink()
    if kind == "no labels":
        for path in files:
            shutil.move(path, folder / f"{path.parent.name}_{path.name}")
            if not list(path.parent.iterdir()):
                path.parent.rmdir()
    called = mirada("clean", folder, "--json")
    assert called.status == 0, called.err
    told = called.document["notes"] + [note for found in called.document["checks"].values() for note in found["notes"]]
    if kind == "identical":
        assert called.document["checks"]["exact_duplicate"]["n_issues"] == 11
    else:
        assert told, "what could not be judged is told"


def test_a_threshold_moves_without_computing_again(mirada: Mirada, photos: Path) -> None:
    mirada("clean", photos)
    before = mirada("issues", "--check", "outlier", "--json").document
    for path in photos.glob("*/*"):
        path.write_bytes(b"")  # nothing can be computed again
    moved = mirada("clean", "--check", "outlier", "--threshold", "outlier=0.999", "--json")
    assert moved.status == 0, moved.err
    assert moved.document["checks"]["outlier"]["n_issues"] > len(before)
    assert moved.document["checks"]["outlier"]["threshold"] == 0.999
    back = mirada("clean", "--check", "outlier", "--threshold", "outlier=0.5", "--json")
    assert back.document["checks"]["outlier"]["n_issues"] == len(before)
    assert mirada("issues", "--check", "outlier", "--json").document == before


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (["--check", "lable"], 2, "Did you mean label?"),
        (["--threshold", "label"], 2, "NAME=VALUE"),
        (["--threshold", "label=high"], 2, "NAME=VALUE"),
        (["--threshold", "label=1.5"], 2, "from 0 to 1"),
        (["--threshold", "lable=0.5"], 2, "Did you mean label?"),
    ],
)
def test_mistakes_are_sentences(mirada: Mirada, photos: Path, options: list[str], status: int, words: str) -> None:
    mirada("add", photos)
    called = mirada("clean", *options)
    assert called.status == status
    assert words in called.err
    assert "Traceback" not in called.err


def test_an_empty_place_is_told(mirada: Mirada, tmp_path: Path) -> None:
    assert "no Mirada workspace" in mirada("clean").err
    (tmp_path / "mirada").mkdir()
    (tmp_path / "mirada" / "mirada.toml").write_text("")
    called = mirada("clean")
    assert called.status == 1
    assert "mirada add PHOTOS" in called.err


def test_the_page_stands_alone(mirada: Mirada, photos: Path, tmp_path: Path) -> None:
    called = mirada("clean", photos, "--html", tmp_path / "page.html")
    assert called.status == 0, called.err
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("data:image/webp;base64,") >= 4
    assert "http" not in page.replace("http-equiv", "")
    assert "default-src 'none'" in page
