"""A heatmap lies where the subject is."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mirada.errors import UsageError
from mirada.types import PreprocessSpec

pytestmark = pytest.mark.train

HALF = 112


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


def halves(folder: Path) -> np.ndarray:
    """20 photographs of 15 sports, the middle of each in the left half or the right; the other half is grey."""
    files = [file for sport in sorted(folder.iterdir()) for file in (sorted(sport.glob("*.jpg"))[i] for i in (3, 50))]
    images = np.full((20, 2 * HALF, 2 * HALF, 3), 128, np.uint8)
    for i, file in enumerate(files[:20]):
        photo = np.asarray(Image.open(file).convert("RGB").resize((2 * HALF, 2 * HALF)))
        images[i, :, side(i)] = photo[:, HALF // 2 : -HALF // 2]
    return images


def side(i: int) -> slice:
    return slice(0, HALF) if i % 2 == 0 else slice(HALF, None)


def answers(network: Any, images: np.ndarray) -> np.ndarray:
    import torch

    from mirada.models.base import Photographs

    network.eval()
    with torch.inference_mode():
        return network(Photographs(network.preprocess)(torch.from_numpy(images))).argmax(1).numpy()


@pytest.mark.shared
@pytest.mark.parametrize("name", ["mobilenetv2_100", "deit_tiny_patch16_224"])
def test_the_mass_lies_in_the_half_of_the_subject(name: str, shared: Callable[[str], Path]) -> None:
    from mirada.models.registry import create_model
    from mirada.training.heatmaps import heatmap

    network = create_model(name, n_classes=1000, weights=shared(f"weights/{name}.safetensors"))
    images = halves(shared("data/sports15/train"))
    maps = heatmap(network, images, answers(network, images))
    assert maps.shape == (20, 224, 224)
    assert maps.dtype == np.float32
    np.testing.assert_allclose(maps.max(axis=(1, 2)), 1, atol=1e-6)
    assert maps.min() >= 0
    share = [heat[:, side(i)].sum() / heat.sum() for i, heat in enumerate(maps)]
    assert min(share) >= 0.7
    # It is the class that is asked for: another class gets another map.
    other = heatmap(network, images[:4], np.full(4, 207))
    assert all(np.corrcoef(a.ravel(), b.ravel())[0, 1] < 0.98 for a, b in zip(maps, other, strict=False))


def small(kind: str, **options: Any) -> Any:
    """A small network with random weights that keeps its last feature map, or is a ViT, or an MLP."""
    import timm
    import torch
    from torch import nn

    from mirada.models.base import Network

    class Small(Network):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.preprocess = PreprocessSpec(input_size=32, resize=32)
            if kind == "vit":
                self.body = timm.create_model(
                    "vit_tiny_patch16_224", img_size=32, patch_size=8, depth=2, num_classes=0, **options
                )
            elif kind == "mlp":
                self.body = nn.Sequential(nn.Flatten(), nn.Linear(32 * 32 * 3, 192))
            else:
                # In place behind the layer that is looked at, as many networks are built.
                self.body = nn.Sequential(
                    nn.Conv2d(3, 192, 8, stride=8), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()
                )
            self.head = nn.Linear(192, 4)

        def features(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x)

        def heatmap_layer(self) -> nn.Module | None:
            return self.body[0] if kind == "cnn" else None

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Small()


def noise(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["cnn", "vit"])
def test_a_network_is_left_as_it_was_and_company_does_not_matter(kind: str) -> None:
    from mirada.training.heatmaps import heatmap

    network = small(kind).train()
    for parameter in network.parameters():
        parameter.requires_grad = False  # as frozen ones are
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images, classes = noise(18), np.arange(18) % 4
    maps = heatmap(network, images, classes)
    assert network.training
    assert all((value == before[name]).all() for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())
    if kind == "vit":
        assert all(block.attn.fused_attn for block in network.body.blocks)
    alone = np.concatenate([heatmap(network, images[i : i + 1], classes[i : i + 1]) for i in (0, 17)])
    np.testing.assert_allclose(alone, maps[[0, 17]], atol=1e-4)
    assert heatmap(network, images[:0], classes[:0]).shape == (0, 32, 32)


def test_grad_cam_by_hand() -> None:
    import torch

    from mirada.models.base import Photographs
    from mirada.training.heatmaps import heatmap

    network, images = small("cnn"), noise(2)
    with torch.inference_mode():
        seen = network.body[1](network.body[0](Photographs(network.preprocess)(torch.from_numpy(images))))
        # Behind a mean over places, the gradient of the logit is the head's weight, wherever the unit is awake.
        raw = (network.head.weight[2][None, :, None, None] * seen).sum(1).clamp(min=0).numpy()
    maps = heatmap(network, images, np.array([2, 2]))
    centres = maps[:, 4::8, 4::8]
    for got, wanted in zip(centres, raw, strict=True):
        assert np.corrcoef(got.ravel(), wanted.ravel())[0, 1] > 0.9


def test_roll_out_without_a_class_token() -> None:
    from mirada.training.heatmaps import heatmap

    maps = heatmap(small("vit", class_token=False, global_pool="avg"), noise(2), np.array([0, 1]))
    assert maps.shape == (2, 32, 32)
    assert np.ptp(maps) == 1


def test_an_mlp_has_none() -> None:
    from mirada.training.heatmaps import heatmap

    with pytest.raises(UsageError, match="does not keep places apart"):
        heatmap(small("mlp"), noise(1), np.array([0]))


def test_colours_are_even_and_in_order() -> None:
    from mirada.training.heatmaps import colours, overlay

    table = colours().astype(float) / 255
    linear = np.where(table <= 0.04045, table / 12.92, ((table + 0.055) / 1.055) ** 2.4)
    lms = np.array(
        [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
         [0.0883024619, 0.2817188376, 0.6299787005]]
    )  # fmt: skip
    lab = np.array(
        [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
         [0.0259040371, 0.7827717662, -0.8086757660]]
    )  # fmt: skip
    places = np.cbrt(linear @ lms.T) @ lab.T
    assert (np.diff(places[::5, 0]) > 0).all()  # in order for those who see no colour
    steps = np.linalg.norm(np.diff(places[::15], axis=0), axis=1)
    assert steps.max() / steps.min() < 1.5
    image = np.full((8, 8, 3), (200, 40, 40), np.uint8)
    heat = np.zeros((8, 8), np.float32)
    heat[:, 4:] = 1
    shown = overlay(image, heat)
    assert shown.dtype == np.uint8
    assert np.ptp(shown[0, 0]) == 0  # grey where nothing speaks for the class
    assert np.ptp(shown[0, 7].astype(int)) > 60


def test_a_picture_for_a_page() -> None:
    from mirada.training.heatmaps import heatmap_pictures

    (made,) = heatmap_pictures(small("cnn"), noise(1), np.array([1]))
    picture = Image.open(io.BytesIO(made))
    assert (picture.format, picture.size) == ("JPEG", (32, 32))
