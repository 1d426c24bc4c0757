"""Every check keeps the contract; one that a third party writes shows up wherever Mirada's own do."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from mirada.clean.base import Check, Material, Scores, checks, register, unregister
from mirada.clean.builtin import register_builtin
from mirada.cli.main import run
from mirada.messages import Message
from mirada.testing import ContractError, check_check, class_folders

NAMES = (
    "corrupt", "exact_duplicate", "near_duplicate", "leakage", "label", "outlier", "dark", "bright", "blurry",
    "odd_size", "odd_aspect", "low_information", "greyscale", "border",
)  # fmt: skip
register_builtin()


def test_the_register_holds_what_the_command_line_promises() -> None:
    assert tuple(check.name for check in checks()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_check_keeps_the_contract(name: str) -> None:
    check_check(checks([name])[0])


# What a third party writes:


TITLE = Message("Higher than wide")


@dataclass(frozen=True)
class Upright:
    """Photographs that are higher than wide."""

    name: str = "upright"
    title: Message = TITLE
    needs: frozenset[str] = frozenset()
    threshold: float = 0.5

    def run(self, material: Material) -> Scores:
        ratios = np.array([s.width / max(s.width, s.height) for s in material.samples], np.float32)
        return Scores(np.where(ratios < 1, ratios / 2, 1).astype(np.float32), lambda row: {"ratio": float(ratios[row])})


@pytest.fixture
def upright() -> Iterator[Check]:
    check = Upright()
    register(check)
    yield check
    unregister(check.name)


def test_a_check_of_a_third_party_shows_up(
    upright: Check, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    check_check(upright)
    class_folders(tmp_path / "photos", 2, 4)
    from PIL import Image

    high = tmp_path / "photos" / next((tmp_path / "photos").iterdir()).name / "high.png"
    Image.new("RGB", (40, 80), (200, 30, 60)).save(high)
    where = ["--workspace", str(tmp_path / "w")]
    assert run([*where, "clean", str(tmp_path / "photos"), "--check", "upright", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["checks"]["upright"]["n_issues"] == 1
    assert run([*where, "issues", "--check", "upright", "--json"]) == 0
    (issue,) = json.loads(capsys.readouterr().out)
    assert issue["uri"].endswith("high.png")
    assert issue["evidence"] == {"ratio": 0.5}
    page = tmp_path / "page.html"
    assert run([*where, "clean", "--check", "upright", "--html", str(page)]) == 0
    assert "Higher than wide" in capsys.readouterr().out
    assert "Higher than wide" in page.read_text(encoding="utf-8")


def test_installed_packages_bring_checks() -> None:
    entry = importlib.metadata.EntryPoint("upright", "tests_clean:UPRIGHT", "mirada.checks")
    assert entry.group == "mirada.checks"
    with pytest.raises(ValueError, match="registered already"):
        register(checks(["dark"])[0])
    with pytest.raises(ValueError, match="nobody supplies"):
        register(replace(Upright(), name="strange", needs=frozenset({"smell"})))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"name": "two words"}, "one word"),
        ({"threshold": 1.5}, "threshold"),
        ({"needs": frozenset({"smell"})}, "nobody supplies"),
    ],
)
def test_a_check_that_breaks_the_contract_is_told_how(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(ContractError, match=sentence):
        check_check(replace(Upright(), **change))  # type: ignore[arg-type]
