"""SIGKILL at random moments: run again, `train` ends as an undisturbed run does.

`add` and `predict` have theirs in tests/test_ingest.py and tests/predict/test_batch.py.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mirada.testing import class_folders

N_CLASSES, N_PER_CLASS, SIDE = 3, 120, 160


# Whoever starts the tests in the background may have SIGINT ignored; a person's terminal has not.
_MAIN = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "from mirada.cli.main import run; sys.exit(run(sys.argv[1:]))"
)


def _run(home: Path, photos: Path, backbone: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _MAIN, "--workspace", str(home), "train", str(photos),
         "--backbone", str(backbone), "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "MIRADA_TRACK_ENABLED": "false"},
    )  # fmt: skip


def _outcome(home: Path, told: dict[str, object]) -> dict[str, object]:
    """What must not depend on having been killed: catalogue, figures, the model's version."""
    with sqlite3.connect(home / "catalog.sqlite") as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
        samples = connection.execute(
            "select sample_id, content_sha256, uri, label, split, status from samples order by sample_id"
        ).fetchall()
        counters = connection.execute("select * from counters where kind not in ('runs', 'jobs') order by 1, 2, 3, 4")
        state = {
            "samples": samples,
            "counters": counters.fetchall(),
            "datasets": connection.execute("select dataset_id, n_samples from dataset_versions").fetchall(),
            "splits": connection.execute("select split_id, strategy, seed from splits").fetchall(),
            "models": connection.execute("select name, version, path from model_versions").fetchall(),
            "aliases": connection.execute("select name, alias, version from aliases").fetchall(),
            "runs": len(connection.execute("select run_id from runs").fetchall()) - (told["model"]["version"] - 1),
            "running": connection.execute("select count(*) from runs where status = 'running'").fetchall(),
        }
    connection.close()
    figures = {name: told[name] for name in ("test", "val", "n", "class_names")}
    return {**state, **figures, "version": told["model"]["version"]}


def _is_done(home: Path) -> bool:
    if not (home / "catalog.sqlite").exists():
        return False
    with sqlite3.connect(home / "catalog.sqlite") as connection:
        has_runs = connection.execute("select count(*) from sqlite_master where name = 'runs'").fetchone()[0]
        n_done = has_runs and connection.execute("select count(*) from runs where status = 'done'").fetchone()[0]
    connection.close()
    return bool(n_done)


def test_train_killed_at_any_moment_ends_as_undisturbed(tmp_path: Path, backbone_file: Path, long_run: bool) -> None:
    photos = tmp_path / "photos"
    class_folders(photos, N_CLASSES, N_PER_CLASS, size=SIDE)
    start = time.perf_counter()
    calm = _run(tmp_path / "calm", photos, backbone_file)
    out, err = calm.communicate(timeout=240)
    seconds = time.perf_counter() - start
    assert calm.returncode == 0, err
    wanted = _outcome(tmp_path / "calm", json.loads(out))
    rng = random.Random(20261121)
    n_killed = 0
    for turn in range(20 if long_run else 3):
        home = tmp_path / f"killed{turn}"
        process = _run(home, photos, backbone_file)
        time.sleep(seconds * rng.uniform(0.25, 0.95))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        n_killed += process.returncode == -signal.SIGKILL
        was_done = _is_done(home)
        again = _run(home, photos, backbone_file)
        out, err = again.communicate(timeout=240)
        assert again.returncode == 0, err
        got = _outcome(home, json.loads(out))
        if was_done:
            # It was killed on its way out, with everything written: the second call was a training of its own.
            got = {**got, "version": 1, "models": got["models"][:1]}
        assert got == wanted, f"turn {turn}"
    assert n_killed >= 1


@pytest.mark.parametrize("signal_number", [signal.SIGINT])
def test_an_interrupted_training_exits_with_130_and_says_so(
    tmp_path: Path, backbone_file: Path, signal_number: signal.Signals
) -> None:
    photos = tmp_path / "photos"
    class_folders(photos, N_CLASSES, N_PER_CLASS, size=SIDE)
    process = _run(tmp_path / "w", photos, backbone_file)
    database = tmp_path / "w" / "catalog.sqlite"
    while not database.exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal_number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Interrupted" in err
    assert "Traceback" not in err


def test_killed_right_after_registering_takes_the_same_model_up(tmp_path: Path, backbone_file: Path) -> None:
    photos, home = tmp_path / "photos", tmp_path / "w"
    class_folders(photos, N_CLASSES, N_PER_CLASS, size=SIDE)
    code = (
        "import os, signal, sys; from mirada.cli.main import run; from mirada.workflow import train;"
        "train.write_report = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL);"
        "run(sys.argv[1:])"
    )
    argv = ["--workspace", str(home), "train", str(photos), "--backbone", str(backbone_file), "--json"]
    env = {**os.environ, "MIRADA_TRACK_ENABLED": "false"}
    killed = subprocess.run([sys.executable, "-c", code, *argv], check=False, capture_output=True, env=env)
    assert killed.returncode == -signal.SIGKILL
    again = _run(home, photos, backbone_file)
    out, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    told = json.loads(out)
    assert told["model"]["version"] == 1
    assert told["champion"] is True
    assert Path(told["report"]).is_file()
    assert _outcome(home, told)["runs"] == 1
