"""A trained network becomes a bundle that predicts as it does."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mirada.errors import BackboneError
from mirada.predict.runtime import Predictor
from mirada.release.bundle import BundleFacts, ParityCheck, write_bundle
from mirada.training.head import Head, softmax
from mirada.types import PreprocessSpec

pytestmark = pytest.mark.train

SIDE, N_CLASSES = 32, 5
CLASSES = tuple(f"class {i}" for i in range(N_CLASSES))


@pytest.fixture(scope="module", autouse=True)
def _quiet_torch() -> Iterator[None]:
    """Importing torch and timm warns about their own insides; the tests below are about ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch = pytest.importorskip("torch")
        pytest.importorskip("timm")
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(before)


def body() -> Any:
    """Photographs (n, 3, 32, 32) to features: layers in orders that our own networks do not have."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(12), nn.MaxPool2d(2), nn.Dropout(0.3),
        nn.Conv2d(12, 24, 3, stride=2, bias=False), nn.BatchNorm2d(24), nn.GELU(), nn.Dropout2d(0.3),
        nn.Flatten(), nn.Linear(24 * 7 * 7, 40), nn.BatchNorm1d(40), nn.ReLU(), nn.Dropout(0.5),
    )  # fmt: skip


def network(kind: str, seed: int = 0) -> Any:
    """A network with statistics and weights as training leaves them: nothing is 0 or 1."""
    import torch
    from torch import nn

    from mirada.models.base import Network, Photographs
    from mirada.models.registry import create_model

    class Small(Network):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.preprocess = PreprocessSpec(input_size=SIDE, resize=SIDE, mean=(0.5, 0.45, 0.4), std=(0.2, 0.25, 0.3))
            self.body = body()
            with torch.inference_mode():
                self.body.eval()
                width = self.body(torch.zeros(1, 3, SIDE, SIDE)).shape[1]
            self.head = nn.Linear(width, N_CLASSES)

        def features(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == "odd":
            made: Network = Small()
        else:
            hidden = (64,) if kind == "mlp" else ()
            made = create_model(kind, n_classes=N_CLASSES, input_size=SIDE, hidden=hidden, dropout=0.3, seed=seed)
        for module in made.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                module.weight.data.uniform_(0.5, 1.5)
                module.bias.data.normal_()
    # A random head says nearly the same of every photograph; a trained one does not.
    with torch.no_grad():
        logits = made.eval()(Photographs(made.preprocess)(torch.from_numpy(photographs(32, seed=7))))
        made.head.weight /= logits.std(0).mean()
        made.head.bias -= (logits / logits.std(0).mean()).mean(0)
    # As the loop leaves it.
    return made.train().to(memory_format=torch.channels_last)


def photographs(n: int, seed: int = 0) -> np.ndarray:
    """Smooth pictures of different colours."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (n, 4, 4, 3)).astype(np.uint8)
    return coarse.repeat(SIDE // 4, axis=1).repeat(SIDE // 4, axis=2)


def probs_of(made: Any, images: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    import torch

    from mirada.models.base import Photographs

    made.eval()
    with torch.inference_mode():
        logits = made(Photographs(made.preprocess)(torch.from_numpy(images)))
    return softmax(logits.numpy(), temperature)


@pytest.mark.parametrize("kind", ["odd", "cifar10_cnn", "vit_tiny_patch16_224", "mlp"])
def test_the_bundle_of_a_network_predicts_as_it_does(kind: str, tmp_path: Path) -> None:
    import onnx

    from mirada.release.export_network import export_network, head_of

    made = network(kind)
    backbone = export_network(
        made, tmp_path / "b.onnx", name=kind, licence="mit", trained_on="run 1", photographs=photographs(4, seed=9)
    )
    assert made.training
    assert (backbone.name, backbone.licence, backbone.preprocess) == (kind, "mit", made.preprocess)
    model = onnx.load(backbone.onnx_path)
    assert {item.key: item.value for item in model.metadata_props}["mirada.trained_on"] == "run 1"
    assert not {"Dropout", "RandomUniformLike", "RandomNormalLike"} & {node.op_type for node in model.graph.node}
    if kind == "odd":  # one norm stands behind a ReLU and cannot be folded; the other two are
        assert sum(node.op_type == "BatchNormalization" for node in model.graph.node) == 1
    head = Head((head_of(made),), CLASSES, temperature=1.3)
    assert head.layers[0][0].shape == (backbone.dim, N_CLASSES)
    images = photographs(40)
    expected = probs_of(made, images, 1.3)
    facts = BundleFacts(
        name=kind, version=1, class_names=CLASSES, precision="f32", metrics={}, run_id="r", dataset_id="d"
    )
    write_bundle(tmp_path / "m", backbone=backbone, head=head, facts=facts, parity=ParityCheck(images, expected))
    noise = np.random.default_rng(3).integers(0, 256, (9, SIDE, SIDE, 3), dtype=np.uint8)
    predictor = Predictor.open(tmp_path / "m", "f32")
    for fresh in (photographs(25, seed=5), noise):
        got, wanted = predictor.predict_inputs(fresh), probs_of(made, fresh, 1.3)
        assert np.abs(got - wanted).max() <= 1e-3
        assert np.ptp(wanted, axis=0).max() > 0.1  # the answers depend on the photograph


def test_a_network_that_draws_lots_is_refused(tmp_path: Path) -> None:
    import torch
    from torch import nn

    from mirada.release.export_network import export_network

    made = network("mlp")

    class Restless(nn.Module):  # type: ignore[misc]
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.dropout(x, 0.5, training=True)

    made.body.append(Restless())
    with pytest.raises(BackboneError):
        export_network(made, tmp_path / "b.onnx", name="restless", licence="mit")
    assert not list(tmp_path.iterdir())


def test_features_of_another_width_are_refused(tmp_path: Path) -> None:
    from torch import nn

    from mirada.release.export_network import export_network

    made = network("mlp")
    made.head = nn.Linear(63, N_CLASSES)
    with pytest.raises(BackboneError, match=r"gives features \(2, 64\) .* takes \(2, 63\)"):
        export_network(made, tmp_path / "b.onnx", name="narrow", licence="mit")
    assert not list(tmp_path.iterdir())
