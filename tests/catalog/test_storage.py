"""What goes wrong with storage is told in a sentence: full, read-only, missing, damaged, locked, from the future."""

from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy.exc import DBAPIError

from mirada.catalog import schema
from mirada.catalog.catalog import Catalog
from mirada.catalog.database import Database, enter_wal
from mirada.catalog.migrate import MIGRATIONS_PATH, REVISIONS
from mirada.errors import StorageError, Unavailable, UsageError, WorkspaceError, WorkspaceTooNew
from mirada.intake import sample_id
from mirada.types import Issue, Sample

Make = Callable[..., Sample]


def test_migrations_build_the_schema(catalog: Catalog) -> None:
    with catalog._db.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []


def test_every_migration_is_known() -> None:
    files = sorted(path.name.partition("_")[0] for path in (MIGRATIONS_PATH / "versions").glob("0*.py"))
    assert tuple(files) == REVISIONS


def test_an_unfinished_catalogue_is_completed(sqlite_url: str, tmp_path: Path) -> None:
    (tmp_path / "catalog.sqlite").touch()  # killed right after the file was made
    with Catalog.open(sqlite_url) as catalog:
        assert catalog.counts()["samples"] == 0


def test_sqlite_is_set_up_as_meant(sqlite_url: str) -> None:
    with Catalog.open(sqlite_url) as catalog, catalog._db.read() as connection:
        asked = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in asked]
    assert found == ["wal", 1, 1, 60_000]


def test_foreign_keys_hold(catalog: Catalog) -> None:
    row = {"name": "m", "alias": "champion", "version": 3}
    with pytest.raises(sa.exc.IntegrityError), catalog._db.write() as connection:
        connection.execute(sa.insert(schema.aliases).values(row))


@pytest.mark.alone
def test_opening_again_imports_no_alembic_and_leaves_logging_alone(sqlite_url: str, tmp_path: Path) -> None:
    (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = nowhere\n")
    code = (
        "import logging, sys, time; from mirada.catalog.catalog import Catalog; url = sys.argv[1]\n"
        "Catalog.open(url).close(); first = 'alembic' in sys.modules\n"
        "begun = time.perf_counter(); Catalog.open(url).close(); took = time.perf_counter() - begun\n"
        "print(first, logging.getLogger().handlers, took < 0.1)"
    )
    for made in (True, False):
        call = [sys.executable, "-c", code, sqlite_url]
        ended = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert ended.stdout == f"{made} [] True\n"
        assert ended.stderr == ""


def test_a_catalogue_of_a_later_version_is_refused_and_left_alone(sqlite_url: str, tmp_path: Path) -> None:
    Catalog.open(sqlite_url).close()
    with sqlite3.connect(tmp_path / "catalog.sqlite") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0099'")
    connection.close()
    before = (tmp_path / "catalog.sqlite").read_bytes()
    with pytest.raises(WorkspaceTooNew, match="has version 0099; this Mirada knows versions up to 0002"):
        Catalog.open(sqlite_url)
    assert (tmp_path / "catalog.sqlite").read_bytes() == before


def test_a_full_disk(sqlite_url: str, sample: Make) -> None:
    with Catalog.open(sqlite_url) as catalog:
        with catalog._db.read() as connection:
            n_pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {n_pages + 2}")
        with pytest.raises(StorageError, match=r"catalog\.sqlite is full\. Free some room"):
            catalog.add([sample(i) for i in range(5000)])
        assert catalog.counts()["samples"] == 0
        with catalog._db.read() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
        assert catalog.add([sample(i) for i in range(5000)]).n_added == 5000


def test_a_read_only_catalogue(sqlite_url: str, tmp_path: Path, sample: Make) -> None:
    Catalog.open(sqlite_url).close()
    with Catalog.open(f"sqlite:///file:{tmp_path / 'catalog.sqlite'}?mode=ro&uri=true") as catalog:
        assert list(catalog.samples()) == []
        with pytest.raises(StorageError, match="cannot write in"):
            catalog.add([sample(1)])


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot open"):
        Catalog.open(f"sqlite:///{tmp_path / 'nowhere' / 'catalog.sqlite'}")


def test_a_file_that_is_no_catalogue(sqlite_url: str, tmp_path: Path) -> None:
    (tmp_path / "catalog.sqlite").write_bytes(b"a photograph of a cat, perhaps" * 100)
    with pytest.raises(WorkspaceError, match="damaged"):
        Catalog.open(sqlite_url)


def test_somebody_who_writes_for_too_long(sqlite_url: str, tmp_path: Path, sample: Make) -> None:
    Catalog.open(sqlite_url).close()
    other = sqlite3.connect(tmp_path / "catalog.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with Catalog.open(sqlite_url, timeout_s=0.1) as catalog:
        assert list(catalog.samples()) == []  # reading goes on
        with pytest.raises(Unavailable, match="in use"):
            catalog.add([sample(1)])
        other.rollback()
        other.close()
        assert catalog.add([sample(1)]).n_added == 1


@pytest.mark.parametrize("url", ["not a url", "mystery:///x", "oracle+nodriver://x"])
def test_an_address_of_nothing(url: str) -> None:
    with pytest.raises(UsageError, match=r"catalog\.url is not an address"):
        Catalog.open(url)


def test_closing_twice(sqlite_url: str, tmp_path: Path) -> None:
    catalog = Catalog.open(sqlite_url)
    catalog.close()
    catalog.close()
    assert [path.name for path in tmp_path.iterdir()] == ["catalog.sqlite"]  # the log is folded in


def test_the_library_logs_nothing_by_itself(sqlite_url: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Catalog.open(sqlite_url).close()
    assert caplog.records == []


def test_many_threads_make_catalogues_at_once(tmp_path: Path) -> None:
    def make(i: int) -> int:
        with Catalog.open(f"sqlite:///{tmp_path / str(i % 3)}.sqlite") as catalog:
            return catalog.enqueue("train", {})

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(make, range(6))) == [1, 1, 1, 2, 2, 2]


def test_a_catalogue_of_the_first_version_is_brought_up_to_date(
    url: str, sample: Make, kept: Callable, recounted: Callable
) -> None:
    database = Database(url)
    if database.is_sqlite:
        enter_wal(database)
    with database.write(has_tables=False) as connection:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS_PATH))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for table, rows in _first_version(sample).items():
            old = sa.Table(table, sa.MetaData(), autoload_with=connection)
            connection.execute(sa.insert(old), rows)
    database.close()
    bad = sample_id("photos", "/photos/bad.jpg")
    with Catalog.open(url) as catalog:
        assert kept(catalog) == recounted(catalog)
        assert [row.issue.sample_id for row in catalog.issues("dark")] == [sample(0).sample_id]
        assert len(list(catalog.issues("dark", open_only=False))) == 3
        assert list(catalog.rejected_by_id([bad])) == [bad]
        assert [one.check for one in catalog.decisions()] == [None, None]
        catalog.replace_issues("corrupt", [Issue(bad, "corrupt", 0.0, True, 0.5)])
        catalog.undo(1)
        assert len(list(catalog.issues("dark"))) == 2
    with (
        Catalog.open(url) as catalog,
        pytest.raises(DBAPIError, match="append-only"),
        catalog._db.write() as connection,
    ):
        connection.execute(sa.text("UPDATE decisions SET reason = 'other'"))


def _first_version(sample: Make) -> dict[str, list[dict[str, object]]]:
    """Rows as the first version wrote them: of four samples one is dropped, one was looked at, one is unflagged."""
    rows = []
    for i in range(4):
        row = asdict(sample(i))
        given = {
            "given_label": "cat",
            "given_label_source": "folder",
            "added_at": "2026-01-01",
            "n_decisions": i in (1, 2),
        }
        rows.append({**row, **given, "status": "dropped" if i == 2 else "live"})
    made = [(1, "keep", "live"), (2, "drop", "dropped")]
    decided = [
        {"sample_id": sample(i).sample_id, "action": action, "old_label": "cat", "new_label": "cat",
         "old_status": "live", "new_status": status, "decided_by": "ana", "reason": "", "decided_at": "2026-01-02"}
        for i, action, status in made
    ]  # fmt: skip
    issues = [
        {"sample_id": sample(i).sample_id, "check": "dark", "score": 0.1, "is_issue": i < 3, "threshold": 0.5,
         "evidence": "{}"}
        for i in range(4)
    ]  # fmt: skip
    counted = {
        ("samples", "live", "cat", ""): 3, ("samples", "dropped", "cat", ""): 1, ("sources", "photos", "", ""): 4,
        ("decided", "live", "", ""): 1, ("decided", "dropped", "", ""): 1, ("decisions", "keep", "", ""): 1,
        ("decisions", "drop", "", ""): 1, ("scores", "dark", "", ""): 4, ("issues", "dark", "live", ""): 2,
        ("issues", "dark", "dropped", ""): 1, ("rejected", "truncated", "photos", ""): 1,
    }  # fmt: skip
    bad = {
        "uri": "/photos/bad.jpg",
        "source": "photos",
        "reason": "truncated",
        "detail": "",
        "rejected_at": "2026-01-01",
    }
    counters = [{"kind": k, "a": a, "b": b, "c": c, "n": n} for (k, a, b, c), n in counted.items()]
    return {"samples": rows, "rejected": [bad], "decisions": decided, "issues": issues, "counters": counters}
