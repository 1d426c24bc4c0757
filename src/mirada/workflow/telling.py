"""What cleaning did to each class: the table of `mirada history`, whose rows add up.

    original + relabelled to − relabelled from − dropped − ambiguous − unreadable = final

Each photograph is counted once, by the label that its source gave and the one that it has now: one that was
relabelled twice and back has not moved, and one that was relabelled and then dropped left its first class and was
dropped from the second.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mirada.catalog.records import StepCount
from mirada.sources.uris import uri_path

if TYPE_CHECKING:
    from mirada.catalog.catalog import Catalog

BY_HAND = ""
"""The name of "no check" among what was dropped: decided on the photograph itself."""


@dataclass(slots=True)
class ClassHistory:
    """What happened to one class (None: what has no label); `dropped`: by the check that led to it."""

    label: str | None
    original: int = 0
    relabelled_from: int = 0
    relabelled_to: int = 0
    ambiguous: int = 0
    unreadable: int = 0
    final: int = 0
    dropped: dict[str, int] = field(default_factory=dict)

    @property
    def n_dropped(self) -> int:
        """All that were dropped."""
        return sum(self.dropped.values())

    @property
    def n_other(self) -> int:
        """Dropped for anything but duplicates or being irrelevant."""
        named = ("exact_duplicate", "near_duplicate", "outlier")
        return sum(n for check, n in self.dropped.items() if check not in named)

    @property
    def kept(self) -> float | None:
        """Final / original; None where there was nothing."""
        return self.final / self.original if self.original else None

    def add(self, other: ClassHistory) -> None:
        """Add another class's numbers to these."""
        for name in ("original", "relabelled_from", "relabelled_to", "ambiguous", "unreadable", "final"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for check, n in other.dropped.items():
            self.dropped[check] = self.dropped.get(check, 0) + n


@dataclass(frozen=True, slots=True)
class CleaningHistory:
    """The classes in the order of their names, without a label last; their total; decisions in force by check."""

    classes: tuple[ClassHistory, ...]
    total: ClassHistory
    steps: tuple[StepCount, ...]


def cleaning_history(catalog: Catalog) -> CleaningHistory:
    """What the decisions in force did to each class."""
    found: dict[str | None, ClassHistory] = {}

    def of(label: str | None) -> ClassHistory:
        return found.setdefault(label, ClassHistory(label))

    for row in catalog.outcomes():
        of(row.given_label).original += row.n
        if row.label != row.given_label:
            of(row.given_label).relabelled_from += row.n
            of(row.label).relabelled_to += row.n
        now = of(row.label)
        if row.status == "live":
            now.final += row.n
        elif row.status == "ambiguous":
            now.ambiguous += row.n
        else:
            check = row.check or BY_HAND
            now.dropped[check] = now.dropped.get(check, 0) + row.n
    for label, n in _unreadable(catalog, [name for name in found if name is not None]).items():
        of(label).original += n
        of(label).unreadable += n
    classes = sorted(found.values(), key=lambda one: (one.label is None, one.label or ""))
    total = ClassHistory(None)
    for one in classes:
        total.add(one)
    return CleaningHistory(tuple(classes), total, tuple(catalog.step_counts()))


def _unreadable(catalog: Catalog, class_names: Iterable[str]) -> Mapping[str | None, int]:
    """How many cannot be read, by class: what has no sample has no label, so the folder it lies in has to say."""
    known = set(class_names)
    found: dict[str | None, int] = {}
    for photo in catalog.rejected():
        parents = uri_path(photo.uri).split("/")[:-1]
        label = parents[-1] if parents and parents[-1] in known else None
        found[label] = found.get(label, 0) + 1
    return found
