"""Int8: smaller, run by the same predictor, and refused where it costs accuracy."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mirada.errors import BundleError, UsageError
from mirada.predict.manifest import load_manifest, read_manifest
from mirada.predict.runtime import Predictor
from mirada.release.bundle import BundleFacts, ParityCheck, write_bundle
from mirada.testing.models import tiny_bundle
from mirada.training.head import fit_head
from mirada.types import Metric, PreprocessSpec

pytestmark = pytest.mark.train

SIDE, N_CLASSES, N_CHANNELS = 16, 4, 24
CLASSES = tuple(f"class {i}" for i in range(N_CLASSES))


@pytest.fixture(scope="module", autouse=True)
def _quiet_imports() -> Iterator[None]:
    """Torch, timm and NNCF warn about their own insides; the tests below are about ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch = pytest.importorskip("torch")
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(before)


def photographs(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Classes differ in the place of a bright square on noise."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % N_CLASSES
    images = rng.integers(0, 140, (n, SIDE, SIDE, 3))
    for image, c in zip(images, y, strict=True):
        top, left = 8 * (c // 2), 8 * (c % 2)
        image[top : top + 8, left : left + 8] += rng.integers(25, 60)
    return images.clip(0, 255).astype(np.uint8), y


def written(folder: Path, *, suffering: bool = False) -> Path:
    """A bundle of a small convolutional network with random features and a fitted head.

    suffering: one channel of thousands that nothing reads, beside which 8 bits leave nothing of the others.
    """
    import torch
    from torch import nn

    from mirada.models.base import Network
    from mirada.release.export_network import Features, export_network

    class Small(Network):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.preprocess = PreprocessSpec(input_size=SIDE, resize=SIDE)
            self.body = nn.Sequential(
                nn.Conv2d(3, N_CHANNELS, 3, padding=1), nn.ReLU(), nn.Conv2d(N_CHANNELS, 64, 3, padding=1),
                nn.ReLU(), nn.Conv2d(64, 32, 3, padding=1), nn.ReLU(), nn.AvgPool2d(4), nn.Flatten(),
            )  # fmt: skip
            self.head = nn.Linear(32 * 16, N_CLASSES)

        def features(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x)

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        network = Small()
        if suffering:
            network.body[0].bias[0] = 10_000
            network.body[2].weight[:, 0] = 0
    images, y = photographs(240, seed=1)
    with torch.inference_mode():
        X = Features(network)(torch.from_numpy(images)).numpy()
    head = fit_head(X, y, class_names=CLASSES, folds=2)
    backbone = export_network(network, folder / "b.onnx", name="small", licence="mit")
    facts = BundleFacts(
        name="places", version=1, class_names=CLASSES, precision="f32", run_id="r", dataset_id="d",
        metrics={"accuracy": Metric(0.9, 0.8, 0.95, 100)}, reference={"mean": X.mean(axis=0)},
    )  # fmt: skip
    write_bundle(
        folder / "m", backbone=backbone, head=head, facts=facts, parity=ParityCheck(images[:40], head.probs(X[:40]))
    )
    return folder / "m"


def judges(n: int = 200) -> Any:
    from mirada.release.quantize import Judges

    return Judges(*photographs(n, seed=2))


def test_a_network_in_int8_is_smaller_and_runs_as_any_bundle(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import onnx

    from mirada.release.quantize import quantize_bundle

    original = written(tmp_path)
    val = judges()
    asked: list[Predictor] = []

    def measure(predictor: Predictor) -> dict[str, Metric]:
        asked.append(predictor)
        return {"accuracy": Metric(0.5, 0.4, 0.6, 10), "nothing": Metric(float("nan"), 0, 1, 0)}

    made = quantize_bundle(
        original, tmp_path / "m8", calibration=iter(photographs(120, seed=3)[0]), val=val, version=2, measure=measure
    )
    assert capsys.readouterr().out == ""
    assert made.accuracy_before > 0.9
    assert made.accuracy_before - 0.005 <= made.accuracy_after <= 1
    assert (made.n, made.n_calibration, made.speed > 0) == (200, 120, True)
    assert made.n_bytes_after < 0.6 * made.n_bytes_before
    assert (tmp_path / "m8" / "model.onnx").stat().st_size == made.n_bytes_after

    predictor = Predictor.open(tmp_path / "m8")
    answers = predictor.predict_inputs(val.images)
    assert (answers.argmax(axis=1) == val.y).mean() == pytest.approx(made.accuracy_after)
    alone = np.concatenate([predictor.predict_inputs(val.images[i : i + 1]) for i in range(10)])
    np.testing.assert_array_equal(alone, answers[:10])
    assert np.abs(answers - Predictor.open(original).predict_inputs(val.images)).max() == pytest.approx(
        made.bundle.parity["max_abs_diff"], abs=1e-6
    )

    # The convolutions are in int8, the head is not.
    model = onnx.load(tmp_path / "m8" / "model.onnx")
    made_by = {output: node for node in model.graph.node for output in node.output}
    kinds = {node.op_type: [made_by[i].op_type for i in node.input if i in made_by] for node in model.graph.node}
    assert kinds["Conv"] == ["DequantizeLinear", "DequantizeLinear"]
    assert "DequantizeLinear" not in kinds["Gemm"]

    before, after = read_manifest(original), read_manifest(tmp_path / "m8")
    assert after.quantization is not None
    assert after.quantization.made_from_sha256 == before.onnx_sha256
    assert after.quantization.accuracy_after == made.accuracy_after
    assert (after.version, after.temperature, after.class_names) == (2, before.temperature, before.class_names)
    assert after.backbone.sha256 != before.backbone.sha256
    assert after.reference_sha256 == before.reference_sha256
    assert set(after.metrics) == {"accuracy"}
    assert len(asked) == 1
    assert before.quantization is None
    assert load_manifest(tmp_path / "m8") == made.bundle
    assert "## Int8" in (tmp_path / "m8" / "README.md").read_text()
    with pytest.raises(UsageError, match="int8 already"):
        quantize_bundle(tmp_path / "m8", tmp_path / "m88", calibration=val.images, val=val)


def test_a_network_that_suffers_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    from mirada.release.quantize import quantize_bundle

    original = written(tmp_path, suffering=True)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(BundleError, match=r"In int8 the accuracy on val falls from .* 0\.00 points") as caught:
        quantize_bundle(original, tmp_path / "m8", calibration=photographs(60, seed=3)[0], val=judges(80), tolerance=0)
    assert caught.value.code == "accuracy_fell"
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_what_cannot_be_judged_is_refused(tmp_path: Path) -> None:
    from mirada.release.quantize import Judges, quantize_bundle

    tiny_bundle(tmp_path / "m")
    images, y = np.zeros((10, 32, 32, 3), np.uint8), np.zeros(10, np.int64)
    with pytest.raises(UsageError, match="at least 20 labelled ones of val; got 10 and 10"):
        quantize_bundle(tmp_path / "m", tmp_path / "m8", calibration=images, val=Judges(images, y))
    with pytest.raises(UsageError, match="a share from 0 to 1; got 5"):
        quantize_bundle(tmp_path / "m", tmp_path / "m8", calibration=images, val=Judges(images, y), tolerance=5)
