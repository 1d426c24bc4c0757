"""Intervals of 95 %: Wilson's for proportions, the bootstrap for the rest.

Wilson's score interval (JASA 22, 1927) keeps its coverage near 0 and 1 and for few samples, where the textbook
interval fails (Brown, Cai and DasGupta, Statistical Science 16, 2001). The bootstrap intervals are percentile
ones (Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mirada.types import Metric

Z_95 = 1.959963984540054
Doubles = NDArray[np.float64]


def wilson(successes: int, n: int) -> Metric:
    """The proportion `successes` / `n` with its Wilson interval. `n` must be positive."""
    share = successes / n
    z2 = Z_95**2 / n
    centre = (share + z2 / 2) / (1 + z2)
    half = Z_95 / (1 + z2) * math.sqrt(share * (1 - share) / n + z2 / (4 * n))
    # The ends at 0 and n successes are 0 and 1 exactly; rounding must not push them past the value.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return Metric(share, low, high, n)


def percentile(value: float, replicates: Doubles, n: int) -> Metric | None:
    """`value` with the 2.5 % and 97.5 % points of its bootstrap `replicates`; None where nothing is finite.

    The interval is widened to hold the value itself, which a biased statistic of few samples may leave. Where
    all went well no resample can show a fault, and an interval of 1 to 1 would promise too much: the lower end is
    then Wilson's for n right answers out of n.
    """
    usable = replicates[np.isfinite(replicates)]
    if not math.isfinite(value) or len(usable) == 0:
        return None
    low, high = np.quantile(usable, [0.025, 0.975])
    if value == 1.0 and low == 1.0:
        low = wilson(n, n).low
    return Metric(float(value), min(float(low), float(value)), max(float(high), float(value)), n)


def bootstrap_counts(n: int, n_boot: int, *, rng: np.random.Generator) -> NDArray[np.uint8]:
    """How often each of `n` samples is drawn in each of `n_boot` resamples: (n_boot, n), rows sum to n."""
    counts = np.empty((n_boot, n), dtype=np.uint8)
    for row in counts:
        # Nobody is drawn more than 255 times: the chance of even 30 is below 1e-30.
        row[:] = np.bincount(rng.integers(0, n, size=n, dtype=np.int32), minlength=n)
    return counts
