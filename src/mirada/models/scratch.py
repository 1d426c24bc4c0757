"""The networks of the reports, exact to the parameter, and multi-layer perceptrons: all trained from scratch.

Weights start as Keras starts them (Glorot and Bengio 2010, uniform; biases at zero), since the reports used Keras.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import nn

from mirada.errors import UsageError
from mirada.messages import msg
from mirada.models.base import Network
from mirada.types import PreprocessSpec

Activation = Literal["relu", "tanh", "sigmoid"]
ACTIVATIONS: Mapping[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
KERAS_EPS = 1e-3  # of a batch norm; its momentum stays torch's, since Keras's 0.99 needs hundreds of steps to settle


@dataclass(frozen=True, slots=True, kw_only=True)
class Conv:
    """A convolution of `width` filters with its activation; then a batch norm, a max pool and dropout, where asked."""

    width: int
    kernel: int = 3
    same: bool = True
    norm: bool = False
    pool: int = 0
    dropout: float = 0.0

    def side(self, side: int) -> int:
        """Pixels a side that are left of `side`."""
        side = side if self.same else side - self.kernel + 1
        return side // self.pool if self.pool else side


class Scratch(Network):
    """Units in a row, then the classifier. Every unit with weights is a block.

    Its photographs are squeezed to the input's side and scaled to -1 … 1, the same for all of them.
    """

    def __init__(self, units: Sequence[nn.Module], *, width: int, n_classes: int, input_size: int, seed: int) -> None:
        super().__init__()
        self.preprocess = scratch_preprocess(input_size)
        self.body = nn.Sequential(*units)
        self.head = nn.Linear(width, n_classes)
        start_as_keras(self, seed=seed)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """(n, 3, S, S) to (n, d)."""
        return self.body(x)

    def blocks(self) -> list[list[nn.Module]]:
        """A block for every convolution and dense layer, with its batch norm."""
        return [[unit] for unit in self.body if any(True for _ in unit.parameters())]

    def heatmap_layer(self) -> nn.Module | None:
        """The last convolution with its activation and norm, before its pool; None for a perceptron."""
        return next((unit for unit in reversed(self.body) if _holds_conv(unit)), None)


class Cifar10Cnn(Scratch):
    """Report 3's network for CIFAR-10: 1,343,018 parameters at 32 px and 10 classes, 1,342,122 of them trainable.

    Six 3 × 3 convolutions (convolution, activation, batch norm), a pool after each two, dense 512.
    `conv_dropout`: after each pool. `dropout`: after each dense layer. `hidden`: the dense layers; (): 512.
    """

    def __init__(
        self,
        *,
        n_classes: int,
        input_size: int = 0,
        hidden: tuple[int, ...] = (),
        dropout: float = 0.0,
        activation: Activation = "relu",
        seed: int = 0,
        conv_dropout: tuple[float, ...] = (0.2, 0.3, 0.4),
    ) -> None:
        size = input_size or 32
        convs = _cifar_convs(conv_dropout)
        hidden = hidden or (512,)
        dense = _dense(_flat_width("cifar10_cnn", convs, size), hidden, activation, dropout)
        units = [*_convolutions(convs, activation), nn.Flatten(), *dense]
        super().__init__(units, width=hidden[-1], n_classes=n_classes, input_size=size, seed=seed)


class Cifar100Cnn(Scratch):
    """Report 3's network for CIFAR-100: 2,965,124 parameters at 32 px and 100 classes, 2,963,204 of them trainable.

    The convolutions of `Cifar10Cnn`, dense 1,024, dense 512. These counts leave room for one dense batch norm only,
    after the last dense layer.
    """

    def __init__(
        self,
        *,
        n_classes: int,
        input_size: int = 0,
        hidden: tuple[int, ...] = (),
        dropout: float = 0.0,
        activation: Activation = "relu",
        seed: int = 0,
        conv_dropout: tuple[float, ...] = (0.2, 0.3, 0.4),
    ) -> None:
        size = input_size or 32
        convs = _cifar_convs(conv_dropout)
        hidden = hidden or (1024, 512)
        dense = _dense(_flat_width("cifar100_cnn", convs, size), hidden, activation, dropout, last_norm=True)
        units = [*_convolutions(convs, activation), nn.Flatten(), *dense]
        super().__init__(units, width=hidden[-1], n_classes=n_classes, input_size=size, seed=seed)


class RestaurantCnnPlus(Scratch):
    """The restaurant report's better network: 1,684,457 parameters at 224 px and 5 classes.

    `filters`, `kernels`, `paddings` ("same" or "valid"): of each convolution. `pools`: after every two of them.
    """

    def __init__(
        self,
        *,
        n_classes: int,
        input_size: int = 0,
        hidden: tuple[int, ...] = (),
        dropout: float = 0.0,
        activation: Activation = "relu",
        seed: int = 0,
        filters: tuple[int, ...] = (20, 30, 40, 50),
        kernels: tuple[int, ...] = (12, 3, 3, 3),
        paddings: tuple[str, ...] = ("same", "valid", "same", "valid"),
        pools: tuple[int, ...] = (5, 5),
    ) -> None:
        size = input_size or 224
        convs = _paired(filters, kernels, paddings, pools)
        hidden = hidden or (512,)
        dense = _dense(_flat_width("restaurant_cnn", convs, size), hidden, activation, dropout)
        units = [*_convolutions(convs, activation), nn.Flatten(), *dense]
        super().__init__(units, width=hidden[-1], n_classes=n_classes, input_size=size, seed=seed)


class RestaurantCnn(RestaurantCnnPlus):
    """The restaurant report's first network, of about 78 million parameters: 77,486,057 at 224 px and 5 classes.

    The report gives no layers: these are those of `RestaurantCnnPlus` with pools of 2, which leave so much to its
    dense layer.
    """

    def __init__(
        self,
        *,
        n_classes: int,
        input_size: int = 0,
        hidden: tuple[int, ...] = (),
        dropout: float = 0.0,
        activation: Activation = "relu",
        seed: int = 0,
        filters: tuple[int, ...] = (20, 30, 40, 50),
        kernels: tuple[int, ...] = (12, 3, 3, 3),
        paddings: tuple[str, ...] = ("same", "same", "same", "valid"),
        pools: tuple[int, ...] = (2, 2),
    ) -> None:
        super().__init__(
            n_classes=n_classes,
            input_size=input_size,
            hidden=hidden,
            dropout=dropout,
            activation=activation,
            seed=seed,
            filters=filters,
            kernels=kernels,
            paddings=paddings,
            pools=pools,
        )


class Mlp(Scratch):
    """Dense layers on the pixels themselves, each followed by its activation and dropout. `hidden` (): one of 512."""

    def __init__(
        self,
        *,
        n_classes: int,
        input_size: int = 0,
        hidden: tuple[int, ...] = (),
        dropout: float = 0.0,
        activation: Activation = "relu",
        seed: int = 0,
    ) -> None:
        size = input_size or 32
        hidden = hidden or (512,)
        units = [nn.Flatten(), *_dense(3 * size**2, hidden, activation, dropout)]
        super().__init__(units, width=hidden[-1], n_classes=n_classes, input_size=size, seed=seed)


def scratch_preprocess(input_size: int) -> PreprocessSpec:
    """What the input of every network from scratch is made with: the short side to the input's, scaled to -1 … 1."""
    half = (0.5, 0.5, 0.5)
    return PreprocessSpec(input_size=input_size, resize=input_size, interpolation="bilinear", mean=half, std=half)


def start_as_keras(module: nn.Module, *, seed: int) -> None:
    """Glorot-uniform kernels and zero biases, drawn from `seed` alone. Norms keep ones and zeros."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)


def dense_unit(n_in: int, n_out: int, activation: str, dropout: float, *, norm: bool = False) -> nn.Sequential:
    """A dense layer, its activation, a batch norm and dropout where asked. Raises UsageError: another activation."""
    if activation not in ACTIVATIONS:
        raise UsageError(
            msg("activation is one of {allowed}; got {got!r}.", allowed=", ".join(ACTIVATIONS), got=activation)
        )
    unit = nn.Sequential(nn.Linear(n_in, n_out), ACTIVATIONS[activation]())
    if norm:
        unit.append(nn.BatchNorm1d(n_out, eps=KERAS_EPS))
    if dropout:
        unit.append(nn.Dropout(dropout))
    return unit


def _dense(
    n_in: int, hidden: Sequence[int], activation: str, dropout: float, *, last_norm: bool = False
) -> list[nn.Module]:
    last = len(hidden) - 1
    return [
        dense_unit(before, after, activation, dropout, norm=last_norm and i == last)
        for i, (before, after) in enumerate(pairwise((n_in, *hidden)))
    ]


def _cifar_convs(dropout: Sequence[float]) -> list[Conv]:
    if len(dropout) != 3:
        raise UsageError(
            msg("conv_dropout has three rates, one for each pool; got {got}.", got=", ".join(map(str, dropout)) or "–")
        )
    pairs = zip((32, 64, 128), dropout, strict=True)
    return [
        conv
        for width, rate in pairs
        for conv in (Conv(width=width, norm=True), Conv(width=width, norm=True, pool=2, dropout=rate))
    ]


def _paired(
    filters: Sequence[int], kernels: Sequence[int], paddings: Sequence[str], pools: Sequence[int]
) -> list[Conv]:
    if not len(filters) == len(kernels) == len(paddings) == 2 * len(pools) or not pools:
        raise UsageError(
            msg(
                "filters, kernels and paddings are as many as each other, and two for each pool; got "
                "{filters}, {kernels}, {paddings} and {pools} pools.",
                filters=len(filters),
                kernels=len(kernels),
                paddings=len(paddings),
                pools=len(pools),
            )
        )
    if wrong := set(paddings) - {"same", "valid"}:
        raise UsageError(msg('A padding is "same" or "valid"; got {got!r}.', got=min(wrong)))
    return [
        Conv(width=width, kernel=kernel, same=padding == "same", pool=pools[i // 2] if i % 2 else 0)
        for i, (width, kernel, padding) in enumerate(zip(filters, kernels, paddings, strict=True))
    ]


def _convolutions(convs: Sequence[Conv], activation: str) -> Iterator[nn.Module]:
    """The units of some convolutions on photographs, pools and dropout apart from them."""
    n_in = 3
    for conv in convs:
        # An even kernel takes one pixel more at the right and below, as Keras's "same" does.
        pad = (conv.kernel - 1) // 2 if conv.same else 0
        lopsided = conv.same and conv.kernel % 2 == 0
        unit = nn.Sequential(nn.ZeroPad2d((pad, pad + 1, pad, pad + 1))) if lopsided else nn.Sequential()
        unit.append(nn.Conv2d(n_in, conv.width, conv.kernel, padding=0 if lopsided else pad))
        unit.append(ACTIVATIONS[activation]())
        if conv.norm:
            unit.append(nn.BatchNorm2d(conv.width, eps=KERAS_EPS))
        yield unit
        if conv.pool:
            yield nn.MaxPool2d(conv.pool)
        if conv.dropout:
            yield nn.Dropout(conv.dropout)
        n_in = conv.width


def _side(convs: Sequence[Conv], side: int) -> int:
    for conv in convs:
        side = conv.side(side)
        if side < 1:
            return 0
    return side


def _flat_width(name: str, convs: Sequence[Conv], input_size: int) -> int:
    """Values that the last pool leaves. Raises UsageError where it leaves none."""
    if side := _side(convs, input_size):
        return convs[-1].width * side**2
    least = next(size for size in range(input_size + 1, 1_000_000) if _side(convs, size))
    raise UsageError(
        msg(
            "{name} cannot take photographs of {got} px: its pools leave nothing of them; the least is {least} px.",
            name=name,
            got=input_size,
            least=least,
        ),
        msg("Choose a larger input_size or smaller pools."),
    )


def _holds_conv(unit: nn.Module) -> bool:
    return any(isinstance(layer, nn.Conv2d) for layer in unit.modules())
