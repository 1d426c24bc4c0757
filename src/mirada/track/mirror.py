"""The pass of the mirror: waiting jobs into MLflow. Importing MLflow takes seconds and hundreds of megabytes.

Runs only in the process that ``python -m mirada.track WORKSPACE`` starts.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mirada.catalog.catalog import Catalog
from mirada.catalog.records import Job
from mirada.config import Config
from mirada.track.queue import ALIAS_JOB, RUN_JOB, AliasMirror, MirrorReport, RunMirror, tracking_uri
from mirada.workspace import Workspace

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_RUN_TAG = "mirada.run_id"
_VERSION_TAG = "mirada.version"
_MOST_METRICS = 1000  # that MLflow takes at once

log = logging.getLogger("mirada.track")


def mirror_pending(workspace: Workspace) -> MirrorReport:
    """Write every waiting job to MLflow; one that fails stays in the queue. Loads MLflow where there is work."""
    uri = tracking_uri(workspace)
    n_done, errors = 0, list[str]()
    with workspace.lock("track"), Catalog.open(workspace.catalog_url) as catalog:
        # Runs before aliases: an alias names a version that the run's job registers. All are claimed before the
        # first is worked on, so that one that fails waits for the next pass.
        jobs = [job for kind in (RUN_JOB, ALIAS_JOB) for job in iter(partial(catalog.claim, kind), None)]
        for job in jobs:
            error = _mirror_job(workspace, uri, job)
            catalog.finish(job.job_id, error)
            n_done += error is None
            if error is not None:
                errors.append(error)
    return MirrorReport(uri=uri, n_done=n_done, errors=tuple(errors))


def _mirror_job(workspace: Workspace, uri: str, job: Job) -> str | None:
    payload: dict[str, Any] = dict(job.payload)
    try:
        client = _client(uri)
        if job.kind == RUN_JOB:
            told = {"artifacts": tuple(payload["artifacts"]), "curves": tuple(map(tuple, payload.get("curves", ())))}
            _write_run(client, workspace, RunMirror(**{**payload, **told}))
        else:
            _write_alias(client, AliasMirror(**payload))
    except Exception as error:  # whatever a foreign store raises must not cost a result
        log.exception("the MLflow mirror failed")
        return f"{type(error).__name__}: {error}"
    return None


def _client(uri: str) -> MlflowClient:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    # A server that is away is asked again by the next pass; waiting minutes for it here helps nobody.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _write_run(client: MlflowClient, workspace: Workspace, run: RunMirror) -> None:
    from mlflow.entities import Metric, Param, RunTag

    experiment_id = _experiment(client, workspace, run.experiment)
    known = client.search_runs([experiment_id], f"tags.`{_RUN_TAG}` = '{run.run_id}'", max_results=1)
    run_id = known[0].info.run_id if known else _new_run(client, experiment_id, run)
    now_ms = known[0].info.start_time if known else client.get_run(run_id).info.start_time
    client.log_batch(
        run_id,
        metrics=[Metric(name, value, now_ms, 0) for name, value in run.metrics.items()],
        params=[Param(name, value) for name, value in run.params.items()],
        tags=[RunTag(name, value) for name, value in run.tags.items()],
    )
    points = [Metric(name, value, now_ms, step) for name, step, value in run.curves]
    for start in range(0, len(points), _MOST_METRICS):
        client.log_batch(run_id, metrics=points[start : start + _MOST_METRICS])
    for path in run.artifacts:
        client.log_artifact(run_id, path)
    if run.model_name:
        _write_version(client, run, run_id)
    client.set_terminated(run_id, run.status)


def _experiment(client: MlflowClient, workspace: Workspace, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    # A server decides itself where artifacts go; our own file store keeps them in the workspace.
    own = tracking_uri(workspace).startswith("sqlite:")
    location = (workspace.path / "mlartifacts").as_uri() if own else None
    return str(client.create_experiment(name, artifact_location=location))


def _new_run(client: MlflowClient, experiment_id: str, run: RunMirror) -> str:
    created = client.create_run(experiment_id, run_name=run.run_id, tags={_RUN_TAG: run.run_id})
    return str(created.info.run_id)


def _write_version(client: MlflowClient, run: RunMirror, run_id: str) -> None:
    if not client.search_registered_models(f"name = '{run.model_name}'"):
        client.create_registered_model(run.model_name)
    if _version(client, run.model_name, run.model_version) is None:
        source = Path(run.bundle_path).as_uri()
        tags = {_VERSION_TAG: str(run.model_version)}
        client.create_model_version(run.model_name, source=source, run_id=run_id, tags=tags)


def _version(client: MlflowClient, name: str, version: int) -> str | None:
    for found in client.search_model_versions(f"name = '{name}'"):
        if found.tags.get(_VERSION_TAG) == str(version):
            return str(found.version)
    return None


def _write_alias(client: MlflowClient, alias: AliasMirror) -> None:
    if alias.model_version == 0:
        client.delete_registered_model_alias(alias.model_name, alias.alias)
        return
    version = _version(client, alias.model_name, alias.model_version)
    if version is None:
        raise LookupError(f"{alias.model_name} {alias.model_version} is not in MLflow yet")
    client.set_registered_model_alias(alias.model_name, alias.alias, version)


def main() -> int:
    """``python -m mirada.track WORKSPACE``: mirror what waits; exit status 1 where something failed."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    path = Path(sys.argv[1])
    workspace = Workspace(path, Config.load(path / "mirada.toml"))
    report = mirror_pending(workspace)
    log.info("mirrored %d jobs to %s, %d failed", report.n_done, report.uri, len(report.errors))
    sys.stdout.write(json.dumps(asdict(report)) + "\n")
    return 1 if report.errors else 0
