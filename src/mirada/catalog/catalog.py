"""The catalogue: one truth about samples, decisions, splits, runs, models, predictions and jobs."""

from __future__ import annotations

from types import TracebackType

from mirada.catalog.add import SampleWriter
from mirada.catalog.database import LOCK_TIMEOUT_S, Database
from mirada.catalog.datasets import DatasetStore
from mirada.catalog.decisions import DecisionLog
from mirada.catalog.issues import IssueStore
from mirada.catalog.jobs import JobQueue
from mirada.catalog.migrate import migrate
from mirada.catalog.models import ModelStore
from mirada.catalog.predictions import PredictionLog
from mirada.catalog.runs import RunStore
from mirada.catalog.samples import SampleReader
from mirada.catalog.subsets import SubsetStore


class Catalog(
    SampleWriter,
    SampleReader,
    DecisionLog,
    IssueStore,
    DatasetStore,
    SubsetStore,
    RunStore,
    ModelStore,
    PredictionLog,
    JobQueue,
):
    """A database behind one flat set of methods, one family of them a module.

    Every method is one transaction, or streams in several short ones. Threads may share a catalogue; each
    process opens its own.
    """

    def __init__(self, database: Database) -> None:
        self._db = database

    @classmethod
    def open(cls, url: str, *, timeout_s: float = LOCK_TIMEOUT_S) -> Catalog:
        """Open the catalogue at a SQLAlchemy address, making or upgrading its tables.

        `timeout_s`: how long a write waits for another process's. Raises WorkspaceTooNew for a catalogue of a
        later Mirada, StorageError where it cannot be read or written, WorkspaceError where it is damaged.
        """
        database = Database(url, timeout_s=timeout_s)
        try:
            migrate(database)
        except BaseException:
            database.close()
            raise
        return cls(database)

    def close(self) -> None:
        """Close every connection; safe to call twice."""
        self._db.close()

    def __enter__(self) -> Catalog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
