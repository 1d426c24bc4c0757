"""Bring a catalogue to the version that this code knows, and refuse one from the future.

An up-to-date catalogue costs one query; alembic is imported where there is something to do.
"""

from __future__ import annotations

import threading
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError, ProgrammingError

from mirada.catalog.database import Database, enter_wal
from mirada.errors import WorkspaceTooNew
from mirada.messages import msg

MIGRATIONS_PATH = Path(__file__).parent / "migrations"
REVISIONS = ("0001", "0002")
"""Every migration that this code knows, oldest first; a test holds it equal to the files."""

_ADVISORY_LOCK = 7_205_011
_ALEMBIC = threading.Lock()
"""Alembic keeps the migration in progress in a global."""


def migrate(database: Database) -> None:
    """Make or upgrade the tables. Raises WorkspaceTooNew, StorageError, Unavailable."""
    if _version(database) == REVISIONS[-1]:
        return
    if database.is_sqlite:
        with database.errors():
            enter_wal(database)
    with database.write(has_tables=False) as connection:
        if not database.is_sqlite:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
        # Another process may have done it while we waited for the lock; upgrading to where it is does nothing.
        _upgrade(connection)


def _version(database: Database) -> str | None:
    try:
        with database.errors(), database.engine.connect() as connection:
            version = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    except (OperationalError, ProgrammingError) as error:
        if "alembic_version" in str(error.orig):  # no such table, in each database's words
            return None
        raise
    if version is None or version in REVISIONS:
        return version
    raise WorkspaceTooNew(
        msg(
            "The catalogue {path} has version {version}; this Mirada knows versions up to {known}.",
            path=database.where,
            version=version,
            known=REVISIONS[-1],
        ),
        msg("Install a later Mirada, or use another workspace with --workspace DIR."),
    )


def _upgrade(connection: sa.Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS_PATH).replace("%", "%%"))
    config.attributes["connection"] = connection
    with _ALEMBIC:
        command.upgrade(config, "head")
