"""``mirada export``: what is written answers as the model does."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mirada.embed import vino
from mirada.embed.backbone import backbone_metadata
from mirada.embed.network import EMBEDDING, HeadNetwork, Network
from mirada.predict.manifest import read_manifest
from mirada.predict.runtime import Predictor
from mirada.types import PreprocessSpec

SIDE = 32


@pytest.fixture(scope="module")
def conv_backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two convolutions with random weights, pooled to 4 × 4."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    arrays = {
        "white": np.float32(255),
        "w1": rng.normal(0, 0.3, (16, 3, 3, 3)).astype("f4"),
        "w2": rng.normal(0, 0.1, (48, 16, 3, 3)).astype("f4"),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], name="cast", to=TensorProto.FLOAT),
        helper.make_node("Div", ["float", "white"], ["scaled"], name="scale"),
        helper.make_node("Transpose", ["scaled"], ["planes"], name="planes", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "w1"], ["c1"], name="c1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], name="r1"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], name="c2", pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c2"], ["r2"], name="r2"),
        helper.make_node("AveragePool", ["r2"], ["cells"], name="cells", kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Flatten", ["cells"], [EMBEDDING], name=EMBEDDING),
    ]
    graph = helper.make_graph(
        nodes, "conv",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info(EMBEDDING, TensorProto.FLOAT, ["n", 192])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    spec = PreprocessSpec(input_size=SIDE, resize=SIDE)
    helper.set_model_props(model, backbone_metadata("conv", "apache-2.0", spec, 192))
    path = tmp_path_factory.mktemp("conv") / "conv.onnx"
    onnx.save(model, str(path))
    return path


@pytest.fixture
def trained(mirada: Callable[..., Any], photos: Path, conv_backbone: Path, tmp_path: Path) -> Path:
    """A workspace with one model."""
    done = mirada(
        "train", photos, "--backbone", conv_backbone, "--precision", "f32", "--name", "shop", "--ratios", "55/30/15"
    )
    assert done.status == 0, done.err
    return tmp_path / "mirada"


def pictures(n: int = 12) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (n, SIDE, SIDE, 3), dtype=np.uint8)


def test_export_in_every_form(mirada: Callable[..., Any], trained: Path, tmp_path: Path) -> None:
    ours = Predictor.open(trained / "models" / "champion", "f32").predict_inputs(pictures())

    done = mirada("export", "--json")
    assert done.status == 0, done.err
    assert done.document["path"] == "shop-1-onnx"
    assert done.document["int8"] is None
    np.testing.assert_array_equal(Predictor.open("shop-1-onnx", "f32").predict_inputs(pictures()), ours)
    shutil.copytree("shop-1-onnx", tmp_path / "elsewhere")

    done = mirada("export", "shop", "--format", "openvino", "-o", tmp_path / "ir")
    assert done.status == 0, done.err
    assert "It answers as the original does: on 18 photographs (test)" in done.out
    assert {path.name for path in (tmp_path / "ir").iterdir()} == {
        "model.xml", "model.bin", "manifest.json", "README.md",
    }  # fmt: skip
    model = vino.read_model(tmp_path / "ir" / "model.xml")
    vectors = Network(model, precision="f32", output=EMBEDDING).run_batch(pictures())
    np.testing.assert_allclose(HeadNetwork(model, output="probabilities").run_batch(vectors), ours, atol=1e-5)

    again = mirada("export", "shop", "--format", "openvino", "-o", tmp_path / "ir")
    assert again.status == 1
    assert "exists already" in again.err

    # A bundle's folder needs no workspace: made-up pictures are compared then.
    shutil.rmtree(trained)
    done = mirada("export", tmp_path / "elsewhere", "--format", "openvino", "-o", tmp_path / "ir2", "--json")
    assert done.status == 0, done.err
    assert (done.document["compared_on"], done.document["n_compared"]) == ("made-up", 16)
    assert done.document["max_abs_diff"] < 1e-3


def test_a_form_that_disagrees_is_not_written(
    mirada: Callable[..., Any], trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mirada.workflow import exporting

    monkeypatch.setattr(exporting, "PARITY_TOLERANCE", -1.0)
    before = sorted(path.name for path in tmp_path.iterdir())
    done = mirada("export", "--format", "openvino", "-o", tmp_path / "ir")
    assert done.status == 1
    assert "The OpenVINO form of shop@1 disagrees with it" in done.err
    assert "Nothing was written" in done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert trained.is_dir()


@pytest.mark.filterwarnings("ignore")  # NNCF loads torch where it is, which warns about its own insides
@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("nncf", "onnxruntime")), reason="NNCF is not installed"
)
def test_int8_is_a_version_without_an_alias(mirada: Callable[..., Any], trained: Path, tmp_path: Path) -> None:
    done = mirada("export", "--int8", "--tolerance", "100", "-o", tmp_path / "ir", "--format", "openvino", "--json")
    assert done.status == 0, done.err
    made = done.document["int8"]
    assert made["bytes_after"] < made["bytes_before"]
    assert (made["n"], made["n_calibration"]) == (36, 66)
    assert done.document["model"] == "shop@2"
    # OpenVINO's form is of the version in int8.
    assert done.document["max_abs_diff"] < 1e-3
    assert (tmp_path / "ir" / "model.bin").stat().st_size < made["bytes_before"]

    versions = mirada("models", "--json").document
    assert [(v["version"], v["aliases"]) for v in versions] == [(1, ["champion"]), (2, [])]
    assert [run["model"] for run in mirada("runs", "--json").document] == [{"name": "shop", "version": 1}]
    manifest = read_manifest(trained / "models" / "shop" / "2")
    assert manifest.quantization is not None
    assert manifest.quantization.accuracy_after == made["accuracy_after"]
    assert manifest.metrics["accuracy"].n == 18  # on test, of its own
    assert mirada("promote", "2").status == 0
    refused = mirada("export", "--int8")
    assert refused.status == 2
    assert "int8 already" in refused.err


def test_int8_needs_photographs_to_be_judged_by(
    mirada: Callable[..., Any], photos: Path, conv_backbone: Path, tmp_path: Path
) -> None:
    assert mirada("train", photos, "--backbone", conv_backbone, "--ratios", "80/5/15").status == 0
    done = mirada("export", "--int8")
    assert done.status == 1
    assert "Val holds 6 photographs: too few" in done.err
    assert [path.name for path in (tmp_path / "mirada" / "models" / "photos").iterdir()] == ["1"]


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--tolerance", "1"], "--tolerance goes with --int8"),
        (["--int8", "--format", "openvino"], "Name one with -o FOLDER"),
        (["--format", "tflite"], "tflite"),
        (["--int8", "--tolerance", "-1"], "-1"),
    ],
)
def test_wrong_usage(mirada: Callable[..., Any], argv: list[str], told: str) -> None:
    done = mirada("export", *argv)
    assert done.status == 2
    assert told in done.err


def test_no_such_model(mirada: Callable[..., Any], trained: Path) -> None:
    done = mirada("export", "shop@9", "--json")
    assert done.status == 1
    assert done.document["error"]["code"] == "not_found"
    assert not Path("shop-9-onnx").exists()
    assert read_manifest(trained / "models" / "champion").quantization is None
