"""The engine of one machine: a pool of threads, or of processes.

Threads are the default: decoding, resizing and inference release the interpreter's lock, and nothing is copied
between processes. Items are handed out in chunks whose size follows how long an item takes, so that tiny ones
cost little and slow ones start at once.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from queue import SimpleQueue
from types import TracebackType
from typing import Generic, Literal, TypeVar

from mirada.engine.crew import Crew
from mirada.errors import Unavailable, UsageError
from mirada.messages import msg

T = TypeVar("T")
R = TypeVar("R")
Kind = Literal["threads", "processes"]

_CHUNK_S = 0.004
"""How long a chunk should take: long against handing it over, short against a person's patience."""
_MAX_CHUNK = 256
_CHUNKS_AHEAD = 4
"""Chunks in flight for each worker."""

_Outcome = tuple[list[R], BaseException | None, float]
"""Results, the error that ended them, and the seconds they took."""


class LocalEngine:
    """An `Engine` on this machine. `workers` 0: one for each processor core that we may use.

    With "processes", `fn`, items and results must be picklable, and the workers start fresh (no fork).
    """

    def __init__(self, workers: int = 0, kind: Kind = "threads") -> None:
        if workers < 0:
            raise UsageError(msg("engine.workers must be 0 or more; got {workers}.", workers=workers))
        if kind not in ("threads", "processes"):
            raise UsageError(msg("An engine works with threads or processes; got {kind!r}.", kind=kind))
        self._n_workers = workers or available_cpus()
        self._kind = kind
        self._crew: Crew | None = None
        self._lock = threading.Lock()

    @property
    def n_workers(self) -> int:
        """How many items are worked on at once."""
        return self._n_workers

    def map(self, fn: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield ``fn(item)`` in the order of `items`, at most a few chunks a worker ahead of the reader.

        The first error, in that order, is raised and what has not begun is cancelled; so it is when the reader
        stops early. Raises Unavailable when a worker process dies.
        """
        run = _Chunk(fn)
        source = iter(items)
        pending: deque[SimpleQueue[_Outcome[R]]] = deque()
        size = 1
        try:
            while True:
                while len(pending) < _CHUNKS_AHEAD * self._n_workers and (chunk := list(islice(source, size))):
                    pending.append(self._hired().submit(run, chunk))
                if not pending:
                    return
                results, error, seconds = pending.popleft().get()
                yield from results
                if error is not None:
                    raise error
                size = _next_size(size, len(results), seconds)
        except BrokenProcessPool as broken:
            self.close()
            raise Unavailable(
                msg("A worker process died, most likely for want of memory."),
                msg("Run the same command again with fewer workers (engine.workers)."),
            ) from broken
        finally:
            run.stopped = True

    def close(self) -> None:
        """Release the workers; safe to call twice. A later `map` starts new ones."""
        with self._lock:
            crew, self._crew = self._crew, None
        if crew is not None:
            crew.dismiss()

    def __enter__(self) -> LocalEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _hired(self) -> Crew:
        with self._lock:
            if self._crew is None:
                self._crew = Crew(self._n_workers, self._kind)
            return self._crew


class _Chunk(Generic[T, R]):
    """Runs `fn` over a chunk in a worker, until it is `stopped` (of which a process, with its copy, hears nothing)."""

    def __init__(self, fn: Callable[[T], R]) -> None:
        self._fn = fn
        self.stopped = False

    def __call__(self, chunk: list[T]) -> _Outcome[R]:
        begun = time.perf_counter()
        results: list[R] = []
        try:
            for item in chunk:
                if self.stopped:
                    break  # nobody reads the rest any more
                results.append(self._fn(item))
        except Exception as error:  # noqa: BLE001 - a border: whatever `fn` raises is raised again by `map`
            return results, error, time.perf_counter() - begun
        return results, None, time.perf_counter() - begun


def available_cpus() -> int:
    """How many processor cores this process may use: its affinity, and the limit of its container (cgroup v2)."""
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as handle:  # noqa: PTH123 - not a file of ours
            quota, period = handle.read().split()
    except (OSError, ValueError):
        return n
    return n if quota == "max" else max(1, min(n, round(int(quota) / int(period))))


def _next_size(size: int, n: int, seconds: float) -> int:
    wanted = int(_CHUNK_S * n / max(seconds, 1e-9)) if n else size
    # One slow file must not shrink, nor one quick one swell, the chunks of all that follow.
    return max(1, min(wanted, size * 2, _MAX_CHUNK))
