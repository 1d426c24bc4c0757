"""The command line as a person calls it: in this process for speed, or in one of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mirada.cli.main import run
from mirada.testing import class_folders
from mirada.testing.models import tiny_backbone

ENV = {"MIRADA_LANG": "en", "MIRADA_TRACK_ENABLED": "false"}


@dataclass(frozen=True)
class Called:
    """What a call answered."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def _no_mirror(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MIRADA_TRACK_ENABLED", "false")
    monkeypatch.setenv("MIRADA_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def mirada(capsys: pytest.CaptureFixture[str]) -> Callable[..., Called]:
    """``mirada("train", folder)``: one command line in this process."""

    def call(*argv: object) -> Called:
        capsys.readouterr()
        status = run([str(arg) for arg in argv])
        captured = capsys.readouterr()
        return Called(status, captured.out, captured.err)

    return call


@pytest.fixture
def spawn() -> Callable[..., subprocess.Popen[str]]:
    """``spawn("add", folder)``: a command line in a process of its own."""

    def start(*argv: object, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "mirada", *(str(arg) for arg in argv)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **ENV, **env},
        )

    return start


@pytest.fixture(scope="session")
def backbone_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete backbone file: mean colours of a 4 × 4 grid."""
    return tiny_backbone(tmp_path_factory.mktemp("backbone")).onnx_path


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of forty small photographs."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    class_folders(folder, 3, 40, size=48)
    return folder
