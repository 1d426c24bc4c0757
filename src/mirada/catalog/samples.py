"""Reading samples: one, a page, a stream, and totals. Nothing here loads all rows or counts them."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirada.catalog import counters
from mirada.catalog.database import BATCH, Database, chunked
from mirada.catalog.queues import is_settleable
from mirada.catalog.records import STATUSES, Status, Totals
from mirada.catalog.schema import issues, rejected, samples
from mirada.errors import InputError, NotFound
from mirada.messages import msg
from mirada.types import Rejected, Sample, SplitName

SAMPLE_COLUMNS = tuple(samples.c[name] for name in Sample.__dataclass_fields__)
_REJECTED_COLUMNS = tuple(rejected.c[name] for name in Rejected.__dataclass_fields__)


_LOOKUP_COST = 3
"""Reading a sample's row costs this many times a look into the index of what a check flags."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which samples: None is any; "" for label or split means without one."""

    status: str | None = "live"
    split: str | None = None
    label: str | None = None
    source: str | None = None
    check: str | None = None

    def __post_init__(self) -> None:
        if self.status is not None and self.status not in STATUSES:
            raise InputError(
                msg("status must be one of {allowed}; got {given!r}.", allowed=", ".join(STATUSES), given=self.status)
            )

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        """The conditions on the samples table; `check` apart."""
        found = []
        for name in ("status", "label", "split", "source"):
            value = getattr(self, name)
            if value is not None:
                found.append(samples.c[name] == value if value else samples.c[name].is_(None))
        return found


PageQuery = Callable[[Filter, str, int], sa.Select[*tuple[Any, ...]]]


class SampleReader:
    """The part of `Catalog` that reads samples."""

    _db: Database

    def sample(self, sample_id: str) -> Sample:
        """One sample, whatever its status. Raises NotFound."""
        found = self.samples_by_id([sample_id])
        if not found:
            raise NotFound(msg("There is no sample {sample_id} in the catalogue.", sample_id=sample_id))
        return found[sample_id]

    def samples_by_id(self, sample_ids: Iterable[str]) -> dict[str, Sample]:
        """The samples of these ids, whatever their status; unknown ids are left out."""
        found: dict[str, Sample] = {}
        with self._db.read() as connection:
            for batch in chunked(sample_ids):
                rows = connection.execute(sa.select(*SAMPLE_COLUMNS).where(samples.c.sample_id.in_(batch)))
                found.update((row[0], Sample(*row)) for row in rows)
        return found

    def statuses(self, sample_ids: Iterable[str]) -> dict[str, Status]:
        """live, dropped or ambiguous, by sample id; unknown ids are left out."""
        found: dict[str, Status] = {}
        with self._db.read() as connection:
            for batch in chunked(sample_ids):
                query = sa.select(samples.c.sample_id, samples.c.status).where(samples.c.sample_id.in_(batch))
                found.update((sample_id, status) for sample_id, status in connection.execute(query))
        return found

    def rejected_by_id(self, sample_ids: Iterable[str]) -> dict[str, Rejected]:
        """What cannot be read, by the id that it would have as a sample; unknown ids are left out."""
        found: dict[str, Rejected] = {}
        with self._db.read() as connection:
            for batch in chunked(sample_ids):
                query = sa.select(rejected.c.sample_id, *_REJECTED_COLUMNS).where(rejected.c.sample_id.in_(batch))
                found.update((row[0], Rejected(*row[1:])) for row in connection.execute(query))
        return found

    def ids_at(self, uri: str) -> list[str]:
        """The ids of the photographs at `uri`, one for each source that lists it, readable or not."""
        with self._db.read() as connection:
            found = [sa.select(t.c.sample_id).where(t.c.uri == uri) for t in (samples, rejected)]
            return sorted(connection.execute(sa.union(*found)).scalars())

    def group_members(self, group_ids: Iterable[str]) -> dict[str, list[str]]:
        """The ids of the samples of each duplicate group, in order, whatever their status."""
        found: dict[str, list[str]] = {}
        with self._db.read() as connection:
            for batch in chunked(group_ids):
                query = sa.select(samples.c.group_id, samples.c.sample_id).where(samples.c.group_id.in_(batch))
                for group_id, sample_id in connection.execute(query.order_by(samples.c.group_id, samples.c.sample_id)):
                    found.setdefault(group_id, []).append(sample_id)
        return found

    def ids_of_content(self, content_sha256: str) -> list[str]:
        """The ids of the samples whose bytes have this hash, in order, whatever their status."""
        with self._db.read() as connection:
            query = sa.select(samples.c.sample_id).where(samples.c.content_sha256 == content_sha256)
            return sorted(connection.execute(query).scalars())

    def class_names(self) -> list[str]:
        """The classes that any sample has now, whatever its status, in order."""
        with self._db.read() as connection:
            return sorted({str(cell[1]) for cell in counters.read(connection, "samples")} - {""})

    def samples(
        self,
        *,
        split: str | None = None,
        label: str | None = None,
        source: str | None = None,
        after: str | None = None,
        limit: int | None = None,
        status: str | None = "live",
    ) -> Iterator[Sample]:
        """Samples in the order of their ids, streamed; `after` is the last id already seen.

        `label` or `split` "" means without one; `status` None means any. Writing between two samples is allowed:
        what comes later is seen as it is then.
        """
        return islice(self._stream(Filter(status, split, label, source), after, limit), limit)

    def page(
        self,
        *,
        split: str | None = None,
        label: str | None = None,
        source: str | None = None,
        check: str | None = None,
        after: str | None = None,
        limit: int = 100,
        status: str | None = "live",
    ) -> list[Sample]:
        """Up to `limit` samples after the id `after`; `check`: only those that this check flags."""
        return list(islice(self._stream(Filter(status, split, label, source, check), after, limit), limit))

    def rejected(self, source: str | None = None) -> Iterator[Rejected]:
        """What cannot be read, in the order in which it was first met, streamed."""
        last = 0

        def fetch(connection: Connection, n: int) -> list[Rejected]:
            nonlocal last
            query = sa.select(rejected.c.rejected_id, *_REJECTED_COLUMNS).where(rejected.c.rejected_id > last)
            if source is not None:
                query = query.where(rejected.c.source == source)
            rows = connection.execute(query.order_by(rejected.c.rejected_id).limit(n)).all()
            last = rows[-1][0] if rows else last
            return [Rejected(*row[1:]) for row in rows]

        return self._db.stream(fetch)

    def given_splits(self) -> Iterator[tuple[str, SplitName]]:
        """(sample_id, split) of the live samples whose source came with a split, streamed."""
        columns = (samples.c.sample_id, samples.c.given_split)
        last = ""

        def fetch(connection: Connection, n: int) -> list[tuple[str, SplitName | None]]:
            nonlocal last
            query = sa.select(*columns).where(samples.c.status == "live", samples.c.sample_id > last)
            rows = [(row[0], row[1]) for row in connection.execute(query.order_by(samples.c.sample_id).limit(n))]
            last = rows[-1][0] if rows else last
            return rows

        return ((sample_id, split) for sample_id, split in self._db.stream(fetch) if split is not None)

    def duplicates_by_content(self) -> Iterator[list[str]]:
        """Live samples of identical bytes: lists of two or more ids, each in order, streamed."""
        after = ""

        def fetch(connection: Connection, n: int) -> list[list[str]]:
            nonlocal after
            sha = samples.c.content_sha256
            live = samples.c.status == "live"
            twice = sa.select(sha).where(live, sha > after).group_by(sha).having(sa.func.count() > 1)
            shas = connection.execute(twice.order_by(sha).limit(n)).scalars().all()
            after = shas[-1] if shas else after
            members = sa.select(sha, samples.c.sample_id).where(live, sha.in_(shas)).order_by(sha, samples.c.sample_id)
            return [
                [row[1] for row in rows] for _, rows in groupby(connection.execute(members), key=lambda row: row[0])
            ]

        return self._db.stream(fetch)

    def counts_by_class(self, split: str | None = None) -> dict[str, int]:
        """How many live samples each class has, by name; unlabelled ones are not in it."""
        with self._db.read() as connection:
            keys = {"a": "live"} if split is None else {"a": "live", "c": split}
            found: dict[str, int] = {}
            for _, label, _, n in counters.read(connection, "samples", **keys):
                if label:
                    found[label] = found.get(label, 0) + n
        return dict(sorted(found.items()))

    def counts(self) -> Totals:
        """Totals by status, split, check, reason, action and source. One read of the counters, no row is counted."""
        with self._db.read() as connection:
            cells = counters.read(connection, "samples")
            by_status = _sum(cells, 0)
            live = [cell for cell in cells if cell[0] == "live"]
            by_reason = _sum(counters.read(connection, "rejected"), 0)
            flagged = counters.read(connection, "issues")
            return Totals(
                samples=by_status.get("live", 0),
                rejected=sum(by_reason.values()),
                unlabelled=_sum(live, 1).get("", 0),
                decided=counters.total(connection, "decided"),
                by_status=by_status,
                by_split={name: n for name, n in _sum(live, 2).items() if name},
                by_check=_sum([cell for cell in flagged if is_settleable(cell[1])], 0),
                by_check_open=_sum(counters.read(connection, "open"), 0),
                by_reason=by_reason,
                by_action=_sum(counters.read(connection, "decisions"), 0),
                by_source=_sum(counters.read(connection, "sources"), 0),
            )

    def _stream(self, wanted: Filter, after: str | None, limit: int | None) -> Iterator[Sample]:
        if wanted.check is not None and self._flags_few(wanted):
            return self._walk(flagged_query, wanted, after, limit)
        if wanted.status is not None:
            return self._walk(page_query, wanted, after, limit)
        # Every index begins with the status: walk the three and merge, instead of sorting.
        parts = [self._walk(page_query, replace(wanted, status=status), after, limit) for status in STATUSES]
        return heapq.merge(*parts, key=lambda sample: sample.sample_id)

    def _walk(self, query: PageQuery, wanted: Filter, after: str | None, limit: int | None) -> Iterator[Sample]:
        last = after or ""

        def fetch(connection: Connection, n: int) -> list[Sample]:
            nonlocal last
            rows = [Sample(*row) for row in connection.execute(query(wanted, last, n))]
            last = rows[-1].sample_id if rows else last
            return rows

        return self._db.stream(fetch, first=max(1, min(limit or 100, BATCH)))

    def _flags_few(self, wanted: Filter) -> bool:
        """Whether walking what the check flags is less work than walking what the other conditions leave."""
        keys = {"a": wanted.status, "b": wanted.label, "c": wanted.split}
        with self._db.read() as connection:
            n_flagged = counters.total(connection, "issues", a=wanted.check or "")
            given = {key: value for key, value in keys.items() if value is not None}
            return n_flagged * _LOOKUP_COST < counters.total(connection, "samples", **given)


def page_query(wanted: Filter, after: str, n: int) -> sa.Select[*tuple[Any, ...]]:
    """A page along the index of samples that fits the conditions; a check is looked up for each."""
    conditions = [*wanted.conditions(), samples.c.sample_id > after]
    if wanted.check is not None:
        flagged = (issues.c.check == wanted.check, issues.c.is_issue, issues.c.sample_id == samples.c.sample_id)
        conditions.append(sa.exists().where(*flagged))
    return sa.select(*SAMPLE_COLUMNS).where(*conditions).order_by(samples.c.sample_id).limit(n)


def flagged_query(wanted: Filter, after: str, n: int) -> sa.Select[*tuple[Any, ...]]:
    """The same page along the index of what the check flags; the other conditions are looked up for each."""
    fits = sa.exists().where(samples.c.sample_id == issues.c.sample_id, *wanted.conditions())
    flagged = (issues.c.check == wanted.check, issues.c.is_issue, issues.c.sample_id > after)
    ids = sa.select(issues.c.sample_id).where(*flagged, fits).order_by(issues.c.sample_id).limit(n)
    chosen = samples.c.sample_id.in_(ids.scalar_subquery())
    return sa.select(*SAMPLE_COLUMNS).where(chosen).order_by(samples.c.sample_id)


def _sum(cells: list[tuple[str, str, str, int]], key: int) -> dict[str, int]:
    found: dict[str, int] = {}
    for cell in cells:
        name = str(cell[key])
        found[name] = found.get(name, 0) + cell[3]
    return dict(sorted(found.items()))
