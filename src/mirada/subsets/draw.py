"""Which photographs a recipe takes: a pure function of the photographs and the recipe.

Every group of copies gets a number from a hash of the seed and its smallest content hash, so that the same
photographs give the same subset in whatever order they come, and a copy is not drawn beside its original. All
photographs are then put into one order whose every beginning is a fair draw, and a subset of N is its first N: so a
larger one contains the smaller one. (Largest remainders would not: with them, a class can lose a seat when the
whole grows, Alabama's of 1880.)
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mirada.errors import NotEnoughData
from mirada.groups import group_keys
from mirada.messages import Message, msg, msg_n
from mirada.subsets.recipe import Recipe
from mirada.types import Sample

Ranked = Mapping[str, Sequence[str]]
"""Sample ids of each class, in the order in which it gives them."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """The ids, in the order of the draw; how many of each class; what to tell."""

    ids: tuple[str, ...]
    counts: Mapping[str, int]
    notes: tuple[Message, ...]


def draw(samples: Iterable[Sample], recipe: Recipe) -> Drawn:
    """Draw from `samples` as `recipe` says: exactly `recipe.size` ids where it names a size.

    Samples without a label are never drawn, and copies only by "all" without a size, which takes everything.
    Raises NotEnoughData where there are fewer than asked for, and for a balanced draw from a class without a
    photograph.
    """
    everything = list(samples)
    known = [sample for sample in everything if sample.label is not None]
    labelled = {sample.sample_id: str(sample.label) for sample in known}
    eligible = [sample for sample in known if _fits(sample, recipe)]
    if recipe.split is not None and not any(sample.split for sample in known):
        raise NotEnoughData(
            msg("No photograph is in {part}: they are not divided into train, val and test yet.", part=recipe.split),
            msg("`mirada split` divides them, and so does `mirada train`."),
        )
    absent = _absent(known, eligible, recipe)
    if recipe.strategy == "balanced" and absent:
        raise NotEnoughData(
            msg("A balanced subset needs every class, but there is no photograph of {names}.", names=", ".join(absent)),
            msg("Name the classes to draw from with --classes, or use --strategy stratified."),
        )
    if not eligible:
        raise NotEnoughData(
            msg("No labelled photograph fits the recipe."),
            msg("`mirada add` brings photographs with labels in; `mirada suggest` says which to label first."),
        )
    first, copies = _without_copies(known, eligible, recipe.seed)
    ranked: dict[str, list[str]] = defaultdict(list)
    for sample_id in first:
        ranked[labelled[sample_id]].append(sample_id)
    order, usual = _ordered(ranked, first, copies, recipe)
    ids = tuple(order[: _size(recipe, len(first), usual, n_copies=len(copies))])
    counts = dict(sorted(Counter(labelled[i] for i in ids).items()))
    notes = _notes(recipe, ranked, counts, absent, n_unlabelled=len(everything) - len(known))
    if copies and len(ids) <= len(first):
        notes.append(
            msg_n(
                "{n} copy of another photograph is never drawn beside it.",
                "{n} copies of other photographs are never drawn beside them.",
                n=len(copies),
            )
        )
    return Drawn(ids, counts, tuple(notes))


def _fits(sample: Sample, recipe: Recipe) -> bool:
    return (not recipe.classes or sample.label in recipe.classes) and recipe.split in (None, sample.split)


def _absent(known: Sequence[Sample], eligible: Sequence[Sample], recipe: Recipe) -> list[str]:
    """The classes that are wanted and have nothing to give."""
    wanted = set(recipe.classes) or {str(sample.label) for sample in known}
    return sorted(wanted - {str(sample.label) for sample in eligible})


def _number(seed: int, key: str) -> bytes:
    return hashlib.sha256(f"subset\0{seed}\0{key}".encode()).digest()


def _without_copies(known: Sequence[Sample], eligible: Sequence[Sample], seed: int) -> tuple[list[str], list[str]]:
    """Ids in the order of their groups' numbers: the first eligible one of each group, and the rest of them."""
    groups = group_keys(known)
    number = {group: _number(seed, group) for group in set(groups.values())}

    def place(sample: Sample) -> tuple[bytes, bytes, str]:
        return number[groups[sample.sample_id]], _number(seed, sample.content_sha256), sample.sample_id

    first: dict[str, str] = {}
    copies = []
    for sample in sorted(eligible, key=place):
        if first.setdefault(groups[sample.sample_id], sample.sample_id) != sample.sample_id:
            copies.append(sample.sample_id)
    return list(first.values()), copies


def _ordered(ranked: Ranked, first: Sequence[str], copies: Sequence[str], recipe: Recipe) -> tuple[Sequence[str], int]:
    """One order whose every beginning is a fair draw, and how many of it there are where no size is named."""
    if recipe.strategy == "all":
        return [*first, *copies], len(first) + len(copies)
    tie = {label: _number(recipe.seed, f"class\0{label}") for label in ranked}
    if recipe.strategy == "balanced":
        # Every class in turn; one that has no more is passed over.
        turns = sorted((rank, tie[label], i) for label, ids in ranked.items() for rank, i in enumerate(ids))
        return [i for _, _, i in turns], len(ranked) * min(map(len, ranked.values()))
    # Webster's method: the j-th of n comes at (j - 1/2) / n, so that every beginning holds each class by its share,
    # rounded; before that one of each class, so that none is missing.
    heads = [ids[0] for _, ids in sorted(ranked.items(), key=lambda item: (-len(item[1]), tie[item[0]]))]
    rest = sorted(
        ((rank + 0.5) / len(ids), tie[label], i) for label, ids in ranked.items() for rank, i in enumerate(ids) if rank
    )
    return [*heads, *(i for _, _, i in rest)], len(first)


def _size(recipe: Recipe, n_first: int, usual: int, *, n_copies: int) -> int:
    if recipe.size is None:
        return usual
    if recipe.size > n_first:
        what = (
            msg(
                "{size} photographs are asked for, but the recipe has {n}, not counting {copies} copies of them.",
                size=recipe.size, n=n_first, copies=n_copies,
            )
            if n_copies
            else msg("{size} photographs are asked for, but the recipe has {n}.", size=recipe.size, n=n_first)
        )  # fmt: skip
        raise NotEnoughData(what, msg("Give --size at most {n}, or leave it out.", n=n_first))
    return recipe.size


def _notes(
    recipe: Recipe, ranked: Ranked, counts: Mapping[str, int], absent: Sequence[str], *, n_unlabelled: int
) -> list[Message]:
    notes = []
    if n_unlabelled:
        notes.append(
            msg_n(
                "{n} photograph without a label is left out.", "{n} photographs without a label are left out.",
                n=n_unlabelled,
            )
        )  # fmt: skip
    if absent:
        notes.append(msg("There is no photograph of {names}.", names=", ".join(absent)))
    if missing := sorted(set(ranked) - set(counts)):
        notes.append(
            msg("The size is too small for a photograph of every class; missing: {names}.", names=", ".join(missing))
        )
    if recipe.strategy == "balanced":
        most = max(counts.values())
        notes += [
            msg("{label} has only {n}: all are in, and the other classes give more.", label=label, n=len(ids))
            for label, ids in sorted(ranked.items())
            if counts.get(label) == len(ids) and most - len(ids) > 1
        ]
    return notes
