"""Starting a student from a backbone file that an earlier student was written to.

Export has dissolved the batch norms into the convolutions. Here each is set anew so that it changes nothing. A file
of a wider or deeper student is narrowed first: the residual blocks that change their input least go, and within
a block the hidden channels that add least to its sum (activation energy times outgoing weight, as structured
pruning does; Molchanov et al. 2017 compare the criteria).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper
from torch import nn
from torch.nn import functional

from mirada.errors import BackboneError
from mirada.messages import msg
from mirada.training.students import STUDENTS, Block, Student, StudentSpec, build_student


@dataclass(frozen=True, slots=True)
class Folded:
    """A convolution with its batch norm inside: weight (out, in, k, k), bias (out,)."""

    weight: torch.Tensor
    bias: torch.Tensor


def load_student_weights(path: Path, student: Student, views: torch.Tensor) -> None:
    """Start `student` from the weights in a backbone file that `export_student` wrote.

    views: normalised images (n, 3, S, S), by whose statistics batch norms are set and channels are chosen.
    Raises BackboneError where the file holds no student, or one that is nowhere wider than this.
    """
    kept = _read(path)
    if not _fits(kept, student):
        kept = _narrowed(kept, _layout_of(kept, student, path), student.spec, views)
    _pour(kept, student, views)


def _read(path: Path) -> list[Folded]:
    graph = onnx.load(path).graph
    halves = [numpy_helper.to_array(t) for t in graph.initializer if t.data_type == TensorProto.FLOAT16]
    tensors = [torch.from_numpy(values.astype(np.float32)) for values in halves]
    return [Folded(*pair) for pair in zip(tensors[::2], tensors[1::2], strict=False)]


def _units(student: Student) -> list[nn.Sequential]:
    """Convolution and batch norm pairs, in the order in which export writes them."""
    found = [module for module in student.modules() if isinstance(module, nn.Sequential) and len(module) > 1]
    return [unit for unit in found if isinstance(unit[0], nn.Conv2d) and isinstance(unit[1], nn.BatchNorm2d)]


def _fits(kept: list[Folded], student: Student) -> bool:
    return [unit.weight.shape for unit in kept] == [unit[0].weight.shape for unit in _units(student)]


def _layout_of(kept: list[Folded], wanted: Student, path: Path) -> StudentSpec:
    for spec in STUDENTS.values():
        if _holds(spec, wanted.spec) and _fits(kept, build_student(spec, seed=0)):
            return spec
    raise BackboneError(
        msg("{path} does not hold a {name}.", path=path, name=wanted.spec.name),
        msg("Start from a file that `mirada distill` wrote for the same student, or for a wider one."),
    )


def _holds(big: StudentSpec, small: StudentSpec) -> bool:
    """Whether `small` is `big` with fewer blocks or hidden channels."""
    pairs = list(zip(big.stages, small.stages, strict=False))
    same = (big.stem, big.dim, len(big.stages)) == (small.stem, small.dim, len(small.stages))
    return same and all(a.width == b.width and a.depth >= b.depth and a.hidden >= b.hidden for a, b in pairs)


def _pour(kept: list[Folded], student: Student, views: torch.Tensor) -> None:
    hooks = []
    for unit, folded in zip(_units(student), kept, strict=True):
        # Steps of the optimiser have a fixed length: the weights get back the length that random ones have.
        scale = float(unit[0].weight.detach().norm() / folded.weight.norm())
        unit[0].weight.data.copy_(folded.weight * scale)
        unit[1].bias.data.copy_(folded.bias)
        hooks.append(unit[1].register_forward_pre_hook(partial(_undo_normalisation, scale)))
    with torch.no_grad():
        student.eval()(views)
    for hook in hooks:
        hook.remove()


def _undo_normalisation(scale: float, norm: nn.BatchNorm2d, inputs: tuple[torch.Tensor]) -> None:
    variance, mean = torch.var_mean(inputs[0], (0, 2, 3), correction=0)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.weight.data.copy_((variance + norm.eps).sqrt() / scale)
    norm.bias.data.add_(mean / scale)


def _narrowed(kept: list[Folded], big: StudentSpec, small: StudentSpec, views: torch.Tensor) -> list[Folded]:
    """The units of a `small` student, cut out of those of a `big` one."""
    source = build_student(big, seed=0)
    _pour(kept, source, views)
    folded = iter(kept)
    taken = [next(folded)]  # the stem
    energies = iter(_block_energies(source, views))
    for stage, smaller in zip(big.stages, small.stages, strict=True):
        taken.append(next(folded))
        blocks = [(next(energies), next(folded), next(folded)) for _ in range(stage.depth)]
        strongest = sorted(range(stage.depth), key=lambda i: -blocks[i][0].change)[: smaller.depth]
        for i in sorted(strongest):
            taken += _cut(*blocks[i], smaller.hidden)
    return [*taken, *folded]


@dataclass(frozen=True, slots=True)
class _Energy:
    """How much a block changes its input, relative to it, and what each hidden channel (h,) brings to that."""

    change: float
    channels: torch.Tensor


def _block_energies(student: Student, views: torch.Tensor) -> Iterator[_Energy]:
    x = views
    with torch.no_grad():
        for layer in student.eval().body:
            if isinstance(layer, Block):
                hidden = layer.first(x)
                added = layer.second(hidden)
                outgoing = layer.second[0].weight.square().sum((0, 2, 3)) * _norm_gain(layer)
                yield _Energy(float(added.norm() / x.norm()), hidden.square().mean((0, 2, 3)) * outgoing)
                x = functional.relu(x + added)
            else:
                x = layer(x)


def _norm_gain(block: Block) -> float:
    norm = block.second[1]
    return float((norm.weight.square() / (norm.running_var + norm.eps)).mean())


def _cut(energy: _Energy, first: Folded, second: Folded, hidden: int) -> list[Folded]:
    best = energy.channels.topk(hidden).indices.sort().values
    return [Folded(first.weight[best], first.bias[best]), Folded(second.weight[:, best], second.bias)]
