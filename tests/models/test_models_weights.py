"""Weights go in whole or not at all; only a classifier for other classes may stay out."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from mirada.errors import BackboneError, UsageError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # timm's own insides
    torch = pytest.importorskip("torch")
    timm = pytest.importorskip("timm")
    from safetensors.torch import load_file, save_file

    from mirada.models.registry import create_model

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    return {key: value.contiguous() for key, value in timm.create_model("test_vit", num_classes=7).state_dict().items()}


@pytest.fixture
def file(state: dict[str, torch.Tensor], tmp_path: Path) -> Path:
    save_file(state, tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def reference(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    model = timm.create_model("test_vit", num_classes=7)
    model.load_state_dict(state)
    with torch.no_grad():
        return model.eval()(x)


def test_as_many_classes_keep_the_classifier(file: Path, state: dict[str, torch.Tensor]) -> None:
    network = create_model("test_vit", n_classes=7, weights=file).eval()
    x = torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(network(x), reference(state, x))


def test_other_classes_get_a_new_head(
    file: Path, state: dict[str, torch.Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mirada.models")
    network = create_model("test_vit", n_classes=3, weights=str(file), hidden=(8,))
    assert "test_vit gets a new head for 3 classes" in caplog.text
    for key, value in network.model.state_dict().items():
        assert torch.equal(value, state[key])
    assert (network.head.in_features, network.head.out_features) == (8, 3)
    del state["head.bias"], state["head.weight"]  # features alone fit too
    save_file(state, file)
    assert torch.equal(create_model("test_vit", n_classes=3, weights=file).model.cls_token, network.model.cls_token)


def test_position_embeddings_are_resampled(file: Path) -> None:
    network = create_model("test_vit", n_classes=7, weights=file, input_size=64).eval()
    own = create_model("test_vit", n_classes=7, weights=file)
    assert network.preprocess.input_size == 64
    assert network.preprocess.resize * 160 == pytest.approx(own.preprocess.resize * 64, rel=0.02)
    grid = 64 // 16
    assert network.model.pos_embed.shape[1] - own.model.pos_embed.shape[1] == grid**2 - (160 // 16) ** 2
    assert torch.equal(network.head.weight, own.head.weight)
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 64, 64)).isfinite().all()


def test_what_does_not_fit_is_counted(file: Path) -> None:
    state = load_file(file)
    del state["cls_token"]
    state["extra.weight"] = torch.zeros(2)
    state["norm.weight"] = state["norm.weight"][:5].contiguous()
    save_file(state, file)
    with pytest.raises(BackboneError) as caught:
        create_model("test_vit", n_classes=3, weights=file)
    for said in ("1 missing (cls_token)", "1 unexpected (extra.weight)", "1 of another shape (norm.weight)"):
        assert said in str(caught.value)
    with pytest.raises(BackboneError, match=r"does not fit mlp, which has 4 tensors: 2 missing \(body"):
        create_model("mlp", n_classes=3, weights=file)


def test_networks_from_scratch_take_their_own_weights(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mirada.models")
    trained = create_model("cifar10_cnn", n_classes=4, hidden=(16,), seed=1)
    file = tmp_path / "own.safetensors"
    save_file(dict(trained.state_dict()), file)
    again = create_model("cifar10_cnn", n_classes=4, hidden=(16,), weights=file)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in trained.state_dict().items())
    assert not caplog.text
    other = create_model("cifar10_cnn", n_classes=3, hidden=(16,), weights=file)
    assert torch.equal(other.body[0][0].weight, trained.body[0][0].weight)
    assert "gets a new classifier" in caplog.text


def test_files_that_are_no_weights(tmp_path: Path) -> None:
    text = tmp_path / "w.safetensors"
    text.write_text("no weights")
    with pytest.raises(BackboneError, match=r"not a sound \.safetensors file"):
        create_model("test_vit", n_classes=3, weights=text)
    with pytest.raises(BackboneError, match="There is no weights file"):
        create_model("mlp", n_classes=3, weights=tmp_path / "gone.safetensors")
    with pytest.raises(UsageError, match="mlp is trained from scratch: there are no pretrained weights"):
        create_model("mlp", n_classes=3, weights="pretrained")
    with pytest.raises(BackboneError, match="hub holds no pretrained weights for test_maxvit"):
        create_model("test_maxvit", n_classes=3, weights="pretrained")


@pytest.mark.shared
@pytest.mark.parametrize("name", ["mobilenetv2_100", "deit_tiny_patch16_224"])
def test_real_weights_say_what_timm_says(name: str, shared: Callable[[str], Path]) -> None:
    path = shared(f"weights/{name}.safetensors")
    model = timm.create_model(name)
    model.load_state_dict(load_file(path))
    network = create_model(name, n_classes=1000, weights=path).eval()
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(network(x), model.eval()(x), atol=1e-4, rtol=1e-4)
