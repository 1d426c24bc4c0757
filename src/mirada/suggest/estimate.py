"""How good a head trained on the answers so far is on the photographs not yet labelled.

The labelled photographs were chosen for being typical or difficult: cross-validation on them misjudges the rest by
as much as 20 points. Two things mend that. Each labelled photograph counts as many times as there are unlabelled
ones nearest to it. And what is carried over is not the share of right answers but how it depends on the head's
confidence: a logistic curve on the log odds of the highest probability (Platt scaling, 1999), fitted out of fold
and averaged over the confidences of the unlabelled (compare Guillory et al., Predicting with Confidence on Unseen
Distributions, ICCV 2021).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mirada.suggest.clusters import BLOCK, Floats, assign

Doubles = NDArray[np.float64]
# The curve before anything is seen: confidences mean what they say, give or take this much of offset and slope.
PRIOR = np.array([0.0, 1.0])
PRIOR_SPREAD = np.array([1.0, 0.5])
# What a curve carried from chosen photographs to others is off by, beside its own uncertainty (log odds).
TRANSFER_SPREAD = 0.25
MIN_JUDGED, MIN_PER_CLASS = 10, 3
DRAWS = 1000


@dataclass(frozen=True, slots=True)
class Estimate:
    """Expected accuracy on the unlabelled with a 95 % interval, from `n` labelled photographs out of fold."""

    value: float
    low: float
    high: float
    n: int


def coverage_weights(X: Floats, y: ArrayLike) -> Floats:
    """For each labelled row, in order: how many unlabelled rows of `X` (n, d) are nearest to it, and itself.

    `y` (n,) class indices, -1 for unlabelled.
    """
    labels = np.asarray(y)
    labelled, rest = np.flatnonzero(labels >= 0), np.flatnonzero(labels < 0)
    counts = np.ones(len(labelled), dtype=np.float32)
    if not len(labelled):
        return counts
    mean = X.mean(axis=0, dtype=np.float64).astype(np.float32)
    centres = _unit_about(X[labelled], mean)
    for begin in range(0, len(rest), BLOCK):
        of, _ = assign(_unit_about(X[rest[begin : begin + BLOCK]], mean), centres)
        counts += np.bincount(of, minlength=len(labelled)).astype(np.float32)
    return counts


def estimate_accuracy(
    held: Floats, y: ArrayLike, rest: Floats, *, weights: ArrayLike, seed: int = 0
) -> Estimate | None:
    """The accuracy to expect on unlabelled photographs; None where too few answers can be judged.

    `held` (m, k) probabilities of the labelled out of fold, `y` (m,) their classes, `rest` (r, k) the head's
    probabilities of the unlabelled, `weights` (m,) of `coverage_weights`. A photograph that is the only one of its
    class says nothing out of fold, and with two of each a head out of fold has seen one: below three answers a
    class the estimate was 12 points too low, so none is given.
    """
    labels = np.asarray(y, dtype=np.int64)
    judged = np.bincount(labels, minlength=held.shape[1])[labels] >= 2
    if int(judged.sum()) < MIN_JUDGED or len(labels) < MIN_PER_CLASS * len(np.unique(labels)) or not len(rest):
        return None
    right = (held.argmax(axis=1) == labels)[judged].astype(np.float64)
    weight = np.asarray(weights, dtype=np.float64)[judged]
    # As many as they are worth: a few heavy ones tell less than many alike.
    weight *= weight.sum() / np.square(weight).sum()
    curve, spread = _curve(_log_odds(held[judged]), right, weight)
    confidence = np.sort(_log_odds(rest))
    # A thousand evenly spaced of the sorted confidences stand for all.
    confidence = confidence[np.linspace(0, len(confidence) - 1, min(len(confidence), 1000)).astype(int)]
    draws = np.random.default_rng(seed).multivariate_normal(curve, spread, DRAWS)
    shares = _sigmoid(draws[:, :1] + draws[:, 1:] * confidence).mean(axis=1)
    value = float(_sigmoid(curve[0] + curve[1] * confidence).mean())
    low, high = (float(end) for end in np.quantile(shares, [0.025, 0.975]))
    return Estimate(value, min(low, value), max(high, value), int(judged.sum()))


def _unit_about(X: Floats, mean: Floats) -> Floats:
    out = X - mean
    out /= np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)
    return np.asarray(out, dtype=np.float32)


def _log_odds(probs: Floats) -> Doubles:
    top = np.clip(probs.max(axis=1).astype(np.float64), 1e-4, 1 - 1e-4)
    return np.asarray(np.log(top / (1 - top)), dtype=np.float64)


def _sigmoid(z: Doubles) -> Doubles:
    return np.asarray(0.5 * (1 + np.tanh(z / 2)), dtype=np.float64)


def _curve(odds: Doubles, right: Doubles, weight: Doubles) -> tuple[Doubles, Doubles]:
    """Offset and slope of the most probable curve (2,), and their covariance (2, 2): Newton's method."""
    A, curve = np.stack([np.ones_like(odds), odds], axis=1), PRIOR.copy()
    precision = np.diag(1 / PRIOR_SPREAD**2)
    H = precision
    for _ in range(50):
        p = _sigmoid(A @ curve)
        H = (A * (weight * p * (1 - p))[:, None]).T @ A + precision
        step = np.linalg.solve(H, A.T @ (weight * (right - p)) - precision @ (curve - PRIOR))
        curve = curve + step / max(1.0, float(np.abs(step).max()))
        if float(np.abs(step).max()) < 1e-9:
            break
    return curve, np.asarray(np.linalg.inv(H) + np.diag([TRANSFER_SPREAD**2, 0.0]), dtype=np.float64)
