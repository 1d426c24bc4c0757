"""Which issues are open: flagged by a check, and settled by nothing yet.

An issue is settled by a decision in force on its sample that was made since the issue was first found, and that is
either for its check or about the photograph as a whole; a restore settles nothing. While its sample is dropped or
ambiguous, an issue is settled too. `is_open` holds the answer in the row, so that a queue is a walk along an index.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirada.catalog.counters import Tally
from mirada.catalog.schema import decisions as log
from mirada.catalog.schema import issues, samples

UNREADABLE = "rejected"
"""The status of what is no sample because it cannot be read."""

undo_rows = log.alias("undo_rows")
# Written so that no planner walks the index on `undoes`: nearly all rows have none.
_IS_NO_UNDO = sa.func.coalesce(log.c.undoes, 0) == 0
IN_FORCE = sa.and_(_IS_NO_UNDO, ~sa.exists().where(undo_rows.c.undoes == log.c.decision_id))
_AT_SAMPLE = samples.c.sample_id == issues.c.sample_id


def settle_issues(connection: Connection, sample_ids: Collection[str], tally: Tally) -> None:
    """Open or close the flagged issues of these samples, and count that; up to a thousand ids."""
    columns = (issues.c.issue_id, issues.c.sample_id, issues.c.check, issues.c.made_after, issues.c.is_open)
    query = sa.select(*columns, samples.c.status).select_from(issues.outerjoin(samples, _AT_SAMPLE))
    flagged = connection.execute(query.where(issues.c.sample_id.in_(sample_ids), issues.c.is_issue)).all()
    if not flagged:
        return
    settling = _settling(connection, {row.sample_id for row in flagged})
    updates = []
    for row in flagged:
        is_open = is_settleable(row.status) and not _is_settled(row, settling.get(row.sample_id, ()))
        if is_open != row.is_open:
            tally.add(1 if is_open else -1, "open", row.check)
            updates.append({"key": row.issue_id, "is_open": is_open})
    if updates:
        connection.execute(sa.update(issues).where(issues.c.issue_id == sa.bindparam("key")), updates)


def is_settleable(status: str | None) -> bool:
    """Whether a photograph of this status (None: unreadable) still has anything to decide."""
    return status in (None, "live", UNREADABLE)


def _settling(connection: Connection, sample_ids: Collection[str]) -> dict[str, list[tuple[int, str | None]]]:
    found: dict[str, list[tuple[int, str | None]]] = {}
    query = sa.select(log.c.sample_id, log.c.decision_id, log.c.check)
    made = connection.execute(query.where(log.c.sample_id.in_(sample_ids), IN_FORCE, log.c.action != "restore"))
    for sample_id, decision_id, check in made:
        found.setdefault(sample_id, []).append((decision_id, check))
    return found


def _is_settled(row: sa.Row[*tuple[Any, ...]], made: Collection[tuple[int, str | None]]) -> bool:
    return any(key > row.made_after and check in (None, row.check) for key, check in made)
