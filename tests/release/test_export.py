"""timm models become ONNX files that say the same as torch."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mirada.embed.backbone import Backbone, BackboneStore, backbone_filename
from mirada.embed.network import HeadNetwork, Network
from mirada.errors import BackboneError, MissingExtra
from mirada.imaging.preprocess import load_input

pytestmark = pytest.mark.train

Convert = Callable[..., Backbone]


@pytest.fixture(scope="module", autouse=True)
def _quiet_torch() -> Iterator[None]:
    """Importing torch and timm warns about their own insides; the tests below are about ours."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("torch")
        pytest.importorskip("timm")
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(before)


@pytest.fixture(scope="module")
def convert() -> Convert:
    from mirada.release.export import convert_timm

    return convert_timm


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> BackboneStore:
    return BackboneStore(tmp_path_factory.mktemp("backbones"))


def state_of(name: str, **options: object) -> dict[str, Any]:
    import timm

    return dict(timm.create_model(name, **options).state_dict())


def save(state: dict[str, Any], path: Path, **metadata: str) -> Path:
    from safetensors.torch import save_file

    save_file({key: value.contiguous() for key, value in state.items()}, path, metadata=metadata)
    return path


@pytest.mark.shared
@pytest.mark.parametrize("name", ["mobilenetv2_100", pytest.param("deit_tiny_patch16_224", marks=pytest.mark.long)])
def test_real_weights_agree_with_torch_on_real_photographs(
    name: str, shared: Callable[[str], Path], store: BackboneStore, convert: Convert
) -> None:
    import timm
    import torch
    from safetensors.torch import load_file

    weights = shared(f"weights/{name}.safetensors")
    photos = sorted(shared("data/sports15/valid").glob("*/*.jpg"))[::8]
    backbone = store.resolve(name, weights, convert=convert)
    assert store.resolve(name, weights) == backbone
    assert backbone.n_classes == 1000
    images = np.stack([load_input(path.read_bytes(), backbone.preprocess) for path in photos])

    model = timm.create_model(name)
    model.load_state_dict(load_file(weights), strict=True)
    model.eval()
    cfg = model.pretrained_cfg
    mean, std = (torch.tensor(cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.inference_mode():
        x = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - mean) / std
        expected = model.forward_head(model.forward_features(x), pre_logits=True).numpy()
        logits = model(x).numpy()
    network = Network(backbone.onnx_path, precision="f32")
    embedding = network.run_batch(images)
    assert embedding.shape == (len(photos), backbone.dim)
    assert np.abs(embedding - expected).max() <= 1e-3
    whole = Network(backbone.onnx_path, precision="f32", output="logits").run_batch(images)
    assert np.abs(whole - logits).max() <= 2e-3
    head = HeadNetwork(backbone.onnx_path, output="logits")
    np.testing.assert_allclose(head.run_batch(embedding), whole, atol=1e-4)
    # Company, order and stream change no bit, in neither precision.
    for precision in ("f32", "auto"):
        network = Network(backbone.onnx_path, precision=precision)
        together = network.run_batch(images)
        np.testing.assert_array_equal(np.concatenate([network.run_batch(row[None]) for row in images]), together)
        np.testing.assert_array_equal(np.stack(list(network.run(iter(images[::-1]))))[::-1], together)
    cosine = (together * expected).sum(1) / np.linalg.norm(together, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosine.min() > 0.99


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, convert: Convert) -> tuple[Backbone, Path]:
    """A small network of timm with random weights, converted, and its weights file."""
    folder = tmp_path_factory.mktemp("small")
    weights = save(state_of("test_vit", num_classes=7), folder / "w.safetensors", license="mit")
    return convert("test_vit", weights, folder), weights


def test_a_small_model_from_a_file(small: tuple[Backbone, Path]) -> None:
    import onnx

    first, weights = small
    assert first.onnx_path.name == backbone_filename("test_vit", weights)
    assert (first.name, first.licence, first.n_classes) == ("test_vit", "mit", 7)
    spec = first.preprocess
    assert spec.resize >= spec.input_size
    model = onnx.load(first.onnx_path)
    held = {item.key: item.value for item in model.metadata_props}
    assert json.loads(held["mirada.preprocess"])["input_size"] == spec.input_size
    assert held["mirada.dim"] == str(first.dim)
    assert [output.name for output in model.graph.output] == ["embedding", "logits"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert str(Path.cwd()).encode() not in first.onnx_path.read_bytes()


@pytest.mark.long
def test_the_same_weights_give_the_same_file(small: tuple[Backbone, Path], tmp_path: Path, convert: Convert) -> None:
    assert convert("test_vit", small[1], tmp_path).sha256 == small[0].sha256


@pytest.mark.long
@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_efficientnet"])
def test_other_families(name: str, tmp_path: Path, convert: Convert) -> None:
    weights = save(state_of(name), tmp_path / "w.safetensors")
    backbone = convert(name, weights, tmp_path)
    size = backbone.preprocess.input_size
    images = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    assert np.isfinite(Network(backbone.onnx_path).run_batch(images)).all()


@pytest.mark.parametrize("kind", ["none", pytest.param("odd", marks=pytest.mark.long)])
def test_a_classifier_that_does_not_fit_does_not_matter(
    kind: str, small: tuple[Backbone, Path], tmp_path: Path, convert: Convert
) -> None:
    from safetensors.torch import load_file

    state = load_file(small[1])
    state["head.bias"] = state["head.bias"][:3]
    if kind == "none":
        state = {key: value for key, value in state.items() if not key.startswith("head.")}
    other = convert("test_vit", save(state, tmp_path / "w.safetensors"), tmp_path)
    assert other.n_classes == 0
    images = np.random.default_rng(0).integers(0, 256, (2, 160, 160, 3), dtype=np.uint8)
    answers = [Network(backbone.onnx_path, precision="f32").run_batch(images) for backbone in (other, small[0])]
    np.testing.assert_allclose(*answers, atol=1e-5)


def test_weights_that_do_not_fit_are_counted(tmp_path: Path, convert: Convert) -> None:
    state = state_of("test_vit")
    del state["cls_token"]
    state["extra.weight"] = state["norm.weight"].clone()
    state["norm.weight"] = state["norm.weight"][:5]
    weights = save(state, tmp_path / "w.safetensors")
    with pytest.raises(BackboneError) as caught:
        convert("test_vit", weights, tmp_path)
    text = str(caught.value)
    assert "1 missing (cls_token)" in text
    assert "1 unexpected (extra.weight)" in text
    assert "1 of another shape (norm.weight)" in text
    assert not list(tmp_path.glob("*.onnx"))


def test_files_that_are_no_weights(tmp_path: Path, convert: Convert) -> None:
    text = tmp_path / "w.safetensors"
    text.write_text("no weights")
    with pytest.raises(BackboneError, match=r"not a sound \.safetensors file"):
        convert("test_vit", text, tmp_path)
    with pytest.raises(BackboneError, match="There is no weights file"):
        convert("test_vit", tmp_path / "gone.safetensors", tmp_path)


def test_unknown_name(tmp_path: Path, convert: Convert) -> None:
    with pytest.raises(BackboneError, match=r"no backbone called mobilenetv2_10\. Did you mean .*mobilenetv2_100"):
        convert("mobilenetv2_10", None, tmp_path)


def test_no_network(tmp_path: Path, convert: Convert, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(BackboneError, match=r"resnet18 could not be fetched from timm/resnet18.*--weights"):
        convert("resnet18", None, tmp_path)


def test_a_conversion_that_disagrees_is_refused(small: tuple[Backbone, Path]) -> None:
    import timm

    from mirada.release import export

    backbone = small[0]
    stranger = export._as_module(timm.create_model("test_vit", num_classes=7).eval(), backbone.preprocess)
    with pytest.raises(BackboneError, match=r"disagrees with torch by .* it was not written"):
        export.check_parity("test_vit", backbone.onnx_path.read_bytes(), stranger, backbone.preprocess.input_size)


def test_without_the_extra(tmp_path: Path, convert: Convert, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtra, match=r"pip install 'mirada\[train\]'"):
        convert("test_vit", None, tmp_path)


def test_preprocessing_is_that_of_timm() -> None:
    import timm

    from mirada.release.export import preprocess_of

    for name, resize in (("deit_tiny_patch16_224", 248), ("mobilenetv2_100", 256)):
        cfg = timm.get_pretrained_cfg(name).to_dict()
        spec = preprocess_of(cfg)
        assert (spec.input_size, spec.resize, spec.interpolation) == (224, resize, "bicubic")
        assert spec.resize == math.floor(224 / cfg["crop_pct"])
        assert preprocess_of(cfg, 1.0).resize == 224
    with pytest.raises(BackboneError, match="only square RGB"):
        preprocess_of({"input_size": (1, 28, 28)})
