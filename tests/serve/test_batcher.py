"""The batcher alone: joining, bounds, failures, cancellation."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from mirada.errors import Busy, DecodeError, TooLarge, Unavailable
from mirada.messages import msg
from mirada.serve.batcher import Batcher, BatchLimits


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


class Work:
    """Doubles numbers; odd things happen at some of them."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.gate = threading.Event()
        self.gate.set()

    def prepare(self, raw: int) -> int:
        if raw < 0:
            raise DecodeError(msg("negative"), code="unreadable")
        return raw

    def answer(self, batch: Sequence[int]) -> list[int]:
        assert self.gate.wait(10)
        self.sizes.append(len(batch))
        if 13 in batch:
            raise RuntimeError("the network broke")
        return [2 * one for one in batch]


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.002)


def test_requests_join_in_batches(pool: ThreadPoolExecutor) -> None:
    work = Work()

    async def test() -> None:
        limits = BatchLimits(max_batch=8, max_wait_s=0.05, max_inside=1000)
        async with Batcher(work.prepare, work.answer, decoders=pool, limits=limits) as batcher:
            answers = await asyncio.gather(*(batcher.submit([i, i + 100]) for i in range(14, 54)))
            assert answers == [[2 * i, 2 * i + 200] for i in range(14, 54)]
            assert batcher.n_inside == 0
            assert batcher.n_answered == 80

    run(test)
    assert max(work.sizes) == 8
    assert len(work.sizes) < 40


def test_a_lone_photograph_does_not_wait_long(pool: ThreadPoolExecutor) -> None:
    work = Work()

    async def test() -> None:
        async with Batcher(work.prepare, work.answer, decoders=pool) as batcher:
            started = asyncio.get_running_loop().time()
            assert await batcher.submit([1]) == [2]
            assert asyncio.get_running_loop().time() - started < 1
            assert await batcher.submit([]) == []

    run(test)


def test_a_bad_photograph_hurts_nobody_else(pool: ThreadPoolExecutor) -> None:
    work = Work()

    async def test() -> None:
        async with Batcher(work.prepare, work.answer, decoders=pool) as batcher:
            first, (second,) = await asyncio.gather(batcher.submit([1, -1, 2]), batcher.submit([3]))
            assert (first[0], first[2], second) == (2, 4, 6)
            assert isinstance(first[1], DecodeError)
            assert batcher.n_inside == 0

    run(test)


def test_a_failing_network_reaches_its_batch_alone(pool: ThreadPoolExecutor) -> None:
    work = Work()

    async def test() -> None:
        async with Batcher(work.prepare, work.answer, decoders=pool) as batcher:
            with pytest.raises(RuntimeError, match="broke"):
                await batcher.submit([13, 1])
            assert batcher.n_inside == 0
            assert await batcher.submit([2]) == [4]

    run(test)


def test_bounds(pool: ThreadPoolExecutor) -> None:
    work = Work()

    async def test() -> None:
        limits = BatchLimits(max_batch=4, max_inside=6)
        async with Batcher(work.prepare, work.answer, decoders=pool, limits=limits) as batcher:
            with pytest.raises(TooLarge):
                await batcher.submit(range(7))
            work.gate.clear()
            waiting = asyncio.create_task(batcher.submit([1, 2, 3, 4, 5]))
            await until(lambda: batcher.n_inside == 5)
            with pytest.raises(Busy) as caught:
                await batcher.submit([6, 7])
            assert caught.value.retry_after_s >= 1
            more = asyncio.create_task(batcher.submit([6]))
            await asyncio.sleep(0)
            work.gate.set()
            assert await waiting == [2, 4, 6, 8, 10]
            assert await more == [12]
            assert batcher.n_inside == 0
            assert await batcher.submit([8, 9]) == [16, 18]

    run(test)


def test_cancelled_callers_are_counted_out_and_not_answered(pool: ThreadPoolExecutor) -> None:
    work = Work()

    async def test() -> None:
        limits = BatchLimits(max_batch=2, max_inside=50)
        async with Batcher(work.prepare, work.answer, decoders=pool, limits=limits) as batcher:
            work.gate.clear()
            blocking = asyncio.create_task(batcher.submit([1, 2]))
            await until(lambda: not batcher._waiting and batcher.n_inside == 2)
            gone = [asyncio.create_task(batcher.submit([i, i])) for i in range(20, 40)]
            await until(lambda: len(batcher._waiting) == 40)
            for task in gone:
                task.cancel()
            results = await asyncio.gather(*gone, return_exceptions=True)
            assert all(isinstance(one, asyncio.CancelledError) for one in results)
            assert batcher.n_inside == 2
            work.gate.set()
            assert await blocking == [2, 4]
            assert await batcher.submit([5]) == [10]
            assert batcher.n_inside == 0
        assert work.sizes == [2, 1]

    run(test)


def test_closing_answers_those_who_wait(pool: ThreadPoolExecutor) -> None:
    work = Work()

    async def test() -> None:
        batcher = Batcher(work.prepare, work.answer, decoders=pool, limits=BatchLimits(max_batch=1))
        with pytest.raises(Unavailable):
            await batcher.submit([1])
        async with batcher:
            work.gate.clear()
            waiting = [asyncio.create_task(batcher.submit([i])) for i in range(3)]
            await until(lambda: len(batcher._waiting) == 2)
            work.gate.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(one, Unavailable) or one in ([0], [2], [4]) for one in results)
        assert any(isinstance(one, Unavailable) for one in results)
        assert batcher.n_inside == 0
        await batcher.close()

    run(test)
