"""A head on embeddings: multinomial logistic regression with cross-validated regularisation, or a small MLP.

Features are standardised, and the scaling is folded into the weights, so that a head is plain matrix products.
The regularisation is chosen among seven strengths by the log loss out of fold, after one temperature for each
strength: what is deployed is calibrated, so that is what is compared. BLAS runs on one thread here: these
matrices are small, and results then do not depend on the number of cores.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from mirada.errors import InputError, NotEnoughData
from mirada.evaluate.calibrate import PRIOR_SPREAD, fit_temperature, reject_threshold
from mirada.messages import Message, msg
from mirada.training._mlp import fit_mlp
from mirada.training._regularise import Candidate, choose_strength
from mirada.training._solver import Doubles, Floats, solve, standardised
from mirada.training.folds import Ints, fold_of, group_index

Groups = Sequence[str] | Sequence[int] | NDArray[np.generic] | None
Kind = Literal["logistic", "mlp"]
FOLDS, INNER_FOLDS = 5, 3
FINAL_TOLERANCE = 1e-7
# Heads that judge samples once and are then thrown away need not be fitted as far as one that is kept.
OUT_OF_FOLD_TOLERANCE = 1e-5
# Folds are fitted side by side where the copies of their features stay below this many numbers.
SIDE_BY_SIDE_FLOATS = 150_000_000
ABSENT_LOGIT = -20.0
# Cross-validation knows log T to about this, beside what val says of its own.
KNOWN_SPREAD = 0.2
ENOUGH_VAL = 300


def softmax(logits: ArrayLike, temperature: float = 1.0) -> Floats:
    """Probabilities (n, k) of `logits` / `temperature`, float32; rows sum to 1."""
    out = np.asarray(logits, dtype=np.float32) / np.float32(temperature)
    out -= out.max(axis=1, keepdims=True)
    np.exp(out, out=out)
    return np.asarray(out / out.sum(axis=1, keepdims=True), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class FitInfo:
    """How a head came about. `folds` and `n_cv` 0: too few samples to cross-validate."""

    C: float
    candidates: tuple[Candidate, ...] = ()
    folds: int = 0
    n_cv: int = 0
    n_steps: int = 0
    converged: bool = True
    notes: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Logits (m, k) of training samples from heads that did not see them, and their classes (m,)."""

    logits: Floats
    y: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """Embeddings to probabilities. `layers`: (W (d, k), b (k,)) in float32, `activation` between them.

    `temperature` divides the logits; a score below `reject_threshold` goes to a person.
    """

    layers: tuple[tuple[Floats, Floats], ...]
    class_names: tuple[str, ...]
    activation: Literal["relu"] = "relu"
    temperature: float = 1.0
    reject_threshold: float = 0.0
    info: FitInfo = field(default_factory=lambda: FitInfo(C=0.0))
    held_out: HeldOut | None = field(default=None, repr=False)

    def logits(self, X: ArrayLike) -> Floats:
        """Scores (n, k) of embeddings `X` (n, d), float32, before the temperature."""
        hidden = np.asarray(X, dtype=np.float32)
        for W, b in self.layers[:-1]:
            hidden = np.maximum(hidden @ W + b, np.float32(0))
        W, b = self.layers[-1]
        return np.asarray(hidden @ W + b, dtype=np.float32)

    def probs(self, X: ArrayLike) -> Floats:
        """Calibrated probabilities (n, k), float32; rows sum to 1."""
        return softmax(self.logits(X), self.temperature)

    def calibrated(self, *, temperature: float, reject_threshold: float) -> Head:
        """The same head with another temperature and reject threshold."""
        return replace(self, temperature=float(temperature), reject_threshold=float(reject_threshold))


@dataclass(frozen=True, slots=True, eq=False)
class OutOfFold:
    """Probabilities (n, k) from heads that saw neither the sample nor its group, and the fold (n,) of each."""

    probs: Floats
    folds: Ints
    notes: tuple[Message, ...] = ()


def fit_head(
    X: ArrayLike,
    y: ArrayLike,
    *,
    n_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    groups: Groups = None,
    class_weight: Literal["none", "balanced"] = "none",
    kind: Kind = "logistic",
    seed: int = 0,
    folds: int = FOLDS,
) -> Head:
    """Fit a head on embeddings `X` (n, d) with class indices `y` (n,).

    `groups` (n,) names what must not be torn apart by cross-validation: duplicates, or a photograph and its
    flip, which is how flips augment the features: pass both rows with one group. The head's temperature is
    that of cross-validation, its `info.notes` say what deserves telling. The same input and seed give the
    same head. Raises InputError for embeddings that are not finite, NotEnoughData for fewer than two classes.
    """
    features, labels = _checked(X, y)
    names = _names(labels, n_classes, class_names)
    group = group_index(groups, len(labels))
    recipe = _Recipe(names, class_weight, kind, seed=seed, folds=folds, tolerance=FINAL_TOLERANCE)
    with threadpool_limits(limits=1, user_api="blas"):
        return _fit(features, labels, group, recipe)


def calibrate_head(head: Head, X: ArrayLike, y: ArrayLike, *, target: float = 0.95) -> tuple[Head, tuple[Message, ...]]:
    """Fit temperature and reject threshold of `head` on val (`X` (n, d), `y` (n,)); what to tell comes with it.

    The temperature leans on that of cross-validation as far as val is small. The threshold is the least score at
    which accepted answers are right in the share `target`; a val set below 300 is joined by the predictions out
    of fold, since a few dozen photographs without an error would let everything pass.
    """
    scores, labels = head.logits(X), np.asarray(y, dtype=np.intp)
    held = head.held_out if head.held_out is not None and len(head.held_out.y) else None
    fitted = fit_temperature(scores, labels, prior=head.temperature, spread=KNOWN_SPREAD if held else PRIOR_SPREAD)
    notes = list(fitted.notes)
    if held is not None and len(labels) < ENOUGH_VAL:
        scores, labels = np.concatenate([scores, held.logits]), np.concatenate([labels, held.y])
        notes.append(
            msg(
                "Val holds {n} photographs: the reject threshold also uses {m} predictions of cross-validation.",
                n=len(scores) - len(held.y),
                m=len(held.y),
            )
        )
    rule = reject_threshold(softmax(scores, fitted.value), labels, target=target)
    calibrated = head.calibrated(temperature=fitted.value, reject_threshold=rule.threshold)
    return calibrated, (*notes, *rule.notes)


def out_of_fold_probs(
    X: ArrayLike,
    y: ArrayLike,
    *,
    groups: Groups = None,
    folds: int = FOLDS,
    seed: int = 0,
    n_classes: int | None = None,
    class_weight: Literal["none", "balanced"] = "none",
    kind: Kind = "logistic",
) -> OutOfFold:
    """Probabilities of every sample from a head fitted without it and without its group.

    Each of the `folds` heads chooses its own regularisation and temperature within its training part (nested
    cross-validation), so nothing of a sample reaches the head that judges it. A class whose only group is held
    out is unknown to that head and gets next to no probability. Raises as `fit_head` does.
    """
    features, labels = _checked(X, y)
    names = _names(labels, n_classes, None)
    group = group_index(groups, len(labels))
    fold = fold_of(labels, groups=groups, folds=folds, seed=seed, n_classes=len(names))
    n_folds = int(fold.max()) + 1
    recipe = _Recipe(names, class_weight, kind, seed=seed, folds=INNER_FOLDS, tolerance=OUT_OF_FOLD_TOLERANCE)

    def judge(held: int) -> tuple[Floats, tuple[Message, ...]]:
        rest = fold != held
        if rest.all():
            return np.zeros((0, len(names)), dtype=np.float32), ()
        known = np.unique(labels[rest])
        if len(known) == 1:  # nothing to tell it from: that class is all this fold knows
            return softmax(_spread(np.zeros((int((~rest).sum()), 1)), known, len(names))), ()
        head = _fit(features[rest], labels[rest], group_index(group[rest], int(rest.sum())), recipe)
        return head.probs(features[~rest]), head.info.notes

    probs = np.zeros((len(labels), len(names)), dtype=np.float32)
    notes: list[Message] = []
    workers = 2 if features.size <= SIDE_BY_SIDE_FLOATS else 1
    with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        for held, (of_fold, told) in enumerate(pool.map(judge, range(n_folds))):
            probs[fold == held] = of_fold
            notes.extend(note for note in told if note not in notes)
    return OutOfFold(probs, fold, tuple(notes))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recipe:
    """How one head is fitted."""

    names: tuple[str, ...] = field(kw_only=False)
    class_weight: Literal["none", "balanced"] = field(kw_only=False)
    kind: Kind = field(kw_only=False)
    seed: int
    folds: int
    tolerance: float


def _fit(features: Floats, labels: Ints, groups: Ints, recipe: _Recipe) -> Head:
    importance = _class_importance(labels, len(recipe.names), recipe.class_weight)
    if recipe.kind == "mlp":
        return _fit_mlp(features, labels, groups, importance, recipe.names, seed=recipe.seed)
    return _fit_logistic(features, labels, groups, importance, recipe)


def _checked(X: ArrayLike, y: ArrayLike) -> tuple[Floats, Ints]:
    features, labels = np.asarray(X, dtype=np.float32), np.asarray(y)
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise ValueError(f"X must be (n, d) and y (n,); got {features.shape} and {labels.shape}")
    bad = int((~np.isfinite(features).all(axis=1)).sum())
    if bad:
        raise InputError(
            msg("{n} of {total} embeddings hold values that are not finite numbers.", n=bad, total=len(features)),
            msg("The backbone overflows on these photographs: try --precision f32, or another backbone."),
        )
    return features, labels.astype(np.intp)


def _names(labels: Ints, n_classes: int | None, class_names: Sequence[str] | None) -> tuple[str, ...]:
    present = len(np.unique(labels))
    if present < 2:
        raise NotEnoughData(
            msg("A classifier needs photographs of at least two classes; got {n}.", n=present),
            msg("Put the photographs of each class into a folder of its own, or give --labels."),
        )
    count = n_classes or (len(class_names) if class_names is not None else int(labels.max()) + 1)
    names = tuple(class_names) if class_names is not None else tuple(str(i) for i in range(count))
    if len(names) != count or labels.min() < 0 or labels.max() >= count:
        raise ValueError(f"y must be 0 … {count - 1} for {count} classes; got {labels.min()} … {labels.max()}")
    return names


def _class_importance(labels: Ints, k: int, class_weight: str) -> Floats:
    """A weight for each sample: 1, or n / (classes · size of its class) so that all classes weigh the same."""
    if class_weight == "none":
        return np.ones(len(labels), dtype=np.float32)
    counts = np.bincount(labels, minlength=k)
    per_class = len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return per_class[labels].astype(np.float32)


def _fit_logistic(features: Floats, labels: Ints, groups: Ints, importance: Floats, recipe: _Recipe) -> Head:
    names = recipe.names
    # Classes without a sample take no part in the fit; they are put back at the end, all but impossible.
    present, y = np.unique(labels, return_inverse=True)
    shift, factor = _scaling(features)
    Z = standardised(features, shift, factor)
    found = choose_strength(Z, y, groups, importance, len(present), seed=recipe.seed, folds=recipe.folds)
    penalty = found.strength * features.shape[1]
    start, weights = found.start[None], importance[None]
    fitted = solve(Z, y, sample_weights=weights, penalty=penalty, start=start, tolerance=recipe.tolerance)
    converged = bool(fitted.converged.all())
    notes = found.notes
    if not converged:
        notes = (*notes, msg("The head stopped after {n} steps before it was fully fitted.", n=fitted.n_steps))
    W, b = fitted.weights[0, :, :-1].T, fitted.weights[0, :, -1]
    layers = (_with_absent(*_unscaled(W, b, shift, factor), present, len(names)),)
    info = FitInfo(
        1.0 / penalty, found.candidates, found.folds, found.n_cv, fitted.n_steps, converged=converged, notes=notes
    )
    held = HeldOut(_spread(found.held_logits, present, len(names)), present[found.held_y])
    return Head(layers, names, temperature=found.temperature, info=info, held_out=held)


def _fit_mlp(
    features: Floats, labels: Ints, groups: Ints, importance: Floats, names: tuple[str, ...], *, seed: int
) -> Head:
    present, y = np.unique(labels, return_inverse=True)
    shift, factor = _scaling(features)
    Z = standardised(features, shift, factor)[:, :-1]
    fitted = fit_mlp(Z, y, groups=groups, importance=importance, n_classes=len(present), seed=seed)
    W1, b1, W2, b2 = fitted.parameters
    first = tuple(part.astype(np.float32) for part in _unscaled(W1, b1, shift, factor))
    layers = ((first[0], first[1]), _with_absent(W2, b2, present, len(names)))
    notes: tuple[Message, ...] = ()
    if len(fitted.held) == 0:
        notes = (msg("Too few photographs to stop the training early: {n} epochs were trained.", n=fitted.epochs),)
    held = HeldOut(_spread(fitted.held_logits, present, len(names)), labels[fitted.held])
    temperature = fit_temperature(held.logits, held.y).value if len(held.y) else 1.0
    info = FitInfo(0.0, n_cv=len(held.y), n_steps=fitted.epochs, notes=notes)
    return Head(layers, names, temperature=temperature, info=info, held_out=held)


def _scaling(features: Floats) -> tuple[Floats, Floats]:
    """Mean and 1 / standard deviation of each feature; 0 for one that does not vary."""
    mean = features.mean(axis=0, dtype=np.float64)
    squares = np.zeros(features.shape[1])
    for begin in range(0, len(features), 4096):
        squares += np.square(features[begin : begin + 4096] - mean).sum(axis=0)
    deviation = np.sqrt(squares / len(features))
    constant = deviation <= 1e-6 * max(float(deviation.max()), 1e-30)
    return mean.astype(np.float32), np.where(constant, 0.0, 1.0 / np.where(constant, 1.0, deviation)).astype(np.float32)


def _unscaled(W: Floats, b: Floats, shift: Floats, factor: Floats) -> tuple[Doubles, Doubles]:
    """The layer that does to raw features what (W, b) does to standardised ones."""
    raw = W.astype(np.float64) * factor[:, None]
    return raw, b - shift.astype(np.float64) @ raw


def _with_absent(W: Doubles | Floats, b: Doubles | Floats, present: Ints, k: int) -> tuple[Floats, Floats]:
    """The last layer with the classes that have no sample put in."""
    full = np.zeros((len(W), k), dtype=np.float32)
    full[:, present] = W
    return full, _spread(np.asarray(b, dtype=np.float32)[None], present, k)[0]


def _spread(logits: Floats | Doubles, present: Ints, k: int) -> Floats:
    full = np.full((len(logits), k), ABSENT_LOGIT, dtype=np.float32)
    full[:, present] = logits
    return full
