"""Multinomial logistic regression for several weightings of the same samples at once.

Cross-validation fits the same matrix again and again with other samples held out. Here the held-out samples of
each problem get weight 0, the weights of all problems are stacked, and each step is two matrix products for all
of them. The steps are those of L-BFGS (Nocedal and Wright, Numerical Optimization, 2nd ed., algorithm 7.4),
with a diagonal start from Böhning's bound on the Hessian (Annals of the Institute of Statistical Mathematics
44, 1992) and a backtracking line search of its own for each problem.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

MEMORY = 8
MAX_BACKTRACKS = 12
# Rows are taken in blocks, so that the scores of a block stay in the cache and memory stays bounded.
BLOCK_FLOATS = 2_000_000


@dataclass(frozen=True, slots=True)
class Solution:
    """Weights (p, k, d + 1), the intercept last; steps taken; which of the p problems met the tolerance."""

    weights: Floats
    n_steps: int
    converged: NDArray[np.bool_]


@dataclass(slots=True)
class _Pair:
    """A step, the change of gradient along it, and 1 / their product (0: the problem did not move)."""

    step: Floats
    change: Floats
    inverse: Doubles


def standardised(features: Floats, shift: Floats, factor: Floats) -> Floats:
    """``(features - shift) * factor`` (n, d) with a column of ones behind: (n, d + 1), without a second copy."""
    out = np.empty((features.shape[0], features.shape[1] + 1), dtype=np.float32)
    np.subtract(features, shift, out=out[:, :-1])
    out[:, :-1] *= factor
    out[:, -1] = 1
    return out


def log_softmax(scores: Doubles) -> Doubles:
    """Logarithms of the softmax of each row of `scores` (n, k)."""
    shifted = scores - scores.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def solve(
    features: Floats,
    y: NDArray[np.intp],
    *,
    sample_weights: Floats,
    penalty: float,
    start: Floats,
    tolerance: float = 1e-7,
    max_steps: int = 300,
) -> Solution:
    """Minimise ``Σ w_i · cross entropy_i + penalty / 2 · |W|²`` for each row of `sample_weights`.

    `features` (n, d + 1) ends with a column of ones, whose weight is all but free of the penalty; `y` (n,) are
    class indices, `sample_weights` (p, n), `start` (p, k, d + 1). A problem is solved when the next step promises
    to lower it by less than the share `tolerance`. Penalty = 1 / C in the words of scikit-learn.
    """
    problem = _Problem(features, y, sample_weights, penalty, n_classes=start.shape[1])
    weights = start.copy()
    loss, gradient = problem.evaluate(weights)
    pairs: deque[_Pair] = deque(maxlen=MEMORY)
    scale = np.ones(len(loss))
    done = np.zeros(len(loss), dtype=bool)
    steps = 0
    while steps < max_steps:
        direction = -_precondition(gradient, pairs, problem.inverse_curvature, scale)
        slope = _dot(gradient, direction)
        done = -slope <= tolerance * loss
        if done.all():
            break
        moved, new_loss, new_gradient = _line_search(problem, weights, direction, loss, slope, done)
        pair = _Pair(moved - weights, new_gradient - gradient, np.zeros(len(loss)))
        if not pair.step.any():  # the limit of float32: no problem can be improved further
            done[:] = True
            break
        scale = _remember(pair, pairs, problem.inverse_curvature, scale)
        weights, loss, gradient = moved, new_loss, new_gradient
        steps += 1
    return Solution(weights, steps, done)


class _Problem:
    """Loss and gradient of the p problems on the same samples."""

    def __init__(
        self, features: Floats, y: NDArray[np.intp], sample_weights: Floats, penalty: float, *, n_classes: int
    ) -> None:
        self.features, self.y, self.sample_weights = features, y, sample_weights
        self.penalty = np.full(features.shape[1], penalty, dtype=np.float32)
        # A class that is absent under one weighting would send a free intercept to minus infinity.
        self.penalty[-1] = 1e-4 * penalty
        self.block = max(256, BLOCK_FLOATS // (len(sample_weights) * n_classes))
        squares = np.einsum("nd,nd->d", features, features) * np.float32(sample_weights.mean())
        self.inverse_curvature = (1.0 / (0.5 * squares + self.penalty)).astype(np.float32)

    def evaluate(self, weights: Floats) -> tuple[Doubles, Floats]:
        """Loss (p,) and gradient (p, k, d + 1) at `weights`."""
        p, k, d = weights.shape
        gradient = np.zeros((p * k, d), dtype=np.float32)
        loss = 0.5 * np.einsum("pkd,d,pkd->p", weights, self.penalty, weights, optimize=True).astype(np.float64)
        for begin in range(0, len(self.y), self.block):
            rows = slice(begin, begin + self.block)
            losses, errors = self._block(weights.reshape(p * k, d), rows, p, k)
            loss += losses
            gradient += errors @ self.features[rows]
        stacked = gradient.reshape(p, k, d)
        stacked += weights * self.penalty
        return loss, stacked

    def _block(self, weights: Floats, rows: slice, p: int, k: int) -> tuple[Doubles, Floats]:
        y = self.y[rows]
        index = np.arange(len(y))
        importance = self.sample_weights[:, rows]
        scores = (weights @ self.features[rows].T).reshape(p, k, len(y))  # classes before samples: sums run wide
        scores -= scores.max(axis=1, keepdims=True)
        of_label = scores[:, y, index]  # p × n
        np.exp(scores, out=scores)
        total = scores.sum(axis=1)
        losses = ((np.log(total) - of_label) * importance).sum(axis=1, dtype=np.float64)
        scores *= (importance / total)[:, None, :]
        scores[:, y, index] -= importance
        return losses, scores.reshape(p * k, len(y))


def _dot(a: Floats, b: Floats) -> Doubles:
    p = len(a)
    return np.asarray(np.einsum("pi,pi->p", a.reshape(p, -1), b.reshape(p, -1)), dtype=np.float64)


def _wide(values: Doubles) -> Floats:
    return values.astype(np.float32)[:, None, None]


def _precondition(gradient: Floats, pairs: deque[_Pair], inverse_curvature: Floats, scale: Doubles) -> Floats:
    """The two loops of L-BFGS: the inverse Hessian, as remembered, times `gradient`."""
    out = gradient.copy()
    factors: list[Doubles] = []
    for pair in reversed(pairs):
        factor = pair.inverse * _dot(pair.step, out)
        factors.append(factor)
        out -= _wide(factor) * pair.change
    out *= inverse_curvature
    out *= _wide(scale)
    for pair, factor in zip(pairs, reversed(factors), strict=True):
        out += _wide(factor - pair.inverse * _dot(pair.change, out)) * pair.step
    return out


def _line_search(
    problem: _Problem, weights: Floats, direction: Floats, loss: Doubles, slope: Doubles, done: NDArray[np.bool_]
) -> tuple[Floats, Doubles, Floats]:
    """Shorten the steps that do not decrease enough (Armijo); a step that never does becomes 0."""
    length = np.where(done, 0.0, 1.0)
    noise = 1e-7 * np.abs(loss)  # float32 cannot tell smaller differences
    for attempt in range(MAX_BACKTRACKS):
        moved = weights + _wide(length) * direction
        new_loss, new_gradient = problem.evaluate(moved)
        enough = new_loss <= loss + 1e-4 * length * slope + noise
        if enough.all():
            break
        shorter = 0.0 if attempt == MAX_BACKTRACKS - 2 else 0.4
        length = np.where(enough, length, length * shorter)
    return moved, new_loss, new_gradient


def _remember(pair: _Pair, pairs: deque[_Pair], inverse_curvature: Floats, scale: Doubles) -> Doubles:
    """Keep `pair`; give the new scale of the diagonal start, problem by problem."""
    product = _dot(pair.step, pair.change)
    curved = product > 1e-10 * np.sqrt(_dot(pair.step, pair.step) * _dot(pair.change, pair.change))
    pair.inverse = np.where(curved, 1.0 / np.where(curved, product, 1.0), 0.0)
    pairs.append(pair)
    size = _dot(pair.change, pair.change * inverse_curvature)
    return np.where(curved, product / np.maximum(size, 1e-30), scale)
