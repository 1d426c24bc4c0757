"""``mirada subset`` and ``train --subset`` as a person calls them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import mirada as library
from mirada.catalog.catalog import Catalog
from mirada.testing import class_folders
from mirada.types import Decision
from mirada.workflow.runs import load_predictions
from mirada.workspace import Workspace

Mirada = Callable[..., object]


@pytest.fixture
def added(mirada: Mirada, tmp_path: Path) -> Path:
    """A workspace with classes of 40, 30 and 10."""
    for name, n in (("big", 40), ("middle", 30), ("small", 10)):
        class_folders(tmp_path / "photos", 1, n, size=32, class_names=[name], seed=n)
    assert mirada("add", tmp_path / "photos").status == 0
    return tmp_path / "photos"


def _refused(called: object, status: int, *words: str) -> None:
    assert called.status == status, called.err
    assert called.out == ""
    assert called.err.startswith("Error: ")
    assert len(called.err.strip().splitlines()) == 2, f"no hint: {called.err}"
    for word in words:
        assert word in called.err


def test_a_subset_is_drawn_told_and_listed(added: Path, mirada: Mirada) -> None:
    made = mirada("subset", "s", "--size", "24", "--json").document
    assert (made["n"], made["is_new"], made["export"]) == (24, True, None)
    assert made["by_class"] == {"big": 12, "middle": 9, "small": 3}
    assert made["recipe"] == {
        "size": 24, "strategy": "stratified", "grey": False, "classes": [], "split": None, "seed": 0,
    }  # fmt: skip
    assert len(set(made["ids"])) == 24
    balanced = mirada("subset", "b", "--size", "24", "--strategy", "balanced", "--seed", "3", "--json").document
    assert balanced["by_class"] == {"big": 8, "middle": 8, "small": 8}
    assert mirada("subset", "s", "--json").document | {"is_new": True} == made
    listed = mirada("subset", "--json").document
    assert [(one["name"], one["n"]) for one in listed] == [("b", 24), ("s", 24)]
    table = mirada("subset").out
    assert "--strategy balanced --size 24 --seed 3" in table
    assert "Next: mirada train --subset s, or mirada subset s -o PATH" in mirada("subset", "s").out
    exported = mirada("subset", "s", "-o", "s.csv").out
    assert "Next: mirada train --subset s\n" in exported
    assert "-o PATH" not in exported


def test_the_same_recipe_again_does_nothing_and_says_so(added: Path, mirada: Mirada) -> None:
    first = mirada("subset", "s", "--size", "24", "--json").document
    again = mirada("subset", "s", "--size", "24", "--strategy", "stratified", "--json").document
    assert again["is_new"] is False
    assert again["ids"] == first["ids"]
    assert again["notes"] == ["There is a subset s of this recipe already; nothing was drawn."]
    _refused(
        mirada("subset", "s", "--size", "25"), 1, "of another recipe: --strategy stratified --size 24", "--replace"
    )
    larger = mirada("subset", "s", "--size", "30", "--replace", "--json").document
    assert set(first["ids"]) < set(larger["ids"])
    assert larger["hash"] != first["hash"]


def test_the_same_photographs_give_the_same_subset_in_another_workspace(
    added: Path, mirada: Mirada, tmp_path: Path
) -> None:
    first = mirada("subset", "s", "--size", "24", "--json").document
    home = ("--workspace", tmp_path / "other")
    for name in ("small", "big", "middle"):  # in another order, and not as one source
        mirada(*home, "add", added / name)
    with Catalog.open(Workspace.open(tmp_path / "other").catalog_url) as catalog:
        catalog.decide([Decision(s.sample_id, "relabel", new=Path(s.uri).parent.name) for s in catalog.samples()])
    other = mirada(*home, "subset", "s", "--size", "24", "--json").document
    assert other["by_class"] == first["by_class"]
    shas = []
    for document, path in ((first, tmp_path / "mirada"), (other, tmp_path / "other")):
        with Catalog.open(Workspace.open(path).catalog_url) as catalog:
            shas.append({s.content_sha256 for s in catalog.samples_by_id(document["ids"]).values()})
    assert shas[0] == shas[1]


def test_bad_input_gets_a_sentence(added: Path, mirada: Mirada) -> None:
    mirada("subset", "little", "--size", "24")
    _refused(mirada("subset", "litle"), 1, "no subset litle", "Did you mean little?")
    _refused(mirada("train", "--subset", "litle"), 1, "no subset litle", "Did you mean little?")
    _refused(mirada("subset", "x", "--size", "500"), 1, "500", "the recipe has 80", "at most 80")
    _refused(mirada("subset", "x", "--size", "0"), 2, "size 0")
    _refused(mirada("subset", "x", "--classes", "bigg"), 2, "no class 'bigg'", "Did you mean big?")
    _refused(mirada("subset", "x", "--size", "9", "--split", "train"), 1, "not divided", "mirada split")
    _refused(mirada("subset", "a/b", "--size", "9"), 2, "cannot name a subset")
    _refused(mirada("subset", "--size", "9"), 2, "needs a name")
    _refused(mirada("subset", "x", "--size", "9", "--format", "csv"), 2, "-o PATH")
    _refused(mirada("subset", "little", "--delete", "--grey"), 2, "--delete")
    _refused(mirada("train", added, "--subset", "little"), 2, "SOURCE", "mirada train --subset little")
    assert [one["name"] for one in mirada("subset", "--json").document] == ["little"]


def test_an_empty_class_cannot_be_balanced(added: Path, mirada: Mirada) -> None:
    workspace = Workspace.open(added.parent / "mirada")
    with Catalog.open(workspace.catalog_url) as catalog:
        catalog.set_sample_splits({s.sample_id: "train" if s.label != "small" else "test" for s in catalog.samples()})
    called = mirada("subset", "x", "--size", "9", "--strategy", "balanced", "--split", "train")
    _refused(called, 1, "no photograph of small", "--classes")
    recipe = ("--size", "10", "--strategy", "balanced", "--split", "train", "--classes", "big,middle")
    assert mirada("subset", "x", *recipe, "--json").document["by_class"] == {"big": 5, "middle": 5}


def test_a_subset_is_forgotten(added: Path, mirada: Mirada) -> None:
    mirada("subset", "s", "--size", "24")
    assert "untouched" in mirada("subset", "s", "--delete").out
    assert mirada("subset", "--json").document == []
    assert "No subset yet" in mirada("subset").out
    _refused(mirada("subset", "s", "--delete"), 1, "no subset s")


def test_exports_through_the_command_line(added: Path, mirada: Mirada, tmp_path: Path) -> None:
    mirada("subset", "g", "--size", "24", "--grey")
    told = mirada("subset", "g", "-o", tmp_path / "tree", "--json").document["export"]
    assert (told["n"], told["format"], told["left_out"]) == (24, "folder", [])
    assert Counter(p.parent.name for p in (tmp_path / "tree").rglob("*.jpg")) == {"big": 12, "middle": 9, "small": 3}
    assert mirada("subset", "g", "-o", tmp_path / "g.csv", "--json").document["export"]["format"] == "csv"
    everything = mirada("subset", "-o", tmp_path / "all", "--format", "huggingface", "--json").document
    assert everything["export"]["n"] == 80
    _refused(mirada("subset", "g", "-o", tmp_path / "tree"), 1, "overwrites nothing")
    _refused(mirada("subset", "g", "-o", added / "export"), 1, "where photographs were added from")
    assert not (added / "export").exists()
    again = mirada("--workspace", tmp_path / "again", "add", tmp_path / "all", "--json").document
    assert again["n"]["added"] == 80
    assert {label: n["total"] for label, n in again["by_class"].items()} == {"big": 40, "middle": 30, "small": 10}


def test_training_on_a_subset_sees_its_members_alone(
    added: Path, mirada: Mirada, backbone_file: Path, tmp_path: Path
) -> None:
    whole = mirada("train", added, "--backbone", backbone_file, "--json").document
    subset = mirada("subset", "half", "--size", "40", "--json").document
    made = mirada("train", "--subset", "half", "--backbone", backbone_file, "--json").document
    assert made["model"]["name"] == "half"
    assert sum(made["n"][part] for part in ("train", "val", "test")) == 40
    assert any("test photographs of the subset half" in note for note in made["notes"])
    workspace = Workspace.open(tmp_path / "mirada")
    tested, frozen = (set(load_predictions(workspace, str(d["run_id"])).sample_ids) for d in (made, whole))
    assert tested == frozen & set(subset["ids"])
    runs = {run["run_id"]: run["config"]["subset"] for run in mirada("runs", "--json").document}
    assert runs == {whole["run_id"]: None, made["run_id"]: f"half@{subset['hash']}"}
    by_library = library.train(subset="half", backbone=str(backbone_file)).result
    assert by_library is not None
    assert by_library.n == made["n"]
    told = mirada("evaluate", "--model", "half", "--json").document
    assert told["metrics"]["accuracy"] == made["test"]["accuracy"]
    mirada("subset", "half", "--size", "20", "--replace")  # drawn anew: the figures stay those of what was judged
    assert mirada("evaluate", "--model", "half", "--json").document["n"] == told["n"]


def test_a_subset_of_train_is_judged_on_the_whole_test_set(
    added: Path, mirada: Mirada, backbone_file: Path, tmp_path: Path
) -> None:
    whole = mirada("train", added, "--backbone", backbone_file, "--json").document
    mirada("subset", "few", "--size", "12", "--split", "train")
    made = mirada("train", "--subset", "few", "--backbone", backbone_file, "--json").document
    assert made["n"] == {"train": 12, "val": whole["n"]["val"], "test": whole["n"]["test"], "rejected": 0}
    mirada("subset", "none", "--size", "12", "--split", "test")
    _refused(mirada("train", "--subset", "none", "--backbone", backbone_file), 1, "0 classes with photographs to train")


def test_a_grey_subset_makes_a_grey_model(added: Path, mirada: Mirada, backbone_file: Path, tmp_path: Path) -> None:
    mirada("subset", "g", "--size", "60", "--grey")
    made = mirada("train", "--subset", "g", "--backbone", backbone_file, "--json").document
    manifest = json.loads((Path(made["model"]["path"]) / "manifest.json").read_text())
    assert manifest["preprocess"]["channels"] == "grey"
    assert any("without colour" in note for note in made["notes"])
    # The same photographs, without colour before they come: the same answers.
    mirada("subset", "g", "-o", tmp_path / "colourless")
    rows = mirada("predict", added, "--model", "g", "--json").document
    grey = mirada("predict", tmp_path / "colourless", "--model", "g", "--json").document
    score = {_own_name(row): row["score"] for row in rows}
    assert len(grey) == 60
    assert max(abs(score[_own_name(row)] - row["score"]) for row in grey) < 0.1


def _own_name(row: dict[str, str]) -> tuple[str, str]:
    return Path(row["uri"]).parent.name, Path(row["uri"]).name


def test_members_that_were_dropped_since_are_told_and_training_goes_on(
    added: Path, mirada: Mirada, backbone_file: Path, tmp_path: Path
) -> None:
    made = mirada("subset", "s", "--size", "60", "--json").document
    with Catalog.open(Workspace.open(tmp_path / "mirada").catalog_url) as catalog:
        catalog.decide([Decision(made["ids"][0], "drop"), Decision(made["ids"][1], "ambiguous")])
    told = mirada("subset", "s", "--json").document
    assert (told["n"], told["n_drawn"]) == (58, 60)
    assert "2 photographs of the subset s are no longer there" in told["notes"][0]
    again = mirada("subset", "s", "--size", "60", "--json").document["notes"]
    assert "have changed since it was drawn" in again[1]
    trained = mirada("train", "--subset", "s", "--backbone", backbone_file, "--json").document
    assert sum(trained["n"].values()) == 58
    assert any("no longer there" in note for note in trained["notes"])


def test_a_relabelled_member_leaves_a_subset_of_other_classes(added: Path, mirada: Mirada, tmp_path: Path) -> None:
    made = mirada("subset", "s", "--classes", "big,middle", "--json").document
    assert made["by_class"] == {"big": 40, "middle": 30}
    with Catalog.open(Workspace.open(tmp_path / "mirada").catalog_url) as catalog:
        catalog.decide([Decision(made["ids"][0], "relabel", new="small")])
    told = mirada("subset", "s", "--json").document
    assert told["n"] == 69
    assert "now has a class that is not of it" in told["notes"][0]


def test_the_photographs_of_restaurants(mirada: Mirada, shared: Callable[[str], Path], tmp_path: Path) -> None:
    home = shared("data/restaurant_dirty")
    mirada("add", home / "photos.json")
    wanted = {
        "stratified": {"drink": 41, "food": 263, "inside": 133, "menu": 8, "outside": 55},
        "balanced": {"drink": 89, "food": 137, "inside": 137, "menu": 17, "outside": 120},
    }
    for strategy, counts in wanted.items():
        made = mirada("subset", strategy, "--size", "500", "--strategy", strategy, "--json").document
        assert made["by_class"] == counts
        assert made["ids"] == mirada("subset", strategy, "--size", "500", "--strategy", strategy, "--replace",
                                     "--json").document["ids"]  # fmt: skip
    grey = mirada("subset", "grey", "--size", "500", "--grey", "--json").document
    assert grey["ids"] == mirada("subset", "stratified", "--json").document["ids"]
    for name in ("stratified", "balanced", "grey"):
        _loads(mirada, name, tmp_path, wanted.get(name) or wanted["stratified"])


def _loads(mirada: Mirada, name: str, home: Path, counts: dict[str, int]) -> None:
    """Every export of the subset loads in the libraries that it is for."""
    datasets, pandas = pytest.importorskip("datasets"), pytest.importorskip("pandas")
    vision = pytest.importorskip("torchvision.datasets")
    tree, table, hub = home / f"{name}-tree", home / f"{name}.csv", home / f"{name}-hub"
    for out, fmt in ((tree, "folder"), (table, "csv"), (hub, "huggingface")):
        told = mirada("subset", name, "-o", out, "--format", fmt, "--json").document["export"]
        assert (told["n"], told["left_out"]) == (500, [])
    folder = vision.ImageFolder(str(tree))
    assert Counter(folder.classes[i] for i in folder.targets) == counts
    loaded = datasets.load_dataset("imagefolder", data_dir=str(tree), cache_dir=str(home / "cache"))["train"]
    assert Counter(loaded.features["label"].names[i] for i in loaded["label"]) == counts
    assert pandas.read_csv(table).label.value_counts().to_dict() == counts
    loaded = datasets.load_dataset(str(hub), cache_dir=str(home / "cache"))["train"]
    assert Counter(loaded.features["label"].names[i] for i in loaded["label"]) == counts
    modes = {image.mode for image in loaded["image"]}
    assert modes == {"L"} if name == "grey" else "RGB" in modes
