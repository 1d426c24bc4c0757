"""A network of one hidden layer on standardised features, trained with AdamW and stopped early. Numpy alone.

AdamW is from Loshchilov and Hutter, Decoupled Weight Decay Regularization, ICLR 2019; the start of the weights
from He et al., Delving Deep into Rectifiers, ICCV 2015.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mirada.training._solver import Floats
from mirada.training.folds import Ints, grouped_folds, groups_per_class

HIDDEN = 256
LEARNING_RATE, WEIGHT_DECAY, DROPOUT = 1e-3, 1e-2, 0.2
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
MAX_EPOCHS, PATIENCE, EPOCHS_UNWATCHED = 80, 8, 30
# Large sets see fewer epochs: this many samples in all, but no fewer than LEAST_EPOCHS times each.
MAX_VISITS, LEAST_EPOCHS = 1_000_000, 8
WATCHED_PARTS = 8


@dataclass(frozen=True, slots=True)
class MlpFit:
    """Parameters (W1, b1, W2, b2); the held rows and the logits on them, for calibration; epochs trained."""

    parameters: tuple[Floats, Floats, Floats, Floats]
    held: Ints
    held_logits: Floats
    epochs: int


def fit_mlp(features: Floats, y: Ints, *, groups: Ints, importance: Floats, n_classes: int, seed: int) -> MlpFit:
    """Train on standardised `features` (n, d); an eighth of each class, whole groups, is held out to stop early.

    Where every class does not have two groups at least, nothing is held out and the epochs are fixed.
    """
    rng = np.random.default_rng([seed, 0x319])
    held = _held_rows(y, groups, n_classes, seed)
    rows = np.setdiff1d(np.arange(len(y)), held)
    parameters = _start(features.shape[1], n_classes, rng)
    adam = _AdamW(parameters)
    best, best_loss, best_epoch = [p.copy() for p in parameters], np.inf, 0
    size = int(np.clip(len(rows) // 16, 8, 512))
    most = int(np.clip(MAX_VISITS // len(rows), LEAST_EPOCHS, MAX_EPOCHS if len(held) else EPOCHS_UNWATCHED))
    epoch = 0
    while epoch < most and epoch - best_epoch < PATIENCE:
        epoch += 1
        order = rng.permutation(rows)
        for begin in range(0, len(order), size):
            batch = order[begin : begin + size]
            adam.step(parameters, _gradients(parameters, features[batch], y[batch], importance[batch], rng))
        loss = _loss(parameters, features[held], y[held], importance[held]) if len(held) else -float(epoch)
        if loss < best_loss:
            best, best_loss, best_epoch = [p.copy() for p in parameters], loss, epoch
    W1, b1, W2, b2 = best
    return MlpFit((W1, b1, W2, b2), held, _forward(best, features[held])[1], epoch)


def _held_rows(y: Ints, groups: Ints, k: int, seed: int) -> Ints:
    least = int(groups_per_class(y, groups=groups, n_classes=k).min())
    if least < 2:
        return np.empty(0, dtype=np.intp)
    fold = grouped_folds(y, groups=groups, n_folds=min(WATCHED_PARTS, least), n_classes=k, seed=seed)
    return np.asarray(np.flatnonzero(fold == 0), dtype=np.intp)


def _start(d: int, k: int, rng: np.random.Generator) -> list[Floats]:
    first = rng.standard_normal((d, HIDDEN), dtype=np.float32) * np.float32(np.sqrt(2 / d))
    second = rng.standard_normal((HIDDEN, k), dtype=np.float32) * np.float32(np.sqrt(1 / HIDDEN))
    return [first, np.zeros(HIDDEN, dtype=np.float32), second, np.zeros(k, dtype=np.float32)]


def _forward(parameters: list[Floats], X: Floats) -> tuple[Floats, Floats]:
    W1, b1, W2, b2 = parameters
    hidden = np.maximum(X @ W1 + b1, np.float32(0))
    return hidden, hidden @ W2 + b2


def _softmax(logits: Floats) -> Floats:
    out = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(out / out.sum(axis=1, keepdims=True), dtype=np.float32)


def _loss(parameters: list[Floats], X: Floats, y: Ints, importance: Floats) -> float:
    probs = _softmax(_forward(parameters, X)[1])[np.arange(len(y)), y]
    return float(np.average(-np.log(np.maximum(probs, 1e-12)), weights=importance))


def _gradients(
    parameters: list[Floats], X: Floats, y: Ints, importance: Floats, rng: np.random.Generator
) -> list[Floats]:
    W1, b1, W2, b2 = parameters
    hidden = np.maximum(X @ W1 + b1, np.float32(0))
    kept = (rng.random(hidden.shape, dtype=np.float32) >= DROPOUT) / np.float32(1 - DROPOUT)
    dropped = hidden * kept
    error = _softmax(dropped @ W2 + b2)  # n × k
    error[np.arange(len(y)), y] -= 1
    error *= (importance / importance.sum())[:, None]
    back = (error @ W2.T) * kept * (hidden > 0)  # n × HIDDEN
    return [X.T @ back, back.sum(axis=0), dropped.T @ error, error.sum(axis=0)]


class _AdamW:
    """Running moments of the gradients."""

    def __init__(self, parameters: list[Floats]) -> None:
        self.first = [np.zeros_like(p) for p in parameters]
        self.second = [np.zeros_like(p) for p in parameters]
        self.steps = 0

    def step(self, parameters: list[Floats], gradients: list[Floats]) -> None:
        """Move `parameters` in place; only matrices decay, not biases."""
        self.steps += 1
        rate = np.float32(LEARNING_RATE * np.sqrt(1 - BETA_2**self.steps) / (1 - BETA_1**self.steps))
        for p, g, m, v in zip(parameters, gradients, self.first, self.second, strict=True):
            m += np.float32(1 - BETA_1) * (g - m)
            v += np.float32(1 - BETA_2) * (g * g - v)
            if p.ndim == 2:
                p *= np.float32(1 - LEARNING_RATE * WEIGHT_DECAY)
            p -= rate * m / (np.sqrt(v) + np.float32(EPSILON))
