"""Check: photographs whose copies lie in another part of the split, so that a test score says too much."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from mirada.clean.base import Evidence, Material, Need, Scores
from mirada.clean.base import register as register_check
from mirada.messages import Message, msg, msg_n
from mirada.types import SPLIT_NAMES

_SHOWN = 20
_SURE, _SUSPECTED = 0.0, 0.2  # the same bytes; a changed copy


@dataclass(frozen=True, slots=True)
class Leakage:
    """Groups of copies that cross train, val and test, exact and near. `evaluate.leakage` says what they are worth."""

    name: str = "leakage"
    needs: frozenset[Need] = frozenset({"groups"})
    threshold: float = 0.5

    @property
    def title(self) -> Message:
        """What it finds."""
        return msg("A copy in another part of the split")

    def run(self, material: Material) -> Scores:
        """0 where the same bytes are in another part, 0.2 where a changed copy is, else 1. Without a split, all 1."""
        if material.groups is None:
            raise ValueError("the leakage check needs material.groups")
        values = np.ones(len(material.samples), np.float32)
        crossing = _crossing(material)
        for rows in crossing.values():
            places = _places(material, rows)
            for row in rows:
                same = len(places[_content(material, row)]) > 1
                values[row] = _SURE if same else _SUSPECTED
        groups = material.groups

        def evidence(row: int) -> Evidence:
            rows = crossing.get(int(groups[row]), [])
            sample = material.samples[row]
            others = [other for other in rows if material.samples[other].split != sample.split]
            if not others or sample.split is None:
                return {}
            # The same bytes first, then what was there to learn from.
            same = [other for other in others if _content(material, other) == sample.content_sha256]
            nearest = material.samples[(same or others)[0]]
            return {
                "part": sample.split,
                "copy_of": nearest.sample_id,
                "uri": nearest.uri,
                "other_part": nearest.split,
                "kind": "bytes" if same else "near",
                "members": [material.samples[other].sample_id for other in others[:_SHOWN]],
                "n_members": len(rows),
                "parts": {name: sum(material.samples[other].split == name for other in rows) for name in SPLIT_NAMES},
            }

        notes = (
            (msg_n("{n} group of copies crosses the split.", "{n} groups of copies cross the split.", n=len(crossing)),)
            if crossing
            else ()
        )
        return Scores(values, evidence, notes=notes)


def register_leakage() -> None:
    """Make the check known."""
    register_check(Leakage())


def _crossing(material: Material) -> dict[int, list[int]]:
    """Rows that are in a part of the split, by group, of the groups that are in more than one part; train first."""
    groups: dict[int, list[int]] = defaultdict(list)
    numbers = material.groups if material.groups is not None else np.zeros(0, np.int64)
    for row, (sample, group) in enumerate(zip(material.samples, numbers.tolist(), strict=True)):
        if sample.split is not None:
            groups[group].append(row)

    def place(row: int) -> tuple[int, str]:
        split = material.samples[row].split
        return SPLIT_NAMES.index(split) if split else len(SPLIT_NAMES), material.samples[row].sample_id

    return {
        group: sorted(rows, key=place)
        for group, rows in groups.items()
        if len({material.samples[row].split for row in rows}) > 1
    }


def _places(material: Material, rows: list[int]) -> dict[str, set[str | None]]:
    """The parts that each content is in."""
    places: dict[str, set[str | None]] = defaultdict(set)
    for row in rows:
        places[_content(material, row)].add(material.samples[row].split)
    return places


def _content(material: Material, row: int) -> str:
    return material.samples[row].content_sha256
