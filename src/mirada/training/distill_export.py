"""A student as a backbone file: batch norms folded, weights in float16, normalisation inside.

The graph is written node by node: convolution, ReLU, addition, mean. Weights are stored in half precision with
a Cast behind each, which OpenVINO folds away at load: half the size, float32 or bf16 arithmetic as ever.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from mirada.embed.backbone import Backbone, backbone_metadata, file_sha256, load_backbone
from mirada.embed.network import EMBEDDING, Network
from mirada.errors import BackboneError
from mirada.messages import msg
from mirada.training.distill_augment import MEAN, STD, normalised
from mirada.training.students import Block, Student, fused
from mirada.types import PreprocessSpec
from mirada.workspace import storage_errors, write_atomic

OPSET = 18
TOLERANCE = 1e-3  # of the embedding's scale, OpenVINO in float32 against torch


def export_student(student: Student, path: Path, *, licence: str, about: Mapping[str, object]) -> Backbone:
    """Write `student` as a backbone to `path`, with a JSON beside it that says `about` and the file's hash.

    Raises BackboneError, and writes nothing, where the file would not give what torch gives.
    """
    spec = student_preprocess(student)
    rounded = half_precision(fused(student))
    data = student_onnx(rounded, backbone_metadata(student.spec.name, licence, spec, student.spec.dim))
    _check_parity(data, rounded, spec)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # A sidecar of an older file would refuse the new one: it goes first, and comes back last.
        path.with_suffix(".json").unlink(missing_ok=True)
        write_atomic(path, data)
        text = json.dumps(
            {"name": student.spec.name, "sha256": file_sha256(path), "licence": licence, **about}, indent=2
        )
        write_atomic(path.with_suffix(".json"), (text + "\n").encode())
    return load_backbone(path)


def student_preprocess(student: Student) -> PreprocessSpec:
    """The whole photograph: short side to the student's input size, centre cut."""
    size = student.spec.input_size
    return PreprocessSpec(size, size, "center", "bicubic", MEAN, STD)


def half_precision(student: Student) -> Student:
    """The same network with every weight rounded to float16, still held in float32."""
    for parameter in student.parameters():
        parameter.data = parameter.data.half().float()
    return student


@dataclass(slots=True)
class _Graph:
    """Nodes and weights as they are laid one behind the other."""

    nodes: list[Any] = field(default_factory=list)
    weights: list[Any] = field(default_factory=list)

    def add(self, kind: str, inputs: list[str], **attributes: object) -> str:
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def constant(self, values: NDArray[Any]) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def half(self, tensor: torch.Tensor) -> str:
        return self.add("Cast", [self.constant(tensor.detach().numpy().astype(np.float16))], to=TensorProto.FLOAT)

    def module(self, module: nn.Module, x: str) -> str:
        """Lay `module` behind the value `x`."""
        if isinstance(module, nn.Sequential):
            for part in module:
                x = self.module(part, x)
            return x
        if isinstance(module, nn.Identity):
            return x
        if isinstance(module, nn.ReLU):
            return self.add("Relu", [x])
        if isinstance(module, Block):
            return self.add("Relu", [self.add("Add", [x, self.module(module.second, self.module(module.first, x))])])
        if isinstance(module, nn.Conv2d):
            weights = [self.half(module.weight.contiguous()), self.half(module.bias)]
            pads, strides, kernel = [*module.padding] * 2, [*module.stride], [*module.kernel_size]
            return self.add("Conv", [x, *weights], pads=pads, strides=strides, kernel_shape=kernel)
        raise TypeError(type(module))


def student_onnx(folded: Student, metadata: Mapping[str, str]) -> bytes:
    """The ONNX file of a folded student: uint8 "images" (n, S, S, 3) to float32 "embedding" (n, dim)."""
    size = folded.spec.input_size
    graph = _Graph()
    scale = (1 / (255 * np.array(STD))).astype(np.float32).reshape(1, 3, 1, 1)
    shift = (-np.array(MEAN) / np.array(STD)).astype(np.float32).reshape(1, 3, 1, 1)
    x = graph.add("Cast", [graph.add("Transpose", ["images"], perm=[0, 3, 1, 2])], to=TensorProto.FLOAT)
    x = graph.add("Add", [graph.add("Mul", [x, graph.constant(scale)]), graph.constant(shift)])
    x = graph.module(folded.body, x)
    axes = graph.constant(np.array([2, 3], np.int64))
    graph.nodes.append(helper.make_node("ReduceMean", [x, axes], [EMBEDDING], name=EMBEDDING, keepdims=0))
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            folded.spec.name,
            [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", size, size, 3])],
            [helper.make_tensor_value_info(EMBEDDING, TensorProto.FLOAT, ["n", folded.spec.dim])],
            graph.weights,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=10,
        producer_name="mirada",
    )
    helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _check_parity(data: bytes, folded: Student, spec: PreprocessSpec) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, spec.input_size, spec.input_size, 3), dtype=np.uint8)
    with torch.inference_mode():
        wanted = folded(normalised(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)).numpy()
    got = Network(data, precision="f32").run_batch(images)
    error = float(np.abs(got - wanted).max())
    if not error <= TOLERANCE * max(1.0, float(np.abs(wanted).max())):
        raise BackboneError(
            msg("The student's ONNX form disagrees with torch by {error:.2g}; it was not written.", error=error),
            msg("Its weights may be too large for half precision: distill again with a lower learning rate."),
        )
