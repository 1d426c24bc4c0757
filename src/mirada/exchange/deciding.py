"""From what people chose to decisions in the catalogue: each choice is checked, and one call is all or nothing.

The same functions serve the command line, files and pages. An issue is decided once: a choice on one that is
settled already is refused, unless it says what holds anyway.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mirada.catalog.database import chunked
from mirada.catalog.records import IssueRow
from mirada.errors import Conflict, InputError, MiradaError, NotFound
from mirada.exchange.base import Choice, Refusal, told
from mirada.messages import msg
from mirada.types import Decision, Sample

if TYPE_CHECKING:
    from mirada.catalog.catalog import Catalog

_TRIES = 5  # others may decide between our look and our write; each time what they settled is left out
# A photograph with two choices in one call ends as the stronger one says.
_STRENGTH = {"keep": 0, "restore": 1, "relabel": 2, "ambiguous": 3, "drop": 4}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call decided. `ids`: of the decisions, empty for a dry run. n_already: choices that held before."""

    decisions: tuple[Decision, ...]
    ids: tuple[int, ...] = ()
    refused: tuple[Refusal, ...] = ()
    n_already: int = 0


@dataclass(frozen=True, slots=True)
class Rules:
    """How to take choices. new_classes: let a relabel make a class; skip_bad: do the rest where some are refused."""

    new_classes: bool = False
    skip_bad: bool = False
    dry_run: bool = False


@dataclass(slots=True)
class _Resolved:
    decisions: list[Decision] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    n_already: int = 0


def decide(
    catalog: Catalog, choices: Iterable[Choice], rules: Rules | None = None, *, refused: Sequence[Refusal] = ()
) -> Outcome:
    """Carry out choices, all or none (with `skip_bad` those that can be). `refused`: what reading them refused.

    Raises NotFound for an unknown issue or photograph, InputError for an unknown class or a choice that cannot be
    carried out, Conflict where somebody decided first; nothing is stored then.
    """
    rules = rules or Rules()
    wanted = list(choices)
    n_tries = 0
    while True:
        n_tries += 1
        found = _resolve(catalog, wanted, rules)
        found.refused = [*refused, *found.refused]
        if found.refused and not rules.skip_bad:
            raise _all_or_none(found.refused, len(wanted) + len(refused))
        if rules.dry_run:
            return Outcome(tuple(found.decisions), (), tuple(found.refused), found.n_already)
        try:
            ids = catalog.decide(found.decisions, open_only=True)
        except Conflict:
            if not rules.skip_bad or n_tries == _TRIES:
                raise
        else:
            return Outcome(tuple(found.decisions), tuple(ids), tuple(found.refused), found.n_already)


def _all_or_none(refused: Sequence[Refusal], n: int) -> MiradaError:
    first = refused[0]
    if len(refused) == 1 and n == 1:
        return first.error
    if len(refused) == 1:
        text = msg("{first} Nothing was decided.", first=first.message)
    else:
        text = msg(
            "{first} (and {n} more like it, of {all} in all). Nothing was decided.",
            first=first.message,
            n=len(refused) - 1,
            all=n,
        )
    rest = msg("--skip-bad decides the rest.")
    hint = rest if first.error.hint is None else msg("{hint} {rest}", hint=first.error.hint, rest=rest)
    return type(first.error)(text, hint)


def _resolve(catalog: Catalog, choices: Sequence[Choice], rules: Rules) -> _Resolved:
    found = _Resolved()
    class_names = catalog.class_names()
    taken: dict[tuple[str, str | None], Decision] = {}
    for batch in chunked(choices):
        look = _Look(catalog, batch)
        for choice in batch:
            try:
                decision = look.decision(choice, () if rules.new_classes else class_names)
                if decision is None:
                    found.n_already += 1
                    continue
                _refuse_contradiction(taken, decision)
            except MiradaError as error:
                found.refused.append(Refusal(error, choice.where))
    found.decisions = sorted(taken.values(), key=lambda decision: _STRENGTH[decision.action])
    return found


def _refuse_contradiction(taken: dict[tuple[str, str | None], Decision], decision: Decision) -> None:
    key = (decision.sample_id, decision.check)
    other = taken.setdefault(key, decision)
    if (other.action, other.new) != (decision.action, decision.new):
        raise InputError(
            msg(
                "Two answers for one photograph, {sample_id}: {one} and {other}.",
                sample_id=decision.sample_id,
                one=told((other.action, other.new)),
                other=told((decision.action, decision.new)),
            )
        )


class _Look:
    """What the catalogue says of the issues and photographs of some choices, read at once."""

    def __init__(self, catalog: Catalog, choices: Sequence[Choice]) -> None:
        self.catalog = catalog
        self.issues = catalog.find_issues({c.issue_id for c in choices if c.issue_id is not None})
        ids = {row.issue.sample_id for row in self.issues.values()}
        ids |= {c.sample_id for c in choices if c.sample_id is not None}
        self.samples: Mapping[str, Sample] = catalog.samples_by_id(ids)
        self.statuses = dict(catalog.statuses(ids))
        self.unreadable = catalog.rejected_by_id(ids - self.samples.keys())

    def decision(self, choice: Choice, class_names: Sequence[str]) -> Decision | None:
        """The decision that a choice comes to; None where it holds already. Raises NotFound, InputError, Conflict."""
        issue = self._issue(choice)
        sample_id = choice.sample_id if issue is None else issue.issue.sample_id
        if sample_id is None:
            raise InputError(msg("A decision must name an issue or a photograph."))
        sample = self.samples.get(sample_id)
        if sample is None and sample_id not in self.unreadable:
            raise self._missing(choice, sample_id)
        if sample is None and choice.action not in ("keep", "drop"):
            raise InputError(
                msg("{uri} cannot be read: keep or drop it.", uri=self.unreadable[sample_id].uri),
            )
        action, new = choice.action, choice.new
        if action == "relabel":
            if class_names:
                check_class(str(new), class_names)
            if sample is not None and sample.label == new:
                action, new = "keep", None
        check = choice.check if issue is None else issue.issue.check
        made = Decision(sample_id, action, new=new, by=choice.by, reason=choice.why, check=check)
        if issue is not None and not issue.is_open:
            self._settled(issue, made)
            return None
        return self._expecting(made, sample)

    def _issue(self, choice: Choice) -> IssueRow | None:
        if choice.issue_id is None:
            return None
        row = self.issues.get(choice.issue_id)
        if row is None:
            raise NotFound(
                msg("There is no issue {issue_id}.", issue_id=choice.issue_id), msg("`mirada issues` lists them.")
            )
        if choice.sample_id is not None and choice.sample_id != row.issue.sample_id:
            raise InputError(
                msg(
                    "Issue {issue_id} is of photograph {sample_id} here, not of {other}.",
                    issue_id=choice.issue_id,
                    sample_id=row.issue.sample_id,
                    other=choice.sample_id,
                ),
                msg("The file is of another workspace, or older than the last `mirada clean`: export it again."),
            )
        if not row.issue.is_issue:
            raise NotFound(
                msg("Issue {issue_id} is no longer one: the last `mirada clean` no longer flagged it.",
                    issue_id=choice.issue_id)
            )  # fmt: skip
        return row

    def _missing(self, choice: Choice, sample_id: str) -> NotFound:
        hint = msg("It was taken out of its source, or the file is of another workspace.")
        if choice.issue_id is not None:
            return NotFound(
                msg("The photograph of issue {issue_id} is no longer in the catalogue.", issue_id=choice.issue_id), hint
            )
        return NotFound(msg("There is no sample {sample_id} in the catalogue.", sample_id=sample_id), hint)

    def _settled(self, row: IssueRow, wanted: Decision) -> None:
        """Raise Conflict unless the decision that settled it says the same."""
        rows = self.catalog.history(wanted.sample_id)
        in_force = [one for one in rows if one.undoes is None and one.undone_by is None]
        answered = [one for one in in_force if one.check == wanted.check] or in_force
        decision_id, last = answered[-1].decision_id, answered[-1].decision()
        says_same = (last.action, last.new if last.action == "relabel" else None) == (wanted.action, wanted.new)
        kept_so = wanted.action == "keep" and last.action == "relabel" and self._label(wanted) == last.new
        if says_same or kept_so:
            return
        raise Conflict(
            msg(
                "Issue {issue_id} is settled already: {what} by {by}.",
                issue_id=row.issue_id,
                what=told((last.action, last.new)),
                by=last.by or "?",
            ),
            msg("`mirada undo --id {decision_id}` takes that back; then decide anew.", decision_id=decision_id),
        )

    def _label(self, wanted: Decision) -> str | None:
        sample = self.samples.get(wanted.sample_id)
        return None if sample is None else sample.label

    def _expecting(self, made: Decision, sample: Sample | None) -> Decision:
        """The decision with the state that it was made in: whoever changes that in between makes it a conflict."""
        if sample is None or made.check is not None:  # the catalogue looks whether its issue is open
            return made
        old = sample.label if made.action == "relabel" else self.statuses[made.sample_id]
        return Decision(made.sample_id, made.action, old, made.new, made.by, made.reason, "", None)


def check_class(name: str, class_names: Sequence[str]) -> None:
    """Raise InputError where `name` is no class of the catalogue, with the nearest one that is."""
    if name in class_names:
        return
    folded = {known.casefold(): known for known in reversed(class_names)}
    near = difflib.get_close_matches(name.casefold(), folded, n=1)
    text = msg("There is no class {name!r}.", name=name)
    if near:
        raise InputError(text, msg("Did you mean {name}? --new-class makes a new one.", name=folded[near[0]]))
    allowed = ", ".join(class_names[:10]) + (", …" if len(class_names) > 10 else "")
    raise InputError(text, msg("There are: {allowed}. --new-class makes a new one.", allowed=allowed))
