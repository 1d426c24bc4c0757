"""Everything that one `mirada decide` was asked, gathered into one list of choices."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mirada.exchange.base import Choice, Refusal
from mirada.messages import Message
from mirada.types import Action
from mirada.workflow.deciding import group_choices, read_file
from mirada.workflow.ruling import apply_rule

if TYPE_CHECKING:
    from mirada.catalog.catalog import Catalog


@dataclass(slots=True)
class Gathered:
    """Choices of one call. `by` and `why` stand where a choice does not say its own."""

    catalog: Catalog
    by: str = ""
    why: str = ""
    choices: list[Choice] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    notes: list[Message] = field(default_factory=list)
    n_undecided: int = 0

    def issues(self, issue_ids: Iterable[int], answer: tuple[Action, str | None]) -> None:
        """The same answer for each of these issues."""
        self._take(Choice(*answer, issue_id=issue_id) for issue_id in issue_ids)

    def photographs(self, sample_ids: Iterable[str], answer: tuple[Action, str | None]) -> None:
        """The same answer for each of these photographs as a whole."""
        self._take(Choice(*answer, sample_id=sample_id) for sample_id in sample_ids)

    def groups(self, issue_ids: Iterable[int]) -> None:
        """Of the copies that each of these issues is about keep the best, drop the rest."""
        for issue_id in issue_ids:
            self._take(group_choices(self.catalog, issue_id))

    def files(self, paths: Iterable[Path]) -> None:
        """What these files say."""
        for path in paths:
            handed = read_file(path)
            self._take(handed.choices)
            self.refused += handed.refused
            self.notes += handed.notes
            self.n_undecided += handed.n_undecided

    def rules(self, rules: Iterable[str]) -> None:
        """What these rules decide."""
        for rule in rules:
            ruled = apply_rule(self.catalog, rule)
            self._take(ruled.choices)
            self.notes += ruled.notes

    def says_anything(self) -> bool:
        """Whether there was anything to decide, be it refused or left open."""
        return bool(self.choices or self.refused or self.n_undecided)

    def _take(self, choices: Iterable[Choice]) -> None:
        self.choices += [replace(one, by=one.by or self.by, why=one.why or self.why) for one in choices]
