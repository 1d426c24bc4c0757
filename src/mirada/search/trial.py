"""What a search hands to those who train, and what they hand back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mirada.models.recipe import Recipe
from mirada.search.space import Value

ANSWERS = "answers.npy"


@dataclass(frozen=True, slots=True)
class Trial:
    """One point of the space: its number, what was chosen, and the recipe that comes of it."""

    number: int
    params: Mapping[str, Value]
    recipe: Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Progressed:
    """Where a trial stands. `values`: the metric after each epoch so far; `value`: of the weights that are kept.

    epochs: trained so far (of each fold). over: it stopped by itself and will not go on; diverged: because its loss
    was no number. seconds: spent on it in all.
    """

    values: tuple[float, ...]
    value: float
    epochs: int
    best_epoch: int
    seconds: float
    n_parameters: int
    over: bool
    diverged: bool = False


class Runner(Protocol):
    """Trains trials. `at_once`: how many a call may be given; `labels` (n,): the truth of the answers it keeps.

    `mark`: a hash of the photographs, so that a journal is not gone on with on others.
    """

    at_once: int
    labels: NDArray[np.int64]
    mark: str

    def run(self, trials: Sequence[Trial], *, upto_epoch: int, folders: Sequence[Path]) -> list[Progressed]:
        """Train each trial up to an epoch, going on from what its folder holds, and keep its answers (n, k) there."""
        ...
