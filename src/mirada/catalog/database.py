"""Connections and transactions: how the catalogue reads, writes, and tells what went wrong.

SQLite runs in WAL mode, so that readers never wait for the writer. Every write takes the one write lock first
(`BEGIN IMMEDIATE` on SQLite, a locked row elsewhere): two processes take turns, and nobody reads a number,
adds one and overwrites the other's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, NoSuchModuleError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from mirada.catalog.schema import meta
from mirada.errors import MiradaError, StorageError, Unavailable, UsageError, WorkspaceError
from mirada.messages import msg

LOCK_TIMEOUT_S = 60.0
BATCH = 1000
_BEGIN = "mirada_begin"
_PRAGMAS = (
    "foreign_keys=ON",
    "synchronous=NORMAL",  # with WAL: a power cut may lose the last commits, never the file
    "cache_size=-32768",  # 32 MiB a connection
    "wal_autocheckpoint=16000",  # pages; ids are random, so larger steps fold the same pages once
    "temp_store=MEMORY",
)

T = TypeVar("T")


def chunked(items: Iterable[T], n: int = BATCH) -> Iterator[list[T]]:
    """Lists of up to `n` items: as many as one statement takes parameters for on every database."""
    iterator = iter(items)
    while batch := list(islice(iterator, n)):
        yield batch


def now() -> str:
    """The time in UTC, ISO 8601 with microseconds; sorts as text."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


class Database:
    """An engine with short read and write transactions. Threads may share it; processes may not."""

    def __init__(self, url: str, *, timeout_s: float = LOCK_TIMEOUT_S) -> None:
        self.url = url
        self.engine = _make_engine(url, timeout_s)
        self.is_sqlite = self.engine.dialect.name == "sqlite"

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A read transaction: one unchanging view of the catalogue."""
        with self.errors(), self.engine.connect() as connection:
            if not self.is_sqlite:  # where each statement has a view of its own otherwise
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    @contextmanager
    def write(self, *, has_tables: bool = True) -> Iterator[Connection]:
        """A write transaction that holds the write lock from its start; all or nothing."""
        with self.errors(), self.engine.connect() as connection:
            connection = connection.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})
            with connection.begin():
                if has_tables and not self.is_sqlite:
                    connection.execute(sa.select(meta.c.value).where(meta.c.key == "writer").with_for_update())
                yield connection

    def stream(self, fetch: Callable[[Connection, int], list[T]], *, first: int = 100) -> Iterator[T]:
        """Rows from `fetch(connection, n)`, which keeps its own key, a batch at a time; `first`: size of the first.

        No transaction stays open between batches: the caller may write meanwhile, and memory holds one batch.
        """
        n = first  # a first screen comes fast; long walks then take larger steps
        while True:
            with self.read() as connection:
                rows = fetch(connection, n)
            yield from rows
            if len(rows) < n:
                return
            n = max(first, BATCH)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn the driver's errors about storage, locks and damage into sentences."""
        try:
            yield
        except DBAPIError as error:
            raise _translated(error, self.where) or error from error

    @property
    def where(self) -> str:
        """The catalogue's address as people may read it: a path, or a URL without its password."""
        url = self.engine.url
        return str(url.database) if self.is_sqlite else url.render_as_string(hide_password=True)

    def close(self) -> None:
        """Close every connection; on SQLite the last one folds the write-ahead log into the file."""
        self.engine.dispose()


def _make_engine(url: str, timeout_s: float) -> Engine:
    try:
        parsed = sa.make_url(url)
        options: dict[str, object] = {}
        if parsed.get_backend_name() == "sqlite":
            options["connect_args"] = {"timeout": timeout_s, "check_same_thread": False}
            if parsed.database in (None, "", ":memory:"):
                options["poolclass"] = StaticPool  # every connection would otherwise be an empty database of its own
        engine = sa.create_engine(parsed, **options)
    except (SQLAlchemyError, NoSuchModuleError, ImportError) as error:
        raise UsageError(
            msg("catalog.url is not an address of a database that Mirada can use: {error}.", error=error),
            msg("Leave it empty for a file in the workspace, or give sqlite:///PATH or postgresql+psycopg://…"),
        ) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _on_sqlite_connect)
        event.listen(engine, "begin", _on_sqlite_begin)
    return engine


def _on_sqlite_connect(connection: DBAPIConnection, _record: object) -> None:
    # The driver opens transactions by itself, and late: switch that off and say BEGIN ourselves.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _on_sqlite_begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN"))


def enter_wal(database: Database) -> None:
    """Switch a SQLite file to write-ahead logging; it stays so. Another process doing the same is waited for."""
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        raw = database.engine.raw_connection()
        try:
            cursor = raw.cursor()
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.close()
            return
        except database.engine.dialect.loaded_dbapi.OperationalError as error:
            # SQLite does not wait for this lock by itself.
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise OperationalError("PRAGMA journal_mode=WAL", None, error) from error
            time.sleep(0.02)
        finally:
            raw.close()


def _translated(error: DBAPIError, where: str) -> MiradaError | None:
    text = str(error.orig).lower()
    if "disk is full" in text or "no space left" in text or "could not extend file" in text:
        return StorageError(
            msg("The disk that holds {path} is full.", path=where),
            msg("Free some room and run the same command again: it goes on where it was."),
        )
    refused = msg("Give yourself the right to read and write there, or use --workspace DIR.")
    if "unable to open" in text:
        return StorageError(msg("Mirada cannot open {path}.", path=where), refused)
    if any(word in text for word in ("readonly", "read-only", "disk i/o error")):
        return StorageError(msg("Mirada cannot write in {path}.", path=where), refused)
    if "locked" in text or "lock timeout" in text:
        return Unavailable(
            msg("The catalogue {path} is in use: another process has been writing for a long time.", path=where),
            msg("Wait for it to end and run the same command again."),
        )
    if "not a database" in text or "malformed" in text:
        return WorkspaceError(
            msg("{path} is damaged: it is not a catalogue that can be read.", path=where),
            msg("Restore it from a copy, or move it away and add the photographs again."),
        )
    if isinstance(error, OperationalError) and ("connect" in text or "connection" in text):
        return Unavailable(
            msg("The database of the catalogue does not answer: {path}.", path=where),
            msg("Check catalog.url in mirada.toml and that the database runs."),
        )
    return None
