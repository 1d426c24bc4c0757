"""The queue: work that a worker process takes, does, and reports on; outlived by nobody's death."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirada.catalog.counters import Tally
from mirada.catalog.database import Database, now
from mirada.catalog.processes import is_dead, is_here, this_process
from mirada.catalog.records import Job
from mirada.catalog.schema import jobs as table
from mirada.errors import Conflict, NotFound
from mirada.messages import msg

_COLUMNS = tuple(table.c[name] for name in Job.__dataclass_fields__)
LEASE_S = 300.0
"""A job on another machine that has not been heard of for this long may be claimed again."""


class JobQueue:
    """The part of `Catalog` that queues work."""

    _db: Database

    def enqueue(self, kind: str, payload: Mapping[str, object], *, max_attempts: int = 3) -> int:
        """Queue a job and return its id; `payload` must be writable as JSON."""
        row = {"kind": kind, "payload": json.dumps(dict(payload)), "status": "queued", "n_attempts": 0, "process": ""}
        with self._db.write() as connection:
            tally = Tally()
            tally.add(1, "jobs", kind, "queued")
            made = connection.execute(
                sa.insert(table).values(max_attempts=max_attempts, queued_at=now(), **row).returning(table.c.job_id)
            )
            job_id = int(made.scalar_one())
            tally.apply(connection)
        return job_id

    def claim(self, kind: str) -> Job | None:
        """Take the oldest job of `kind` that waits, or whose worker died; None where there is none.

        A job whose workers died `max_attempts` times is failed instead of given out again.
        """
        with self._db.read() as connection:  # asking an empty queue takes no lock
            if not _candidates(connection, kind):
                return None
        with self._db.write() as connection:
            tally = Tally()
            claimed = None
            for job in _candidates(connection, kind):
                if job.n_attempts < job.max_attempts:
                    claimed = _change(connection, job, tally, **_claim_values(job))
                    break
                _change(connection, job, tally, status="failed", error="its worker died", ended_at=now())
            tally.apply(connection)
        return claimed

    def heartbeat(self, job_id: int) -> None:
        """Say that this process is still at work on a job. Raises Conflict where somebody else took it."""
        with self._db.write() as connection:
            job = _held(connection, job_id)
            connection.execute(sa.update(table).where(table.c.job_id == job.job_id).values(seen_at=now()))

    def finish(self, job_id: int, error: str | None = None) -> Job:
        """Report on a claimed job: done, or with `error` queued again until its attempts are used up, then failed."""
        with self._db.write() as connection:
            tally = Tally()
            job = _held(connection, job_id)
            if error is not None and job.n_attempts < job.max_attempts:
                made = _change(connection, job, tally, status="queued", error=error)
            else:
                status = "done" if error is None else "failed"
                made = _change(connection, job, tally, status=status, error=error, ended_at=now())
            tally.apply(connection)
        return made

    def job(self, job_id: int) -> Job:
        """A job by its id. Raises NotFound."""
        with self._db.read() as connection:
            return _job(connection, job_id)

    def jobs(self, status: str | None = None, *, after: int = 0, limit: int = 1000) -> list[Job]:
        """Jobs in the order they were queued, or those of a status; `after` is the last id seen."""
        query = sa.select(*_COLUMNS).where(table.c.job_id > after).order_by(table.c.job_id).limit(limit)
        if status is not None:
            query = query.where(table.c.status == status)
        with self._db.read() as connection:
            return [_as_job(row) for row in connection.execute(query)]


def _candidates(connection: Connection, kind: str) -> list[Job]:
    stale = (datetime.now(UTC) - timedelta(seconds=LEASE_S)).isoformat(timespec="microseconds")
    running = sa.select(*_COLUMNS, table.c.process).where(table.c.kind == kind, table.c.status == "running")
    lost = []
    for row in connection.execute(running.order_by(table.c.job_id)):
        if is_dead(row.process) or (not is_here(row.process) and row.seen_at < stale):
            lost.append(_as_job(row))
    waiting = sa.select(*_COLUMNS).where(table.c.kind == kind, table.c.status == "queued")
    first = connection.execute(waiting.order_by(table.c.job_id).limit(1))
    return sorted([*lost, *(_as_job(row) for row in first)], key=lambda job: job.job_id)


def _claim_values(job: Job) -> dict[str, object]:
    at = now()
    values: dict[str, object] = {"status": "running", "n_attempts": job.n_attempts + 1, "process": this_process()}
    return values | {"claimed_at": at, "seen_at": at}


def _change(connection: Connection, job: Job, tally: Tally, **values: object) -> Job:
    connection.execute(sa.update(table).where(table.c.job_id == job.job_id).values(values))
    tally.add(-1, "jobs", job.kind, job.status)
    made = _job(connection, job.job_id)
    tally.add(+1, "jobs", made.kind, made.status)
    return made


def _held(connection: Connection, job_id: int) -> Job:
    job = _job(connection, job_id)
    query = sa.select(table.c.process).where(table.c.job_id == job_id)
    if job.status != "running" or connection.execute(query).scalar() != this_process():
        raise Conflict(msg("Job {job_id} is not this worker's any more.", job_id=job_id))
    return job


def _job(connection: Connection, job_id: int) -> Job:
    row = connection.execute(sa.select(*_COLUMNS).where(table.c.job_id == job_id)).one_or_none()
    if row is None:
        raise NotFound(msg("There is no job {job_id}.", job_id=job_id))
    return _as_job(row)


def _as_job(row: sa.Row[*tuple[Any, ...]]) -> Job:
    values = {name: getattr(row, name) for name in Job.__dataclass_fields__}
    return Job(**{**values, "payload": json.loads(row.payload)})
