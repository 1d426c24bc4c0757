"""Copies among the photographs: of the same bytes, of the same duplicate group, and across train, val and test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mirada.explore.columns import Columns, Ints
from mirada.types import SPLIT_NAMES

_TRAIN, _VAL, _TEST = (SPLIT_NAMES.index(name) for name in ("train", "val", "test"))


@dataclass(frozen=True, slots=True)
class CopyCounts:
    """Groups of two and more; the photographs in them; those beyond the first of each; groups with several labels."""

    n_groups: int
    n_photos: int
    n_extra: int
    n_conflicts: int


@dataclass(frozen=True, slots=True)
class Crossing:
    """Groups in more than one part; test photographs with a copy in train or val; val ones with a copy in train."""

    n_groups: int
    n_test: int
    n_val: int


@dataclass(frozen=True, slots=True)
class Copies:
    """exact: of identical bytes. near: duplicate groups of more than one content; None before anybody looked for
    them. leakage: None where there is no split.
    """

    exact: CopyCounts
    near: CopyCounts | None
    leakage: Crossing | None


def find_copies(columns: Columns) -> Copies:
    """Count the copies among `columns`."""
    grouped = np.flatnonzero(columns.group >= 0)
    near = _near(columns, grouped) if len(grouped) else None
    is_split = len(np.unique(columns.split[columns.split >= 0])) > 1
    leakage = _crossing(columns.copies, columns.split) if is_split else None
    return Copies(_count(columns.content, columns.y), near, leakage)


def _near(columns: Columns, rows: Ints) -> CopyCounts:
    group = columns.group[rows]
    n_contents = _distinct_in(group, columns.content[rows])
    several = n_contents[group] > 1
    return _count(group[several], columns.y[rows][several])


def _count(keys: Ints, y: Ints) -> CopyCounts:
    if not len(keys):
        return CopyCounts(0, 0, 0, 0)
    sizes = np.bincount(keys)
    several = sizes > 1
    labelled = y >= 0
    conflicts = 0
    if labelled.any():
        conflicts = int((_distinct_in(keys[labelled], y[labelled]) > 1).sum())
    n_groups, n_photos = int(several.sum()), int(sizes[several].sum())
    return CopyCounts(n_groups, n_photos, n_photos - n_groups, conflicts)


def _distinct_in(keys: Ints, values: Ints) -> Ints:
    """How many distinct values each key has: (largest key + 1,)."""
    pairs = np.unique(np.stack([keys, values]), axis=1)
    return np.bincount(pairs[0], minlength=int(keys.max()) + 1)


def _crossing(keys: Ints, split: Ints) -> Crossing:
    known = split >= 0
    keys, split = np.unique(keys[known], return_inverse=True)[1], split[known]
    has = np.zeros((int(keys.max()) + 1, len(SPLIT_NAMES)), np.bool_)
    has[keys, split] = True
    return Crossing(
        n_groups=int((has.sum(axis=1) > 1).sum()),
        n_test=_n(split == _TEST, has[:, _TRAIN] | has[:, _VAL], keys),
        n_val=_n(split == _VAL, has[:, _TRAIN], keys),
    )


def _n(chosen: NDArray[np.bool_], has_copy: NDArray[np.bool_], keys: Ints) -> int:
    return int((chosen & has_copy[keys]).sum())
