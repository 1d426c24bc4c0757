"""Runs: what was executed, with what, and how it ended."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from mirada.catalog.database import Database, now
from mirada.catalog.processes import is_dead, this_process
from mirada.catalog.schema import runs as table
from mirada.errors import NotFound
from mirada.messages import msg
from mirada.types import Run, TrainConfig

_JSON = ("config", "environment", "seconds")
_TEXT = ("run_id", "status", "stop_reason", "dataset_id", "split_id", "git_sha")


class RunStore:
    """The part of `Catalog` that keeps runs."""

    _db: Database

    def save_run(self, run: Run) -> None:
        """Store a run, or what became of it. The process that saves it as running is taken to run it."""
        row: dict[str, object] = {name: getattr(run, name) for name in _TEXT}
        row |= {"config": json.dumps(asdict(run.config)), "process": this_process(), "updated_at": now()}
        row |= {"environment": json.dumps(dict(run.environment)), "seconds": json.dumps(dict(run.seconds))}
        with self._db.write() as connection:
            changed = connection.execute(sa.update(table).where(table.c.run_id == run.run_id).values(row))
            if not changed.rowcount:
                connection.execute(sa.insert(table).values(started_at=row["updated_at"], **row))

    def run(self, run_id: str) -> Run:
        """A run by its id. Raises NotFound."""
        with self._db.read() as connection:
            row = connection.execute(sa.select(table).where(table.c.run_id == run_id)).one_or_none()
        if row is None:
            raise NotFound(msg("There is no run {run_id}.", run_id=run_id), msg("`mirada runs` lists them."))
        return _run(row)

    def runs(self, *, status: str | None = None) -> list[Run]:
        """Every run, oldest first; or those of a status."""
        query = sa.select(table).order_by(table.c.row_id)
        if status is not None:
            query = query.where(table.c.status == status)
        with self._db.read() as connection:
            return [_run(row) for row in connection.execute(query)]

    def mark_interrupted(self) -> list[str]:
        """Mark the runs whose process ended without saying so; returns their ids."""
        with self._db.read() as connection:  # mostly there is nothing to do, and then no lock is taken
            rows = connection.execute(sa.select(table.c.run_id, table.c.process).where(table.c.status == "running"))
            dead = [run_id for run_id, process in rows if is_dead(process)]
        if dead:
            with self._db.write() as connection:
                held = (table.c.run_id.in_(dead), table.c.status == "running")
                values = {"status": "interrupted", "stop_reason": "process ended", "updated_at": now()}
                connection.execute(sa.update(table).where(*held).values(values))
        return dead


def _run(row: sa.Row[*tuple[Any, ...]]) -> Run:
    values = {name: getattr(row, name) for name in _TEXT}
    config, environment, seconds = (json.loads(getattr(row, name)) for name in _JSON)
    return Run(config=TrainConfig(**config), environment=environment, seconds=seconds, **values)
