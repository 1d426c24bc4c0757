"""From scores to probabilities one can act on: temperature, reject threshold, calibration error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mirada.messages import Message, msg

N_BINS = 15
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.02, 50.0
# The spread of log T around its prior: one standard deviation is a factor of 1.65.
PRIOR_SPREAD = 0.5
FEW_SAMPLES = 50


@dataclass(frozen=True, slots=True)
class Temperature:
    """What the logits are divided by, the mean log loss before and after, and what should be told."""

    value: float
    loss_before: float
    loss_after: float
    n: int
    notes: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True)
class RejectRule:
    """Answers with a score below `threshold` go to a person. `accuracy` and `coverage` are of the accepted ones."""

    threshold: float
    accuracy: float
    coverage: float
    n: int
    notes: tuple[Message, ...] = ()


def fit_temperature(
    logits: ArrayLike, y: ArrayLike, *, prior: float = 1.0, spread: float = PRIOR_SPREAD
) -> Temperature:
    """The temperature T that makes ``softmax(logits / T)`` most probable on samples the head was not fitted on.

    `logits` (n, k), `y` (n,) class indices. Temperature scaling is from Guo et al., On Calibration of Modern
    Neural Networks, ICML 2017. log T carries a normal prior around `prior` (the head's own, from
    cross-validation) of standard deviation `spread`, worth little beside a few hundred samples; without it a
    small val set with no error in it would drive T to 0. With no samples T is the prior. Never changes which
    class is first.
    """
    scores, labels = np.asarray(logits, dtype=np.float64), np.asarray(y, dtype=np.intp)
    n = len(labels)
    if n == 0:
        return Temperature(prior, 0.0, 0.0, 0, (msg("No val photographs: the temperature is that of training."),))
    gaps = scores - scores[np.arange(n), labels][:, None]
    centre = float(np.log(prior))

    def cost(log_t: float) -> float:
        return _log_loss(gaps, np.exp(log_t)) * n + 0.5 * ((log_t - centre) / spread) ** 2

    log_t = _golden_section(cost, np.log(MIN_TEMPERATURE), np.log(MAX_TEMPERATURE))
    value = float(np.exp(log_t))
    notes = (
        (msg("Only {n} val photographs: the temperature leans on that of training.", n=n),) if n < FEW_SAMPLES else ()
    )
    return Temperature(value, _log_loss(gaps, 1.0), _log_loss(gaps, value), n, notes)


def _log_loss(gaps: NDArray[np.float64], temperature: float) -> float:
    scaled = gaps / temperature
    peak = scaled.max(axis=1)
    return float((peak + np.log(np.exp(scaled - peak[:, None]).sum(axis=1))).mean())


def _golden_section(cost: Callable[[float], float], low: float, high: float) -> float:
    """The minimum of a function with one valley (Kiefer 1953), to 1e-5."""
    ratio = (5**0.5 - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = cost(left), cost(right)
    while high - low > 1e-5:
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = cost(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = cost(right)
    return (low + high) / 2


def reject_threshold(probs: ArrayLike, y: ArrayLike, *, target: float = 0.95) -> RejectRule:
    """The least score at which the answers kept are right at least in the share `target`, on val.

    `probs` (n, k), `y` (n,). Thresholds are tried from 0 upwards over the scores that occur. Where even the
    surest answers miss the target, the threshold with the best accuracy is taken and that is told.
    """
    scores, labels = np.asarray(probs, dtype=np.float64), np.asarray(y, dtype=np.intp)
    n = len(labels)
    if n == 0:
        return RejectRule(0.0, 0.0, 0.0, 0, (msg("No val photographs: no answer is refused."),))
    top = scores.max(axis=1)
    right = scores.argmax(axis=1) == labels
    order = np.argsort(-top, kind="stable")
    kept = np.arange(1, n + 1)
    accuracy = np.cumsum(right[order]) / kept
    ends = np.append(top[order][1:] != top[order][:-1], True)  # equal scores are kept or refused together
    accuracy, kept, levels = accuracy[ends], kept[ends], top[order][ends]
    reached = np.flatnonzero(accuracy >= target)
    notes: tuple[Message, ...] = ()
    if len(reached):
        at = int(reached[-1])
    else:
        at = int(np.flatnonzero(accuracy == accuracy.max())[-1])
        notes = (msg("No threshold reaches {target:.0%} right answers on {n} val photographs.", target=target, n=n),)
    # Just below the score itself, so that rounding on another machine does not refuse the sample it came from.
    threshold = 0.0 if at == len(levels) - 1 else float(levels[at] + levels[at + 1]) / 2
    return RejectRule(threshold, float(accuracy[at]), float(kept[at]) / n, n, notes)


def reliability_bins(probs: ArrayLike, y: ArrayLike, *, n_bins: int = N_BINS) -> tuple[tuple[float, float, int], ...]:
    """(mean score, accuracy, count) of each of `n_bins` bins of equal width that holds a sample, lowest first."""
    scores, labels = np.asarray(probs, dtype=np.float64), np.asarray(y, dtype=np.intp)
    if len(labels) == 0:
        return ()
    top = scores.max(axis=1)
    right = scores.argmax(axis=1) == labels
    counts, confidence, hits = _bin_sums(top, right, n_bins)
    full = np.flatnonzero(counts)
    return tuple((float(confidence[b] / counts[b]), float(hits[b] / counts[b]), int(counts[b])) for b in full)


def calibration_error(top: NDArray[np.float64], right: NDArray[np.bool_], *, n_bins: int = N_BINS) -> float:
    """Expected calibration error: the mean gap between score and accuracy over bins of equal width (Guo 2017)."""
    _, confidence, hits = _bin_sums(top, right, n_bins)
    return float(np.abs(confidence - hits).sum() / len(top))


def _bin_sums(
    top: NDArray[np.float64], right: NDArray[np.bool_], n_bins: int
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
    index = np.minimum((top * n_bins).astype(np.intp), n_bins - 1)
    counts = np.bincount(index, minlength=n_bins)
    confidence = np.zeros(n_bins) + np.bincount(index, weights=top, minlength=n_bins)
    hits = np.zeros(n_bins) + np.bincount(index, weights=right.astype(np.float64), minlength=n_bins)
    return counts, confidence, hits
