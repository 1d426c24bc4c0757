"""Small networks made on the spot, and photographs to put through them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from mirada.embed.backbone import Backbone, backbone_metadata, load_backbone
from mirada.types import PreprocessSpec, Sample

SIZE = 32
DIM = 24
N_CLASSES = 5


def network_bytes(
    *, seed: int = 0, input_type: int = TensorProto.UINT8, metadata: dict[str, str] | None = None
) -> bytes:
    """A convolutional network: images (n, 32, 32, 3) to "embedding" (n, 24) and "probabilities" (n, 5)."""
    rng = np.random.default_rng(seed)

    def constant(name: str, *shape: int) -> onnx.TensorProto:
        fan_in = max(1, int(np.prod(shape[1:])))
        return numpy_helper.from_array((rng.normal(size=shape) / np.sqrt(fan_in)).astype(np.float32), name)

    nodes = [
        helper.make_node("Cast", ["images"], ["x0"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["x0"], ["x1"], perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["x1", "scale"], ["x2"]),
        helper.make_node("Conv", ["x2", "w1"], ["x3"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["x3"], ["x4"]),
        helper.make_node("Conv", ["x4", "w2"], ["x5"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["x5"], ["x6"]),
        helper.make_node("GlobalAveragePool", ["x6"], ["x7"]),
        helper.make_node("Flatten", ["x7"], ["embedding"]),
        helper.make_node("Gemm", ["embedding", "w3", "b3"], ["logits"], transB=1),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    weights = [
        numpy_helper.from_array(np.float32([1 / 64]), "scale"),
        constant("w1", 16, 3, 3, 3),
        constant("w2", DIM, 16, 3, 3),
        constant("w3", N_CLASSES, DIM),
        constant("b3", N_CLASSES),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", input_type, ["n", SIZE, SIZE, 3])],
        [
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", DIM]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", N_CLASSES]),
        ],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata or {})
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


@pytest.fixture
def spec() -> PreprocessSpec:
    return PreprocessSpec(input_size=SIZE, resize=SIZE)


@pytest.fixture
def make_backbone(tmp_path: Path, spec: PreprocessSpec) -> Callable[..., Backbone]:
    def make(name: str = "tiny", *, seed: int = 0) -> Backbone:
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(network_bytes(seed=seed, metadata=backbone_metadata(name, "CC0-1.0", spec, DIM)))
        return load_backbone(path)

    return make


@pytest.fixture
def tiny_bytes() -> Callable[..., bytes]:
    return network_bytes


@pytest.fixture
def images() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (13, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture
def make_samples(tmp_path: Path) -> Callable[[int], list[Sample]]:
    """Real JPEG files on disk, and samples of them as the catalogue would give them."""

    def make(n: int) -> list[Sample]:
        rng = np.random.default_rng(2)
        samples = []
        for number in range(n):
            coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(coarse).resize((64, 48), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
            path = tmp_path / "photos" / f"{number:04}.jpg"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(buffer.getvalue())
            samples.append(sample_of(path, f"s{number}"))
        return samples

    return make


def sample_of(path: Path, sample_id: str) -> Sample:
    data = path.read_bytes()
    sha = hashlib.sha256(data).hexdigest()
    return Sample(sample_id, sha, str(path), "test", 64, 48, "RGB", "JPEG", len(data))
