"""What training does to a batch of photographs, on the device: all of `models.recipe.Augment`, photographs together.

Everything is drawn on the CPU from (seed, epoch, step) and, for each kind of change, apart: a resumed run sees the
same pictures, on any device, and turning one change on leaves what is drawn for the others.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import torch
from numpy.typing import NDArray

from mirada.models.recipe import Augment
from mirada.training.colour import recoloured
from mirada.training.geometry import (
    Floats,
    composed,
    mirror_and_shift,
    random_crops,
    resized,
    rotations,
    warped,
)
from mirada.training.mixing import erased, mixed
from mirada.training.randaugment import rand_augment


class Kind(IntEnum):
    """What a stream of random numbers is for."""

    FLIP = 0
    TRANSLATE = 1
    AFFINE = 2
    COLOUR = 3
    RANDAUGMENT = 4
    ERASE = 5
    MIX = 6


class Draws:
    """Independent random streams of one batch, one a kind."""

    def __init__(self, *, seed: int, epoch: int, step: int) -> None:
        self._entropy = (seed, epoch, step)

    def stream(self, kind: Kind) -> np.random.Generator:
        """The same numbers each time it is asked for."""
        return np.random.default_rng((*self._entropy, int(kind)))


def augment_batch(
    images: torch.Tensor,
    labels: torch.Tensor,
    plan: Augment,
    *,
    n_classes: int,
    side: int,
    seed: int,
    step: int,
    epoch: int,
    rows: NDArray[np.int64],
) -> tuple[torch.Tensor, torch.Tensor]:
    """uint8 (n, S, S, 3) and labels (n,) to float32 (n, 3, side, side) and targets, on the device of `images`.

    The output goes from 0 to 255, not normalised, channels last in memory. Targets are `labels` themselves, or with
    mixup or cutmix float32 (n, n_classes). rows: which photographs these are (n,), for what belongs to a photograph
    and not to its place in the batch. With everything off and side S, the output is the input, cast.
    """
    draws = Draws(seed=seed, epoch=epoch, step=step)
    mirrored = _mirrored(plan, draws, seed=seed, epoch=epoch, rows=np.asarray(rows, np.int64))
    shift = _shifts(plan, draws, len(images), images.shape[1])
    if mirrored is not None or shift is not None:
        images = mirror_and_shift(images, mirrored, shift)
    affine = _affine(plan, draws, len(images))
    x = resized(images, side) if affine is None else warped(images, affine, side)
    if plan.colour > 0:
        factors = draws.stream(Kind.COLOUR).uniform(1 - plan.colour, 1 + plan.colour, (3, len(x)))
        x = recoloured(x, *torch.from_numpy(factors.astype(np.float32)).to(x.device))
    if plan.randaugment > 0:
        rng = draws.stream(Kind.RANDAUGMENT)
        x = rand_augment(x, n_operations=plan.randaugment, magnitude=plan.magnitude, rng=rng)
    if plan.erase > 0:
        x = erased(x, plan.erase, draws.stream(Kind.ERASE))
    if plan.mixup > 0 or plan.cutmix > 0:
        rng = draws.stream(Kind.MIX)
        return mixed(x, labels, n_classes=n_classes, mixup=plan.mixup, cutmix=plan.cutmix, rng=rng)
    return x, labels


def views_for_tta(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, 3, s, s), normalised or not: the photographs and their mirrors, channels last."""
    x = x.contiguous(memory_format=torch.channels_last)
    return x, x.flip(3).contiguous(memory_format=torch.channels_last)


def first_sides(rows: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """Which photographs are mirrored in even epochs: a fair coin for each of them, whatever batch it is in (n,).

    The finalizer of SplitMix64 (Steele, Lea & Flood 2014) on row and seed.
    """
    start = np.random.SeedSequence(seed).generate_state(1, np.uint64)
    bits = rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + start
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    coins: NDArray[np.bool_] = (bits >> np.uint64(63)).astype(np.bool_)
    return coins


def _mirrored(
    plan: Augment, draws: Draws, *, seed: int, epoch: int, rows: NDArray[np.int64]
) -> NDArray[np.bool_] | None:
    if plan.flip == "alternating":
        return first_sides(rows, seed) ^ bool(epoch % 2)
    if plan.flip == "random":
        return draws.stream(Kind.FLIP).random(len(rows)) < 0.5
    return None


def _shifts(plan: Augment, draws: Draws, n: int, side: int) -> NDArray[np.int64] | None:
    most = min(round(plan.translate * side), side - 1)
    if most <= 0:
        return None
    return draws.stream(Kind.TRANSLATE).integers(-most, most + 1, (n, 2))


def _affine(plan: Augment, draws: Draws, n: int) -> Floats | None:
    """Crop, then turn and enlarge, as one; None: none of them is asked for."""
    if not (plan.rotate or plan.zoom or plan.crop < 1):
        return None
    rng = draws.stream(Kind.AFFINE)
    degrees = rng.uniform(-plan.rotate, plan.rotate, n)
    turn = rotations(degrees, rng.uniform(1 - plan.zoom, 1 + plan.zoom, n))
    return composed(turn, random_crops(n, plan.crop, rng)) if plan.crop < 1 else turn
