"""What the catalogue hands out beyond `mirada.types`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypedDict

from mirada.types import Decision, Issue

Status = Literal["live", "dropped", "ambiguous"]
STATUSES: tuple[Status, ...] = ("live", "dropped", "ambiguous")
JobStatus = Literal["queued", "running", "done", "failed"]


def photo_id(source: str, uri: str) -> str:
    """The id of the photograph at `uri` in `source`, readable or not: what `mirada.ingest.sample_id` gives."""
    return hashlib.sha256(f"{source}\0{uri}".encode()).hexdigest()[:20]


@dataclass(frozen=True, slots=True)
class AddCounts:
    """What one `add` did: new samples, unchanged ones, changed ones (content, label or split), new rejections."""

    n_added: int = 0
    n_known: int = 0
    n_changed: int = 0
    n_rejected: int = 0


class Totals(TypedDict):
    """Totals of the catalogue, all from counters. `samples`, `by_split`, `unlabelled`, `by_check`: live ones.

    `by_check` holds unreadable photographs too; `by_check_open` leaves out what is decided.
    """

    samples: int
    rejected: int
    unlabelled: int
    decided: int
    by_status: dict[str, int]
    by_split: dict[str, int]
    by_check: dict[str, int]
    by_check_open: dict[str, int]
    by_reason: dict[str, int]
    by_action: dict[str, int]
    by_source: dict[str, int]


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """A row of the decision log. `undoes` is set on an undo; `undone_by` on a decision that was undone."""

    decision_id: int
    sample_id: str
    action: str
    old_label: str | None
    new_label: str | None
    old_status: str
    new_status: str
    by: str
    reason: str
    at: str
    undoes: int | None = None
    check: str | None = None
    undone_by: int | None = None

    def decision(self) -> Decision:
        """As the decision that was made: old and new are labels for a relabel, else statuses."""
        labels, statuses = (self.old_label, self.new_label), (self.old_status, self.new_status)
        old, new = labels if self.action == "relabel" else statuses
        return Decision(self.sample_id, self.action, old, new, self.by, self.reason, self.at, self.check)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Outcomes:
    """`n` samples that the source gave one label, that have another now, and what became of them.

    `check`: what the decision that took them out was for; None: no check, or they are live.
    """

    given_label: str | None
    label: str | None
    status: Status
    check: str | None
    n: int


@dataclass(frozen=True, slots=True)
class StepCount:
    """How many decisions in force answer a check (None: the photograph as a whole) with one action."""

    check: str | None
    action: str
    n: int


@dataclass(frozen=True, slots=True)
class IssueRow:
    """An issue with the key that decisions and pages name it by; `is_open`: nothing has settled it yet."""

    issue_id: int
    issue: Issue
    is_open: bool = True


@dataclass(frozen=True, slots=True)
class IssueCounts:
    """How many photographs a check flags, by whether that is settled."""

    n_open: int
    n_decided: int


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A row of the model registry. `path` is the bundle folder, "" while it is being written."""

    name: str
    version: int
    path: str
    run_id: str
    metrics: Mapping[str, object]
    made_at: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AliasChange:
    """One change of an alias; the history is append-only."""

    name: str
    alias: str
    version: int
    is_rollback: bool
    by: str
    reason: str
    at: str


@dataclass(frozen=True, slots=True)
class Job:
    """A row of the queue. `n_attempts` counts claims, this one included."""

    job_id: int
    kind: str
    payload: Mapping[str, object]
    status: JobStatus
    n_attempts: int
    max_attempts: int
    error: str | None
    queued_at: str
    claimed_at: str | None = None
    seen_at: str | None = None
    ended_at: str | None = None
