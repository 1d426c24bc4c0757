"""What checks found: a score a sample and check, and queues of what they flag."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirada.catalog import counters
from mirada.catalog.counters import Tally
from mirada.catalog.database import Database, chunked
from mirada.catalog.queues import UNREADABLE, is_settleable, settle_issues
from mirada.catalog.records import IssueCounts, IssueRow
from mirada.catalog.schema import decisions, rejected, samples
from mirada.catalog.schema import issues as table
from mirada.errors import NotFound
from mirada.messages import msg
from mirada.types import Issue

_COLUMNS = tuple(table.c[name] for name in ("issue_id", *Issue.__dataclass_fields__, "is_open"))


class IssueStore:
    """The part of `Catalog` that keeps what checks found."""

    _db: Database

    def save_issues(self, issues: Iterable[Issue]) -> int:
        """Store scores, replacing those of the same sample and check; returns how many.

        A photograph that cannot be read is named by the id it would have as a sample. Raises NotFound for an id
        that is neither.
        """
        n_saved = 0
        with self._db.write() as connection:
            tally = Tally()
            for batch in _by_key(issues):
                n_saved += _save(connection, batch, tally)
            tally.apply(connection)
        return n_saved

    def replace_issues(self, check: str, issues: Iterable[Issue]) -> int:
        """Make what `check` flags exactly those of these that are issues; returns how many that is.

        Issues of samples that it flagged before keep their ids and stay decided; rows that it flags no more are
        kept as scores. Raises NotFound for an unknown sample, ValueError for another check's issue.
        """
        with self._db.write() as connection:
            tally = Tally()
            flagged = sa.select(table.c.sample_id, table.c.issue_id).where(table.c.check == check, table.c.is_issue)
            gone = {row.sample_id: row.issue_id for row in connection.execute(flagged)}
            n_flagged = 0
            for batch in _by_key(issues):
                for sample_id, name in batch:
                    if name != check:
                        raise ValueError(f"an issue of {name!r} among those of {check!r}")
                    gone.pop(sample_id, None)
                _save(connection, batch, tally)
                n_flagged += sum(1 for issue in batch.values() if issue.is_issue)
            for ids in chunked(gone.values()):
                _unflag(connection, check, ids, tally)
            tally.apply(connection)
        return n_flagged

    def issues(
        self, check: str, *, after: tuple[float, int] | None = None, open_only: bool = True
    ) -> Iterator[IssueRow]:
        """What `check` flags, worst first, streamed; `after` is (score, issue_id) of the last one seen.

        `open_only`: without what a decision, or the state of the sample, has settled.
        """
        last = after or (float("-inf"), 0)
        wanted = table.c.is_open if open_only else table.c.is_issue

        def fetch(connection: Connection, n: int) -> list[IssueRow]:
            nonlocal last
            key = sa.tuple_(table.c.score, table.c.issue_id)
            query = sa.select(*_COLUMNS).where(table.c.check == check, wanted, key > sa.tuple_(*last))
            rows = connection.execute(query.order_by(table.c.score, table.c.issue_id).limit(n))
            found = [_issue_row(row) for row in rows]
            last = (found[-1].issue.score, found[-1].issue_id) if found else last
            return found

        return self._db.stream(fetch)

    def issue_counts(self) -> dict[str, IssueCounts]:
        """How much each check flags, open and decided, by name; from counters."""
        with self._db.read() as connection:
            n_flagged: dict[str, int] = {}
            for check, _, _, n in counters.read(connection, "issues"):
                n_flagged[check] = n_flagged.get(check, 0) + n
            n_open = {check: n for check, _, _, n in counters.read(connection, "open")}
        return {
            name: IssueCounts(n_open.get(name, 0), n - n_open.get(name, 0)) for name, n in sorted(n_flagged.items())
        }

    def issues_of(self, sample_ids: Iterable[str]) -> list[IssueRow]:
        """Every score of these samples, flagged or not."""
        return self._issues_where(table.c.sample_id, sample_ids)

    def issues_by_id(self, issue_ids: Sequence[int]) -> list[IssueRow]:
        """The issues of these keys, in their order. Raises NotFound."""
        found = self.find_issues(issue_ids)
        for issue_id in issue_ids:
            if issue_id not in found:
                raise NotFound(msg("There is no issue {issue_id}.", issue_id=issue_id))
        return [found[issue_id] for issue_id in issue_ids]

    def find_issues(self, issue_ids: Iterable[int]) -> dict[int, IssueRow]:
        """The issues of these keys; unknown ones are left out."""
        return {row.issue_id: row for row in self._issues_where(table.c.issue_id, issue_ids)}

    def _issues_where(self, column: sa.Column[Any], values: Iterable[object]) -> list[IssueRow]:
        found: list[IssueRow] = []
        with self._db.read() as connection:
            for batch in chunked(values):
                query = sa.select(*_COLUMNS).where(column.in_(batch)).order_by(table.c.issue_id)
                found += [_issue_row(row) for row in connection.execute(query)]
        return found


def _issue_row(row: sa.Row[*tuple[Any, ...]]) -> IssueRow:
    issue = Issue(row.sample_id, row.check, row.score, row.is_issue, row.threshold, json.loads(row.evidence))
    return IssueRow(row.issue_id, issue, row.is_open)


def _by_key(issues: Iterable[Issue]) -> Iterator[dict[tuple[str, str], Issue]]:
    for batch in chunked(issues):
        yield {(issue.sample_id, issue.check): issue for issue in batch}


def _save(connection: Connection, batch: Mapping[tuple[str, str], Issue], tally: Tally) -> int:
    ids = list({sample_id for sample_id, _ in batch})
    status = _statuses(connection, ids)
    held_query = sa.select(table.c.issue_id, table.c.sample_id, table.c.check, table.c.is_issue, table.c.is_open)
    held = {(row.sample_id, row.check): row for row in connection.execute(held_query.where(table.c.sample_id.in_(ids)))}
    made_after = connection.execute(sa.select(sa.func.max(decisions.c.decision_id))).scalar() or 0
    new, updates, again = [], [], set()
    for key, issue in batch.items():
        if issue.sample_id not in status:
            raise NotFound(msg("There is no sample {sample_id} in the catalogue.", sample_id=issue.sample_id))
        row, flags = held.get(key), bool(issue.is_issue)
        was_flagged, was_open = (row.is_issue, row.is_open) if row is not None else (False, False)
        # What is flagged anew is open, what was flagged stays as it is; one unflagged in between may be decided.
        is_open = flags and (was_open if was_flagged else row is None and is_settleable(status[issue.sample_id]))
        tally.add(int(row is None), "scores", issue.check)
        tally.add(flags - was_flagged, "issues", issue.check, status[issue.sample_id])
        tally.add(is_open - was_open, "open", issue.check)
        values: dict[str, object] = {"score": float(issue.score), "is_issue": flags, "threshold": issue.threshold}
        values |= {"evidence": json.dumps(dict(issue.evidence), ensure_ascii=False), "is_open": is_open}
        if row is None:
            place = {"sample_id": issue.sample_id, "check": issue.check, "made_after": made_after}
            new.append({**place, **values})
        else:
            updates.append({"key": row.issue_id, **values})
            if flags and not was_flagged:
                again.add(issue.sample_id)
    if new:
        connection.execute(sa.insert(table), new)
    if updates:
        connection.execute(sa.update(table).where(table.c.issue_id == sa.bindparam("key")), updates)
    settle_issues(connection, again, tally)
    return len(batch)


def _statuses(connection: Connection, ids: Sequence[str]) -> dict[str, str]:
    """live, dropped, ambiguous or rejected, by id; without the unknown."""
    unread = sa.select(rejected.c.sample_id).where(rejected.c.sample_id.in_(ids))
    found = dict.fromkeys(connection.execute(unread).scalars(), UNREADABLE)
    query = sa.select(samples.c.sample_id, samples.c.status).where(samples.c.sample_id.in_(ids))
    return found | {row[0]: row[1] for row in connection.execute(query)}


def _unflag(connection: Connection, check: str, issue_ids: list[int], tally: Tally) -> None:
    at = samples.c.sample_id == table.c.sample_id
    query = sa.select(table.c.is_open, samples.c.status).select_from(table.outerjoin(samples, at))
    for is_open, status in connection.execute(query.where(table.c.issue_id.in_(issue_ids))):
        tally.add(-1, "issues", check, status or UNREADABLE)
        tally.add(-int(is_open), "open", check)
    change = sa.update(table).where(table.c.issue_id.in_(issue_ids))
    connection.execute(change.values(is_issue=False, is_open=False))
