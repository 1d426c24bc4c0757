"""Which point of the space a trial tries: the grid's by its number, else Optuna's draw from seed and history."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import TrialState, create_trial

from mirada.search.space import Choice, Range, Scalar, Space, Value, grid

ATTEMPTS = 20  # draws before a point is tried a second time
Params = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Known:
    """A trial that has been drawn: its point, and its scores (higher is better) by epoch. `complete`: at the end."""

    params: Params
    scores: Mapping[int, float]
    complete: bool


def draw(space: Space, number: int, known: Sequence[Known]) -> dict[str, Value]:
    """The point of trial `number`: the same for the same space and history, whoever asks."""
    if space.kind == "grid":
        points = grid(space)
        several = space.halving is not None and space.halving.brackets > 1
        order = np.random.default_rng(space.seed).permutation(len(points)) if several else np.arange(len(points))
        return points[int(order[number])]
    taken = {json.dumps(encoded(one.params)) for one in known}
    point: dict[str, Value] = {}
    for attempt in range(ATTEMPTS):
        point = _ask(space, known, seed=int(np.random.SeedSequence((space.seed, number, attempt)).generate_state(1)[0]))
        if json.dumps(encoded(point)) not in taken:
            break
    return point


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """The axes as Optuna has them."""
    return {path: _distribution(axis) for path, axis in space.axes.items()}


def encoded(params: Params) -> dict[str, Scalar]:
    """Params as Optuna holds them: a list is its JSON."""
    return {path: json.dumps(value) if isinstance(value, tuple) else value for path, value in params.items()}


def decoded(space: Space, params: Mapping[str, Scalar]) -> dict[str, Value]:
    """The way back from `encoded`, in the order of the axes."""
    out: dict[str, Value] = {}
    for path, axis in space.axes.items():
        held = params[path]
        lists = [value for value in axis.values if isinstance(value, tuple)] if isinstance(axis, Choice) else []
        out[path] = next((value for value in lists if json.dumps(value) == held), held)
    return out


def _distribution(axis: Choice | Range) -> BaseDistribution:
    if isinstance(axis, Choice):
        return CategoricalDistribution([json.dumps(v) if isinstance(v, tuple) else v for v in axis.values])
    if axis.whole:
        return IntDistribution(int(axis.low), int(axis.high), log=axis.log, step=axis.step)
    return FloatDistribution(axis.low, axis.high, log=axis.log)


def _ask(space: Space, known: Sequence[Known], *, seed: int) -> dict[str, Value]:
    sampler: BaseSampler = RandomSampler(seed=seed)
    if space.kind == "tpe":
        sampler = TPESampler(seed=seed, n_startup_trials=min(10, max(2, space.trials // 3)))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    axes = distributions(space)
    for one in known:
        if one.scores:
            last = max(one.scores)
            study.add_trial(
                create_trial(
                    state=TrialState.COMPLETE if one.complete else TrialState.PRUNED,
                    value=one.scores[last],
                    params=encoded(one.params),
                    distributions=axes,
                    intermediate_values=dict(one.scores),
                )
            )
    return decoded(space, study.ask(axes).params)
