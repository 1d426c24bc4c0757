"""The learning rate range test (Smith 2017, "Cyclical learning rates for training neural networks")."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from mirada.models.base import Network
from mirada.models.freezing import set_train_mode
from mirada.models.recipe import Recipe
from mirada.training.devices import choose_machine, is_out_of_memory, own_generator_and_threads
from mirada.training.faults import check_request
from mirada.training.loop import Run
from mirada.training.optim import set_rates
from mirada.training.outcome import FitOptions, LoopData
from mirada.training.resources import ResourceWatch

LOWEST, HIGHEST = 1e-6, 10.0
STEPS = 100
MEMORY = 0.9  # of the running mean over the losses
BLOWN_UP = 4.0  # times the best loss: the test ends


@dataclass(frozen=True, slots=True)
class RateCurve:
    """Running mean of the loss at each rate. `suggested`: where it falls fastest over the logarithm of the rate."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggested: float


def find_rate(
    network: Network, data: LoopData, recipe: Recipe, *, options: FitOptions | None = None, n_steps: int = STEPS
) -> RateCurve:
    """Try rates from 1e-6 to 10, one a step, with the recipe's first stage, till the loss blows up.

    Works on a copy: the network is left as it was. Raises what `fit` raises before it starts.
    """
    options = replace(options or FitOptions(), folder=None)
    check_request(network, data, recipe)
    machine = choose_machine(options.device, options.precision)
    micro = 0
    while True:
        with own_generator_and_threads(machine, options.threads), ResourceWatch(machine.device) as watch:
            run = Run(copy.deepcopy(network), data, recipe, options, machine, watch)
            run.at.micro = micro
            try:
                return rate_curve(list(_losses(run, n_steps)))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            run.make_room(recipe.stages[0])
            micro = run.micro


def rate_curve(measured: list[tuple[float, float]]) -> RateCurve:
    """The curve of (rate, loss) pairs, smoothed, and its steepest place before its lowest."""
    rates, losses, mean = [], [], 0.0
    for i, (rate, loss) in enumerate(measured):
        mean = MEMORY * mean + (1 - MEMORY) * loss
        rates.append(rate)
        losses.append(mean / (1 - MEMORY ** (i + 1)))
    lowest = int(np.argmin(losses))
    if lowest < 2:
        return RateCurve(tuple(rates), tuple(losses), rates[lowest])
    slopes = np.gradient(np.array(losses[: lowest + 1]), np.log(rates[: lowest + 1]))
    return RateCurve(tuple(rates), tuple(losses), rates[int(np.argmin(slopes))])


def _losses(run: Run, n_steps: int) -> Iterator[tuple[float, float]]:
    """Rate and loss of each step, till the loss is no number or `BLOWN_UP` times its best."""
    stage = run.recipe.stages[0]
    run.begin()
    run.enter(stage, None)
    set_train_mode(run.network, stage)
    rates, best = iter(np.geomspace(LOWEST, HIGHEST, n_steps).tolist()), math.inf
    for epoch in count():
        run.at.epoch, run.losses[:] = epoch, 0
        with closing(run.batches(stage)) as batches:
            for batch in batches:
                run.losses[batch.step] += run.learn(stage, batch)
                if not batch.last:
                    continue
                rate, loss = next(rates, None), float(run.losses[batch.step])
                if rate is None or not loss <= BLOWN_UP * best:
                    return
                best = min(best, loss)
                yield rate, loss
                set_rates(run.optimizers, rate / stage.lr)
                run.step(stage)
