"""Model versions and their aliases, with an append-only history of who moved which alias, when and why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirada.catalog.database import Database, now
from mirada.catalog.records import AliasChange, ModelVersion
from mirada.catalog.schema import alias_history, aliases, model_versions
from mirada.errors import NotFound
from mirada.messages import msg


class ModelStore:
    """The part of `Catalog` that keeps the model registry."""

    _db: Database

    def add_model(
        self, name: str, path: str = "", *, run_id: str = "", metrics: Mapping[str, object] | None = None
    ) -> int:
        """Register the next version of `name` and return its number, from 1.

        `path` "" reserves the number while the bundle is written; `set_model_path` completes it.
        """
        with self._db.write() as connection:
            newest = sa.select(sa.func.max(model_versions.c.version)).where(model_versions.c.name == name)
            version = (connection.execute(newest).scalar() or 0) + 1
            row = {"name": name, "version": version, "path": path, "run_id": run_id, "made_at": now()}
            connection.execute(sa.insert(model_versions).values(metrics=json.dumps(dict(metrics or {})), **row))
        return version

    def set_model_path(self, name: str, version: int, path: str) -> None:
        """Say where the bundle of a reserved version stands. Raises NotFound."""
        with self._db.write() as connection:
            _require_version(connection, name, version)
            of_it = (model_versions.c.name == name, model_versions.c.version == version)
            connection.execute(sa.update(model_versions).where(*of_it).values(path=path))

    def models(self, name: str | None = None) -> list[ModelVersion]:
        """Every complete version, or those of `name`, by name and version; each with its aliases."""
        query = sa.select(model_versions).where(model_versions.c.path != "")
        if name is not None:
            query = query.where(model_versions.c.name == name)
        with self._db.read() as connection:
            held: dict[tuple[str, int], list[str]] = {}
            for row in connection.execute(sa.select(aliases).order_by(aliases.c.alias)):
                held.setdefault((row.name, row.version), []).append(row.alias)
            rows = connection.execute(query.order_by(model_versions.c.name, model_versions.c.version)).all()
        return [_model(row, tuple(held.get((row.name, row.version), ()))) for row in rows]

    def model(self, name: str, version: int) -> ModelVersion:
        """One version. Raises NotFound."""
        for found in self.models(name):
            if found.version == version:
                return found
        raise _no_version(name, version)

    def set_alias(self, name: str, alias: str, version: int, by: str = "", *, reason: str = "") -> None:
        """Point `alias` (champion, challenger, shadow) of `name` at a version. Raises NotFound."""
        with self._db.write() as connection:
            _require_version(connection, name, version)
            _point(connection, AliasChange(name, alias, version, False, by, reason, now()))

    def rollback(self, name: str, alias: str, by: str = "", *, reason: str = "") -> int:
        """Return `alias` to the version it had before, and give that; again goes one further back. Raises NotFound."""
        with self._db.write() as connection:
            trail: list[int] = []
            for change in _changes(connection, name, alias):
                if change.is_rollback:
                    trail.pop()
                elif not trail or trail[-1] != change.version:
                    trail.append(change.version)
            if len(trail) < 2:
                raise NotFound(
                    msg("There is no earlier version of {name} to return {alias} to.", name=name, alias=alias),
                    msg("`mirada models` lists the versions; `mirada promote VERSION` chooses one."),
                )
            _point(connection, AliasChange(name, alias, trail[-2], True, by, reason, now()))
        return trail[-2]

    def alias(self, name: str, alias: str) -> int | None:
        """The version that `alias` of `name` points at; None where it points at none."""
        with self._db.read() as connection:
            return _pointed(connection, name, alias)

    def alias_history(self, name: str, alias: str) -> list[AliasChange]:
        """Every change of `alias` of `name`, oldest first."""
        with self._db.read() as connection:
            return _changes(connection, name, alias)


def _model(row: sa.Row[*tuple[Any, ...]], held: tuple[str, ...]) -> ModelVersion:
    return ModelVersion(row.name, row.version, row.path, row.run_id, json.loads(row.metrics), row.made_at, held)


def _no_version(name: str, version: int) -> NotFound:
    return NotFound(
        msg("There is no version {version} of the model {name}.", version=version, name=name),
        msg("`mirada models` lists the versions."),
    )


def _require_version(connection: Connection, name: str, version: int) -> None:
    of_it = (model_versions.c.name == name, model_versions.c.version == version)
    if connection.execute(sa.select(model_versions.c.version).where(*of_it)).scalar() is None:
        raise _no_version(name, version)


def _pointed(connection: Connection, name: str, alias: str) -> int | None:
    query = sa.select(aliases.c.version).where(aliases.c.name == name, aliases.c.alias == alias)
    return connection.execute(query).scalar()


def _changes(connection: Connection, name: str, alias: str) -> list[AliasChange]:
    c = alias_history.c
    columns = (c.name, c.alias, c.version, c.is_rollback, c.changed_by, c.reason, c.changed_at)
    query = sa.select(*columns).where(c.name == name, c.alias == alias).order_by(c.change_id)
    return [AliasChange(*row) for row in connection.execute(query)]


def _point(connection: Connection, change: AliasChange) -> None:
    row = {"name": change.name, "alias": change.alias, "version": change.version}
    held = (aliases.c.name == change.name, aliases.c.alias == change.alias)
    if _pointed(connection, change.name, change.alias) is None:
        connection.execute(sa.insert(aliases).values(row))
    else:
        connection.execute(sa.update(aliases).where(*held).values(version=change.version))
    more = {"is_rollback": change.is_rollback, "changed_by": change.by, "reason": change.reason}
    connection.execute(sa.insert(alias_history).values(changed_at=change.at, **row, **more))
