"""The command line itself: quick, light, exact about mistakes, in two languages."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mirada.cli.main import COMMANDS

HEAVY = ("torch", "timm", "mlflow", "openvino", "sklearn", "scipy", "pyarrow", "onnx", "fastapi")


@pytest.mark.alone
def test_help_is_quick() -> None:
    fastest = min(_seconds([sys.executable, "-m", "mirada", "--help"]) for _ in range(5))
    assert fastest <= 0.4


def _seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


@pytest.mark.parametrize("statement", ["import mirada", "import mirada.cli.main"])
def test_importing_is_light(statement: str) -> None:
    code = f"import sys; {statement}; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "module",
    [
        "mirada.serve.app", "mirada.web.pages", "mirada.predict.batch", "mirada.predict.runtime", "mirada.embed.embed",
        "mirada.release.bundle", "mirada.release.registry", "mirada.training.head", "mirada.workflow.train",
        "mirada.workflow.evaluate", "mirada.api.library", "mirada.api.estimator", "mirada.ingest", "mirada.track",
    ],
)  # fmt: skip
def test_each_room_leaves_torch_out(module: str) -> None:
    heavy = ("torch", "timm", "ray", "mlflow")
    code = f"import sys, {module}; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_helps_with_an_example(name: str, mirada: Callable[..., object]) -> None:
    called = mirada(name, "--help")
    assert called.status == 0
    assert f"Example: mirada {name}" in " ".join(called.out.split())


def test_an_unknown_command_is_refused_with_the_nearest(mirada: Callable[..., object]) -> None:
    called = mirada("trian")
    assert (called.status, called.out) == (2, "")
    assert "no command trian" in called.err
    assert "Did you mean train?" in called.err


def test_an_unknown_flag_is_refused_with_the_nearest(mirada: Callable[..., object]) -> None:
    called = mirada("train", "photos", "--bakcbone", "x")
    assert called.status == 2
    assert "--bakcbone" in called.err
    assert "Did you mean --backbone?" in called.err


def test_with_json_a_failure_is_one_document(mirada: Callable[..., object], tmp_path: Path) -> None:
    called = mirada("train", tmp_path / "nowhere", "--json", "--backbone", "x.onnx")
    assert called.status == 1
    error = json.loads(called.out)["error"]
    assert set(error) == {"code", "message", "hint"}
    assert error["message"] in called.err


def test_spanish_by_locale(mirada: Callable[..., object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    english = mirada("train", tmp_path / "nowhere", "--backbone", "x.onnx").err
    monkeypatch.setenv("MIRADA_LANG", "es")
    spanish = mirada("train", tmp_path / "nowhere", "--backbone", "x.onnx").err
    assert spanish != english
    assert str(tmp_path / "nowhere") in spanish
    assert "No hay nada" in spanish


def test_doctor_tells_the_machine(mirada: Callable[..., object]) -> None:
    told = mirada("doctor", "--json").document
    assert told["precision"] in ("bf16", "f32")
    assert told["openvino"].startswith("2026")


def test_doctor_lists_every_setting(mirada: Callable[..., object]) -> None:
    from mirada.config import SETTINGS

    assert set(mirada("doctor", "--settings", "--json").document["settings"]) == {s.name for s in SETTINGS}
