"""Adding what a source lists: samples and rejections, idempotent by (source, uri)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirada.catalog.counters import Tally
from mirada.catalog.database import Database, chunked, now
from mirada.catalog.decisions import State, count_state, replay_samples, with_decisions
from mirada.catalog.queues import UNREADABLE
from mirada.catalog.records import AddCounts, photo_id
from mirada.catalog.schema import issues, rejected, samples, sources
from mirada.types import Rejected, Sample

Place = tuple[str, str]
"""(uri, source)"""

_FIELDS = tuple(Sample.__dataclass_fields__)
_values = attrgetter(*_FIELDS)
_FACTS = ("width", "height", "mode", "format", "n_bytes", "phash", "mtime_ns")


class SampleWriter:
    """The part of `Catalog` that takes in what sources list."""

    _db: Database

    def add(self, samples: Sequence[Sample], rejected: Sequence[Rejected] = ()) -> AddCounts:
        """Add or update samples and rejections in one transaction.

        A photograph is known by its source and uri. Where its content, label or split differ from what the
        catalogue holds, the source's facts are updated and decisions stay in force; issues found on other content
        are removed. A sample that cannot be read any more becomes rejected, and the other way round.
        """
        counts: Counter[str] = Counter()
        with self._db.write() as connection:
            tally = Tally()
            for batch in chunked({(sample.uri, sample.source): sample for sample in samples}.values()):
                counts += _add_samples(connection, batch, tally)
            for refused in chunked({(photo.uri, photo.source): photo for photo in rejected}.values()):
                counts += _add_rejected(connection, refused, tally)
            tally.apply(connection)
        return AddCounts(counts["added"], counts["known"], counts["changed"], counts["rejected"])

    def known(self, uris: Iterable[str], source: str | None = None) -> dict[str, tuple[int | None, int | None]]:
        """(n_bytes, mtime_ns) of the uris that the catalogue has, as samples or rejected ones."""
        found: dict[str, tuple[int | None, int | None]] = {}
        with self._db.read() as connection:
            for batch in chunked(uris):
                for table in (rejected, samples):
                    query = sa.select(table.c.uri, table.c.n_bytes, table.c.mtime_ns).where(table.c.uri.in_(batch))
                    if source is not None:
                        query = query.where(table.c.source == source)
                    found.update((uri, (n_bytes, mtime_ns)) for uri, n_bytes, mtime_ns in connection.execute(query))
        return found

    def source_signature(self, source: str) -> str | None:
        """What `set_source_signature` stored when this source was last added whole; None where it never was."""
        with self._db.read() as connection:
            return connection.execute(sa.select(sources.c.signature).where(sources.c.source == source)).scalar()

    def set_source_signature(self, source: str, signature: str) -> None:
        """Remember that all of `source` is in the catalogue, in the state that `signature` stands for."""
        with self._db.write() as connection:
            row = {"signature": signature, "completed_at": now()}
            changed = connection.execute(sa.update(sources).where(sources.c.source == source).values(row))
            if not changed.rowcount:
                connection.execute(sa.insert(sources).values(source=source, **row))

    def set_groups(self, groups: Mapping[str, str | None]) -> None:
        """Put samples into duplicate groups, by sample id; None takes one out. Unknown ids are ignored."""
        statement = sa.update(samples).where(samples.c.sample_id == sa.bindparam("key"))
        with self._db.write() as connection:
            for batch in chunked(groups.items()):
                connection.execute(statement, [{"key": sample_id, "group_id": group} for sample_id, group in batch])


def _add_samples(connection: Connection, batch: list[Sample], tally: Tally) -> Counter[str]:
    held = _held(connection, batch)
    counts: Counter[str] = Counter(added=0)
    new, updates, stale, again = [], [], [], []
    stamp = now()
    for sample in batch:
        row = held.get((sample.uri, sample.source))
        if row is None:
            new.append(_new_row(sample, stamp))
            state = State(sample.label or None, None, "live")
            count_state(tally, +1, state, sample.split)
            tally.add(1, "sources", sample.source)
            counts["added"] += 1
            continue
        changes = _changes(row, sample)
        if changes:
            updates.append({"key": row.sample_id, **changes})
        if row.content_sha256 != sample.content_sha256:
            stale.append(row.sample_id)
        is_changed = any(name in changes for name in ("content_sha256", "given_label", "given_split"))
        if is_changed:
            _count_split(tally, row, changes)
            again.append(row.sample_id)
        counts["changed" if is_changed else "known"] += 1
    _drop_rejected(connection, batch, tally)
    if new:
        connection.execute(sa.insert(samples), new)
        again += with_decisions(connection, [str(row["sample_id"]) for row in new])
    _update_samples(connection, updates)
    _drop_issues(connection, stale, tally)
    replay_samples(connection, again, tally)
    return counts


def _held(connection: Connection, batch: Sequence[Sample | Rejected]) -> dict[Place, sa.Row[*tuple[Any, ...]]]:
    query = sa.select(samples).where(samples.c.uri.in_([photo.uri for photo in batch]))
    return {(row.uri, row.source): row for row in connection.execute(query)}


def _new_row(sample: Sample, stamp: str) -> dict[str, object]:
    row: dict[str, object] = dict(zip(_FIELDS, _values(sample), strict=True))
    row["label"] = row["given_label"] = sample.label or None
    row["given_label_source"] = sample.label_source
    row["given_split"] = sample.split
    row["added_at"] = sample.added_at or stamp
    row["status"] = "live"
    row["n_decisions"] = 0
    return row


def _changes(row: sa.Row[*tuple[Any, ...]], sample: Sample) -> dict[str, object]:
    """The columns that differ between what is held and what the source says now."""
    wanted: dict[str, object] = {name: getattr(sample, name) for name in _FACTS}
    wanted["content_sha256"] = sample.content_sha256
    wanted["given_label"] = sample.label or None
    wanted["given_label_source"] = sample.label_source
    wanted["given_split"] = sample.split
    held = row._mapping
    changes = {name: value for name, value in wanted.items() if held[name] != value}
    if "content_sha256" in changes:
        changes["group_id"] = None
    # The given split moves the sample only while nothing else has: a saved split outlives an edited table.
    if "given_split" in changes and held["split"] == held["given_split"]:
        changes["split"] = sample.split
    return changes


def _count_split(tally: Tally, row: sa.Row[*tuple[Any, ...]], changes: Mapping[str, object]) -> None:
    if "split" in changes:
        state = State(row.label, row.label_source, row.status, row.n_decisions)
        count_state(tally, -1, state, row.split)
        split = changes["split"]
        count_state(tally, +1, state, None if split is None else str(split))


def _update_samples(connection: Connection, updates: list[dict[str, object]]) -> None:
    # Rows that change the same columns go in one statement.
    by_columns: dict[tuple[str, ...], list[dict[str, object]]] = {}
    for update in updates:
        by_columns.setdefault(tuple(update), []).append(update)
    for rows in by_columns.values():
        connection.execute(sa.update(samples).where(samples.c.sample_id == sa.bindparam("key")), rows)


def _drop_issues(connection: Connection, sample_ids: Sequence[str], tally: Tally) -> None:
    if not sample_ids:
        return
    of_these = issues.c.sample_id.in_(sample_ids)
    at = samples.c.sample_id == issues.c.sample_id
    columns = (issues.c.check, issues.c.is_issue, issues.c.is_open, samples.c.status)
    query = sa.select(*columns).select_from(issues.outerjoin(samples, at))
    for check, is_issue, is_open, status in connection.execute(query.where(of_these)):
        tally.add(-1, "scores", check)
        tally.add(-int(is_open), "open", check)
        if is_issue:
            tally.add(-1, "issues", check, status or UNREADABLE)
    connection.execute(sa.delete(issues).where(of_these))


def _add_rejected(connection: Connection, batch: list[Rejected], tally: Tally) -> Counter[str]:
    _drop_samples(connection, batch, tally)
    query = sa.select(rejected).where(rejected.c.uri.in_([photo.uri for photo in batch]))
    held = {(row.uri, row.source): row for row in connection.execute(query)}
    new, updates = [], []
    for photo in batch:
        facts = {name: getattr(photo, name) for name in ("reason", "detail", "n_bytes", "mtime_ns")}
        row = held.get((photo.uri, photo.source))
        if row is None:
            place = {"sample_id": photo_id(photo.source, photo.uri), "uri": photo.uri, "source": photo.source}
            new.append({**place, "rejected_at": now(), **facts})
            tally.add(1, "rejected", photo.reason, photo.source)
        elif any(row._mapping[name] != value for name, value in facts.items()):
            updates.append({"key": row.rejected_id, **facts})
            tally.add(-1, "rejected", row.reason, row.source)
            tally.add(+1, "rejected", photo.reason, photo.source)
    if new:
        connection.execute(sa.insert(rejected), new)
    if updates:
        connection.execute(sa.update(rejected).where(rejected.c.rejected_id == sa.bindparam("key")), updates)
    return Counter(rejected=len(new))


def _drop_samples(connection: Connection, batch: list[Rejected], tally: Tally) -> None:
    places = {(photo.uri, photo.source) for photo in batch}
    gone = [row for place, row in _held(connection, batch).items() if place in places]
    ids = [row.sample_id for row in gone]
    _drop_issues(connection, ids, tally)
    for row in gone:
        count_state(tally, -1, State(row.label, row.label_source, row.status, row.n_decisions), row.split)
        tally.add(-1, "sources", row.source)
    if ids:
        connection.execute(sa.delete(samples).where(samples.c.sample_id.in_(ids)))


def _drop_rejected(connection: Connection, batch: list[Sample], tally: Tally) -> None:
    places = {(sample.uri, sample.source) for sample in batch}
    query = sa.select(rejected).where(rejected.c.uri.in_([sample.uri for sample in batch]))
    gone = [row for row in connection.execute(query) if (row.uri, row.source) in places]
    for row in gone:
        tally.add(-1, "rejected", row.reason, row.source)
    if gone:
        _drop_issues(connection, [row.sample_id for row in gone], tally)
        connection.execute(sa.delete(rejected).where(rejected.c.rejected_id.in_([row.rejected_id for row in gone])))
