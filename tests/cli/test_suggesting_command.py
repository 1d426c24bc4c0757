"""``mirada suggest``: questions, a table filled in by an oracle, bulk labels, an estimate, and mistakes told."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mirada.cli.suggesting import _estimate_line
from mirada.suggest.estimate import Estimate
from mirada.testing import class_folders

Mirada = Callable[..., Any]


@pytest.fixture
def pile(mirada: Mirada, tmp_path: Path, backbone_file: Path) -> Path:
    """Ninety photographs of three kinds without a label, catalogued; the name of each begins with its class."""
    source, pile = tmp_path / "sorted", tmp_path / "pile"
    class_folders(source, 3, 30, size=48)
    pile.mkdir()
    for path in sorted(source.glob("*/*")):
        path.rename(pile / f"{path.parent.name}__{path.name}")
    assert mirada("add", pile).status == 0
    return pile


def truth(uri: str) -> str:
    return uri.rsplit("/", 1)[-1].split("__")[0]


def fill(path: Path, *, limit: int | None = None) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as handle:
        rows = list(csv.DictReader(handle))
    for row in rows[:limit]:
        row["label"] = truth(row["uri"])
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return rows


def test_from_nothing_to_labels(mirada: Mirada, pile: Path, backbone_file: Path, tmp_path: Path) -> None:
    ask, options = tmp_path / "ask.csv", ["--backbone", backbone_file, "--json"]
    first = mirada("suggest", "-n", "10", "-o", ask, *options)
    assert first.status == 0, first.err
    assert first.document["n"] == {"labelled": 0, "unlabelled": 90}
    assert first.document["estimate"] is None
    assert all(q["why"] == "cluster" and q["label"] is None for q in first.document["questions"])
    assert {truth(q["uri"]) for q in first.document["questions"]} == {truth(str(p)) for p in pile.iterdir()}
    fill(ask)
    second = mirada("suggest", "--from", ask, "-n", "10", "-o", ask, *options)
    assert second.status == 0, second.err
    assert second.document["recorded"]["n"] == 10
    assert len(second.document["recorded"]["new_classes"]) == 3
    assert second.document["n"] == {"labelled": 10, "unlabelled": 80}
    assert all(q["label"] in second.document["class_names"] for q in second.document["questions"])
    again = mirada("suggest", "-n", "10", *options)
    assert again.document["questions"] == second.document["questions"]
    fill(ask)
    third = mirada("suggest", "--from", ask, "-n", "5", *options)
    assert 0 < third.document["estimate"]["low"] <= third.document["estimate"]["accuracy"] <= 1
    assert third.document["proposals"]
    shown = mirada("suggest", "-n", "5", "--backbone", backbone_file).out.splitlines()
    first, estimate = third.document["proposals"][0], third.document["estimate"]
    assert shown[-2].startswith("Answer them: mirada suggest -o ask.csv")
    assert shown[-1] == f"Accept a proposal: mirada suggest --accept {first['cluster']}={first['label']}"
    wide = estimate["high"] - estimate["low"] > 0.2
    assert wide == any("Expected accuracy" in line and line.endswith(": too early to say.") for line in shown)
    written = mirada("suggest", "-n", "5", "-o", ask, "--backbone", backbone_file).out
    assert f"Once it is filled in: mirada suggest --from {ask}" in written


def test_a_wide_interval_is_too_early_to_say() -> None:
    assert str(_estimate_line(Estimate(0.9, 0.75, 0.96, 12))).endswith("(75.0 % to 96.0 %): too early to say.")
    assert str(_estimate_line(Estimate(0.9, 0.85, 0.93, 90))).endswith("(85.0 % to 93.0 %).")


def test_bulk_proposals_are_recorded_as_decisions(
    mirada: Mirada, pile: Path, backbone_file: Path, tmp_path: Path
) -> None:
    ask, options = tmp_path / "ask.csv", ["--backbone", backbone_file]
    mirada("suggest", "-n", "25", "-o", ask, *options)
    fill(ask)
    shown = mirada("suggest", "--from", ask, *options, "--json").document
    best = shown["proposals"][0]
    assert sum(truth(uri) == best["label"] for uri in best["uris"]) >= 0.9 * best["n"]
    done = mirada("suggest", "--accept", f"{best['cluster']}={best['label']}", *options, "--json")
    assert done.status == 0, done.err
    assert done.document["accepted"]["n"] == best["n"]
    assert done.document["n"]["labelled"] == 25 + best["n"]
    gone = mirada("suggest", "--accept", f"{best['cluster']}={best['label']}", *options)
    assert gone.status == 1
    assert best["cluster"] in gone.err


def test_what_is_odd_in_a_table_is_told(mirada: Mirada, pile: Path, backbone_file: Path, tmp_path: Path) -> None:
    ask, options = tmp_path / "ask.csv", ["--backbone", backbone_file]
    mirada("suggest", "-n", "12", "-o", ask, *options)
    rows = fill(ask, limit=8)
    mirada("suggest", "--from", ask, *options)
    name = truth(rows[0]["uri"])
    ask.write_text(
        "sample_id;label\n"
        f"{rows[8]['sample_id']};{name}x\n{rows[9]['sample_id']};\nnobody;{name}\n{rows[0]['sample_id']};{name}\n",
        encoding="utf-8",
    )
    called = mirada("suggest", "--from", ask, *options, "--json")
    assert called.status == 0, called.err
    told = called.document["recorded"]
    assert (told["n"], told["n_same"], told["n_empty"]) == (1, 1, 1)
    assert told["unknown"] == ["nobody"]
    assert told["did_you_mean"] == {f"{name}x": name}
    assert name in mirada("suggest", "--from", ask, *options).out


@pytest.mark.parametrize(
    ("text", "word"),
    [("a,b\n1,2\n", "sample_id"), ("sample_id,label\nx,a\nx,b\n", "two labels"), ("", "sample_id")],
)
def test_a_table_that_is_none(mirada: Mirada, pile: Path, tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "bad.csv").write_text(text, encoding="utf-8")
    called = mirada("suggest", "--from", tmp_path / "bad.csv")
    assert called.status == 1
    assert word in called.err


def test_a_class_that_differs_in_case_only_records_nothing(
    mirada: Mirada, pile: Path, backbone_file: Path, tmp_path: Path
) -> None:
    ask = tmp_path / "ask.csv"
    rows = mirada("suggest", "-n", "4", "-o", ask, "--backbone", backbone_file, "--json").document["questions"]
    ids = [row["sample_id"] for row in rows]
    ask.write_text(f"sample_id,label\n{ids[0]},Cat\n{ids[1]},cat\n", encoding="utf-8")
    called = mirada("suggest", "--from", ask, "--backbone", backbone_file)
    assert called.status == 1
    assert "cat" in called.err
    assert mirada("suggest", "--backbone", backbone_file, "--json").document["n"]["labelled"] == 0


def test_everything_labelled_is_done_and_nothing_at_all_is_an_error(
    mirada: Mirada, photos: Path, tmp_path: Path
) -> None:
    assert mirada("suggest").status == 1
    mirada("add", photos)
    called = mirada("suggest", "--json")
    assert called.status == 0, called.err
    assert called.document["questions"] == []
    assert called.document["settled"] is True
    assert "nothing to ask" in mirada("suggest").out


def test_wrong_usage(mirada: Mirada, pile: Path, backbone_file: Path) -> None:
    assert mirada("suggest", "-n", "0").status == 2
    assert mirada("suggest", "--accept", "3").status == 2
    assert mirada("suggest", "--accept", "3=a", "--backbone", backbone_file).status == 1
    assert mirada("suggest", "--from", "nowhere.csv").status == 1


def test_fewer_than_asked(mirada: Mirada, pile: Path, backbone_file: Path) -> None:
    called = mirada("suggest", "-n", "500", "--backbone", backbone_file, "--json")
    assert len(called.document["questions"]) == 90
    assert any("90" in note for note in called.document["notes"])
