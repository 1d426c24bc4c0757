"""Whether cleaning helped: both models on the same corrected test photographs, with a paired test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mirada.catalog.catalog import Catalog
from mirada.cli.training import train_document
from mirada.subsets.recipe import Recipe
from mirada.testing import class_folders
from mirada.testing.models import tiny_backbone
from mirada.types import Decision, Sample
from mirada.workflow.runs import load_predictions
from mirada.workflow.second_opinion import SecondOpinion
from mirada.workflow.subsetting import make_subset
from mirada.workflow.train import TrainRequest, TrainResult, train
from mirada.workspace import Workspace

NAMES = ("class0", "class1", "class2")


@pytest.fixture(autouse=True)
def _no_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIRADA_TRACK_ENABLED", "false")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_backbone(tmp_path_factory.mktemp("backbone")).onnx_path)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.create(tmp_path / "mirada")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three classes of forty; most of class0 lie in the folder of class1, so that the labels mislead."""
    class_folders(tmp_path / "photos", 3, 40, size=32)
    for path in sorted((tmp_path / "photos" / "class0").iterdir())[:28]:
        path.rename(tmp_path / "photos" / "class1" / f"was0-{path.name}")
    return tmp_path / "photos"


def _train(workspace: Workspace, backbone: str, photos: Path | None = None, **options: object) -> TrainResult:
    return train(workspace, TrainRequest(source=photos and str(photos), backbone=backbone, **options))  # type: ignore[arg-type]


def _samples(workspace: Workspace) -> list[Sample]:
    with Catalog.open(workspace.catalog_url) as catalog:
        return list(catalog.samples())


def _decide(workspace: Workspace, *decisions: Decision) -> None:
    with Catalog.open(workspace.catalog_url) as catalog:
        catalog.decide(decisions)


def _correct(workspace: Workspace) -> int:
    """Give the photographs in the wrong folder their class."""
    wrong = [s for s in _samples(workspace) if "/was0-" in s.uri]
    _decide(workspace, *(Decision(s.sample_id, "relabel", new="class0") for s in wrong))
    return len(wrong)


def _opinion(result: TrainResult) -> SecondOpinion:
    assert result.second_opinion is not None, [str(note) for note in result.notes]
    return result.second_opinion


def test_cleaning_that_helps_is_said_to(workspace: Workspace, backbone: str, photos: Path) -> None:
    before = _train(workspace, backbone, photos)
    assert before.second_opinion is None
    assert _correct(workspace) == 28
    after = _train(workspace, backbone, photos)
    made = _opinion(after)
    assert (made.outcome, made.n_decisions, dict(made.by_action)) == ("helped", 28, {"relabel": 28})
    assert (made.before.run_id, made.after.run_id) == (before.run_id, after.run_id)
    assert (made.before.version, made.after.version) == (1, 2)
    assert made.after.accuracy == after.test.metrics["accuracy"] or made.after.accuracy.value == pytest.approx(
        after.test.metrics["accuracy"].value
    )
    assert made.p_value < 0.05
    assert made.only_after > made.only_before
    assert made.difference.value == pytest.approx(made.after.accuracy.value - made.before.accuracy.value)
    assert made.difference.low <= made.difference.value <= made.difference.high
    note = str(after.notes[1])
    assert note.startswith("Second opinion: cleaning helped. After 28 decisions")
    document = train_document(after)["second_opinion"]
    assert isinstance(document, dict)
    assert document["before"]["accuracy"]["n"] == made.n == after.n["test"]
    # The score before is by the labels of today, not by those of then.
    held = load_predictions(workspace, before.run_id)
    label = {s.sample_id: s.label for s in _samples(workspace)}
    right = [held.class_names[p.argmax()] == label[i] for i, p in zip(held.sample_ids, held.pred_probs, strict=True)]
    assert made.before.accuracy.value == pytest.approx(sum(right) / len(right))


def test_harm_is_said_too(workspace: Workspace, backbone: str, tmp_path: Path) -> None:
    class_folders(tmp_path / "photos", 3, 90, size=32)  # 13 or 14 tested of the class
    _train(workspace, backbone, tmp_path / "photos")
    train_ids = [s for s in _samples(workspace) if s.split in ("train", "val") and s.label == "class0"]
    _decide(workspace, *(Decision(s.sample_id, "relabel", new="class1") for s in train_ids))
    with Catalog.open(workspace.catalog_url) as catalog:  # one stays, so that the class does
        catalog.undo(2)
    made = _opinion(_train(workspace, backbone, tmp_path / "photos"))
    assert made.outcome == "hurt"
    assert made.difference.value < 0


def test_little_cleaning_is_a_tie(workspace: Workspace, backbone: str, tmp_path: Path) -> None:
    class_folders(tmp_path / "photos", 3, 30, size=32)
    _train(workspace, backbone, tmp_path / "photos")
    tested = [s for s in _samples(workspace) if s.split == "test"]
    _decide(workspace, Decision(tested[0].sample_id, "drop"), Decision(tested[1].sample_id, "keep"))
    result = _train(workspace, backbone)
    made = _opinion(result)
    assert (made.outcome, made.n_decisions, dict(made.by_action)) == ("tie", 1, {"drop": 1})
    assert made.n == len(tested) - 1 == result.n["test"]  # the dropped one is left out for both
    assert "a tie" in str(result.notes[1])


def test_there_is_none_without_decisions_in_force(workspace: Workspace, backbone: str, photos: Path) -> None:
    _train(workspace, backbone, photos)
    assert _train(workspace, backbone, photos).second_opinion is None
    _correct(workspace)
    with Catalog.open(workspace.catalog_url) as catalog:
        catalog.undo(28)
    assert _train(workspace, backbone, photos).second_opinion is None
    one = _samples(workspace)[0]
    _decide(workspace, Decision(one.sample_id, "keep"))
    assert _train(workspace, backbone, photos).second_opinion is None


def test_an_undo_of_what_held_before_counts(workspace: Workspace, backbone: str, photos: Path) -> None:
    _train(workspace, backbone, photos, name="m")
    _correct(workspace)
    _train(workspace, backbone, photos, name="m")
    with Catalog.open(workspace.catalog_url) as catalog:
        catalog.undo(5)
    made = _opinion(_train(workspace, backbone, photos, name="m"))
    assert dict(made.by_action) == {"undo": 5}


def test_it_is_with_the_last_run_of_the_same_name_and_settings(
    workspace: Workspace, backbone: str, photos: Path
) -> None:
    first = _train(workspace, backbone, photos)
    _train(workspace, backbone, photos, name="other")
    _train(workspace, backbone, photos, class_weight="balanced")
    _correct(workspace)
    assert _opinion(_train(workspace, backbone, photos)).before.run_id == first.run_id
    assert _train(workspace, backbone, photos, name="new").second_opinion is None


def test_a_class_that_cleaning_made_and_one_that_it_unmade(workspace: Workspace, backbone: str, photos: Path) -> None:
    _train(workspace, backbone, photos)
    mine = _samples(workspace)
    _decide(
        workspace,
        *(Decision(s.sample_id, "relabel", new="class0") for s in mine if "/was0-" in s.uri),
        *(Decision(s.sample_id, "relabel", new="new") for s in mine if s.label == "class2"),
    )
    result = _train(workspace, backbone, photos)
    assert result.class_names == ("class0", "class1", "new")
    made = _opinion(result)
    assert made.outcome == "helped"
    assert made.n == result.n["test"]


def test_photographs_that_came_later_are_told(workspace: Workspace, backbone: str, photos: Path) -> None:
    _train(workspace, backbone, photos)
    _correct(workspace)
    class_folders(photos.parent / "more", 3, 5, size=32, seed=9)
    for path in (photos.parent / "more").rglob("*.jpg"):
        shutil.copy(path, photos / path.parent.name / f"later-{path.name}")
    result = _train(workspace, backbone, photos)
    assert _opinion(result).n_decisions == 28
    assert "15 photographs were added in between" in str(result.notes[2])


def test_photographs_of_another_source_are_told_too(
    workspace: Workspace, backbone: str, photos: Path, tmp_path: Path
) -> None:
    class_folders(tmp_path / "second", 3, 20, size=32, seed=5)
    _train(workspace, backbone, tmp_path / "second")
    _train(workspace, backbone, photos)
    _correct(workspace)
    result = _train(workspace, backbone)  # on all of the workspace, by the name of the last one
    assert _opinion(result).before.model == "photos"
    assert "photographs were added in between" in str(result.notes[2])


def test_decisions_on_another_source_are_not_its_own(
    workspace: Workspace, backbone: str, photos: Path, tmp_path: Path
) -> None:
    class_folders(tmp_path / "second", 3, 20, size=32, seed=5)
    _train(workspace, backbone, photos)
    _train(workspace, backbone, tmp_path / "second")
    _correct(workspace)
    assert _train(workspace, backbone, tmp_path / "second").second_opinion is None
    assert _opinion(_train(workspace, backbone, photos)).n_decisions == 28


def test_within_a_subset_its_own_decisions_count(workspace: Workspace, backbone: str, photos: Path) -> None:
    _train(workspace, backbone, photos)
    with Catalog.open(workspace.catalog_url) as catalog:
        subset = make_subset(catalog, "half", Recipe(size=60))
    _train(workspace, backbone, subset="half")
    _correct(workspace)
    made = _opinion(_train(workspace, backbone, subset="half"))
    assert made.n_decisions == sum("/was0-" in sample.uri for sample in subset.samples)
    assert 0 < made.n_decisions < 28


def test_a_model_that_is_gone_is_told_and_training_ends_well(workspace: Workspace, backbone: str, photos: Path) -> None:
    before = _train(workspace, backbone, photos, name="m")
    champion = _train(workspace, backbone, photos, name="m", class_weight="balanced")
    _correct(workspace)
    with Catalog.open(workspace.catalog_url) as catalog:
        catalog.set_alias("m", "champion", champion.bundle.version)
    shutil.rmtree(before.bundle.path)
    result = _train(workspace, backbone, photos, name="m")
    assert result.second_opinion is None
    assert "No second opinion: the model from before cannot be asked." in str(result.notes[1])


def test_runs_from_before_subsets_still_load(workspace: Workspace, backbone: str, photos: Path) -> None:
    made = _train(workspace, backbone, photos)
    with Catalog.open(workspace.catalog_url) as catalog:
        with catalog._db.write() as connection:
            connection.exec_driver_sql("UPDATE runs SET config = json_remove(config, '$.subset')")
        assert catalog.run(made.run_id).config.subset is None
    _correct(workspace)
    assert _opinion(_train(workspace, backbone, photos)).outcome == "helped"
