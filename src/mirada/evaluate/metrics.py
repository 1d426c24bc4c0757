"""Every figure of a report, each with a 95 % interval and the number of samples behind it.

Proportions (accuracy, recall, precision, top-k) carry Wilson's interval. Figures made of the confusion counts are
bootstrapped as multinomial draws of those counts, which is the same as drawing samples; log loss and calibration
error by drawing samples. ROC AUC carries DeLong's interval, which needs one sort instead of one for each resample.
What is undefined is left out and told; no figure is ever NaN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mirada.errors import InputError, NotEnoughData
from mirada.evaluate.calibrate import N_BINS, calibration_error, reliability_bins
from mirada.evaluate.intervals import auc_interval, bca, bootstrap_counts, percentile, wilson
from mirada.messages import Message, msg, msg_n
from mirada.types import EvalReport, Metric, WorstSample

Doubles = NDArray[np.float64]
Ints = NDArray[np.intp]

N_BOOT = 1000
# Large sets need fewer resamples: their intervals are narrow, and this bounds the draws.
MAX_DRAWS, LEAST_BOOT = 20_000_000, 200
# Most numbers in the table of counts without one sample of each cell.
MAX_LEFT_OUT = 4_000_000
N_WORST = 24
SMALLEST_PROB = 1e-7


def evaluate(
    pred_probs: ArrayLike,
    y: ArrayLike,
    *,
    class_names: Sequence[str],
    subset: str = "test",
    run_id: str = "",
    sample_ids: Sequence[str] | None = None,
    uris: Sequence[str] | None = None,
    seed: int = 0,
    notes: Sequence[Message | str] = (),
    n_boot: int = N_BOOT,
) -> EvalReport:
    """Judge probabilities `pred_probs` (n, k) against class indices `y` (n,).

    `y` is -1 where the true class is unknown to the model: such samples cannot be right, are left out of the
    figures and are told. `sample_ids` and `uris` (n,) name the samples in `worst`. Raises NotEnoughData where
    nothing is left to judge, InputError for probabilities that are not finite.
    """
    names = tuple(class_names)
    probs, labels, told = _checked(pred_probs, y, len(names))
    known = labels >= 0
    ids = np.asarray(sample_ids if sample_ids is not None else [str(i) for i in range(len(known))], dtype=object)
    places = np.asarray(uris if uris is not None else ids, dtype=object)
    probs, labels = probs[known], labels[known]
    predicted = np.asarray(probs.argmax(axis=1), dtype=np.intp)
    confusion = np.bincount(labels * len(names) + predicted, minlength=len(names) ** 2).reshape(len(names), -1)
    rng = np.random.default_rng([seed, 0xB007])
    resamples = int(np.clip(MAX_DRAWS // len(labels), min(LEAST_BOOT, n_boot), n_boot))
    counts = _Counts(confusion, resamples, rng)
    metrics: dict[str, Metric | None] = {"accuracy": wilson(int((predicted == labels).sum()), len(labels))}
    metrics.update(counts.averages())
    metrics.update(_by_sample(probs, labels, predicted, resamples, rng))
    for top in (3, 5):
        if len(names) > top:
            metrics[f"top_{top}_accuracy"] = wilson(_hits(probs, labels, top), len(labels))
    told += _class_notes(confusion, names)
    return EvalReport(
        run_id=run_id,
        subset=subset,
        n=len(labels),
        class_names=names,
        metrics={name: metric for name, metric in metrics.items() if metric is not None},
        per_class=counts.per_class(names),
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
        calibration=reliability_bins(probs, labels),
        worst=_worst(probs, labels, predicted, ids[known], places[known], names),
        notes=tuple(str(note) for note in (*notes, *told)),
    )


def roc_auc(pred_probs: ArrayLike, y: ArrayLike) -> tuple[float | None, float | None]:
    """One-vs-rest ROC AUC of `pred_probs` (n, k): (macro over the classes present, micro over all decisions).

    Micro AUC pools the n · k yes-or-no decisions, which is what Keras calls AUC. None where it is undefined.
    """
    macro, micro = _auc_influences(np.asarray(pred_probs, dtype=np.float64), np.asarray(y, dtype=np.intp))
    return macro[0], micro[0]


def _checked(pred_probs: ArrayLike, y: ArrayLike, k: int) -> tuple[Doubles, Ints, list[Message]]:
    probs, labels = np.asarray(pred_probs, dtype=np.float64), np.asarray(y, dtype=np.intp)
    if probs.shape != (len(labels), k):
        raise ValueError(f"pred_probs must be ({len(labels)}, {k}); got {probs.shape}")
    if len(labels) and labels.max() >= k:
        raise ValueError(f"y must be below {k}; got {labels.max()}")
    unknown = int((labels < 0).sum())
    if len(labels) == unknown:
        raise NotEnoughData(
            msg("Nothing to evaluate: none of {n} photographs is of a class that the model knows.", n=len(labels)),
            msg("Its classes are named in the bundle's manifest.json."),
        )
    if not np.isfinite(probs).all():
        bad = int((~np.isfinite(probs).all(axis=1)).sum())
        raise InputError(msg("{n} of {total} predictions are not finite numbers.", n=bad, total=len(probs)))
    told = []
    if unknown:
        told.append(
            msg_n(
                "{n} photograph of a class that the model does not know is not counted.",
                "{n} photographs of classes that the model does not know are not counted.",
                n=unknown,
            )
        )
    return probs, labels, told


@dataclass(frozen=True, slots=True)
class _Tally:
    """Right answers, labels and predictions by class: rows × k. A row is one resample, or the data itself."""

    right: Doubles
    labelled: Doubles
    predicted: Doubles

    @classmethod
    def of(cls, cells: Doubles, rows: Ints, columns: Ints, k: int) -> _Tally:
        """Add up `cells` (r, cells) of confusion counts at (`rows`, `columns`)."""
        same = rows == columns
        return cls(_sum_by(rows[same], cells[:, same], k), _sum_by(rows, cells, k), _sum_by(columns, cells, k))

    def averages(self) -> dict[str, Doubles]:
        """Balanced accuracy, macro and weighted precision, recall and F1, over the classes that have samples."""
        present = (self.labelled > 0).astype(np.float64)
        n_present = np.maximum(present.sum(axis=1), 1)
        shares = _ratio(self.labelled, np.broadcast_to(self.labelled.sum(axis=1, keepdims=True), self.labelled.shape))
        each = {
            "precision": _ratio(self.right, self.predicted),
            "recall": _ratio(self.right, self.labelled),
            "f1": self.f1(),
        }
        out = {f"macro_{name}": (each[name] * present).sum(axis=1) / n_present for name in each}
        # Shares that sum to 1 but for rounding must not make full marks look like less than 1.
        out |= {f"weighted_{name}": np.round((each[name] * shares).sum(axis=1), 12) for name in each}
        return {"balanced_accuracy": out["macro_recall"], **out}

    def f1(self) -> Doubles:
        """F1 of each class; 0 for one that neither has samples nor was predicted."""
        return _ratio(2 * self.right, self.labelled + self.predicted)


class _Counts:
    """The confusion counts as they are, resampled, and without one sample of each cell."""

    def __init__(self, confusion: NDArray[np.intp], n_boot: int, rng: np.random.Generator) -> None:
        k = len(confusion)
        rows, columns = np.nonzero(confusion)
        cells = confusion[rows, columns]
        self.n, self.times = int(cells.sum()), cells.astype(np.float64)
        drawn = rng.multinomial(self.n, cells / self.n, size=n_boot)
        # Without the skewness BCa is the bias-corrected percentile interval: enough for thousands of cells.
        left_out = (
            cells - np.eye(len(cells)) if len(cells) * max(k, len(cells)) <= MAX_LEFT_OUT else np.zeros((0, len(cells)))
        )
        self.real, self.boot, self.left_out = (
            _Tally.of(part.astype(np.float64), rows, columns, k) for part in (cells[None], drawn, left_out)
        )
        if len(left_out) == 0:
            self.times = np.zeros(0)

    def averages(self) -> dict[str, Metric | None]:
        """Balanced accuracy, and macro and weighted precision, recall and F1, with intervals."""
        value, boot, left_out = (tally.averages() for tally in (self.real, self.boot, self.left_out))
        return {
            name: bca(float(value[name][0]), boot[name], left_out[name], self.n, times=self.times) for name in value
        }

    def per_class(self, names: tuple[str, ...]) -> dict[str, Mapping[str, Metric]]:
        """Precision, recall, F1 and support of each class; what is undefined is left out."""
        f1, boot, left_out = self.real.f1()[0], self.boot.f1(), self.left_out.f1()
        out: dict[str, Mapping[str, Metric]] = {}
        for i, name in enumerate(names):
            right, support, predicted = (
                int(part[0, i]) for part in (self.real.right, self.real.labelled, self.real.predicted)
            )
            found = {
                "precision": wilson(right, predicted) if predicted else None,
                "recall": wilson(right, support) if support else None,
                "f1": bca(float(f1[i]), boot[:, i], left_out[:, i], support, times=self.times) if support else None,
                "support": Metric(support, support, support, support),
            }
            out[name] = {key: metric for key, metric in found.items() if metric is not None}
        return out


def _sum_by(classes: Ints, drawn: Doubles, k: int) -> Doubles:
    """Sums of the columns of `drawn` (n_boot, cells) that share a class: (n_boot, k)."""
    out = np.zeros((len(drawn), k))
    if len(classes):
        order = np.argsort(classes, kind="stable")
        present, starts = np.unique(classes[order], return_index=True)
        out[:, present] = np.add.reduceat(drawn[:, order], starts, axis=1)
    return out


def _ratio(above: Doubles, below: Doubles) -> Doubles:
    """Quotient; 0 where there is nothing below (a class never predicted has precision 0)."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _by_sample(
    probs: Doubles, labels: Ints, predicted: Ints, n_boot: int, rng: np.random.Generator
) -> dict[str, Metric | None]:
    """Log loss and calibration error, with one resampling of the samples for both, and ROC AUC."""
    n = len(labels)
    losses = -np.log(np.clip(probs[np.arange(n), labels], SMALLEST_PROB, 1.0))
    top, right = probs.max(axis=1), predicted == labels
    bins = np.minimum((top * N_BINS).astype(np.intp), N_BINS - 1)
    gaps = (bins[:, None] == np.arange(N_BINS)) * (top - right)[:, None]
    columns = np.column_stack([losses, gaps]).astype(np.float32)
    sums = np.concatenate([part.astype(np.float32) @ columns for part in _parts(n, n_boot, rng)])
    means = sums.astype(np.float64) / n  # n_boot × columns
    left_out = (losses.sum() - losses) / max(n - 1, 1)
    out = {
        "log_loss": bca(float(losses.mean()), means[:, 0], left_out, n),
        "calibration_error": percentile(calibration_error(top, right), np.abs(means[:, 1:]).sum(axis=1), n),
    }
    for name, (value, influence) in zip(("macro", "micro"), _auc_influences(probs, labels), strict=True):
        if value is not None:
            out[f"roc_auc_{name}"] = auc_interval(value, influence)
    return out


def _parts(n: int, n_boot: int, rng: np.random.Generator) -> list[NDArray[np.uint8]]:
    return [bootstrap_counts(n, min(50, n_boot - begin), rng=rng) for begin in range(0, n_boot, 50)]


def _auc_influences(probs: Doubles, labels: Ints) -> tuple[tuple[float | None, Doubles], tuple[float | None, Doubles]]:
    """Macro and micro AUC, each with how far every sample (n,) moves it; None where it is undefined."""
    n, k = probs.shape
    truth = labels[:, None] == np.arange(k)
    values: list[float] = []
    total = np.zeros(n)
    for c in np.flatnonzero(truth.any(axis=0) & ~truth.all(axis=0)):
        value, influence = _auc(probs[:, c], truth[:, c])
        values.append(value)
        total += influence
    macro = (float(np.mean(values)), total / len(values)) if values else (None, total)
    if k < 2:
        return macro, (None, np.zeros(n))
    value, influence = _auc(probs.reshape(-1), truth.reshape(-1))
    return macro, (value, influence.reshape(n, k).sum(axis=1) / k)


def _auc(scores: Doubles, truth: NDArray[np.bool_]) -> tuple[float, Doubles]:
    """The chance that a positive scores above a negative (ties count half), and each entry's influence on it."""
    n, positives = len(truth), int(truth.sum())
    negatives = n - positives
    for_positives = _share_below(scores[truth], np.sort(scores[~truth]))
    against_negatives = 1 - _share_below(scores[~truth], np.sort(scores[truth]))
    beaten = np.empty(n)  # share of the other kind that the entry is rightly ordered with
    beaten[truth], beaten[~truth] = for_positives, against_negatives
    value = float(beaten[truth].mean())
    return value, (beaten - value) * np.where(truth, n / positives, n / negatives)


def _share_below(scores: Doubles, others: Doubles) -> Doubles:
    """For each of `scores`, the share of the sorted `others` below it, ties counted half."""
    left, right = np.searchsorted(others, scores, "left"), np.searchsorted(others, scores, "right")
    return np.asarray((left + right) / (2 * len(others)))


def _hits(probs: Doubles, labels: Ints, top: int) -> int:
    """How many labels are among the `top` best scores; a tie counts for the label of lower index."""
    own = probs[np.arange(len(labels)), labels][:, None]
    ahead = (probs > own) | ((probs == own) & (np.arange(probs.shape[1]) < labels[:, None]))
    return int((ahead.sum(axis=1) < top).sum())


def _class_notes(confusion: NDArray[np.intp], names: tuple[str, ...]) -> list[Message]:
    labelled, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    absent = [name for name, count in zip(names, labelled, strict=True) if count == 0]
    silent = [names[i] for i in np.flatnonzero((labelled > 0) & (predicted == 0))]
    out = []
    if absent:
        out.append(
            msg(
                "No photograph of these classes was judged; averages and ROC AUC leave them out: {names}.",
                names=", ".join(absent),
            )
        )
    if silent:
        out.append(
            msg("Never predicted, so their precision counts as 0 in averages: {names}.", names=", ".join(silent))
        )
    if np.count_nonzero(labelled) < 2:
        out.append(msg("All photographs judged are of one class: ROC AUC over classes is undefined."))
    return out


def _worst(
    probs: Doubles,
    labels: Ints,
    predicted: Ints,
    ids: NDArray[np.object_],
    uris: NDArray[np.object_],
    names: tuple[str, ...],
) -> tuple[WorstSample, ...]:
    wrong = np.flatnonzero(predicted != labels)
    score = probs.max(axis=1)
    order = sorted(wrong.tolist(), key=lambda i: (-score[i], str(ids[i])))[:N_WORST]
    return tuple(
        WorstSample(str(ids[i]), str(uris[i]), names[labels[i]], names[predicted[i]], float(score[i])) for i in order
    )
