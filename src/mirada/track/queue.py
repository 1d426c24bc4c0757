"""What is left for the MLflow mirror, and starting it. Nothing here loads MLflow.

The catalogue and the bundle folders are the truth; MLflow is written after the fact, by a process of its own
(``python -m mirada.track WORKSPACE``), from the jobs that training leaves in the catalogue. A mirror that fails
costs no result: its job stays in the queue, `mirada track` tells the error, and the next pass repeats it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from mirada.catalog.catalog import Catalog
from mirada.workspace import Workspace

RUN_JOB = "mirror_run"
ALIAS_JOB = "mirror_alias"
MAX_ATTEMPTS = 1000  # a store that is away for a month comes back


@dataclass(frozen=True, slots=True)
class RunMirror:
    """What MLflow is told of a run. Paths are absolute; `status` is MLflow's own word.

    `curves`: (name, step, value) of figures that were measured again and again.
    """

    run_id: str
    experiment: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    artifacts: tuple[str, ...]
    model_name: str = ""
    model_version: int = 0
    bundle_path: str = ""
    status: str = "FINISHED"
    curves: tuple[tuple[str, int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class AliasMirror:
    """What MLflow is told of a promotion or a rollback; version 0 takes the alias away."""

    model_name: str
    alias: str
    model_version: int


@dataclass(frozen=True, slots=True)
class MirrorReport:
    """How a pass of the mirror went; `errors` are sentences of the system, one a failed job."""

    uri: str
    n_done: int
    errors: tuple[str, ...]


def tracking_uri(workspace: Workspace) -> str:
    """The setting track.uri, else MLFLOW_TRACKING_URI, else the workspace's own SQLite store."""
    own = f"sqlite:///{workspace.path / 'mlflow.db'}"
    return workspace.config.text("track.uri") or os.environ.get("MLFLOW_TRACKING_URI") or own


def enqueue_run(catalog: Catalog, run: RunMirror) -> None:
    """Leave a run for the mirror."""
    catalog.enqueue(RUN_JOB, asdict(run), max_attempts=MAX_ATTEMPTS)


def enqueue_alias(catalog: Catalog, alias: AliasMirror) -> None:
    """Leave a promotion for the mirror."""
    catalog.enqueue(ALIAS_JOB, asdict(alias), max_attempts=MAX_ATTEMPTS)


def start_mirror(workspace: Workspace) -> subprocess.Popen[bytes] | None:
    """Start the mirror in a process of its own that outlives this one; None where the mirror is switched off."""
    if not workspace.config.flag("track.enabled"):
        return None
    log_path = workspace.path / "track.log"
    with log_path.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "mirada.track", str(workspace.path)],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip


def run_mirror(workspace: Workspace) -> MirrorReport:
    """Mirror what waits in a process of its own, wait for it, and give its report."""
    command = [sys.executable, "-m", "mirada.track", str(workspace.path)]
    with (workspace.path / "track.log").open("ab") as errors:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, check=False)
    try:
        told = json.loads(done.stdout)
    except ValueError:
        return MirrorReport(tracking_uri(workspace), 0, (f"exit status {done.returncode}, see track.log",))
    return MirrorReport(told["uri"], told["n_done"], tuple(told["errors"]))
