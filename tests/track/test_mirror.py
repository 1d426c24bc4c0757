"""The MLflow mirror, for real: its own process, its own SQLite store; a failure is told, kept and repeated."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from mirada.catalog.catalog import Catalog
from mirada.config import Config
from mirada.track.queue import (
    AliasMirror,
    RunMirror,
    enqueue_alias,
    enqueue_run,
    run_mirror,
    start_mirror,
    tracking_uri,
)
from mirada.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Workspace.create(tmp_path / "w")


def _leave_jobs(workspace: Workspace) -> None:
    bundle = workspace.models_path / "sports" / "1"
    bundle.mkdir(parents=True)
    (bundle / "manifest.json").write_text("{}")
    report = workspace.path / "report.html"
    report.write_text("<html></html>")
    run = RunMirror(
        run_id="run-1",
        experiment="mirada",
        params={"seed": "0"},
        metrics={"test_accuracy": 0.96},
        tags={"dataset_id": "d"},
        artifacts=(str(report),),
        model_name="sports",
        model_version=1,
        bundle_path=str(bundle),
        curves=(("epoch_val_accuracy", 1, 0.5), ("epoch_val_accuracy", 2, 0.875)),
    )
    with Catalog.open(workspace.catalog_url) as catalog:
        enqueue_alias(catalog, AliasMirror("sports", "champion", 1))
        enqueue_run(catalog, run)


def _rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(path) as connection:
        rows = connection.execute(query).fetchall()
    connection.close()
    return rows


def test_a_run_its_model_and_alias_are_mirrored_once(workspace: Workspace) -> None:
    _leave_jobs(workspace)
    report = run_mirror(workspace)
    assert (report.n_done, report.errors) == (2, ())
    again = run_mirror(workspace)
    assert (again.n_done, again.errors) == (0, ())
    store = workspace.path / "mlflow.db"
    assert _rows(store, "select key, step, value from metrics order by key, step") == [
        ("epoch_val_accuracy", 1, 0.5),
        ("epoch_val_accuracy", 2, 0.875),
        ("test_accuracy", 0, 0.96),
    ]
    assert _rows(store, "select key, value from params") == [("seed", "0")]
    assert _rows(store, "select name, status from runs") == [("run-1", "FINISHED")]
    assert _rows(store, "select name, alias, version from registered_model_aliases") == [("sports", "champion", 1)]
    assert list((workspace.path / "mlartifacts").rglob("report.html"))


def test_a_mirror_that_fails_is_told_kept_and_repeated(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    _leave_jobs(workspace)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    report = run_mirror(workspace)
    assert report.n_done == 0
    assert len(report.errors) == 2
    with Catalog.open(workspace.catalog_url) as catalog:
        assert len(catalog.jobs("queued")) == 2
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert run_mirror(workspace).n_done == 2


def test_where_the_mirror_writes(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracking_uri(workspace) == f"sqlite:///{workspace.path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracker")
    assert tracking_uri(workspace) == "http://tracker"
    chosen = Workspace(workspace.path, Config.load(env={"MIRADA_TRACK_URI": "sqlite:///x.db"}))
    assert tracking_uri(chosen) == "sqlite:///x.db"


def test_switched_off_it_does_not_start(workspace: Workspace) -> None:
    off = Workspace(workspace.path, Config.load(env={"MIRADA_TRACK_ENABLED": "false"}))
    assert start_mirror(off) is None
