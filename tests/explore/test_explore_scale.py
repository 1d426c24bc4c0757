"""Two hundred thousand rows: within a minute and 2 GB, on an idle machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.long
@pytest.mark.skipif("not __import__('os').environ.get('MIRADA_LONG')", reason="full counts: make test-long")
def test_200_000_rows_are_explored_in_a_minute_and_2_gb() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.explore"], cwd=Path(__file__).parents[2], capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["n"] == found["n_measured"] == 200_000
    assert found["seconds"] <= 60
    assert found["peak_gb"] <= 2
    assert found["page_mb"] <= 15
    assert any("no picture" in note for note in found["notes"])
