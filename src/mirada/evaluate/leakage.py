"""Duplicates that cross a split, and what they are worth: the score with the affected photographs and without."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mirada.evaluate.intervals import wilson
from mirada.groups import group_keys
from mirada.messages import Message, msg, msg_n
from mirada.types import SPLIT_NAMES, Metric, Sample, Split, SplitName


@dataclass(frozen=True, slots=True)
class LeakGroup:
    """A group with members in more than one part: its sample ids in each."""

    group: str
    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Leakage:
    """Groups that cross a split. `pairs`: each sample of val or test with one it repeats from an earlier part.

    `test_ids` have a copy in train or val, `val_ids` in train.
    """

    groups: tuple[LeakGroup, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    val_ids: frozenset[str] = frozenset()
    test_ids: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.groups)

    def messages(self) -> tuple[Message, ...]:
        """The findings as sentences; empty where nothing crosses."""
        if not self.groups:
            return ()
        return (
            msg_n(
                "Leakage: {n} pair of duplicates crosses train, val and test "
                "({test} of the test photographs, {val} of val).",
                "Leakage: {n} pairs of duplicates cross train, val and test "
                "({test} of the test photographs, {val} of val).",
                n=len(self.pairs),
                test=len(self.test_ids),
                val=len(self.val_ids),
            ),
        )


@dataclass(frozen=True, slots=True)
class LeakageScores:
    """Accuracy on all samples of a subset, on those with a copy in training, and on the rest (None: there are none)."""

    all: Metric
    affected: Metric | None
    unaffected: Metric | None

    def messages(self) -> tuple[Message, ...]:
        """The comparison as a sentence; empty where nothing is affected."""
        if self.affected is None:
            return ()
        if self.unaffected is None:
            return (msg("Each of these photographs has a copy in train or val: the accuracy says nothing."),)
        return (
            msg(
                "Accuracy {all:.1f} % with the {n} photographs that have a copy in train or val "
                "(on them alone {affected:.1f} %), {without:.1f} % without them.",
                all=100 * self.all.value,
                n=self.affected.n,
                affected=100 * self.affected.value,
                without=100 * self.unaffected.value,
            ),
        )


def find_leakage(samples: Iterable[Sample], split: Split) -> Leakage:
    """Groups with members in more than one part of `split`, each pair counted once for each val or test sample."""
    part_of: dict[str, SplitName] = {}
    for name in SPLIT_NAMES:
        part_of.update(dict.fromkeys(getattr(split, name), name))
    known = [sample for sample in samples if sample.sample_id in part_of]
    members: dict[str, list[str]] = defaultdict(list)
    for sample_id, key in group_keys(known).items():
        members[key].append(sample_id)
    crossing: list[LeakGroup] = []
    for key, ids in sorted(members.items()):
        parts: dict[SplitName, list[str]] = {"train": [], "val": [], "test": []}
        for sample_id in sorted(ids):
            parts[part_of[sample_id]].append(sample_id)
        if sum(map(bool, parts.values())) > 1:
            crossing.append(LeakGroup(key, tuple(parts["train"]), tuple(parts["val"]), tuple(parts["test"])))
    pairs = [pair for group in crossing for pair in _pairs(group)]
    return Leakage(
        tuple(crossing),
        tuple(pairs),
        frozenset(sample_id for group in crossing if group.train for sample_id in group.val),
        frozenset(sample_id for group in crossing for sample_id in group.test),
    )


def _pairs(group: LeakGroup) -> list[tuple[str, str]]:
    pairs = [(group.train[0], sample_id) for sample_id in group.val] if group.train else []
    earlier = group.train or group.val
    return pairs + [(earlier[0], sample_id) for sample_id in group.test]


def score_leakage(
    pred_probs: ArrayLike, y: ArrayLike, *, sample_ids: Sequence[str], affected_ids: Iterable[str]
) -> LeakageScores:
    """Accuracy with Wilson intervals on all samples, on the affected ones and without them.

    `pred_probs` (n, k), `y` (n,) and `sample_ids` (n,) are of one subset; `affected_ids` as in `Leakage.test_ids`.
    """
    right = np.asarray(pred_probs).argmax(axis=1) == np.asarray(y)
    touched = set(affected_ids)
    hit = np.array([sample_id in touched for sample_id in sample_ids], dtype=bool)

    def accuracy(of: ArrayLike) -> Metric | None:
        chosen = right[np.asarray(of)]
        return wilson(int(chosen.sum()), len(chosen)) if len(chosen) else None

    everything = wilson(int(right.sum()), len(right))
    return LeakageScores(everything, accuracy(hit), accuracy(~hit))
