"""Which process holds a run or a job, and whether it still lives."""

from __future__ import annotations

import json
import os
import socket
from functools import cache


@cache
def _this(pid: int) -> str:
    import psutil

    started = psutil.Process(pid).create_time()
    return json.dumps({"host": socket.gethostname(), "pid": pid, "started": round(started, 2)})


def this_process() -> str:
    """The running process as text: host, process id and start time (ids are used again, start times are not)."""
    return _this(os.getpid())


def is_here(process: str) -> bool:
    """Whether `process` ran, or runs, on this machine."""
    return bool(process) and json.loads(process)["host"] == socket.gethostname()


def is_dead(process: str) -> bool:
    """Whether `process` is known to have ended. Never so for one on another machine: who knows."""
    if not is_here(process):
        return False
    import psutil

    facts = json.loads(process)
    try:
        found = psutil.Process(facts["pid"])
        # A killed child that nobody has waited for still has its number.
        return abs(found.create_time() - facts["started"]) > 1 or found.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
