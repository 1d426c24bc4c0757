"""The main job on real photographs: sports15 with mobilenetv2_100, from training to the server.

One machine, one precision: the same label and score from training, the bundle, `predict` and the server, whatever
the batch. Between bf16 and float32: the same label on 99 %, scores within 0.05.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from mirada.cli.main import run
from mirada.embed.vino import has_bf16
from mirada.predict.runtime import Predictor
from mirada.serve.app import create_app
from mirada.workflow.runs import TestPredictions, load_predictions
from mirada.workspace import Workspace

pytestmark = [pytest.mark.shared, pytest.mark.train]
NAME = "mobilenetv2_100"


@dataclass(frozen=True)
class Trained:
    """A workspace with one model of sports15."""

    workspace: Workspace
    document: dict[str, object]
    predictions: TestPredictions
    uris: tuple[str, ...]

    @property
    def bundle_path(self) -> Path:
        return Path(self.document["model"]["path"])


@pytest.fixture(scope="module")
def weights(shared: Callable[[str], Path]) -> Path:
    return shared(f"weights/{NAME}.safetensors")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("MIRADA_CACHE", str(folder))
        patch.setenv("MIRADA_TRACK_ENABLED", "false")
        patch.setenv("MIRADA_LANG", "en")
        yield folder


def _train(home: Path, photos: Path, weights: Path, **env: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-m", "mirada", "--workspace", str(home), "train", str(photos),
         "--backbone", NAME, "--weights", str(weights), "--json"],
        capture_output=True, text=True, check=False, env={**os.environ, **env},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document: dict[str, object] = json.loads(done.stdout)
    return document


@pytest.fixture(scope="module")
def trained(
    shared: Callable[[str], Path], weights: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    home = tmp_path_factory.mktemp("sports15") / "w"
    document = _train(home, shared("data/sports15"), weights)
    workspace = Workspace.open(home)
    predictions = load_predictions(workspace, document["run_id"])
    from mirada.catalog.catalog import Catalog

    with Catalog.open(workspace.catalog_url) as catalog:
        by_id = {sample.sample_id: sample.uri for sample in catalog.samples(split="test")}
    return Trained(workspace, document, predictions, tuple(by_id[i] for i in predictions.sample_ids))


def test_accuracy_and_counts(trained: Trained) -> None:
    assert trained.document["test"]["accuracy"]["value"] >= 0.92
    assert trained.document["test"]["accuracy"]["n"] == 75
    assert trained.document["n"] == {"train": 2119, "val": 75, "test": 75, "rejected": 0}


def test_the_five_pairs_that_cross_the_splits_are_leakage(trained: Trained) -> None:
    notes = trained.document["notes"]
    assert any("5 pairs of duplicates" in note for note in notes)
    assert any("without them" in note for note in notes)


def test_training_bundle_predict_and_server_agree(trained: Trained, tmp_path: Path) -> None:
    wanted, names = trained.predictions.pred_probs, trained.predictions.class_names
    bundle = Predictor.open(trained.bundle_path)
    pixels = [bundle.load((uri, uri)).pixels for uri in trained.uris]
    together = bundle.predict_inputs(pixels)
    alone = np.concatenate([bundle.predict_inputs([one]) for one in pixels])
    np.testing.assert_allclose(together, wanted, atol=1e-3)
    np.testing.assert_array_equal(alone, together)
    out = tmp_path / "answers.jsonl"
    assert run(["--workspace", str(trained.workspace.path), "predict", *trained.uris, "-o", str(out)]) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    served = _served(trained, batch=1) + _served(trained, batch=17)
    for answers in (
        [(row["label"], row["score"]) for row in rows],
        served[: len(rows)],
        served[len(rows) :],
    ):
        assert [label for label, _ in answers] == [names[i] for i in wanted.argmax(axis=1)]
        np.testing.assert_allclose([score for _, score in answers], wanted.max(axis=1), atol=1e-3)


def _served(trained: Trained, *, batch: int) -> list[tuple[str, float]]:
    answers: list[tuple[str, float]] = []
    with TestClient(create_app(trained.workspace)) as client:
        for begin in range(0, len(trained.uris), batch):
            files = [("file", (Path(u).name, Path(u).read_bytes())) for u in trained.uris[begin : begin + batch]]
            answer = client.post("/api/predict", files=files)
            assert answer.status_code == 200, answer.text
            answers += [(a["predictions"][0]["label"], a["predictions"][0]["score"]) for a in answer.json()]
    return answers


@pytest.mark.skipif(not has_bf16(), reason="this processor has no bf16")
def test_bf16_and_float32_agree(trained: Trained) -> None:
    by_precision = {p: Predictor.open(trained.bundle_path, p) for p in ("bf16", "f32")}
    pixels = [by_precision["f32"].load((uri, uri)).pixels for uri in trained.uris]
    bf16, f32 = (by_precision[p].predict_inputs(pixels) for p in ("bf16", "f32"))
    assert (bf16.argmax(axis=1) == f32.argmax(axis=1)).mean() >= 0.99
    assert np.abs(bf16.max(axis=1) - f32.max(axis=1)).max() <= 0.05


def test_without_amx_and_bf16_the_job_is_the_same(
    trained: Trained, shared: Callable[[str], Path], weights: Path, tmp_path: Path
) -> None:
    plain = _train(tmp_path / "w", shared("data/sports15"), weights, ONEDNN_MAX_CPU_ISA="AVX2")
    manifest = json.loads((Path(plain["model"]["path"]) / "manifest.json").read_text())
    assert manifest["precision"] == "f32"
    assert plain["test"]["accuracy"]["value"] >= 0.92
    assert abs(plain["test"]["accuracy"]["value"] - trained.document["test"]["accuracy"]["value"]) <= 2 / 75


def test_five_folds_over_all_splits(trained: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(["--workspace", str(trained.workspace.path), "evaluate", "--folds", "5", "--json"]) == 0
    accuracy = json.loads(capsys.readouterr().out)["metrics"]["accuracy"]
    assert accuracy["n"] == 2269
    assert accuracy["value"] >= 0.92
