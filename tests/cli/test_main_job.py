"""The main job from end to end, through the command line, on small real photographs."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import mirada as library
from mirada.testing import class_folders
from mirada.workflow.runs import load_predictions
from mirada.workspace import Workspace

Mirada = Callable[..., object]


@pytest.fixture
def trained(mirada: Mirada, photos: Path, backbone_file: Path) -> dict[str, object]:
    """A training of the small photographs, as JSON."""
    called = mirada("train", photos, "--backbone", backbone_file, "--json")
    assert called.status == 0, called.err
    return called.document


def test_train_tells_what_the_interface_promises(trained: dict[str, object], photos: Path) -> None:
    assert {"run_id", "model", "class_names", "n", "test", "seconds", "report"} <= set(trained)
    assert trained["class_names"] == ["class0", "class1", "class2"]
    assert sum(trained["n"].values()) == 120
    assert {"value", "low", "high", "n"} == set(trained["test"]["accuracy"])
    assert trained["test"]["accuracy"]["value"] >= 0.9
    assert {"add", "embed", "train", "evaluate", "total"} <= set(trained["seconds"])
    assert trained["model"]["name"] == "photos"
    assert Path(trained["report"]).is_file()
    assert (Path(trained["model"]["path"]) / "model.onnx").is_file()


def test_a_second_training_is_the_same_and_ties(
    trained: dict[str, object], mirada: Mirada, photos: Path, backbone_file: Path
) -> None:
    again = mirada("train", photos, "--backbone", backbone_file, "--json").document
    assert again["test"] == trained["test"]
    assert again["n"] == trained["n"]
    assert again["model"]["version"] == 2
    assert again["champion"] is False
    compared = mirada("compare", trained["run_id"], again["run_id"], "--json").document
    assert compared["verdict"] == "tie"


def test_test_photographs_stay_test(
    trained: dict[str, object], mirada: Mirada, tmp_path: Path, photos: Path, backbone_file: Path
) -> None:
    workspace = Workspace.open(tmp_path / "mirada")
    before = set(load_predictions(workspace, str(trained["run_id"])).sample_ids)
    class_folders(tmp_path / "more", 3, 30, size=48, seed=7)
    for path in (tmp_path / "more").rglob("*.jpg"):
        (photos / path.parent.name / f"later-{path.name}").write_bytes(path.read_bytes())
    try:
        again = mirada("train", photos, "--backbone", backbone_file, "--json", "--seed", "5").document
    finally:
        for path in photos.rglob("later-*"):
            path.unlink()
    assert set(load_predictions(workspace, again["run_id"]).sample_ids) == before
    assert again["n"]["train"] + again["n"]["val"] > trained["n"]["train"] + trained["n"]["val"]


def test_predict_formats_agree(trained: dict[str, object], mirada: Mirada, photos: Path, tmp_path: Path) -> None:
    rows = mirada("predict", photos, "--json").document
    for name in ("a.csv", "a.jsonl", "a.parquet"):
        assert mirada("predict", photos, "-o", tmp_path / name).status == 0
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    with (tmp_path / "a.csv").open(newline="") as handle:
        table = list(csv.DictReader(handle))
    assert lines == rows
    assert [row["label"] for row in table] == [row["label"] for row in rows]
    right = [Path(row["uri"]).parent.name == row["label"] for row in rows]
    assert np.mean(right) >= 0.9


def test_evaluate_on_test_says_what_training_said(trained: dict[str, object], mirada: Mirada) -> None:
    told = mirada("evaluate", "--json").document
    assert told["metrics"]["accuracy"] == trained["test"]["accuracy"]
    assert told["metrics"]["log_loss"]["value"] == pytest.approx(trained["test"]["log_loss"]["value"], abs=1e-4)


def test_evaluate_on_a_second_set(trained: dict[str, object], mirada: Mirada, tmp_path: Path) -> None:
    class_folders(tmp_path / "second", 3, 10, size=48, seed=99)
    class_folders(tmp_path / "second", 1, 4, size=48, class_names=["stranger"])
    (tmp_path / "second" / "class0" / "bad.jpg").write_text("no photograph")
    called = mirada("evaluate", "--on", tmp_path / "second", "--html", tmp_path / "second.html", "--json")
    assert called.status == 0, called.err
    assert called.document["n"] == 30
    notes = " ".join(called.document["notes"])
    assert "stranger" in notes
    assert "bad.jpg" in notes
    assert (tmp_path / "second.html").read_text().count("<html") == 1
    assert json.loads((tmp_path / "second.json").read_text())["n"] == 30


def test_evaluate_tells_when_the_set_is_not_new(trained: dict[str, object], mirada: Mirada, photos: Path) -> None:
    notes = mirada("evaluate", "--on", photos, "--json").document["notes"]
    assert any("were in train or val" in note for note in notes)


def test_folds_pool_every_photograph(trained: dict[str, object], mirada: Mirada) -> None:
    told = mirada("evaluate", "--folds", "5", "--json").document
    assert told["n"] == 120
    assert told["metrics"]["accuracy"]["value"] >= 0.9


def test_leakage_across_a_given_layout_is_told_with_and_without(
    mirada: Mirada, backbone_file: Path, tmp_path: Path
) -> None:
    class_folders(tmp_path / "p" / "train", 2, 20, size=32)
    class_folders(tmp_path / "p" / "test", 2, 8, size=32, seed=3)
    for i in range(3):
        copy = (tmp_path / "p" / "train" / "class0" / f"000{i}.jpg").read_bytes()
        (tmp_path / "p" / "test" / "class0" / f"copy{i}.jpg").write_bytes(copy)
    told = mirada("train", tmp_path / "p", "--backbone", backbone_file, "--json").document
    assert told["n"]["test"] == 19
    assert any("3 pairs of duplicates" in note for note in told["notes"])
    assert any("3 photographs that have a copy" in note and "without them" in note for note in told["notes"])


def test_models_promote_and_roll_back(
    trained: dict[str, object], mirada: Mirada, photos: Path, backbone_file: Path, tmp_path: Path
) -> None:
    mirada("train", photos, "--backbone", backbone_file)
    champion = tmp_path / "mirada" / "models" / "champion"
    assert mirada("promote", "2", "--reason", "a test").status == 0
    assert champion.resolve().name == "2"
    assert mirada("rollback").status == 0
    assert champion.resolve().name == "1"
    listed = mirada("models", "--json").document
    assert [(m["version"], m["aliases"]) for m in listed] == [(1, ["champion"]), (2, [])]


def test_the_library_answers_like_the_command_line(
    trained: dict[str, object], mirada: Mirada, photos: Path, tmp_path: Path
) -> None:
    rows = mirada("predict", photos / "class1", "--json").document
    model = library.load(tmp_path / "mirada" / "models" / "champion")
    answers = model.predict([row["uri"] for row in rows])
    assert [a.label for a in answers] == [row["label"] for row in rows]
    assert [a.score for a in answers] == pytest.approx([row["score"] for row in rows], abs=1e-5)
    workspace = library.Workspace.open(tmp_path / "mirada")
    assert len(list(workspace.catalog.samples(split="test"))) == trained["n"]["test"]
    workspace.catalog.close()


def test_library_train_gives_a_classifier(photos: Path, backbone_file: Path, tmp_path: Path) -> None:
    model = library.train(photos, workspace=tmp_path / "w", backbone=str(backbone_file))
    assert model.report is not None
    assert model.report.metrics["accuracy"].value >= 0.9
    assert model.predict(next((photos / "class2").iterdir())).label == "class2"


def test_two_sources_keep_their_splits(
    trained: dict[str, object], mirada: Mirada, backbone_file: Path, tmp_path: Path
) -> None:
    class_folders(tmp_path / "pets", 2, 20, size=32, class_names=["cat", "dog"])
    told = mirada("train", tmp_path / "pets", "--backbone", backbone_file, "--json").document
    assert told["class_names"] == ["cat", "dog"]
    assert told["champion"] is True
    assert mirada("evaluate", "--model", "photos@1", "--json").document["n"] == trained["n"]["test"]


def test_the_catalogue_of_a_killed_or_finished_run_is_sound(trained: dict[str, object], tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "mirada" / "catalog.sqlite") as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
        assert connection.execute("pragma foreign_key_check").fetchall() == []
    connection.close()


@pytest.mark.parametrize(
    "options", [["--head", "mlp"], ["--class-weight", "balanced"], ["--flips"], ["--precision", "f32"]]
)
def test_options_of_the_head(mirada: Mirada, photos: Path, backbone_file: Path, options: list[str]) -> None:
    told = mirada("train", photos, "--backbone", backbone_file, "--json", *options)
    assert told.status == 0, told.err
    assert told.document["test"]["accuracy"]["value"] >= 0.8
