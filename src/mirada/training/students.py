"""Student networks: small residual CNNs of dense convolutions.

Dense 3 × 3 convolutions run many times faster a multiplication than depthwise ones where the processor has
matrix units (AMX), and still well without them. Batch norms are folded into the convolutions for export, so
that what ships is convolution, ReLU and addition alone.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval


@dataclass(frozen=True, slots=True)
class Stage:
    """Halves the resolution to `width` channels, then `depth` residual blocks of two 3 × 3 convolutions.

    `hidden` is the number of channels between the two.
    """

    width: int
    hidden: int
    depth: int


@dataclass(frozen=True, slots=True)
class StudentSpec:
    """A student's layout; `dim` is the length of its embedding, `input_size` its default input in pixels."""

    name: str
    stem: int
    stages: tuple[Stage, ...]
    dim: int
    input_size: int


STUDENTS = {
    spec.name: spec
    for spec in (
        StudentSpec(
            "mirada-small", 16, (Stage(32, 16, 0), Stage(64, 32, 2), Stage(160, 64, 5), Stage(288, 144, 1)), 512, 160
        ),
        StudentSpec(
            "mirada-medium", 16, (Stage(32, 32, 1), Stage(64, 64, 2), Stage(160, 80, 5), Stage(288, 144, 1)), 512, 160
        ),
        StudentSpec("mirada-nano", 8, (Stage(16, 16, 1), Stage(32, 16, 1), Stage(64, 32, 1)), 64, 64),
    )
}


def _unit(n_in: int, n_out: int, kernel: int, *, stride: int = 1, relu: bool = True) -> nn.Sequential:
    unit = nn.Sequential(nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(n_out))
    if relu:
        unit.append(nn.ReLU(inplace=True))
    return unit


class Block(nn.Module):  # type: ignore[misc]
    """x + two 3 × 3 convolutions; starts as the identity (He et al. 2016, Goyal et al. 2017)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.first = _unit(width, hidden, 3)
        self.second = _unit(hidden, width, 3, relu=False)
        nn.init.zeros_(self.second[1].weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, width, h, w) to the same shape."""
        return functional.relu(x + self.second(self.first(x)))


class Student(nn.Module):  # type: ignore[misc]
    """Normalised images (n, 3, S, S) to embeddings (n, dim), none of them negative."""

    def __init__(self, spec: StudentSpec) -> None:
        super().__init__()
        self.spec = spec
        layers: list[nn.Module] = [_unit(3, spec.stem, 3, stride=2)]
        width = spec.stem
        for stage in spec.stages:
            layers.append(_unit(width, stage.width, 3, stride=2))
            layers.extend(Block(stage.width, stage.hidden) for _ in range(stage.depth))
            width = stage.width
        layers.append(_unit(width, spec.dim, 1))
        self.body = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, 3, S, S) to (n, dim)."""
        return self.body(x).mean((2, 3))


def build_student(spec: StudentSpec, *, seed: int) -> Student:
    """A student with random weights that depend on `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student = Student(spec)
        for module in student.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
    student.to(memory_format=torch.channels_last)  # in place
    return student


def fused(student: Student) -> Student:
    """A copy for inference, every batch norm folded into its convolution."""
    folded = copy.deepcopy(student)
    folded.float().eval()  # in place
    for module in list(folded.modules()):
        if isinstance(module, nn.Sequential) and len(module) > 1 and isinstance(module[1], nn.BatchNorm2d):
            module[0] = fuse_conv_bn_eval(module[0], module[1])
            module[1] = nn.Identity()
    return folded


def count_macs(student: Student, input_size: int) -> int:
    """Multiply-adds of the convolutions for one image of `input_size` pixels."""
    total = 0

    def count(module: nn.Conv2d, _: object, out: torch.Tensor) -> None:
        nonlocal total
        total += out.numel() * module.weight.numel() // module.out_channels

    probe = copy.deepcopy(student).float().eval()
    hooks = [module.register_forward_hook(count) for module in probe.modules() if isinstance(module, nn.Conv2d)]
    with torch.no_grad():
        probe(torch.zeros(1, 3, input_size, input_size))
    for hook in hooks:
        hook.remove()
    return total
