"""A network for photographs of 32 to 64 px that learns in minutes on two cores, in the manner of the CIFAR records.

From airbench94 (Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a single GPU"): a first layer that whitens patches
and is never trained, identity-initialised convolutions, batch norms without scale, a global maximum before the head.
Where it differs: patches are taken in steps, and resolution falls by strides instead of pools, so that no layer works
at the full resolution. A processor is at its peak in convolutions of 64 and more channels; what costs it time is early
layers of few channels, and every pass over a large map between them.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from mirada.errors import UsageError
from mirada.messages import msg
from mirada.models.base import Network
from mirada.types import PreprocessSpec

WHITEN_EPS = 5e-4  # added to the variances: directions of pure noise are not blown up
BN_MOMENTUM = 0.4  # of the new statistics: few steps, so the running mean must follow


class Norm(nn.BatchNorm2d):  # type: ignore[misc]
    """A batch norm whose scale stays 1: a buffer, so that nothing ever trains it."""

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=1e-6, momentum=BN_MOMENTUM)
        del self.weight
        self.register_buffer("weight", torch.ones(width))


class Unit(nn.Module):  # type: ignore[misc]  # torch is not followed by mypy
    """Convolution, batch norm without scale, ReLU; with `residual`, added to its input."""

    def __init__(self, n_in: int, n_out: int, *, kernel: int = 3, stride: int = 1, residual: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, bias=False)
        self.norm = Norm(n_out)
        self.residual = residual
        nn.init.dirac_(self.conv.weight[: min(n_in, n_out)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, c, h, w) to (n, c', h / stride, w / stride)."""
        y = functional.relu(self.norm(self.conv(x)), inplace=True)
        return x + y if self.residual else y


class CifarFast(Network):
    """`widths`: channels of the stages, each at half the resolution of the one before; `depths`: residual units.


    patch, stride: side of the whitened patches and the step between them.
    """

    def __init__(
        self,
        *,
        n_classes: int,
        input_size: int = 0,
        hidden: tuple[int, ...] = (),
        dropout: float = 0.0,
        activation: str = "relu",
        seed: int = 0,
        widths: tuple[int, ...] = (64, 128, 256),
        depths: tuple[int, ...] = (0, 1, 1),
        patch: int = 4,
        stride: int = 2,
    ) -> None:
        super().__init__()
        size = input_size or 32
        _check(size, hidden, activation, widths, depths, stride)
        self.preprocess = PreprocessSpec(
            input_size=size, resize=size, interpolation="bilinear", mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            n_patch = 3 * patch**2
            self.stride, self.padding = stride, (patch - stride) // 2
            self.register_buffer("whiten", nn.init.orthogonal_(torch.empty(n_patch, 3, patch, patch)))
            stages, n_in = [], 2 * n_patch
            for i, (width, depth) in enumerate(zip(widths, depths, strict=True)):
                first = Unit(n_in, width, kernel=1) if i == 0 else Unit(n_in, width, stride=2)
                stages.append(nn.Sequential(first, *(Unit(width, width, residual=True) for _ in range(depth))))
                n_in = width
            self.stages = nn.ModuleList(stages)
            self.dropout = nn.Dropout(dropout)
            self.head = nn.Linear(n_in, n_classes)
            nn.init.zeros_(self.head.bias)

    def prepare(self, x: torch.Tensor) -> None:
        """Set the first layer to the eigenvectors of patches of x (n, 3, S, S), scaled to unit variance."""
        patches = functional.unfold(x.float(), self.whiten.shape[2:]).transpose(1, 2).flatten(0, 1)  # m, 3·p·p
        covariance = patches.T @ patches / len(patches)
        variances, vectors = torch.linalg.eigh(covariance)
        rows = (vectors / (variances + WHITEN_EPS).sqrt()).T.flip(0)
        self.whiten.copy_(rows.view_as(self.whiten))

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """(n, 3, S, S) to (n, widths[-1])."""
        x = functional.conv2d(x, self.whiten, stride=self.stride, padding=self.padding)
        x = torch.cat([functional.relu(x), functional.relu(-x)], 1)
        for stage in self.stages:
            x = stage(x)
        pooled: torch.Tensor = self.dropout(x.amax((2, 3)))
        return pooled

    def blocks(self) -> list[list[nn.Module]]:
        """Each stage; the whitening before them never learns."""
        return [[stage] for stage in self.stages]

    def heatmap_layer(self) -> nn.Module | None:
        """The last stage."""
        return self.stages[-1]


def _check(
    size: int,
    hidden: tuple[int, ...],
    activation: str,
    widths: tuple[int, ...],
    depths: tuple[int, ...],
    stride: int,
) -> None:
    if hidden or activation != "relu":
        raise UsageError(msg("cifar_fast has no hidden dense layer, and ReLU only: leave out hidden and activation."))
    if len(widths) != len(depths) or not widths:
        raise UsageError(
            msg("widths and depths need as many entries; got {widths} and {depths}.", widths=widths, depths=depths)
        )
    smallest = stride * 2 ** (len(widths) - 1)
    if size < 2 * smallest:
        raise UsageError(
            msg("cifar_fast halves its input {n} times: its side is at least {least} px; got {got}.",
                n=len(widths), least=2 * smallest, got=size)
        )  # fmt: skip
