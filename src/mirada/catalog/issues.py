"""What checks found: a score a sample and check, and queues of what they flag."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirada.catalog.counters import Tally
from mirada.catalog.database import Database, chunked
from mirada.catalog.records import IssueRow
from mirada.catalog.schema import issues as table
from mirada.catalog.schema import samples
from mirada.errors import NotFound
from mirada.messages import msg
from mirada.types import Issue

_COLUMNS = tuple(table.c[name] for name in ("issue_id", *Issue.__dataclass_fields__))


class IssueStore:
    """The part of `Catalog` that keeps what checks found."""

    _db: Database

    def save_issues(self, issues: Iterable[Issue]) -> int:
        """Store scores, replacing those of the same sample and check; returns how many. Raises NotFound."""
        n_saved = 0
        with self._db.write() as connection:
            tally = Tally()
            for batch in chunked(issues):
                n_saved += _save(connection, {(issue.sample_id, issue.check): issue for issue in batch}, tally)
            tally.apply(connection)
        return n_saved

    def issues(
        self, check: str, *, after: tuple[float, int] | None = None, status: str | None = "live"
    ) -> Iterator[IssueRow]:
        """What `check` flags, worst first, streamed; `after` is (score, issue_id) of the last one seen."""
        last = after or (float("-inf"), 0)

        def fetch(connection: Connection, n: int) -> list[IssueRow]:
            nonlocal last
            key = sa.tuple_(table.c.score, table.c.issue_id)
            query = sa.select(*_COLUMNS).where(table.c.check == check, table.c.is_issue, key > sa.tuple_(*last))
            if status is not None:
                query = query.join(samples).where(samples.c.status == status)
            rows = connection.execute(query.order_by(table.c.score, table.c.issue_id).limit(n))
            found = [_issue_row(row) for row in rows]
            last = (found[-1].issue.score, found[-1].issue_id) if found else last
            return found

        return self._db.stream(fetch)

    def issues_of(self, sample_ids: Iterable[str]) -> list[IssueRow]:
        """Every score of these samples, flagged or not."""
        return self._issues_where(table.c.sample_id, sample_ids)

    def issues_by_id(self, issue_ids: Sequence[int]) -> list[IssueRow]:
        """The issues of these keys, in their order. Raises NotFound."""
        found = {row.issue_id: row for row in self._issues_where(table.c.issue_id, issue_ids)}
        for issue_id in issue_ids:
            if issue_id not in found:
                raise NotFound(msg("There is no issue {issue_id}.", issue_id=issue_id))
        return [found[issue_id] for issue_id in issue_ids]

    def _issues_where(self, column: sa.Column[object], values: Iterable[object]) -> list[IssueRow]:
        found: list[IssueRow] = []
        with self._db.read() as connection:
            for batch in chunked(values):
                query = sa.select(*_COLUMNS).where(column.in_(batch)).order_by(table.c.issue_id)
                found += [_issue_row(row) for row in connection.execute(query)]
        return found


def _issue_row(row: sa.Row[*tuple[Any, ...]]) -> IssueRow:
    issue = Issue(row.sample_id, row.check, row.score, row.is_issue, row.threshold, json.loads(row.evidence))
    return IssueRow(row.issue_id, issue)


def _save(connection: Connection, batch: dict[tuple[str, str], Issue], tally: Tally) -> int:
    ids = list({sample_id for sample_id, _ in batch})
    query = sa.select(samples.c.sample_id, samples.c.status).where(samples.c.sample_id.in_(ids))
    status = {row[0]: row[1] for row in connection.execute(query)}
    held_query = sa.select(table.c.issue_id, table.c.sample_id, table.c.check, table.c.is_issue)
    held = {(row.sample_id, row.check): row for row in connection.execute(held_query.where(table.c.sample_id.in_(ids)))}
    new, updates = [], []
    for key, issue in batch.items():
        if issue.sample_id not in status:
            raise NotFound(msg("There is no sample {sample_id} in the catalogue.", sample_id=issue.sample_id))
        row = held.get(key)
        tally.add(int(row is None), "scores", issue.check)
        tally.add(issue.is_issue - bool(row and row.is_issue), "issues", issue.check, status[issue.sample_id])
        values: dict[str, object] = {"score": issue.score, "is_issue": issue.is_issue, "threshold": issue.threshold}
        values["evidence"] = json.dumps(dict(issue.evidence), ensure_ascii=False)
        if row is None:
            new.append({"sample_id": issue.sample_id, "check": issue.check, **values})
        else:
            updates.append({"key": row.issue_id, **values})
    if new:
        connection.execute(sa.insert(table), new)
    if updates:
        connection.execute(sa.update(table).where(table.c.issue_id == sa.bindparam("key")), updates)
    return len(batch)
