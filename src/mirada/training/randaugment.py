"""RandAugment (Cubuk et al. 2020) on a whole batch: photographs that drew alike operations are done together.

The fourteen operations, their strengths and their chance of one half are those of timm's "rand-m9-inc1" without
inverting (timm/data/auto_augment.py, `_RAND_INCREASING_TRANSFORMS`), but that what a photograph is moved off
is filled with its reflection and that at least one bit is left of a posterized one.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from mirada.training.colour import recoloured
from mirada.training.geometry import Floats, identity, put_rows, rotations, sampled, take_rows

TABLES = ("autocontrast", "equalize", "posterize", "solarize", "solarize-add")
COLOURS = ("brightness", "contrast", "colour")
MOVES = ("rotate", "shear-x", "shear-y", "translate-x", "translate-y")
OPERATIONS = (*TABLES, *COLOURS, *MOVES, "sharpness")
CHANCE = 0.5
SPREAD = 0.5  # standard deviation of the magnitude
Reals = NDArray[np.float64]


def rand_augment(x: torch.Tensor, *, n_operations: int, magnitude: float, rng: np.random.Generator) -> torch.Tensor:
    """Float (n, 3, s, s) from 0 to 255, in place: each photograph drawn `n_operations` times, `magnitude` 0 to 10."""
    for _ in range(n_operations):
        operation = rng.integers(0, len(OPERATIONS), len(x))
        strength = np.clip(rng.normal(magnitude, SPREAD, len(x)), 0, 10) / 10
        sign = rng.choice([-1.0, 1.0], len(x))
        operation[rng.random(len(x)) >= CHANCE] = -1
        operate(x, operation, strength, sign)
    return x


def operate(x: torch.Tensor, operation: NDArray[np.int64], strength: Reals, sign: Reals) -> torch.Tensor:
    """One operation (n,), an index into OPERATIONS or -1, on each photograph, in place.

    strength: 0 to 1 (n,). sign: -1 or 1 (n,), where an operation has two directions.
    """
    first_colour, first_move = len(TABLES), len(TABLES) + len(COLOURS)
    last = len(OPERATIONS) - 1
    groups = (
        (0, first_colour, _by_table),
        (first_colour, first_move, _coloured),
        (first_move, last, _moved),
        (last, last + 1, _sharpened),
    )
    for start, end, work in groups:
        mine = np.flatnonzero((operation >= start) & (operation < end))
        if len(mine):
            at = torch.from_numpy(mine).to(x.device)
            put_rows(x, at, work(take_rows(x, at), operation[mine] - start, strength[mine], sign[mine]))
    return x


def _by_table(x: torch.Tensor, which: NDArray[np.int64], strength: Reals, _: Reals) -> torch.Tensor:
    """What looks only at a pixel's own channel: a table of 256 values for each photograph and channel."""
    n = len(x)
    first = torch.arange(3 * n, device=x.device).view(n, 1, 1, 3) * 256
    entry = x.permute(0, 2, 3, 1).round().long() + first  # (n, h, w, 3): where in all tables
    counts = torch.bincount(entry.view(-1), minlength=3 * n * 256).view(n, 3, 256)
    value = torch.arange(256, device=x.device).float().expand(1, 3, 256)
    tables = value.repeat(n, 1, 1)
    for number, name in enumerate(TABLES):
        mine = np.flatnonzero(which == number)
        if len(mine):
            at = torch.from_numpy(mine).to(x.device)
            amount = torch.from_numpy(strength[mine].astype(np.float32)).to(x.device).view(-1, 1, 1)
            tables[at] = _table(name, counts[at], value, amount)
    return tables.view(-1).take(entry).permute(0, 3, 1, 2)


def _table(name: str, counts: torch.Tensor, value: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """(m, 3, 256) from counts (m, 3, 256), value (1, 3, 256) and strength (m, 1, 1)."""
    if name == "autocontrast":
        present = counts > 0
        low = torch.where(present, value, 255.0).amin(2, keepdim=True)
        high = torch.where(present, value, 0.0).amax(2, keepdim=True)
        return torch.where(high > low, ((value - low) * 255 / (high - low).clamp(min=1)).floor().clamp(0, 255), value)
    if name == "equalize":
        return _equalizing(counts, value)
    if name == "posterize":
        step = 2.0 ** (8 - (4 - (strength * 4).floor()).clamp(min=1))
        return (value / step).floor() * step
    if name == "solarize":
        return torch.where(value < 256 - (strength * 256).floor(), value, 255 - value)
    return torch.where(value < 128, (value + (strength * 110).floor()).clamp(max=255), value)


def _equalizing(counts: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """As Pillow's ImageOps.equalize reckons, in whole numbers."""
    highest = torch.where(counts > 0, torch.arange(256, device=counts.device), 0).amax(2, keepdim=True)
    step = (counts.sum(2, keepdim=True) - counts.gather(2, highest)) // 255
    below = counts.cumsum(2) - counts
    table = (below + step // 2) // step.clamp(min=1)
    return torch.where(step > 0, table.clamp(max=255).float(), value)


def _factors(strength: Reals, sign: Reals) -> Reals:
    """1 is no change; 0.1 to 1.9."""
    return np.maximum(0.1, 1 + 0.9 * strength * sign)


def _coloured(x: torch.Tensor, which: NDArray[np.int64], strength: Reals, sign: Reals) -> torch.Tensor:
    factors = np.where(which == np.arange(len(COLOURS))[:, None], _factors(strength, sign), 1.0)  # (3, n)
    brightness, contrast, saturation = torch.from_numpy(factors.astype(np.float32)).to(x.device)
    return recoloured(x, brightness, contrast, saturation)


def _moved(x: torch.Tensor, which: NDArray[np.int64], strength: Reals, sign: Reals) -> torch.Tensor:
    return sampled(x, moves(which, strength * sign), x.shape[-1])


def moves(which: NDArray[np.int64], amount: Reals) -> Floats:
    """(n, 2, 3) of operations (n,), indices into MOVES, by amounts (n,) from -1 to 1."""
    affine = identity(len(which))
    turn = which == 0
    affine[turn] = rotations(30 * amount[turn], np.ones(int(turn.sum())))
    # Where in the matrix, and how much at most: a shear of 0.3; 0.45 of the side, which is 2 long.
    for number, (row, column, most) in enumerate([(0, 1, 0.3), (1, 0, 0.3), (0, 2, 0.9), (1, 2, 0.9)], start=1):
        mine = which == number
        affine[mine, row, column] = most * amount[mine]
    return affine


def _sharpened(x: torch.Tensor, _: NDArray[np.int64], strength: Reals, sign: Reals) -> torch.Tensor:
    """Away from or towards a smooth copy, as Pillow's ImageEnhance.Sharpness; the outermost pixels stay."""
    if x.shape[-1] < 3:
        return x
    kernel = torch.ones((3, 1, 3, 3), device=x.device)
    kernel[:, :, 1, 1] = 5
    smooth = functional.conv2d(x, kernel / 13, groups=3, padding=1)
    factor = torch.from_numpy(_factors(strength, sign).astype(np.float32)).to(x.device).view(-1, 1, 1, 1)
    out = torch.lerp(smooth, x, factor).clamp_(0, 255)
    for edge in (0, -1):
        out[:, :, edge] = x[:, :, edge]
        out[:, :, :, edge] = x[:, :, :, edge]
    return out
