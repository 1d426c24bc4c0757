"""The engine of one machine: a pool of threads, or of processes.

Threads are the default: decoding, resizing and inference release the interpreter's lock, and nothing is copied
between processes. Items are handed out in chunks whose size follows how long an item takes, so that tiny ones
cost little and slow ones start at once.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_all_start_methods, get_context
from types import TracebackType
from typing import Generic, Literal, TypeVar

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
        self._executor: Executor | None = None
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
        stop = threading.Event()
        run = _Chunk(fn, stop if self._kind == "threads" else None)
        source = iter(items)
        pending: deque[Future[_Outcome[R]]] = deque()
        size = 1
        try:
            while True:
                while len(pending) < _CHUNKS_AHEAD * self._n_workers and (chunk := list(islice(source, size))):
                    pending.append(self._pool().submit(run, chunk))
                if not pending:
                    return
                results, error, seconds = pending.popleft().result()
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
            stop.set()
            for future in pending:
                future.cancel()

    def close(self) -> None:
        """Release the workers; safe to call twice. A later `map` starts new ones."""
        with self._lock:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> LocalEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _pool(self) -> Executor:
        with self._lock:
            if self._executor is None:
                self._executor = _make_executor(self._kind, self._n_workers)
            return self._executor


class _Chunk(Generic[T, R]):
    """Runs `fn` over a chunk in a worker: results, then the error that ended it, and the seconds it took."""

    def __init__(self, fn: Callable[[T], R], stop: threading.Event | None) -> None:
        self._fn = fn
        self._stop = stop

    def __call__(self, chunk: list[T]) -> _Outcome[R]:
        begun = time.perf_counter()
        results: list[R] = []
        try:
            for item in chunk:
                if self._stop is not None and self._stop.is_set():
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


def _make_executor(kind: Kind, n_workers: int) -> Executor:
    if kind == "threads":
        return ThreadPoolExecutor(n_workers, thread_name_prefix="mirada")
    method = "forkserver" if "forkserver" in get_all_start_methods() else "spawn"
    return ProcessPoolExecutor(n_workers, mp_context=get_context(method), initializer=_ignore_interrupt)


def _ignore_interrupt() -> None:
    # Ctrl-C reaches the whole group of processes; the parent alone answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
