"""Workers that an interrupt cannot leave waiting for each other.

`concurrent.futures` locks in Python code: a Ctrl-C that reaches the main thread between taking such a lock and the
block it guards leaves it taken for good, and closing the pool then waits for ever. Here the main thread only puts
into and gets from `SimpleQueue`s, which are one step each; the workers, which no interrupt reaches, do the rest.
"""

from __future__ import annotations

import _thread
import signal
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_all_start_methods, get_context
from queue import SimpleQueue
from typing import Any, Literal, Protocol

_Job = tuple["Work", Any, "SimpleQueue[Any]"]


class Work(Protocol):
    """What is done with a chunk, until nobody wants it any more."""

    stopped: bool

    def __call__(self, chunk: Any) -> tuple[list[Any], BaseException | None, float]:
        """Results, the error that ended them, and the seconds they took."""
        ...


class Crew:
    """`n` threads, or threads that keep `n` processes busy, until `dismiss`."""

    def __init__(self, n: int, kind: Literal["threads", "processes"]) -> None:
        self._processes = _make_processes(n) if kind == "processes" else None
        # Two threads to a process: while one takes a result back, the next piece of work is there already.
        self._n_threads = n if self._processes is None else 2 * n
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._gone: SimpleQueue[None] = SimpleQueue()
        for _ in range(self._n_threads):
            _thread.start_new_thread(self._work, ())  # `Thread.start` waits for a lock in Python code

    def submit(self, work: Work, chunk: Any) -> SimpleQueue[Any]:
        """Have ``work(chunk)`` done, unless `work` is stopped before its turn; the answer comes by the queue.

        What goes wrong on the way, a process that died for one, comes as an answer with that error.
        """
        answer: SimpleQueue[Any] = SimpleQueue()
        self._jobs.put((work, chunk, answer))
        return answer

    def dismiss(self) -> None:
        """End all workers and wait for them. Work that was stopped is not begun."""
        for _ in range(self._n_threads):
            self._jobs.put(None)
        for _ in range(self._n_threads):
            self._gone.get()
        if self._processes is not None:
            self._processes.shutdown(wait=True, cancel_futures=True)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            work, chunk, answer = job
            if not work.stopped:
                try:
                    do = self._processes
                    answer.put(work(chunk) if do is None else do.submit(work, chunk).result())
                except BaseException as error:  # noqa: BLE001 - a border: raised again where the answer is read
                    answer.put(([], error, 0.0))
            del job, work, chunk, answer  # else an idle worker would keep the last chunk alive
        self._gone.put(None)


def _make_processes(n: int) -> ProcessPoolExecutor:
    method = "forkserver" if "forkserver" in get_all_start_methods() else "spawn"
    return ProcessPoolExecutor(n, mp_context=get_context(method), initializer=_ignore_interrupt)


def _ignore_interrupt() -> None:
    # Ctrl-C reaches the whole group of processes; the parent alone answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
