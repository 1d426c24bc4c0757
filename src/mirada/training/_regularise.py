"""How strong the penalty of a logistic head should be: cross-validation along a path of strengths.

The log loss out of fold is compared after one temperature for each strength, fitted on the same predictions:
what is deployed is calibrated, so that is what should be compared. Without it weak penalties win that only make
up for shrinkage. All folds are solved at once, each strength starting from the last.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mirada.evaluate.calibrate import fit_temperature
from mirada.messages import Message, msg
from mirada.training._solver import Floats, log_softmax, solve
from mirada.training.folds import Ints, group_index, grouped_folds, groups_per_class

logger = logging.getLogger("mirada.training")

# Strengths as multiples of the number of features: with standardised features the same multiple means the same
# shrinkage whatever the backbone's width. The search starts at FIRST and goes down, and up only where FIRST won.
STRENGTHS = (31.6, 10.0, 3.16, 1.0, 0.316, 0.1, 0.0316, 0.01, 0.00316, 0.001)
FIRST = 4
DEFAULT_STRENGTH = 0.1
MAX_CV_SAMPLES = 10_000
CV_TOLERANCE = 3e-5


@dataclass(frozen=True, slots=True)
class Candidate:
    """One strength of the penalty and how it did out of fold: `C` in the words of scikit-learn, log loss ± error."""

    C: float
    log_loss: float
    standard_error: float
    accuracy: float
    temperature: float


@dataclass(frozen=True, slots=True)
class Choice:
    """The strength that won, a start for the final fit (k, d + 1), and the predictions out of fold (m, k)."""

    strength: float
    temperature: float
    start: Floats
    candidates: tuple[Candidate, ...] = ()
    folds: int = 0
    n_cv: int = 0
    held_logits: Floats = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
    held_y: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.intp))
    notes: tuple[Message, ...] = ()


def choose_strength(Z: Floats, y: Ints, groups: Ints, importance: Floats, k: int, *, seed: int, folds: int) -> Choice:
    """Cross-validate on standardised features `Z` (n, d + 1), the last column ones.

    Above 10,000 samples a stratified part of whole groups is used; the penalty stands for a prior on the weights,
    which does not change with n. The only group of a class is always trained on. Where too little is left to
    judge, the default strength is used; both are told in `notes`.
    """
    rows, notes = _rows(y, groups, k, seed=seed)
    Z, y, importance = Z[rows], y[rows], importance[rows]
    groups = group_index(groups[rows], len(rows))
    per_class = groups_per_class(y, groups=groups, n_classes=k)
    n_folds = int(min(folds, per_class.max()))
    judged = per_class[y] >= 2
    start = np.zeros((max(n_folds, 1), k, Z.shape[1]), dtype=np.float32)
    if n_folds < 2 or len(np.unique(y[judged])) < 2:
        few = msg("Too few photographs to choose the regularisation by cross-validation: the default is used.")
        no_logits = np.zeros((0, k), dtype=np.float32)
        return Choice(DEFAULT_STRENGTH, 1.0, start[0], held_logits=no_logits, notes=(*notes, few))
    fold = grouped_folds(y, groups=groups, n_folds=n_folds, n_classes=k, seed=seed)
    path = _Path(Z, y, fold, judged, importance, start)
    path.walk(STRENGTHS[FIRST:])
    if path.best == STRENGTHS[FIRST]:
        path.walk(STRENGTHS[FIRST - 1 :: -1])
    candidates = tuple(path.tried[strength] for strength in sorted(path.tried, reverse=True))
    logger.debug("cross-validation: %s", candidates)
    return Choice(
        path.best,
        path.tried[path.best].temperature,
        path.weights.mean(axis=0),
        candidates,
        n_folds,
        len(rows),
        path.logits.astype(np.float32),
        y[judged],
        notes,
    )


def _rows(y: Ints, groups: Ints, k: int, *, seed: int) -> tuple[Ints, tuple[Message, ...]]:
    """All rows, or a stratified part of whole groups where there are more than cross-validation needs."""
    if len(y) <= MAX_CV_SAMPLES:
        return np.arange(len(y)), ()
    parts = -(-len(y) // MAX_CV_SAMPLES)
    part = grouped_folds(y, groups=groups, n_folds=parts, n_classes=k, seed=seed + 1)
    rows = np.flatnonzero(part == 0)
    return rows, (msg("The regularisation was chosen on {n} of {total} photographs.", n=len(rows), total=len(y)),)


class _Path:
    """The strengths tried so far, and the weights and logits of the best."""

    def __init__(
        self, Z: Floats, y: Ints, fold: Ints, judged: NDArray[np.bool_], importance: Floats, start: Floats
    ) -> None:
        self.Z, self.y, self.fold, self.judged, self.importance = Z, y, fold, judged, importance
        held = (fold == np.arange(len(start))[:, None]) & judged
        self.sample_weights = np.where(held, np.float32(0), importance)  # folds × n
        self.tried: dict[float, Candidate] = {}
        self.best = 0.0
        self.weights = start
        self.logits = np.zeros((int(judged.sum()), start.shape[1]))

    def walk(self, strengths: tuple[float, ...]) -> None:
        """Try `strengths` one after another until the loss has risen twice in a row."""
        start, last, rises = self.weights, np.inf, 0
        for strength in strengths:
            penalty = strength * (self.Z.shape[1] - 1)
            start = solve(
                self.Z,
                self.y,
                sample_weights=self.sample_weights,
                penalty=penalty,
                start=start,
                tolerance=CV_TOLERANCE,
            ).weights
            candidate, logits = self._judge(start, penalty)
            if not self.tried or candidate.log_loss < self.tried[self.best].log_loss:
                self.best, self.weights, self.logits = strength, start, logits
            self.tried[strength] = candidate
            rises = rises + 1 if candidate.log_loss > last else 0
            last = candidate.log_loss
            if rises == 2:
                break

    def _judge(self, weights: Floats, penalty: float) -> tuple[Candidate, NDArray[np.float64]]:
        logits = np.empty((len(self.y), weights.shape[1]))
        for f, W in enumerate(weights):
            logits[self.fold == f] = self.Z[self.fold == f] @ W.T
        logits, y = logits[self.judged], self.y[self.judged]
        temperature = fit_temperature(logits, y).value
        losses = -log_softmax(logits / temperature)[np.arange(len(y)), y]
        mean = float(np.average(losses, weights=self.importance[self.judged]))
        error = float(losses.std() / np.sqrt(len(y)))
        accuracy = float((logits.argmax(axis=1) == y).mean())
        return Candidate(1.0 / penalty, mean, error, accuracy, temperature), logits
