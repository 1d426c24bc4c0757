"""How a quantity is distributed: quantiles and bars."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

N_BARS = 32


@dataclass(frozen=True, slots=True)
class Spread:
    """Of n values: the mean, the ends, and the quantiles at 5, 25, 50, 75 and 95 %."""

    n: int
    mean: float
    minimum: float
    p5: float
    p25: float
    median: float
    p75: float
    p95: float
    maximum: float


@dataclass(frozen=True, slots=True)
class Bars:
    """Counts between growing `edges`: bar i holds edges[i] ≤ value < edges[i + 1], the last bar its upper edge too.

    What lies beyond the ends is counted in the first and the last bar.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]


def spread(values: ArrayLike) -> Spread | None:
    """The spread of the finite ones of `values` (n,); None where there is none."""
    found = finite(values)
    if not len(found):
        return None
    low, p5, p25, median, p75, p95, high = (float(v) for v in np.quantile(found, (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)))
    return Spread(len(found), float(found.mean()), low, p5, p25, median, p75, p95, high)


def bars(values: ArrayLike, *, log: bool = False, n_bars: int = N_BARS) -> Bars | None:
    """Bars of the finite ones of `values` (n,), from their 0.5 % to their 99.5 % quantile, equally wide.

    log: equally wide on a logarithmic scale, for values above 0. None where there is no value.
    """
    found = finite(values)
    if not len(found):
        return None
    low, high = (float(v) for v in np.quantile(found, (0.005, 0.995)))
    if high <= low:
        # All alike: one bar in the middle of a narrow field.
        margin = abs(low) * 0.5 or 0.5
        low, high = low - margin, high + margin
    edges = np.geomspace(low, high, n_bars + 1) if log else np.linspace(low, high, n_bars + 1)
    return bars_between(found, edges)


def bars_between(values: ArrayLike, edges: ArrayLike) -> Bars:
    """Bars of the finite ones of `values` (n,) between given `edges`."""
    ends = np.asarray(edges, np.float64)
    counts, _ = np.histogram(np.clip(finite(values), ends[0], ends[-1]), ends)
    return Bars(tuple(float(e) for e in ends), tuple(int(n) for n in counts))


def finite(values: ArrayLike) -> NDArray[np.float64]:
    """The finite values, as float64."""
    found = np.asarray(values, np.float64).ravel()
    return found[np.isfinite(found)]
