"""Learning rates by step, and which input side a step has: pure functions, so that a resumed run needs no state."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mirada.models.recipe import Stage
from mirada.training.stopping import improvements

ONE_CYCLE_WARMUP = 0.3  # Smith and Topin 2018, "Super-convergence"; the shares are those of fastai and torch
ONE_CYCLE_START = 1 / 25


def rate_at(stage: Stage, step: int, n_steps: int, *, values: Sequence[float] = ()) -> float:
    """Share of the highest learning rate at `step` of `n_steps`; `values`: the monitor after each epoch so far."""
    one_cycle = stage.schedule == "one-cycle"
    warm = round((stage.warmup or ONE_CYCLE_WARMUP * one_cycle) * n_steps)
    if step < warm:
        risen = (step + 1) / warm
        return ONE_CYCLE_START + (1 - ONE_CYCLE_START) * _half_cosine(risen) if one_cycle else risen
    done = (step - warm) / max(1, n_steps - warm)
    if stage.schedule == "constant":
        return 1.0
    if stage.schedule == "plateau":
        return plateau_share(stage, values)
    fallen = done if stage.schedule == "linear" else _half_cosine(done)
    return 1 - (1 - stage.final_lr) * fallen


def plateau_share(stage: Stage, values: Sequence[float]) -> float:
    """`plateau_factor` to the power of how often the monitor stood still for `plateau_patience` epochs in a row."""
    falls, waited = 0, 0
    for better in improvements(stage, values):
        waited = 0 if better else waited + 1
        if waited >= max(1, stage.plateau_patience):
            falls, waited = falls + 1, 0
    return float(stage.plateau_factor**falls)


def side_at(stage: Stage, step: int, n_steps: int, *, native: int) -> int:
    """Input side in pixels at a step: what `stage.sizes` says, else the photographs' own."""
    return [native, *(side for share, side in stage.sizes if step >= share * n_steps)][-1]


def _half_cosine(share: float) -> float:
    """0 to 1 as `share` goes from 0 to 1, flat at both ends."""
    return 0.5 - 0.5 * math.cos(math.pi * share)
