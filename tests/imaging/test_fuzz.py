"""Mutated files through decode in a process of their own: no crash, no hang, no memory over 500 MB."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from mirada.imaging.decode import REASONS

SCRIPT = Path(__file__).with_name("fuzzing.py")


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_every_mutated_file_is_decoded_or_refused(long_run):
    n = 300 if long_run else 60
    for seed in range(4 if long_run else 1):
        done = subprocess.run(
            [sys.executable, "-W", "error", SCRIPT, str(seed), str(n)], capture_output=True, text=True, timeout=280
        )
        assert done.returncode == 0, done.stderr[-3000:]
        report = json.loads(done.stdout)
        outcomes = Counter(outcome for _, outcome, _ in report["results"])
        assert sum(outcomes.values()) == n
        assert set(outcomes) <= {"decoded", *REASONS}, outcomes
        assert outcomes["decoded"] < n / 2, "mutations that break nothing test nothing"
        slow = [row for row in report["results"] if row[2] > 1]
        assert not slow
        assert report["peak_bytes"] < 500_000_000
