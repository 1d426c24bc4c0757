"""Rules that decide by themselves, each only where a person switches it on; recorded as decided by "rule:NAME".

    drop_exact_duplicates   of each set of byte-identical photographs keep the best, drop the others; so with
                            those that the check `exact_duplicate` found to be equal in every pixel
    drop_near_duplicates    the same for near duplicates
    drop_corrupt            what cannot be read
    accept_labels=P         the suggested class, where the check `label` is at least P sure of it

No rule touches what a person has decided. Copies with different labels are left to a person: dropping one of them
would decide which label is right.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mirada.catalog.database import chunked
from mirada.catalog.records import IssueRow
from mirada.errors import UsageError
from mirada.exchange.base import Choice, suggestion
from mirada.messages import Message, msg, msg_n
from mirada.types import Sample
from mirada.workflow.deciding import best

if TYPE_CHECKING:
    from mirada.catalog.catalog import Catalog


@dataclass(slots=True)
class Ruled:
    """What a rule wants decided, and what has to be told of what it left."""

    choices: list[Choice] = field(default_factory=list)
    notes: list[Message] = field(default_factory=list)


def apply_rule(catalog: Catalog, rule: str) -> Ruled:
    """The choices of one rule, as it is written on the command line. Raises UsageError for an unknown one."""
    name, sign, value = rule.partition("=")
    if name not in RULES or bool(sign) != (name == "accept_labels"):
        raise UsageError(
            msg("There is no rule {rule!r}; there are: {allowed}.", rule=rule, allowed=", ".join(ALLOWED_RULES))
        )
    ruled = RULES[name](catalog, value)
    by = f"rule:{name}"
    return Ruled([replace(choice, by=by, why=choice.why or rule) for choice in ruled.choices], ruled.notes)


def _exact(catalog: Catalog, _: str) -> Ruled:
    ruled, n_left = Ruled(), 0
    for batch in chunked(catalog.duplicates_by_content(), 100):
        samples = catalog.samples_by_id(key for group in batch for key in group)
        issues, settled = _issues_of(catalog, samples, "exact_duplicate")
        for group in batch:
            n_left += _drop_copies(ruled, [samples[key] for key in group], issues, settled, "exact_duplicate")
    for rows in chunked(catalog.issues("exact_duplicate"), 100):
        n_left += _equal_pixels(catalog, rows, ruled)
    return _told(ruled, n_left)


def _equal_pixels(catalog: Catalog, rows: list[IssueRow], ruled: Ruled) -> int:
    """Copies in files of other bytes, which only their evidence leads to; returns how many a person has to see."""
    kept = {row.issue.sample_id: str(row.issue.evidence.get("keep")) for row in rows}
    samples = catalog.samples_by_id({*kept, *kept.values()})
    statuses, n_left = catalog.statuses(samples), 0
    for row in rows:
        one, other = samples.get(row.issue.sample_id), samples.get(kept[row.issue.sample_id])
        if one is None or other is None or statuses[other.sample_id] != "live":
            continue
        if one.content_sha256 != other.content_sha256:
            n_left += _drop_copies(ruled, [one, other], {one.sample_id: row}, set(), "exact_duplicate")
    return n_left


def _near(catalog: Catalog, _: str) -> Ruled:
    ruled, n_left = Ruled(), 0
    check = "near_duplicate"
    wanted = {
        sample.group_id: None
        for batch in chunked(catalog.issues(check))
        for sample in catalog.samples_by_id(row.issue.sample_id for row in batch).values()
        if sample.group_id is not None
    }
    for group_ids in chunked(wanted, 100):
        groups = catalog.group_members(group_ids)
        samples = catalog.samples_by_id(key for members in groups.values() for key in members)
        statuses = catalog.statuses(samples)
        issues, settled = _issues_of(catalog, samples, check)
        for members in groups.values():
            live = [samples[key] for key in members if statuses[key] == "live"]
            n_left += _drop_copies(ruled, live, issues, settled, check)
    return _told(ruled, n_left)


def _issues_of(catalog: Catalog, sample_ids: Iterable[str], check: str) -> tuple[Mapping[str, IssueRow], set[str]]:
    """What `check` flags of these samples, and which of them it need not be asked about any more."""
    ids = list(sample_ids)
    rows = catalog.issues_of(ids)
    flagged = {row.issue.sample_id: row for row in rows if row.issue.check == check and row.issue.is_issue}
    return flagged, catalog.answered(ids, check) | {key for key, row in flagged.items() if not row.is_open}


def _drop_copies(
    ruled: Ruled, members: list[Sample], issues: Mapping[str, IssueRow], settled: Collection[str], check: str
) -> bool:
    """Choose to drop all but the best; True where the copies' labels differ and a person has to."""
    if len(members) < 2:
        return False
    if len({sample.label for sample in members} - {None}) > 1:
        return True
    named = [issues[s.sample_id].issue.evidence.get("keep") for s in members if s.sample_id in issues]
    kept = best(members, named=next((name for name in named if name is not None), None))
    for sample in members:
        issue = issues.get(sample.sample_id)
        if sample is kept or sample.sample_id in settled:
            continue
        if issue is None and check == "near_duplicate":  # in the group by way of others
            continue
        key = None if issue is None else issue.issue_id
        why = msg("a copy of {uri}", uri=kept.uri).render("en")
        ruled.choices.append(Choice("drop", None, key, sample.sample_id, check, why=why))
    return False


def _told(ruled: Ruled, n_left: int) -> Ruled:
    if n_left:
        ruled.notes.append(
            msg_n(
                "{n} set of copies bears different labels: look at it yourself.",
                "{n} sets of copies bear different labels: look at them yourself.",
                n=n_left,
            )
        )
    return ruled


def _corrupt(catalog: Catalog, _: str) -> Ruled:
    return Ruled([Choice("drop", None, row.issue_id, row.issue.sample_id) for row in catalog.issues("corrupt")])


def _labels(catalog: Catalog, value: str) -> Ruled:
    try:
        least = float(value.replace(",", "."))
    except ValueError:
        least = -1.0
    if not 0 < least <= 1:
        raise UsageError(msg("accept_labels=P takes a probability above 0, up to 1; got {value!r}.", value=value))
    ruled = Ruled()
    for row in catalog.issues("label"):
        label, sure = suggestion(row.issue.evidence)
        if label is not None and sure is not None and sure >= least:
            ruled.choices.append(Choice("relabel", label, row.issue_id, row.issue.sample_id))
    return ruled


RULES: Mapping[str, Callable[[Catalog, str], Ruled]] = {
    "drop_exact_duplicates": _exact,
    "drop_near_duplicates": _near,
    "drop_corrupt": _corrupt,
    "accept_labels": _labels,
}
ALLOWED_RULES = tuple(f"{name}=P" if name == "accept_labels" else name for name in RULES)
