"""A network trained by `mirada train`: the same catalogue, split, report, bundle and registry as a head's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mirada.catalog.catalog import Catalog
from mirada.errors import Conflict, UsageError
from mirada.models.base import Photographs
from mirada.predict.runtime import Predictor
from mirada.sources.reader import PhotoReader
from mirada.testing import class_folders
from mirada.training.networks import load_trained
from mirada.workflow.evaluate import EvaluateRequest, evaluate
from mirada.workflow.train import TrainRequest, train
from mirada.workspace import Workspace

MLP = """
summary = { en = "A small net for tests.", es = "Una red pequeña para pruebas." }
input_size = 16
[model]
name = "mlp"
hidden = [32]
[[stages]]
epochs = 6
lr = 0.003
batch_size = 16
"""


@pytest.fixture(autouse=True)
def _no_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIRADA_TRACK_ENABLED", "false")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    class_folders(tmp_path / "photos", n_per_class=24)
    return tmp_path / "photos"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(MLP, encoding="utf-8")
    return path


def test_a_network_becomes_a_bundle_that_predicts_as_it_does(tmp_path: Path, photos: Path, recipe: Path) -> None:
    workspace = Workspace.create(tmp_path / "w")
    made = train(workspace, TrainRequest(source=str(photos), recipe=str(recipe), precision="f32"))
    assert made.trained is not None
    assert made.trained.n_epochs == 6
    assert {point.name for point in made.trained.curves} >= {"train_loss", "val_loss", "val_accuracy", "lr"}
    assert made.test.metrics["accuracy"].value > 0.5
    assert sum(made.n[part] for part in ("train", "val", "test")) == 24 * len(made.class_names)
    assert made.report_path.is_file()
    assert not (workspace.runs_path / made.run_id / "checkpoint").exists(), "a run that is done keeps no state"
    with Catalog.open(workspace.catalog_url) as catalog:
        run = catalog.run(made.run_id)
        samples = list(catalog.samples())[:8]
    assert run.config.recipe == "small"
    assert run.config.epochs == 6
    assert json.loads(run.config.plan)["model"]["hidden"] == [32]

    network = load_trained(workspace.runs_path / made.run_id, run.config.plan, n_classes=len(made.class_names))
    predictor = Predictor.open(made.bundle.path, "f32")
    pixels = [predictor.load((s.uri, PhotoReader().read(s.uri))).pixels for s in samples]
    images = np.stack([p for p in pixels if p is not None])
    with torch.inference_mode():
        logits = network(Photographs(network.preprocess)(torch.from_numpy(images)))
        expected = (logits / made.bundle.temperature).softmax(1).numpy()
    assert np.abs(predictor.predict_inputs(images) - expected).max() < 1e-3


def test_a_second_training_meets_the_first_as_champion(tmp_path: Path, photos: Path, recipe: Path) -> None:
    workspace = Workspace.create(tmp_path / "w")
    head = train(workspace, TrainRequest(source=str(photos)))
    network = train(workspace, TrainRequest(source=str(photos), recipe=str(recipe), epochs=1))
    assert (head.bundle.version, network.bundle.version) == (1, 2)
    assert network.verdict.against == 1
    with pytest.raises(UsageError, match="learned from these photographs"):
        evaluate(workspace.path, EvaluateRequest(model=f"{network.bundle.name}@2", folds=3))
    assert network.trained is not None
    assert network.trained.n_epochs == 1


CHILD = """
import sys
from mirada.workflow.train import TrainRequest, train
from mirada.workspace import Workspace
train(Workspace.create({workspace!r}), TrainRequest(source={photos!r}, recipe={recipe!r}, epochs=40, precision="f32"))
"""


def test_a_killed_training_is_resumed_by_its_run(tmp_path: Path, photos: Path, recipe: Path) -> None:
    def start(name: str) -> subprocess.Popen[bytes]:
        code = CHILD.format(workspace=str(tmp_path / name), photos=photos.name, recipe=recipe.name)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL, cwd=tmp_path)

    child = start("killed")
    runs = tmp_path / "killed" / "runs"
    deadline = time.monotonic() + 60
    while not list(runs.glob("*/checkpoint/*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    workspace = Workspace.open(tmp_path / "killed")
    (folder,) = runs.iterdir()
    assert not (folder / "weights.safetensors").exists(), "killed too late to show anything"
    recipe.write_text(MLP.replace("0.003", "0.004"), encoding="utf-8")
    with pytest.raises(Conflict, match="cannot be resumed"):
        train(workspace, TrainRequest(resume=folder.name))
    recipe.write_text(MLP, encoding="utf-8")
    kept = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    assert (kept["source"], kept["recipe"]) == (str(photos), str(recipe)), "absolute, wherever it was begun"
    resumed = train(workspace, TrainRequest(resume=folder.name))
    assert resumed.run_id == folder.name
    assert start("whole").wait() == 0
    (undisturbed,) = (tmp_path / "whole" / "runs").iterdir()
    assert (folder / "weights.safetensors").read_bytes() == (undisturbed / "weights.safetensors").read_bytes()
    with pytest.raises(Conflict, match="done"):
        train(workspace, TrainRequest(resume=folder.name))


def test_folds_of_a_recipe_answer_every_photograph_once(tmp_path: Path, photos: Path, recipe: Path) -> None:
    workspace = Workspace.create(tmp_path / "w")
    first = train(workspace, TrainRequest(source=str(photos)))
    asked = EvaluateRequest(folds=3, recipe=str(recipe), against="fast", seed=0)
    made = evaluate(workspace.path, asked)
    assert made.report.n == sum(first.n[part] for part in ("train", "val", "test"))
    assert len(made.fold_seconds) == 3
    assert made.comparison is not None
    assert made.comparison.n == made.report.n
    left = {path.name for path in (workspace.path / "folds").glob("*/*/*")}
    assert left == {"rows.npy", "probs.npy", "done.json"}
    with pytest.raises(UsageError, match="--recipe, --against"):
        evaluate(workspace.path, replace(asked, folds=None))
    with pytest.raises(UsageError, match="sports-frozn"):
        evaluate(workspace.path, replace(asked, against="sports-frozn", seed=1))
    assert len(list((workspace.path / "folds").iterdir())) == 1, "refused before anything was trained"
    again = evaluate(workspace.path, asked)
    assert again.fold_seconds == made.fold_seconds, "kept folds are not trained again"
    assert again.report.metrics == made.report.metrics


def test_what_does_not_go_together(tmp_path: Path, photos: Path, recipe: Path) -> None:
    workspace = Workspace.create(tmp_path / "w")
    for request, words in (
        (TrainRequest(source=str(photos), recipe="sports-frozn"), "sports-frozen"),
        (TrainRequest(source=str(photos), recipe=str(recipe), flips=True), "--flips"),
        (TrainRequest(source=str(photos), recipe=str(recipe), weights=photos), "from scratch"),
        (TrainRequest(source=str(photos), epochs=3), "--epochs"),
        (TrainRequest(source=str(photos), recipe=str(recipe), device="cuda"), "GPU"),
    ):
        if request.device == "cuda" and torch.cuda.is_available():
            continue
        with pytest.raises(UsageError) as refused:
            train(workspace, replace(request, name="x"))
        assert words in f"{refused.value.message} {refused.value.hint}"
    with Catalog.open(workspace.catalog_url) as catalog:
        assert not list(catalog.samples()), "nothing was added before it was refused"
