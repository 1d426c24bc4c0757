"""Dataset versions and splits."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirada.catalog.counters import Tally
from mirada.catalog.database import BATCH, Database, chunked, now
from mirada.catalog.decisions import State, count_state
from mirada.catalog.schema import dataset_versions, decisions, samples, split_members, splits
from mirada.errors import InputError, NotFound
from mirada.messages import msg
from mirada.types import SPLIT_NAMES, DatasetVersion, Split, SplitName


class DatasetStore:
    """The part of `Catalog` that names states of the data and divides them."""

    _db: Database

    def freeze_dataset(self) -> DatasetVersion:
        """Name the state of the data as it is now. The same state has the same id and is stored once.

        `dataset_id` is the SHA-256 of one line ``["sample_id","content_sha256",label]`` of JSON for each live
        sample, in the order of the ids.
        """
        with self._db.read() as connection:  # hashing a million takes seconds: nobody's writing waits for it
            digest, counts, n_samples = _hash_live(connection)
            last_decision_id = connection.execute(sa.select(sa.func.max(decisions.c.decision_id))).scalar()
        by_id = sa.select(dataset_versions).where(dataset_versions.c.dataset_id == digest)
        with self._db.write() as connection:
            held = connection.execute(by_id).one_or_none()
            if held is not None:
                return _version(held)
            newest = sa.select(dataset_versions.c.dataset_id).order_by(dataset_versions.c.version_id.desc()).limit(1)
            parent_id = connection.execute(newest).scalar()
            version = DatasetVersion(digest, parent_id, tuple(sorted(counts)), n_samples, dict(sorted(counts.items())))
            connection.execute(sa.insert(dataset_versions), _version_row(version, last_decision_id))
        return version

    def dataset(self, dataset_id: str) -> DatasetVersion:
        """A dataset version by its id. Raises NotFound."""
        with self._db.read() as connection:
            query = sa.select(dataset_versions).where(dataset_versions.c.dataset_id == dataset_id)
            row = connection.execute(query).one_or_none()
        if row is None:
            raise NotFound(msg("There is no dataset version {dataset_id}.", dataset_id=dataset_id))
        return _version(row)

    def last_decision(self, dataset_id: str) -> int:
        """The id of the last decision there was when a version was first frozen; 0 where there was none."""
        self.dataset(dataset_id)
        with self._db.read() as connection:
            query = sa.select(dataset_versions.c.last_decision_id).where(dataset_versions.c.dataset_id == dataset_id)
            return connection.execute(query).scalar() or 0

    def datasets(self) -> list[DatasetVersion]:
        """Every dataset version, oldest first."""
        with self._db.read() as connection:
            query = sa.select(dataset_versions).order_by(dataset_versions.c.version_id)
            return [_version(row) for row in connection.execute(query)]

    def save_split(self, split: Split) -> None:
        """Store a split and put every sample into its part of it; samples in no part lose theirs.

        A split of the same id is only applied again. Raises NotFound for unknown samples.
        """
        parts: dict[SplitName, tuple[str, ...]] = {"train": split.train, "val": split.val, "test": split.test}
        wanted = {sample_id: name for name, ids in parts.items() for sample_id in ids}
        if len(wanted) != sum(map(len, parts.values())):
            raise InputError(msg("Split {split_id} names a sample twice.", split_id=split.split_id))
        with self._db.write() as connection:
            _store_split(connection, split, parts)
            tally = Tally()
            n_found = _move(connection, wanted, tally)
            if n_found < len(wanted):
                n = len(wanted) - n_found
                raise NotFound(
                    msg("Split {split_id} names {n} samples that the catalogue lacks.", split_id=split.split_id, n=n)
                )
            for ids in chunked(_ids_with_split(connection)):
                _move(connection, {sample_id: None for sample_id in ids if sample_id not in wanted}, tally)
            tally.apply(connection)

    def split(self, split_id: str) -> Split:
        """A split by its id. Raises NotFound."""
        with self._db.read() as connection:
            row = connection.execute(sa.select(splits).where(splits.c.split_id == split_id)).one_or_none()
            if row is None:
                raise NotFound(msg("There is no split {split_id}.", split_id=split_id))
            return _split(connection, row)

    def latest_split(self) -> Split | None:
        """The split that was saved last; None where there is none."""
        with self._db.read() as connection:
            query = sa.select(splits).order_by(splits.c.row_id.desc()).limit(1)
            row = connection.execute(query).one_or_none()
            return None if row is None else _split(connection, row)

    def set_sample_splits(self, wanted: Mapping[str, SplitName | None]) -> int:
        """Put samples into train, val or test, by id (None: into none); returns how many of the ids exist."""
        with self._db.write() as connection:
            tally = Tally()
            n_found = _move(connection, wanted, tally)
            tally.apply(connection)
        return n_found


def _hash_live(connection: Connection) -> tuple[str, Counter[str], int]:
    digest = hashlib.sha256()
    counts: Counter[str] = Counter()
    quoted: dict[str | None, str] = {}
    n_samples, last = 0, ""
    columns = (samples.c.sample_id, samples.c.content_sha256, samples.c.label)
    query = sa.select(*columns).where(samples.c.status == "live").order_by(samples.c.sample_id).limit(BATCH)
    while rows := connection.execute(query.where(samples.c.sample_id > last)).all():
        for sample_id, sha, label in rows:
            text = quoted.get(label) or quoted.setdefault(label, json.dumps(label))
            digest.update(f"[{json.dumps(sample_id)},{json.dumps(sha)},{text}]\n".encode())
            if label is not None:
                counts[label] += 1
        n_samples += len(rows)
        last = rows[-1][0]
    return digest.hexdigest(), counts, n_samples


def _version_row(version: DatasetVersion, last_decision_id: int | None) -> dict[str, object]:
    return {
        "dataset_id": version.dataset_id,
        "parent_id": version.parent_id,
        "class_names": json.dumps(version.class_names),
        "n_samples": version.n_samples,
        "counts": json.dumps(dict(version.counts)),
        "last_decision_id": last_decision_id,
        "frozen_at": now(),
    }


def _version(row: sa.Row[*tuple[Any, ...]]) -> DatasetVersion:
    names = tuple(json.loads(row.class_names))
    return DatasetVersion(row.dataset_id, row.parent_id, names, row.n_samples, json.loads(row.counts))


def _store_split(connection: Connection, split: Split, parts: Mapping[SplitName, tuple[str, ...]]) -> None:
    if connection.execute(sa.select(splits.c.row_id).where(splits.c.split_id == split.split_id)).scalar() is not None:
        return
    values = {name: getattr(split, name) for name in ("split_id", "dataset_id", "strategy", "seed")}
    made = connection.execute(sa.insert(splits).values(made_at=now(), **values))
    (row_id,) = made.inserted_primary_key or (None,)
    for subset, ids in parts.items():
        for batch in chunked(enumerate(ids), 10_000):
            rows = [
                {"split_row_id": row_id, "subset": subset, "position": position, "sample_id": sample_id}
                for position, sample_id in batch
            ]
            connection.execute(sa.insert(split_members), rows)


def _split(connection: Connection, row: sa.Row[*tuple[Any, ...]]) -> Split:
    parts = {}
    for subset in SPLIT_NAMES:
        of_it = (split_members.c.split_row_id == row.row_id, split_members.c.subset == subset)
        query = sa.select(split_members.c.sample_id).where(*of_it).order_by(split_members.c.position)
        parts[subset] = tuple(connection.execute(query).scalars())
    return Split(row.split_id, row.dataset_id, row.strategy, row.seed, **parts)


def _move(connection: Connection, wanted: Mapping[str, SplitName | None], tally: Tally) -> int:
    """Set the split of samples where it differs, and count it; returns how many of the ids exist."""
    n_found = 0
    statement = sa.update(samples).where(samples.c.sample_id == sa.bindparam("key"))
    c = samples.c
    columns = (c.sample_id, c.split, c.label, c.label_source, c.status, c.n_decisions)
    for batch in chunked(wanted):
        moves = []
        for row in connection.execute(sa.select(*columns).where(c.sample_id.in_(batch))):
            n_found += 1
            split = wanted[row.sample_id]
            if split != row.split:
                state = State(row.label, row.label_source, row.status, row.n_decisions)
                count_state(tally, -1, state, row.split)
                count_state(tally, +1, state, split)
                moves.append({"key": row.sample_id, "split": split})
        if moves:
            connection.execute(statement, moves)
    return n_found


def _ids_with_split(connection: Connection) -> Iterator[str]:
    last = ""
    query = sa.select(samples.c.sample_id, samples.c.split).order_by(samples.c.sample_id).limit(BATCH)
    while rows := connection.execute(query.where(samples.c.sample_id > last)).all():
        yield from (sample_id for sample_id, split in rows if split is not None)
        last = rows[-1][0]
