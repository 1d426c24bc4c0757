"""The process that listens: only where it may, and with an orderly end."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from mirada.errors import UsageError
from mirada.serve.run import check_host, listen
from mirada.testing.models import colour_photo

_RUN = """
import sys
from mirada.config import Config
from mirada.serve.run import serve
serve(sys.argv[1], Config.load(env={}, serve__port=0), on_ready=lambda url: print(url, flush=True))
print("stopped", flush=True)
"""


def test_addresses() -> None:
    for host in ("0.0.0.0", "::", "192.168.1.4", "example.com", ""):
        with pytest.raises(UsageError, match="keys"):
            check_host(host)
    for host in ("127.0.0.1", "::1", "localhost", "127.8.8.8"):
        check_host(host)
    with listen("127.0.0.1", 0) as taken:
        taken.listen()
        with pytest.raises(UsageError, match="cannot listen"):
            listen("127.0.0.1", taken.getsockname()[1])


def test_a_process_serves_and_stops(bundle_path: Path) -> None:
    command = [sys.executable, "-c", _RUN, str(bundle_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        try:
            answer = httpx.post(f"{url}api/predict", content=colour_photo("blue"), timeout=30).json()
            assert answer[0]["predictions"][0]["label"] == "blue"
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(20) in (0, -signal.SIGTERM)
