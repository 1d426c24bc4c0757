"""A fresh catalogue a test; MIRADA_TEST_CATALOG_URL runs the suite on another database, emptied each time."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import sqlalchemy as sa

from mirada.catalog import schema
from mirada.catalog.catalog import Catalog
from mirada.types import Sample

CountersByKey = dict[tuple[str, str, str, str], int]


@pytest.fixture
def url(tmp_path: Path) -> str:
    other = os.environ.get("MIRADA_TEST_CATALOG_URL")
    if other:
        engine = sa.create_engine(other)
        with engine.begin() as connection:
            connection.execute(sa.text("DROP SCHEMA public CASCADE"))
            connection.execute(sa.text("CREATE SCHEMA public"))
        engine.dispose()
        return other
    return f"sqlite:///{tmp_path / 'catalog.sqlite'}"


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'catalog.sqlite'}"


@pytest.fixture
def catalog(url: str) -> Iterator[Catalog]:
    with Catalog.open(url) as opened:
        yield opened


@pytest.fixture(scope="session")
def sample() -> Callable[..., Sample]:
    """``sample(7, label="cat")``: the seventh photograph of source "photos", with these fields changed."""

    def make(i: int, **changes: object) -> Sample:
        uri = f"/photos/{i:06d}.jpg"
        source = str(changes.get("source", "photos"))
        sample_id = hashlib.sha256(f"{source}\0{uri}".encode()).hexdigest()[:20]
        sha = hashlib.sha256(b"%d" % i).hexdigest()
        made = Sample(sample_id, sha, uri, "photos", 64, 48, "RGB", "JPEG", 1000 + i, "cat", "folder", mtime_ns=i)
        return replace(made, **changes)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def bench() -> ModuleType:
    """The benchmark, whose synthetic samples the tests use too."""
    path = Path(__file__).parents[2] / "benchmarks" / "catalog.py"
    spec = importlib.util.spec_from_file_location("bench_catalog", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def kept() -> Callable[[Catalog], CountersByKey]:
    """The counters as the catalogue keeps them, without zeros."""

    def read(catalog: Catalog) -> CountersByKey:
        c = schema.counters.c
        with catalog._db.read() as connection:
            rows = connection.execute(sa.select(c.kind, c.a, c.b, c.c, c.n).where(c.n != 0)).all()
        return {(kind, a, b, c_): n for kind, a, b, c_, n in rows}

    return read


@pytest.fixture(scope="session")
def recounted() -> Callable[[Catalog], CountersByKey]:
    """The counters as counting the rows gives them."""

    def count(catalog: Catalog) -> CountersByKey:
        with catalog._db.read() as connection:
            return dict(_count_rows(connection))

    return count


def _count_rows(connection: sa.Connection) -> Counter[tuple[str, str, str, str]]:
    n: Counter[tuple[str, str, str, str]] = Counter()
    status = {}
    for row in connection.execute(sa.select(schema.samples)):
        status[row.sample_id] = row.status
        n[("samples", row.status, row.label or "", row.split or "")] += 1
        n[("sources", row.source, "", "")] += 1
        if row.n_decisions:
            n[("decided", row.status, "", "")] += 1
    for row in connection.execute(sa.select(schema.rejected)):
        n[("rejected", row.reason, row.source, "")] += 1
    rows = connection.execute(sa.select(schema.decisions)).all()
    undone = {row.undoes for row in rows if row.undoes is not None}
    for row in rows:
        if row.undoes is None and row.decision_id not in undone:
            n[("decisions", row.action, "", "")] += 1
    log: dict[str, list[sa.Row]] = {}
    for row in rows:
        log.setdefault(row.sample_id, []).append(row)
    for row in connection.execute(sa.select(schema.issues)):
        is_open = bool(row.is_issue) and _is_open(row, status, log.get(row.sample_id, []), undone)
        assert row.is_open == is_open
        n[("open", row.check, "", "")] += is_open
        n[("scores", row.check, "", "")] += 1
        if row.is_issue:
            n[("issues", row.check, status.get(row.sample_id, "rejected"), "")] += 1
    for row in connection.execute(sa.select(schema.jobs)):
        n[("jobs", row.kind, row.status, "")] += 1
    labels = {}
    for row in connection.execute(sa.select(schema.predictions)):
        labels[row.prediction_id] = (row.model, str(row.version), row.label)
        outcome = "error" if row.error else "rejected" if row.is_rejected else "ok"
        n[("predictions", row.model, str(row.version), outcome)] += 1
    for row in connection.execute(sa.select(schema.feedback)):
        model, version, label = labels[row.prediction_id]
        n[("feedback", model, version, "right" if label == row.true_label else "wrong")] += 1
    return Counter({key: total for key, total in n.items() if total})


def _is_open(issue: sa.Row, status: dict[str, str], log: Sequence[sa.Row], undone: set[int]) -> bool:
    """The rule of `mirada.catalog.queues`, told again."""
    if status.get(issue.sample_id, "live") != "live":
        return False
    made = [row for row in log if row.decision_id > issue.made_after]
    in_force = [row for row in made if row.undoes is None and row.decision_id not in undone]
    return not any(row.action != "restore" and row.check in (None, issue.check) for row in in_force)
