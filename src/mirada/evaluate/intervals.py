"""Intervals of 95 %: Wilson's for proportions, DeLong's for ROC AUC, the bootstrap for the rest.

Wilson's score interval (JASA 22, 1927) keeps its coverage near 0 and 1 and for few samples, where the textbook
interval fails (Brown, Cai and DasGupta, Statistical Science 16, 2001). The bootstrap is BCa, corrected for bias
and skewness (Efron, JASA 82, 1987; Efron and Tibshirani, An Introduction to the Bootstrap, chapter 14). Measured
coverages are in docs/statistics.md.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from mirada.types import Metric

Z_95 = 1.959963984540054
Doubles = NDArray[np.float64]
_NORMAL = NormalDist()


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

    The interval is widened to hold the value itself, which a biased statistic of few samples may leave.
    """
    return _between(value, replicates, n, (0.025, 0.975))


def bca(value: float, replicates: Doubles, left_out: Doubles, n: int, *, times: Doubles | None = None) -> Metric | None:
    """`value` with its BCa interval. `left_out` is the statistic without each sample, for the skewness.

    `times` says how many samples share each entry of `left_out`. None where nothing is finite. Where all went
    well no resample can show a fault, and an interval of 1 to 1 would promise too much: the lower end is then
    Wilson's for n right answers out of n.
    """
    usable = replicates[np.isfinite(replicates)]
    if len(usable) == 0:
        return None
    below = (np.count_nonzero(usable < value) + 0.5 * np.count_nonzero(usable == value)) / len(usable)
    bias = _NORMAL.inv_cdf(min(max(below, 1 / len(usable)), 1 - 1 / len(usable)))
    weights = np.ones(len(left_out)) if times is None else times
    influence = np.average(left_out, weights=weights) - left_out if len(left_out) else left_out
    size = float((weights * influence**2).sum())
    skew = float((weights * influence**3).sum()) / (6 * size**1.5) if size > 0 else 0.0
    points = [bias + z for z in (-Z_95, Z_95)]
    low, high = (_NORMAL.cdf(bias + point / max(1 - skew * point, 0.1)) for point in points)
    return _between(value, usable, n, (low, high))


def auc_interval(value: float, influence: Doubles) -> Metric | None:
    """ROC AUC `value` with an interval from each sample's `influence` (n,) on it, on the logit scale.

    The variance is DeLong's (Biometrics 44, 1988); the logit keeps the ends within 0–1 and the coverage near 1
    (Pepe, The Statistical Evaluation of Medical Tests, 2003, section 5.2).
    """
    n = len(influence)
    if not math.isfinite(value):
        return None
    if value in (0.0, 1.0):
        return wilson(round(value * n), n)
    spread = Z_95 * float(influence.std()) / math.sqrt(n) / (value * (1 - value))
    logit = math.log(value / (1 - value))
    low, high = (0.5 * (1 + math.tanh((logit + side * spread) / 2)) for side in (-1, 1))
    return Metric(value, low, high, n)


def _between(value: float, replicates: Doubles, n: int, points: tuple[float, float]) -> Metric | None:
    usable = replicates[np.isfinite(replicates)]
    if not math.isfinite(value) or len(usable) == 0:
        return None
    low, high = (float(end) for end in np.quantile(usable, points))
    if value == 1.0 and low == 1.0:
        low = wilson(n, n).low
    return Metric(float(value), min(low, float(value)), max(high, float(value)), n)


def bootstrap_counts(n: int, n_boot: int, *, rng: np.random.Generator) -> NDArray[np.uint8]:
    """How often each of `n` samples is drawn in each of `n_boot` resamples: (n_boot, n), rows sum to n."""
    counts = np.empty((n_boot, n), dtype=np.uint8)
    for row in counts:
        # Nobody is drawn more than 255 times: the chance of even 30 is below 1e-30.
        row[:] = np.bincount(rng.integers(0, n, size=n, dtype=np.int32), minlength=n)
    return counts
