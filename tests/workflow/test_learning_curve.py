"""`mirada train --learning-curve`: nested parts of train, kept answers, and no model."""

from __future__ import annotations

import json
import random
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from mirada.catalog.catalog import Catalog
from mirada.cli.main import run
from mirada.errors import NotEnoughData, UsageError
from mirada.messages import Message
from mirada.testing import class_folders
from mirada.testing.models import tiny_backbone
from mirada.types import Sample
from mirada.workflow.data import Dataset
from mirada.workflow.learning_curve import Part, draw_parts, learning_curve
from mirada.workflow.train import TrainRequest, train
from mirada.workspace import Workspace

MLP = """
summary = { en = "A small net for tests.", es = "Una red pequeña para pruebas." }
input_size = 16
[model]
name = "mlp"
hidden = [16]
[[stages]]
epochs = 2
lr = 0.003
batch_size = 16
"""


@pytest.fixture(autouse=True)
def _no_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIRADA_TRACK_ENABLED", "false")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of forty, of which one in four lies in the wrong folder, so that nobody is always right."""
    folder = tmp_path_factory.mktemp("curve") / "photos"
    written = class_folders(folder, 3, 40, size=32)
    rng = random.Random(0)
    for name, paths in written.items():
        for path in rng.sample(paths, 10):
            other = rng.choice([home for home in written if home != name])
            path.rename(folder / other / f"{name}-{path.name}")
    return folder


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_backbone(tmp_path_factory.mktemp("backbone")).onnx_path)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(MLP, encoding="utf-8")
    return path


def _data(counts: dict[str, int], *, copies: int) -> Dataset:
    """Samples of which every fifth has `copies` near copies of itself."""
    samples, y = list[Sample](), list[int]()
    for c, (name, n) in enumerate(counts.items()):
        for i in range(n):
            group = f"{name}-{i // copies}" if (i // copies) % 5 == 0 else None
            uri = f"{name}/{i}.jpg"
            samples.append(Sample(uri, f"sha-{uri}", uri, "s", 8, 8, "RGB", "JPEG", 9, label=name, group_id=group))
            y.append(c)
    return Dataset(tuple(samples), tuple(counts), np.array(y, dtype=np.int64))


@pytest.mark.parametrize("seed", [0, 1, 7])
@pytest.mark.parametrize("counts", [{"a": 400, "b": 200, "c": 100}, {"a": 3000, "b": 1500, "c": 4}])
def test_parts_are_nested_stratified_and_tear_no_group(counts: dict[str, int], seed: int) -> None:
    data = _data(counts, copies=4)
    train = np.flatnonzero(np.random.default_rng(seed).permutation(len(data.y)) % 10 > 0)
    parts = draw_parts(data, train, is_cheap=True, seed=seed)
    sizes = sorted({part.n for part in parts})
    assert len(sizes) >= 5
    assert sizes[-1] == len(train)
    assert len({part.seed for part in parts if part.n == sizes[0]}) == 3
    assert len([part for part in parts if part.n == sizes[-1]]) == 1
    groups, shares = np.array(data.groups), np.bincount(data.y[train]) / len(train)
    for part in parts:
        assert part.n <= len(part.rows) < part.n + 4
        assert len(set(part.rows.tolist())) == len(part.rows)
        assert set(part.rows) <= set(train)
        rest = np.setdiff1d(train, part.rows)
        assert not set(groups[part.rows]) & set(groups[rest]), "copies are torn apart"
        found = np.bincount(data.y[part.rows], minlength=3)
        assert (found > 0).all()
        assert np.abs(found - shares * len(part.rows)).max() <= 4 + 1, "classes come in their shares"
    for seed_of in {part.seed for part in parts}:
        _nested([part for part in parts if part.seed == seed_of])
    assert any((a.rows[:20] != b.rows[:20]).any() for a, b in pairwise(parts) if a.n == b.n)


def _nested(parts: list[Part]) -> None:
    for small, large in pairwise(parts):
        assert set(small.rows) <= set(large.rows)


def test_too_little_to_grow() -> None:
    data = _data({"a": 5, "b": 5}, copies=1)
    with pytest.raises(NotEnoughData, match="more photographs"):
        draw_parts(data, np.arange(7), is_cheap=True, seed=0)
    assert [part.n for part in draw_parts(data, np.arange(10), is_cheap=False, seed=0)] == [4, 5, 6, 8, 10]


def _stamps(folder: Path) -> dict[str, int]:
    return {str(path.parent.name): path.stat().st_mtime_ns for path in folder.glob("*/*/done.json")}


def test_a_head_is_measured_and_nothing_else_changes(tmp_path: Path, photos: Path, backbone: str) -> None:
    workspace = Workspace.create(tmp_path / "w")
    asked = TrainRequest(source=str(photos), backbone=backbone)
    made = train(workspace, asked)
    before = _state(workspace)
    curve = learning_curve(workspace, asked)
    assert _state(workspace) == before
    assert [size.n for size in curve.curve.sizes][-1] == made.n["train"]
    assert curve.curve.n_test == made.n["test"] == curve.n["test"]
    assert curve.curve.sizes[-1].accuracy.value == made.test.metrics["accuracy"].value, "all of train is `train` itself"
    assert curve.curve.sizes[0].n_models == 3

    stamps = _stamps(workspace.path / "curves")
    gone = sorted(stamps)[0]
    (folder,) = (workspace.path / "curves").iterdir()
    shutil.rmtree(folder / gone)
    again = learning_curve(workspace, asked)
    assert again.curve == curve.curve
    now = _stamps(workspace.path / "curves")
    assert {name for name in now if now[name] != stamps[name]} == {gone}
    learning_curve(workspace, TrainRequest(source=str(photos), backbone=backbone, class_weight="balanced"))
    assert len(list((workspace.path / "curves").iterdir())) == 2, "another way of training is another curve"


def _state(workspace: Workspace) -> tuple[object, ...]:
    with Catalog.open(workspace.catalog_url) as catalog:
        models, runs, split = list(catalog.models()), list(catalog.runs()), catalog.latest_split()
    files = [sorted(path.rglob("*")) for path in (workspace.models_path, workspace.runs_path)]
    return models, runs, split, files


class _Killer:
    """A display at whose n-th training the person loses patience."""

    def __init__(self, at: int) -> None:
        self.notes, self.at = 0, at

    def start(self, label: Message, total: int | None = None) -> None: ...

    def advance(self, n: int = 1) -> None: ...

    def finish(self) -> None: ...

    def note(self, message: Message) -> None:
        self.notes += 1
        if self.notes == self.at:
            raise KeyboardInterrupt


def test_a_killed_curve_goes_on_with_what_is_missing(
    tmp_path: Path, photos: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mirada.workflow.learning_curve.NETWORK_SIZES", 3)
    workspace = Workspace.create(tmp_path / "w")
    asked = TrainRequest(source=str(photos), recipe=str(recipe), precision="f32")
    with pytest.raises(KeyboardInterrupt):
        learning_curve(workspace, asked, progress=_Killer(at=3))
    done = _stamps(workspace.path / "curves")
    assert len(done) == 2
    told = _Killer(at=0)
    curve = learning_curve(workspace, asked, progress=told)
    assert told.notes == 1
    after = _stamps(workspace.path / "curves")
    assert len(after) == len(curve.curve.sizes) == 3
    assert {name: after[name] for name in done} == done, "what was done is not trained again"
    left = {path.name for path in (workspace.path / "curves").glob("*/*/*")}
    assert left == {"rows.npy", "probs.npy", "done.json"}, "the networks themselves are not kept"
    assert not workspace.models_path.exists() or not list(workspace.models_path.iterdir())
    assert any("trained once" in str(note) for note in curve.notes)
    with Catalog.open(workspace.catalog_url) as catalog:
        assert not list(catalog.models())
        assert not list(catalog.runs())


def test_the_command(
    tmp_path: Path, photos: Path, backbone: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["train", str(photos), "--backbone", backbone, "--learning-curve", "--html", "c.html"]
    assert run([*asked, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [size["n"] for size in document["sizes"]] == sorted(size["n"] for size in document["sizes"])
    assert document["sizes"][-1]["n"] == document["n"]["train"]
    assert document["verdict"] in ("rising", "flat", "unclear")
    assert document["told"]
    assert all(
        size["accuracy"]["low"] <= size["accuracy"]["value"] <= size["accuracy"]["high"] for size in document["sizes"]
    )
    assert "<svg" in (tmp_path / "c.html").read_text(encoding="utf-8")
    assert run(asked) == 0
    lines = capsys.readouterr().out
    assert document["told"][0] in lines
    assert "c.html" in lines

    for wrong, word in ((["--name", "x"], "--name"), (["--resume", "r"], "--resume")):
        assert run(["train", "--learning-curve", "--backbone", backbone, *wrong]) == 2
        assert word in capsys.readouterr().err
    assert run(["train", str(photos), "--html", "x.html"]) == 2
    assert "--learning-curve" in capsys.readouterr().err


def test_what_does_not_go_together(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "w")
    with pytest.raises(UsageError, match="--name"):
        learning_curve(workspace, TrainRequest(name="x"))
