"""What the nearest other photographs say: how near they are, and which labels they bear.

Copies of a photograph are no witnesses for it: neighbours of its own duplicate group do not count. Votes are
weighted by exp(similarity / 0.07) relative to the nearest (Wu et al., CVPR 2018).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mirada.clean.base import Ints, Material

SOFTNESS = 0.07
DOUBT = 1e-3  # share that each class has before anybody voted
MAX_NEIGHBOURS = 20

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Near:
    """The nearest of other groups: rows (n, k), -1 for none; similarity (n, k), NaN where there is none."""

    rows: Ints
    similarity: Values

    def closeness(self, n_nearest: int) -> Values:
        """Mean similarity (n,) to the `n_nearest`, NaN for a sample without neighbours."""
        known = np.isfinite(self.similarity)
        used = known & (np.cumsum(known, axis=1) <= n_nearest)
        total = np.where(used, self.similarity, 0.0).sum(axis=1)
        n = used.sum(axis=1)
        return np.where(n > 0, total / np.maximum(n, 1), np.nan)


def near_others(material: Material) -> Near:
    """The neighbours of each sample that are no copies of it."""
    if material.neighbours is None:
        raise ValueError("material.neighbours is missing; a check that uses it names it in `needs`")
    rows = material.neighbours.rows[:, :MAX_NEIGHBOURS]
    kept = rows >= 0
    if material.groups is not None:
        kept &= material.groups[rows] != material.groups[:, None]
    similarity = material.neighbours.similarity[:, :MAX_NEIGHBOURS].astype(np.float64)
    kept &= np.isfinite(similarity)
    return Near(np.where(kept, rows, -1), np.where(kept, similarity, np.nan))


def label_votes(near: Near, y: Ints, k: int) -> tuple[Values, Ints]:
    """Shares (n, k) of the classes among the labelled neighbours of each sample, and how many (n,) there are."""
    labels = np.where(near.rows >= 0, y[near.rows], -1)
    voting = labels >= 0
    similarity = np.where(voting, near.similarity, -np.inf)
    best = np.max(similarity, axis=1, initial=-1.0, keepdims=True)
    weights = np.where(voting, np.exp((np.where(voting, similarity, best) - best) / SOFTNESS), 0.0)
    cell = np.arange(len(y))[:, None] * k + labels
    votes = np.bincount(cell[voting], weights=weights[voting], minlength=len(y) * k).reshape(len(y), k) + DOUBT
    return votes / votes.sum(axis=1, keepdims=True), voting.sum(axis=1)


def centre_and_spread(values: Values) -> tuple[float, float]:
    """Median and robust standard deviation (1.4826 times the median deviation) of what is finite; 0, 0 of nothing."""
    known = values[np.isfinite(values)]
    if not len(known):
        return 0.0, 0.0
    centre = float(np.median(known))
    return centre, 1.4826 * float(np.median(np.abs(known - centre)))


def isolation(closeness: Values) -> Values:
    """By how many robust standard deviations each sample is farther from its neighbours than usual; NaN stays."""
    centre, spread = centre_and_spread(closeness)
    return (centre - closeness) / spread if spread > 1e-6 else np.where(np.isnan(closeness), np.nan, 0.0)
