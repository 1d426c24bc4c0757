"""Folds for cross-validation: stratified by class, and a group is never torn apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mirada.errors import NotEnoughData
from mirada.messages import msg

Ints = NDArray[np.intp]


def group_index(groups: Sequence[str] | Sequence[int] | NDArray[np.generic] | None, n: int) -> Ints:
    """Groups as integers 0 … g-1, one for each of `n` samples; None: every sample is a group of its own."""
    if groups is None:
        return np.arange(n, dtype=np.intp)
    if len(groups) != n:
        raise ValueError(f"groups must have {n} entries, one a sample; got {len(groups)}")
    _, index = np.unique(np.asarray(groups), return_inverse=True)
    return np.asarray(index.reshape(-1), dtype=np.intp)


def group_classes(y: Ints, groups: Ints, n_classes: int) -> Ints:
    """The commonest class of each group (the lower index where two are equal)."""
    n_groups = int(groups.max()) + 1 if len(groups) else 0
    if len(y) == n_groups:  # every group is a single sample
        out = np.empty(n_groups, dtype=np.intp)
        out[groups] = y
        return out
    pairs, counts = np.unique(groups * n_classes + y, return_counts=True)
    order = np.lexsort((pairs, -counts, pairs // n_classes))
    first = np.unique(pairs[order] // n_classes, return_index=True)[1]
    return np.asarray(pairs[order][first] % n_classes, dtype=np.intp)


def grouped_folds(y: Ints, *, groups: Ints, n_folds: int, n_classes: int, seed: int) -> Ints:
    """A fold 0 … `n_folds` - 1 for each sample: classes evenly spread, groups whole, large groups placed first.

    The order within a class is drawn from `seed`; the same samples in the same order give the same folds.
    """
    rng = np.random.default_rng([seed, 0xF01D])
    classes = group_classes(y, groups, n_classes)
    sizes = np.bincount(groups)
    shuffled = rng.permutation(len(sizes))
    order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    by_class = [[0] * n_folds for _ in range(n_classes)]
    totals = [0] * n_folds
    fold_of_group = np.empty(len(sizes), dtype=np.intp)
    for group, size, c in zip(order.tolist(), sizes[order].tolist(), classes[order].tolist(), strict=True):
        filled = by_class[c]
        fold = min(range(n_folds), key=lambda f: (filled[f], totals[f]))
        filled[fold] += size
        totals[fold] += size
        fold_of_group[group] = fold
    return np.asarray(fold_of_group[groups], dtype=np.intp)


def fold_of(
    y: Ints,
    *,
    groups: Sequence[str] | Sequence[int] | NDArray[np.generic] | None,
    folds: int,
    seed: int,
    n_classes: int,
) -> Ints:
    """A fold for each sample, as `training.head.out_of_fold_probs` draws them: the same seed, the same folds.

    Raises NotEnoughData where all samples are copies of one.
    """
    group = group_index(groups, len(y))
    n_groups = int(group.max()) + 1 if len(group) else 0
    if n_groups < 2:
        raise NotEnoughData(msg("Cross-validation needs at least two different photographs; all are copies of one."))
    return grouped_folds(y, groups=group, n_folds=max(2, min(folds, n_groups)), n_classes=n_classes, seed=seed)


def groups_per_class(y: Ints, *, groups: Ints, n_classes: int) -> Ints:
    """How many groups each class has; what bounds the number of folds."""
    return np.bincount(group_classes(y, groups, n_classes), minlength=n_classes).astype(np.intp)
