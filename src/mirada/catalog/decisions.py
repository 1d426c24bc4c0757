"""Decisions: append-only rows, and what they make of each sample.

A sample starts live, with the label its source gave. Each decision in force changes that, in order:

    keep        live (looked at: nothing to change)    relabel     live, with the new label
    drop        dropped                                 ambiguous   ambiguous (out of training, kept for show)
    restore     live

An undo is a row of its own. The state of a sample is what its decisions in force, replayed from the source's
facts, come to; so undoing any of them, and replaying all onto a fresh catalogue, give the same state.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_args

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirada.catalog.counters import Tally
from mirada.catalog.database import chunked, now
from mirada.catalog.history import HistoryReader, history_query
from mirada.catalog.queues import IN_FORCE, UNREADABLE, settle_issues, undo_rows
from mirada.catalog.records import HistoryRow, Status
from mirada.catalog.schema import decisions as log
from mirada.catalog.schema import issues, rejected, samples
from mirada.errors import Conflict, InputError, NotFound
from mirada.messages import msg
from mirada.types import Action, Decision

ACTIONS: tuple[str, ...] = get_args(Action)
_STATUS_AFTER: Mapping[str, Status] = {
    "keep": "live",
    "relabel": "live",
    "restore": "live",
    "drop": "dropped",
    "ambiguous": "ambiguous",
}


@dataclass(frozen=True, slots=True)
class State:
    """What holds for a sample now."""

    label: str | None
    label_source: str | None
    status: str
    n_decisions: int = 0

    def after(self, action: str, new: str | None) -> State:
        """The state once `action` is decided; what cannot be read stays so."""
        if self.status == UNREADABLE:
            return self
        made = replace(self, status=_STATUS_AFTER[action], n_decisions=self.n_decisions + 1)
        return replace(made, label=new, label_source="decision") if action == "relabel" else made


@dataclass(frozen=True, slots=True)
class Current:
    """A sample's state in the table, with what its replay starts from and its counters hang on."""

    state: State
    given: State
    split: str | None


class DecisionLog(HistoryReader):
    """The part of `Catalog` that decides."""

    def decide(self, decisions: Iterable[Decision], *, open_only: bool = False) -> list[int]:
        """Record decisions, all or none, and return their ids in order.

        Where `decision.old` is given it must hold now (the label for a relabel, else the status), or Conflict
        is raised: somebody else decided first. So it is with `open_only` where the issue that a decision answers
        was settled before this call. `at` is set where it is empty. A photograph that cannot be read may be kept
        or dropped, by the id that it would have as a sample. Raises NotFound for an unknown sample, InputError
        for an unknown action or a relabel without a new label.
        """
        wanted = list(decisions)
        with self._db.write() as connection:
            if open_only:  # all of them before any: two issues of one photograph may be settled by one call
                for batch in chunked(wanted):
                    _refuse_settled(connection, batch)
            return _decide_all(connection, wanted)

    def replay(self, decisions: Iterable[Decision]) -> list[int]:
        """Decide again what was decided elsewhere, in the same order, with its own times and authors.

        Unlike `decide` it does not compare `old`: decisions undone in between are no longer there. What was
        decided while a photograph could be read is in force again as soon as it can be.
        """
        with self._db.write() as connection:
            wanted = [replace(decision, old=None) for decision in decisions]
            return _decide_all(connection, wanted, is_replay=True)

    def undo(self, n: int = 1, *, ids: Sequence[int] | None = None, by: str = "", reason: str = "") -> list[int]:
        """Undo the last `n` decisions in force, or those of `ids`; returns the ids of what was undone.

        Raises NotFound for an id that is no decision, Conflict for one that is undone already.
        """
        with self._db.write() as connection:
            undone = _last_in_force(connection, n) if ids is None else _named_in_force(connection, ids)
            tally = Tally()
            for batch in chunked(undone):
                _undo_batch(connection, batch, tally, by=by, reason=reason)
            tally.apply(connection)
        return [row.decision_id for row in undone]


def replay_samples(connection: Connection, sample_ids: Iterable[str], tally: Tally) -> None:
    """Bring samples to the state that the source's facts and the decisions in force give them."""
    for batch in chunked(sample_ids):
        current = _current(connection, batch)
        _settle(connection, current, _replayed(connection, current), tally)
        settle_issues(connection, batch, tally)


def with_decisions(connection: Connection, sample_ids: Sequence[str]) -> list[str]:
    """Which of these ids have ever been decided on."""
    query = sa.select(log.c.sample_id).where(log.c.sample_id.in_(sample_ids)).distinct()
    return list(connection.execute(query).scalars())


def _decide_all(connection: Connection, wanted: list[Decision], *, is_replay: bool = False) -> list[int]:
    tally = Tally()
    ids = [key for batch in chunked(wanted) for key in _decide_batch(connection, batch, tally, is_replay=is_replay)]
    tally.apply(connection)
    return ids


def _decide_batch(connection: Connection, batch: list[Decision], tally: Tally, *, is_replay: bool) -> list[int]:
    current = _current(connection, [decision.sample_id for decision in batch])
    after = {sample_id: row.state for sample_id, row in current.items()}
    ids = {decision.sample_id for decision in batch}
    after |= _unreadable(connection, ids - after.keys())
    rows = []
    for decision in batch:
        _check(decision, after, is_replay=is_replay)
        old = after[decision.sample_id]
        new = after[decision.sample_id] = old.after(decision.action, decision.new)
        tally.add(1, "decisions", decision.action)
        rows.append(_log_row(decision, old, new))
    statement = sa.insert(log).returning(log.c.decision_id, sort_by_parameter_order=True)
    made = list(connection.execute(statement, rows).scalars())
    _settle(connection, current, after, tally)
    settle_issues(connection, ids, tally)
    return made


def _unreadable(connection: Connection, sample_ids: Collection[str]) -> dict[str, State]:
    """The state of those of the ids that cannot be read."""
    if not sample_ids:
        return {}
    query = sa.select(rejected.c.sample_id).where(rejected.c.sample_id.in_(sample_ids))
    return dict.fromkeys(connection.execute(query).scalars(), State(None, None, UNREADABLE))


def _refuse_settled(connection: Connection, batch: Sequence[Decision]) -> None:
    """Raise Conflict where one of these answers an issue that is settled already."""
    wanted = {(decision.sample_id, decision.check) for decision in batch if decision.check is not None}
    query = sa.select(issues.c.issue_id, issues.c.sample_id, issues.c.check)
    closed = (issues.c.is_issue, ~issues.c.is_open, issues.c.sample_id.in_({sample_id for sample_id, _ in wanted}))
    for issue_id, sample_id, check in connection.execute(query.where(*closed).order_by(issues.c.issue_id)):
        if (sample_id, check) in wanted:
            raise _settled_already(connection, issue_id, sample_id)


def _settled_already(connection: Connection, issue_id: int, sample_id: str) -> Conflict:
    query = sa.select(log.c.decision_id, log.c.action, log.c.new_label, log.c.decided_by).where(IN_FORCE)
    last = query.where(log.c.sample_id == sample_id).order_by(log.c.decision_id.desc()).limit(1)
    made = connection.execute(last).one()
    what = f"relabel={made.new_label}" if made.action == "relabel" else made.action
    return Conflict(
        msg(
            "Issue {issue_id} is settled already: {what} by {by}, decision {decision_id}.",
            issue_id=issue_id,
            what=what,
            by=made.decided_by or "?",
            decision_id=made.decision_id,
        ),
        msg("`mirada undo --id {decision_id}` takes that back; then decide anew.", decision_id=made.decision_id),
    )


def _check(decision: Decision, states: Mapping[str, State], *, is_replay: bool) -> None:
    state = states.get(decision.sample_id)
    if state is None:
        raise NotFound(msg("There is no sample {sample_id} in the catalogue.", sample_id=decision.sample_id))
    if decision.action not in ACTIONS:
        raise InputError(
            msg(
                "A decision must be one of {allowed}; got {given!r}.", allowed=", ".join(ACTIONS), given=decision.action
            )
        )
    if state.status == UNREADABLE and not is_replay and decision.action not in ("keep", "drop"):
        raise InputError(
            msg(
                "Sample {sample_id} cannot be read: it can be kept as it is or dropped, not {action}.",
                sample_id=decision.sample_id,
                action=decision.action,
            )
        )
    if decision.action == "relabel" and not decision.new:
        raise InputError(msg("A relabel of sample {sample_id} must name the new class.", sample_id=decision.sample_id))
    holds = state.label if decision.action == "relabel" else state.status
    if decision.old is not None and decision.old != holds:
        raise Conflict(
            msg(
                "Sample {sample_id} is {now!r} by now, not {old!r}: somebody else decided on it.",
                sample_id=decision.sample_id,
                now=holds,
                old=decision.old,
            ),
            msg("Look at it again and decide anew."),
        )


def _undo_batch(connection: Connection, batch: list[HistoryRow], tally: Tally, *, by: str, reason: str) -> None:
    ids = list(dict.fromkeys(row.sample_id for row in batch))
    before = _current(connection, ids)
    after = _replayed(connection, before, without={row.decision_id for row in batch})
    gone = State(None, None, "live")
    rows = []
    for row in batch:
        tally.add(-1, "decisions", row.action)
        old = before[row.sample_id].state if row.sample_id in before else gone
        undo = Decision(row.sample_id, "restore", by=by, reason=reason, check=row.check)
        made = _log_row(undo, old, after.get(row.sample_id, gone))
        rows.append({**made, "action": "undo", "undoes": row.decision_id})
    connection.execute(sa.insert(log), rows)
    _settle(connection, before, after, tally)
    settle_issues(connection, ids, tally)


def _current(connection: Connection, sample_ids: Sequence[str]) -> dict[str, Current]:
    c = samples.c
    given = (c.given_label, c.given_label_source)
    query = sa.select(c.sample_id, c.label, c.label_source, c.status, c.n_decisions, *given, c.split)
    found = {}
    for row in connection.execute(query.where(c.sample_id.in_(sample_ids))):
        found[row[0]] = Current(State(*row[1:5]), State(row[5], row[6], "live"), row[7])
    return found


def _replayed(
    connection: Connection, current: Mapping[str, Current], without: Collection[int] = ()
) -> dict[str, State]:
    states = {sample_id: row.given for sample_id, row in current.items()}
    query = sa.select(log.c.decision_id, log.c.sample_id, log.c.action, log.c.new_label)
    query = query.where(log.c.sample_id.in_(list(current)), IN_FORCE).order_by(log.c.decision_id)
    for decision_id, sample_id, action, new in connection.execute(query):
        if decision_id not in without:
            states[sample_id] = states[sample_id].after(action, new)
    return states


def _settle(connection: Connection, current: Mapping[str, Current], after: Mapping[str, State], tally: Tally) -> None:
    """Write the states that changed, and what that does to the counters."""
    changed = {sample_id: row for sample_id, row in current.items() if after[sample_id] != row.state}
    moved = [sample_id for sample_id, row in changed.items() if after[sample_id].status != row.state.status]
    updates = []
    for sample_id, row in changed.items():
        count_state(tally, -1, row.state, row.split)
        count_state(tally, +1, after[sample_id], row.split)
        new = after[sample_id]
        updates.append(
            {
                "key": sample_id,
                "label": new.label,
                "label_source": new.label_source,
                "status": new.status,
                "n_decisions": new.n_decisions,
            }
        )
    if updates:
        connection.execute(sa.update(samples).where(samples.c.sample_id == sa.bindparam("key")), updates)
    if moved:
        query = sa.select(issues.c.sample_id, issues.c.check).where(issues.c.sample_id.in_(moved), issues.c.is_issue)
        for sample_id, check in connection.execute(query):
            tally.add(-1, "issues", check, current[sample_id].state.status)
            tally.add(+1, "issues", check, after[sample_id].status)


def count_state(tally: Tally, n: int, state: State, split: str | None) -> None:
    """Add `n` samples of this state to the counters."""
    tally.add(n, "samples", state.status, state.label, split)
    if state.n_decisions:
        tally.add(n, "decided", state.status)


def _log_row(decision: Decision, old: State, new: State) -> dict[str, object]:
    return {
        "sample_id": decision.sample_id,
        "action": decision.action,
        "old_label": old.label,
        "new_label": new.label,
        "old_status": old.status,
        "new_status": new.status,
        "decided_by": decision.by,
        "reason": decision.reason,
        "decided_at": decision.at or now(),
        "undoes": None,
        "check": decision.check,
    }


def _last_in_force(connection: Connection, n: int) -> list[HistoryRow]:
    query = history_query().where(log.c.undoes.is_(None), undo_rows.c.decision_id.is_(None))
    rows = connection.execute(query.order_by(log.c.decision_id.desc()).limit(max(n, 0)))
    return [HistoryRow(*row) for row in rows]


def _named_in_force(connection: Connection, ids: Sequence[int]) -> list[HistoryRow]:
    found: dict[int, HistoryRow] = {}
    for batch in chunked(ids):
        rows = connection.execute(history_query().where(log.c.decision_id.in_(batch)))
        found.update((row[0], HistoryRow(*row)) for row in rows)
    wanted = list(dict.fromkeys(ids))
    for decision_id in wanted:
        row = found.get(decision_id)
        if row is None or row.undoes is not None:
            raise NotFound(msg("There is no decision {decision_id}.", decision_id=decision_id))
        if row.undone_by is not None:
            raise Conflict(msg("Decision {decision_id} is undone already.", decision_id=decision_id))
    return [found[decision_id] for decision_id in wanted]
