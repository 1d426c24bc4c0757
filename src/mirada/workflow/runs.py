"""What a run leaves behind: its row, its predictions on test, its report."""

from __future__ import annotations

import json
import platform
import secrets
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mirada import __version__
from mirada.errors import NotFound
from mirada.messages import msg
from mirada.workspace import Workspace, storage_errors, write_atomic

PACKAGES = ("numpy", "openvino", "scikit-learn", "simplejpeg", "pillow", "torch", "timm")


class Stopwatch:
    """Seconds of each stage, by name."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        """The time since the last lap belongs to `stage`."""
        now = time.perf_counter()
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + now - self._last, 3)
        self._last = now

    def total(self) -> Mapping[str, float]:
        """All stages, and "total"."""
        return {**self.seconds, "total": round(time.perf_counter() - self._start, 3)}


@dataclass(frozen=True, slots=True)
class TestPredictions:
    """A run's answers on its test photographs. pred_probs: float32 (n, k), columns in the order of class_names."""

    __test__ = False  # a record, not a test of pytest's

    sample_ids: tuple[str, ...]
    labels: tuple[str, ...]
    class_names: tuple[str, ...]
    pred_probs: NDArray[np.float32]


def new_run_id() -> str:
    """Sortable by time and unique: 20261121-093000-4f2a."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"


def environment(**more: str) -> dict[str, str]:
    """Versions that a figure depends on."""
    found = {"mirada": __version__, "python": platform.python_version(), "machine": platform.machine()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return {**found, **more}


def git_sha(folder: Path) -> str:
    """The commit of the user's project around `folder`, or "" where there is none."""
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def save_predictions(folder: Path, predictions: TestPredictions) -> None:
    """Keep a run's answers for later comparisons: predictions.json beside predictions.npy."""
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "predictions.npy", predictions.pred_probs, allow_pickle=False)
        rest = {
            "sample_ids": predictions.sample_ids,
            "labels": predictions.labels,
            "class_names": predictions.class_names,
        }
        write_atomic(folder / "predictions.json", json.dumps(rest).encode())


def load_predictions(workspace: Workspace, run_id: str) -> TestPredictions:
    """What `save_predictions` kept. Raises NotFound."""
    folder = workspace.runs_path / run_id
    try:
        rest = json.loads((folder / "predictions.json").read_text(encoding="utf-8"))
        probs = np.load(folder / "predictions.npy", allow_pickle=False)
    except FileNotFoundError as error:
        raise NotFound(
            msg("There are no predictions of the run {run} in {path}.", run=run_id, path=workspace.runs_path),
            msg("`mirada runs` lists the runs."),
        ) from error
    return TestPredictions(
        sample_ids=tuple(rest["sample_ids"]),
        labels=tuple(rest["labels"]),
        class_names=tuple(rest["class_names"]),
        pred_probs=probs,
    )
