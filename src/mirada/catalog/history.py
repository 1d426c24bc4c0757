"""Reading the log of decisions: row by row, and what it did to the classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirada.catalog import counters
from mirada.catalog.database import Database, chunked
from mirada.catalog.queues import IN_FORCE, undo_rows
from mirada.catalog.records import HistoryRow, Outcomes, StepCount
from mirada.catalog.schema import decisions as log
from mirada.catalog.schema import samples
from mirada.types import Decision

_FIELDS = ("decision_id", "sample_id", "action", "old_label", "new_label", "old_status", "new_status")


class HistoryReader:
    """The part of `Catalog` that tells what was decided."""

    _db: Database

    def decisions(self, sample_id: str | None = None) -> Iterator[Decision]:
        """The decisions in force, in the order they were made, streamed."""
        rows = self.history(sample_id)
        return (row.decision() for row in rows if row.undoes is None and row.undone_by is None)

    def history(self, sample_id: str | None = None, *, after: int = 0) -> Iterator[HistoryRow]:
        """Every row of the log, undone ones and undos too, in order, streamed from after the id `after`."""
        last = after

        def fetch(connection: Connection, n: int) -> list[HistoryRow]:
            nonlocal last
            query = history_query().where(log.c.decision_id > last)
            if sample_id is not None:
                query = query.where(log.c.sample_id == sample_id)
            rows = [HistoryRow(*row) for row in connection.execute(query.order_by(log.c.decision_id).limit(n))]
            last = rows[-1].decision_id if rows else last
            return rows

        return self._db.stream(fetch)

    def answered(self, sample_ids: Iterable[str], check: str) -> set[str]:
        """Those of the samples with a decision in force for `check`, flagged now or not."""
        found: set[str] = set()
        with self._db.read() as connection:
            for batch in chunked(sample_ids):
                query = sa.select(log.c.sample_id).where(log.c.sample_id.in_(batch), log.c.check == check, IN_FORCE)
                found.update(connection.execute(query).scalars())
        return found

    def outcomes(self) -> list[Outcomes]:
        """Where the samples came from and what became of them: each sample is counted in one of the rows."""
        with self._db.read() as connection:
            out = [Outcomes(*row) for row in connection.execute(_out_query())]
            moved = [Outcomes(row[0], row[1], "live", None, row[2]) for row in connection.execute(_moved_query())]
            stayed: dict[str | None, int] = {}
            for _, label, _, n in counters.read(connection, "samples", a="live"):
                stayed[label or None] = stayed.get(label or None, 0) + n
        for row in moved:
            stayed[row.label] -= row.n
        return out + moved + [Outcomes(label, label, "live", None, n) for label, n in stayed.items() if n]

    def step_counts(self) -> list[StepCount]:
        """How many decisions in force each check led to, by action, in the order of their names."""
        query = (
            sa.select(log.c.check, log.c.action, sa.func.count()).where(IN_FORCE).group_by(log.c.check, log.c.action)
        )
        with self._db.read() as connection:
            return sorted(
                (StepCount(*row) for row in connection.execute(query)), key=lambda s: (s.check or "", s.action)
            )


def history_query() -> sa.Select[*tuple[Any, ...]]:
    """The columns of `HistoryRow`, undone or not."""
    columns = [log.c[name] for name in (*_FIELDS, "decided_by", "reason", "decided_at", "undoes", "check")]
    undone_by = undo_rows.c.decision_id.label("undone_by")
    return sa.select(*columns, undone_by).select_from(log.outerjoin(undo_rows, undo_rows.c.undoes == log.c.decision_id))


def _out_query() -> sa.Select[*tuple[Any, ...]]:
    """What is dropped or ambiguous, by the check that the last decision in force on it was for."""
    last = sa.select(sa.func.max(log.c.decision_id)).where(log.c.sample_id == samples.c.sample_id, IN_FORCE)
    chosen = log.alias("chosen")
    keys = (samples.c.given_label, samples.c.label, samples.c.status, chosen.c.check)
    joined = samples.join(chosen, chosen.c.decision_id == last.correlate(samples).scalar_subquery())
    out = samples.c.status.in_(("dropped", "ambiguous"))
    return sa.select(*keys, sa.func.count()).select_from(joined).where(out).group_by(*keys)


def _moved_query() -> sa.Select[*tuple[Any, ...]]:
    """What is live under another label than its source gave."""
    keys = (samples.c.given_label, samples.c.label)
    relabelled = sa.select(log.c.sample_id).where(log.c.action == "relabel", IN_FORCE)
    moved = (samples.c.status == "live", samples.c.label.is_distinct_from(samples.c.given_label))
    query = sa.select(*keys, sa.func.count()).where(samples.c.sample_id.in_(relabelled), *moved)
    return query.group_by(*keys)
