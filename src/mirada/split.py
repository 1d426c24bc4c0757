"""Which photographs train, tune and test: stratified by class, whole groups, seeded, test frozen.

A group is everything that shares a content hash or a `group_id`. Its place is drawn from a hash of the seed and
the group's smallest content hash, so that the same photographs give the same split in whatever order they come,
and a later photograph never moves an earlier one. The rules, in the order in which they hold:

1. A photograph that was in `test` of an earlier split stays there, whatever else is said.
2. A given layout (the split its source states) is kept as it is, also where groups cross it: see evaluate/leakage.py.
3. A photograph of an earlier split keeps its place.
4. A later photograph joins its group in train or val, else a hash of its group says train or val; never a frozen
   test. One whose group has a member in test is left out, and told.
5. Everything else is drawn: each class by the ratios, at least one group each where it has three, train and test
   where it has two, train where it has one.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from mirada.errors import NotEnoughData, UsageError
from mirada.groups import group_keys
from mirada.messages import Message, msg, msg_n
from mirada.types import SPLIT_NAMES, Sample, Split, SplitName

Strategy = Literal["auto", "stratified", "given"]


@dataclass(frozen=True, slots=True)
class Ratios:
    """Shares of train, val and test; they sum to 1."""

    train: float
    val: float
    test: float


DEFAULT_RATIOS = Ratios(0.70, 0.15, 0.15)


@dataclass(frozen=True, slots=True)
class SplitResult:
    """A split, the samples in none of its parts (sample_id → reason: unlabelled, in_test), and what to tell."""

    split: Split
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[Message, ...] = ()


def parse_ratios(text: str) -> Ratios:
    """Read ratios such as ``63/27/10`` or ``0.7/0.15/0.15``; they are scaled to sum to 1.

    Raises UsageError unless they are three positive numbers.
    """
    wanted = msg("Give train, val and test as three positive numbers, such as 70/15/15.")
    parts = text.split("/")
    try:
        numbers = [float(part) for part in parts]
    except ValueError as error:
        raise UsageError(msg("Ratios must be numbers; got {text!r}.", text=text), wanted) from error
    if len(numbers) != 3 or not all(0 < number < float("inf") for number in numbers):
        raise UsageError(msg("Ratios must be three positive numbers; got {text!r}.", text=text), wanted)
    total = sum(numbers)
    return Ratios(numbers[0] / total, numbers[1] / total, numbers[2] / total)


def make_split(
    samples: Iterable[Sample],
    *,
    ratios: Ratios = DEFAULT_RATIOS,
    seed: int = 0,
    previous: Sequence[Split] = (),
    strategy: Strategy = "auto",
    dataset_id: str = "",
) -> SplitResult:
    """Divide labelled samples into train, val and test.

    `previous` are earlier splits of this data, oldest first; all their test ids are frozen. `strategy` "given"
    keeps the split that the sources state, carving a missing val or test out of train; "stratified" ignores it;
    "auto" is "given" where any sample states one. Raises NotEnoughData for fewer than two classes.
    """
    everything = sorted(samples, key=lambda sample: sample.sample_id)
    labelled = [sample for sample in everything if sample.label is not None]
    left_out = {sample.sample_id: "unlabelled" for sample in everything if sample.label is None}
    _check_classes(labelled)
    given = strategy == "given" or (strategy == "auto" and any(sample.split for sample in labelled))
    plan = _Plan(labelled, seed=seed, ratios=ratios)
    plan.pin(previous, given=given)
    plan.carve()
    plan.place_rest()
    left_out.update(plan.left_out)
    split = _as_split(plan.places, strategy="given" if given else "stratified", seed=seed, dataset_id=dataset_id)
    if not split.train:
        raise NotEnoughData(
            msg("The layout given has no photograph to train on."),
            msg("Add a train folder, or put the photographs in class folders without train, val and test."),
        )
    notes = (*_left_out_notes(left_out), *plan.notes, *_coverage_notes(labelled, split))
    return SplitResult(split, left_out, notes)


def given_split(
    samples: Iterable[Sample], *, ratios: Ratios = DEFAULT_RATIOS, seed: int = 0, dataset_id: str = ""
) -> SplitResult:
    """The split that the sources state; val or test are carved out of train where they are missing."""
    return make_split(samples, ratios=ratios, seed=seed, strategy="given", dataset_id=dataset_id)


def _check_classes(labelled: Sequence[Sample]) -> None:
    classes = {str(sample.label) for sample in labelled}
    if len(classes) >= 2:
        return
    what = (
        msg("All {n} labelled photographs are of one class, {label}.", n=len(labelled), label=next(iter(classes)))
        if classes
        else msg("No photograph has a label.")
    )
    raise NotEnoughData(
        what, msg("A classifier needs two classes or more: put each into a folder of its own, or give --labels.")
    )


def _draw_number(seed: int, key: str) -> float:
    """A number in 0–1 that depends on the seed and the key alone."""
    digest = hashlib.sha256(f"{seed}\0{key}".encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


class _Plan:
    """The places of labelled samples while they are being decided."""

    def __init__(self, labelled: Sequence[Sample], *, seed: int, ratios: Ratios) -> None:
        self.samples, self.seed, self.ratios = labelled, seed, ratios
        self.places: dict[str, SplitName] = {}
        self.left_out: dict[str, str] = {}
        self.notes: list[Message] = []
        self.missing: set[SplitName] = set(SPLIT_NAMES)
        self.pinned: dict[str, SplitName] = {}
        self.soft: dict[str, SplitName] = {}
        self.groups = group_keys(labelled)

    def pin(self, previous: Sequence[Split], *, given: bool) -> None:
        """Rules 1 to 3: what is fixed (`pinned`), and what has an earlier place (`soft`)."""
        frozen = {sample_id for split in previous for sample_id in split.test}
        earlier: dict[str, SplitName] = {}
        for split in previous:
            earlier.update(dict.fromkeys(split.train, "train"))
            earlier.update(dict.fromkeys(split.val, "val"))
        stated: set[SplitName] = {sample.split for sample in self.samples if sample.split} if given else set()
        moved = 0
        for sample in self.samples:
            key, said = sample.sample_id, sample.split if given else None
            if key in frozen:
                self.pinned[key] = "test"
                moved += said is not None and said != "test"
            elif said is not None:
                before = earlier.get(key)
                # A val that was carved out of a given train stays carved.
                self.pinned[key] = before if before is not None and before not in stated else said
            elif key in earlier:
                self.soft[key] = earlier[key]
        self.places.update(self.pinned)
        self.missing = set(SPLIT_NAMES) - set(self.pinned.values()) - set(self.soft.values())
        if moved:
            self.notes.append(
                msg_n(
                    "{n} photograph was in an earlier test set and stays there, though its folder says otherwise.",
                    "{n} photographs were in an earlier test set and stay there, though their folders say otherwise.",
                    n=moved,
                )
            )

    def carve(self) -> None:
        """Draw the parts that a given layout lacks out of its train part."""
        if not self.pinned or "train" in self.missing:
            return
        wanted = {name: getattr(self.ratios, name) for name in SPLIT_NAMES if name == "train" or name in self.missing}
        if len(wanted) == 1:
            return
        train = [sample for sample in self.samples if self.pinned.get(sample.sample_id) == "train"]
        drawn = self._draw(train, wanted)
        for sample in train:
            self.pinned[sample.sample_id] = self.places[sample.sample_id] = drawn[self.groups[sample.sample_id]]
        names = ", ".join(name for name in SPLIT_NAMES if name in self.missing)
        self.notes.append(msg("The layout given has no {parts}: taken out of train.", parts=names))

    def place_rest(self) -> None:
        """Rules 4 and 5, group by group."""
        if not self.pinned and not self.soft:
            wanted = {name: getattr(self.ratios, name) for name in SPLIT_NAMES}
            drawn = self._draw(self.samples, wanted)
            self.places = {sample.sample_id: drawn[self.groups[sample.sample_id]] for sample in self.samples}
            return
        members: dict[str, list[str]] = defaultdict(list)
        for sample_id, group in self.groups.items():
            members[group].append(sample_id)
        for group, ids in members.items():
            parts = {self.pinned.get(key) or self.soft.get(key) for key in ids}
            for key in ids:
                if key in self.pinned:
                    continue
                if "test" in parts:
                    self.left_out[key] = "in_test"
                else:
                    self.places[key] = self._join(group, parts)

    def _join(self, group: str, parts: set[SplitName | None]) -> SplitName:
        if "train" in parts:
            return "train"
        if "val" in parts:
            return "val"
        share = self.ratios.train / (self.ratios.train + self.ratios.val)
        return "train" if _draw_number(self.seed, group) < share else "val"

    def _draw(self, samples: Sequence[Sample], wanted: Mapping[SplitName, float]) -> dict[str, SplitName]:
        """A part for each group of `samples`, class by class, in the shares `wanted`."""
        labels: dict[str, Counter[str]] = defaultdict(Counter)
        for sample in samples:
            labels[self.groups[sample.sample_id]][str(sample.label)] += 1
        by_class: dict[str, list[tuple[int, float, str]]] = defaultdict(list)
        for group, counts in labels.items():
            commonest = min(counts, key=lambda label: (-counts[label], label))
            by_class[commonest].append((-counts.total(), _draw_number(self.seed, group), group))
        drawn: dict[str, SplitName] = {}
        for label, found in sorted(by_class.items()):
            groups = [(group, -size) for size, _, group in sorted(found)]  # large groups first, else by their number
            drawn.update(_deal(groups, wanted, seed=self.seed, label=label))
        return drawn


def _deal(
    groups: Sequence[tuple[str, int]], wanted: Mapping[SplitName, float], *, seed: int, label: str
) -> dict[str, SplitName]:
    """Give each group of one class to the part that lacks most; no part stays empty while groups last."""
    order: list[SplitName] = [name for name in ("train", "test", "val") if name in wanted][: len(groups)]
    lacking = _targets(sum(size for _, size in groups), {name: wanted[name] for name in order}, seed=seed, label=label)
    dealt: dict[str, SplitName] = {}
    empty = list(order)
    for left, (group, size) in zip(range(len(groups), 0, -1), groups, strict=True):
        part = empty[0] if left <= len(empty) else max(order, key=lambda name: lacking[name])
        lacking[part] -= size
        dealt[group] = part
        if part in empty:
            empty.remove(part)
    return dealt


def _targets(n: int, wanted: Mapping[SplitName, float], *, seed: int, label: str) -> dict[SplitName, int]:
    """Whole numbers near the shares that sum to `n`, by largest remainder; equal remainders are drawn."""
    total = sum(wanted.values())
    exact = {name: n * share / total for name, share in wanted.items()}
    counts = {name: int(share + 1e-9) for name, share in exact.items()}
    by_remainder = sorted(
        exact, key=lambda name: (round(counts[name] - exact[name], 9), _draw_number(seed, f"{label}\0{name}"))
    )
    for name in by_remainder[: n - sum(counts.values())]:
        counts[name] += 1
    return counts


def _as_split(places: Mapping[str, SplitName], *, strategy: str, seed: int, dataset_id: str) -> Split:
    ids: dict[SplitName, list[str]] = {"train": [], "val": [], "test": []}
    for sample_id in sorted(places):
        ids[places[sample_id]].append(sample_id)
    digest = hashlib.sha256(f"{strategy}\0{seed}\0{dataset_id}".encode())
    for name in SPLIT_NAMES:
        digest.update("\0".join(["", name, *ids[name]]).encode())
    train, val, test = (tuple(ids[name]) for name in SPLIT_NAMES)
    return Split(digest.hexdigest()[:16], dataset_id, strategy, seed, train, val, test)


def _left_out_notes(left_out: Mapping[str, str]) -> list[Message]:
    counts = Counter(left_out.values())
    notes = []
    if n := counts["unlabelled"]:
        notes.append(
            msg_n("{n} photograph without a label is left out.", "{n} photographs without a label are left out.", n=n)
        )
    if n := counts["in_test"]:
        notes.append(
            msg_n(
                "{n} photograph is left out of train: a copy of it is in the test set.",
                "{n} photographs are left out of train: copies of them are in the test set.",
                n=n,
            )
        )
    return notes


def _coverage_notes(labelled: Sequence[Sample], split: Split) -> list[Message]:
    """Which classes are missing in which part."""
    label_of = {sample.sample_id: str(sample.label) for sample in labelled}
    classes = sorted(set(label_of.values()))
    notes = []
    for name in SPLIT_NAMES:
        held = {label_of[sample_id] for sample_id in getattr(split, name)}
        absent = [label for label in classes if label not in held]
        if not absent:
            continue
        shown = ", ".join(absent[:5]) + (", …" if len(absent) > 5 else "")
        notes.append(
            msg_n(
                "{n} class has no photograph in {part}: {names}.",
                "{n} classes have no photograph in {part}: {names}.",
                n=len(absent),
                part=name,
                names=shown,
            )
        )
    return notes
