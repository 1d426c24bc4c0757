"""A tiny real bundle that tells colours apart, for tests of whatever stands on a bundle. Made in milliseconds."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mirada.embed.backbone import Backbone, backbone_metadata, file_sha256
from mirada.embed.network import Network
from mirada.release.bundle import BundleFacts, ParityCheck, write_bundle
from mirada.types import Bundle, Metric, PreprocessSpec

COLOURS = {"blue": (30, 60, 200), "green": (40, 180, 70), "red": (210, 50, 40)}
SIDE = 32
_GRID = 4


def tiny_backbone(folder: Path) -> Backbone:
    """An ONNX backbone in `folder`: the mean colour of each cell of a 4 × 4 grid, 48 numbers, 0 to 1."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    kernel = SIDE // _GRID
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["float", "white"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["cells"], kernel_shape=[kernel] * 2, strides=[kernel] * 2),
        helper.make_node("Flatten", ["cells"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 3 * _GRID**2])],
        [numpy_helper.from_array(np.float32(255), "white")],
    )
    path = folder / "colours.onnx"
    spec, dim = PreprocessSpec(input_size=SIDE, resize=SIDE, interpolation="bilinear"), 3 * _GRID**2
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, backbone_metadata("colours", "apache-2.0", spec, dim))
    onnx.save(model, str(path))
    return Backbone("colours", path, file_sha256(path), dim, spec, "apache-2.0")


@dataclass(frozen=True, slots=True)
class TinyHead:
    """A head whose logits are the mean of each colour plane times `sharpness`; blue, green, red."""

    sharpness: float = 12.0
    temperature: float = 1.5
    reject_threshold: float = 0.6
    activation: str = "relu"
    layers: tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...] = field(init=False)

    def __post_init__(self) -> None:
        cells = _GRID**2
        W = np.zeros((3 * cells, 3), np.float32)
        for plane in range(3):
            W[plane * cells : (plane + 1) * cells, 2 - plane] = self.sharpness / cells
        object.__setattr__(self, "layers", ((W, np.zeros(3, np.float32)),))

    def probs(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (n, 3) of embeddings (n, 48)."""
        W, b = self.layers[0]
        exp = np.exp((X @ W + b) / np.float32(self.temperature))
        return np.asarray(exp / exp.sum(axis=1, keepdims=True), np.float32)


def tiny_bundle(path: Path, *, name: str = "colours", version: int = 1, head: TinyHead | None = None) -> Bundle:
    """Write a bundle of `tiny_backbone` and `head` at `path`, in float32."""
    head = head or TinyHead()
    backbone = tiny_backbone(path.parent)
    images = tiny_inputs(8)
    embeddings = Network(backbone.onnx_path, precision="f32").run_batch(images)
    facts = BundleFacts(
        name=name,
        version=version,
        class_names=tuple(COLOURS),
        precision="f32",
        metrics={"accuracy": Metric(0.9, 0.8, 0.95, 100)},
        run_id="run-1",
        dataset_id="dataset-1",
        n={"train": 70, "val": 15, "test": 15},
    )
    parity = ParityCheck(images, head.probs(embeddings))
    return write_bundle(path, backbone=backbone, head=head, facts=facts, parity=parity)


def tiny_inputs(n: int, *, seed: int = 0) -> NDArray[np.uint8]:
    """Noise around a colour each, uint8 (n, 32, 32, 3)."""
    rng = np.random.default_rng(seed)
    means = rng.integers(0, 256, (n, 1, 1, 3))
    pixels = np.clip(means + rng.integers(-30, 31, (n, SIDE, SIDE, 3)), 0, 255)
    return np.asarray(pixels, np.uint8)


def colour_photo(colour: str = "red", *, seed: int = 0, size: tuple[int, int] = (64, 48), kind: str = "JPEG") -> bytes:
    """An encoded photograph of one colour of `COLOURS`, with some noise; `size` is (width, height)."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(-20, 21, (size[1], size[0], 3))
    pixels = np.clip(np.array(COLOURS[colour]) + noise, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()
