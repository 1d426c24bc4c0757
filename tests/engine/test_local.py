"""The local engine: order, laziness, bounds, errors, endings; the same for threads and processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from itertools import count, islice
from operator import neg
from pathlib import Path

import pytest

from mirada.engine.local import LocalEngine, available_cpus
from mirada.errors import DecodeError, Unavailable, UsageError
from mirada.imaging.decode import Limits, read_file

KINDS = ("threads", "processes")


# Worker processes import what they run: functions of the library, not of this file.
read = partial(read_file, limits=Limits())


@pytest.fixture(params=KINDS)
def engine(request: pytest.FixtureRequest) -> Iterator[LocalEngine]:
    with LocalEngine(2, request.param) as made:
        yield made


def test_results_come_in_the_order_of_the_items(engine: LocalEngine) -> None:
    assert list(engine.map(neg, range(3000))) == [-i for i in range(3000)]
    assert list(engine.map(neg, [])) == []
    assert engine.n_workers == 2


def test_slow_items_keep_the_order_and_work_beside_each_other() -> None:
    together = threading.Barrier(4, timeout=10)

    def meet(i: int) -> int:
        together.wait()  # breaks unless four are at work at once
        time.sleep(0.002 * (4 - i % 4))
        return i

    with LocalEngine(4) as engine:
        assert list(engine.map(meet, range(16))) == list(range(16))


def test_items_are_drawn_lazily_and_few_are_in_flight() -> None:
    drawn = 0

    def items() -> Iterator[int]:
        nonlocal drawn
        for i in count():
            drawn += 1
            yield i

    def slow(i: int) -> int:
        time.sleep(0.005)
        return i

    with LocalEngine(2) as engine:
        results = engine.map(slow, items())
        assert drawn == 0
        for done, result in enumerate(islice(results, 40)):
            assert result == done
            assert drawn <= done + 1 + 4 * 2 * 2
        results.close()
        assert list(engine.map(neg, range(5))) == [0, -1, -2, -3, -4]  # the engine is still good


def test_the_first_error_is_raised_after_what_came_before_it(engine: LocalEngine, tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}" for i in range(1000)]
    for path in paths[:7]:
        path.write_text(path.name)
    results = engine.map(read, paths)
    assert list(islice(results, 7)) == [b"0", b"1", b"2", b"3", b"4", b"5", b"6"]
    with pytest.raises(DecodeError, match="not there") as caught:
        next(results)
    assert caught.value.code == "missing"
    assert list(engine.map(neg, [4])) == [-4]


def test_what_has_not_begun_is_cancelled_after_an_error() -> None:
    begun = []

    def record(i: int) -> int:
        begun.append(i)
        time.sleep(0.01)
        if i == 3:
            raise ValueError(i)
        return i

    with LocalEngine(2) as engine:
        with pytest.raises(ValueError, match="3"):
            list(engine.map(record, count()))
        engine.close()
        n = len(begun)
    assert n < 30


def test_an_error_of_the_items_is_raised(engine: LocalEngine) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("the folder vanished")

    with pytest.raises(OSError, match="the folder vanished"):
        list(engine.map(neg, items()))


def test_closing_twice_and_working_again(engine: LocalEngine) -> None:
    assert list(engine.map(neg, [1])) == [-1]
    engine.close()
    engine.close()
    assert list(engine.map(neg, [2])) == [-2]


def test_a_worker_process_that_dies_is_told() -> None:
    with LocalEngine(1, "processes") as engine:
        with pytest.raises(Unavailable, match="worker process died"):
            list(engine.map(os._exit, range(3)))
        assert list(engine.map(neg, [2])) == [-2]


def test_processes_are_other_processes() -> None:
    with LocalEngine(1, "processes") as engine:
        assert os.getpid() not in set(engine.map(eval, ["__import__('os').getpid()"] * 3))


def test_tiny_items_cost_little() -> None:
    with LocalEngine(2) as engine:
        best = float("inf")
        for _ in range(3):
            begun = time.process_time()
            n = sum(1 for _ in engine.map(neg, range(30_000)))
            best = min(best, (time.process_time() - begun) / n)
    assert best < 20e-6


def test_workers_follow_what_the_machine_allows() -> None:
    assert LocalEngine().n_workers == available_cpus() >= 1
    code = "import os; os.sched_setaffinity(0, {0}); from mirada.engine.local import available_cpus as n; print(n())"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "1\n"


def test_wrong_settings() -> None:
    with pytest.raises(UsageError, match="0 or more; got -1"):
        LocalEngine(-1)
    with pytest.raises(UsageError, match="threads or processes; got 'ray'"):
        LocalEngine(1, "ray")  # type: ignore[arg-type]


INTERRUPTED = """
import sys, time
from mirada.engine.local import LocalEngine
def slow(i):
    time.sleep(0.05)
    return i
if __name__ == "__main__":
    with LocalEngine(2, sys.argv[1]) as engine:
        try:
            for i in engine.map(slow, range(100_000)):
                print(i, flush=True)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
"""


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupt_ends_it_at_once_and_cleanly(kind: str, tmp_path: Path) -> None:
    script = tmp_path / "interrupted.py"
    script.write_text(INTERRUPTED)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "start_new_session": True}
    with subprocess.Popen([sys.executable, script, kind], **pipes) as run:  # type: ignore[call-overload]
        assert run.stdout.readline() == b"0\n"
        os.killpg(run.pid, signal.SIGINT)  # as a terminal does: to the workers too
        out, err = run.communicate(timeout=20)
    assert out.endswith(b"interrupted\n")
    assert err == b""
    assert run.returncode == 0
