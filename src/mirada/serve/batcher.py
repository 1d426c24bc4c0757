"""Join photographs from many requests into batches. No transport in here: bytes in, results out.

A photograph is decoded in a pool of threads, waits until its batch is full or its oldest member has waited long
enough, and is answered in a thread of its own for the network, so that decoding and inference overlap. The number
of photographs inside is bounded: beyond it `submit` raises Busy at once instead of queueing without end.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, TypeVar

from mirada.errors import Busy, MiradaError, TooLarge, Unavailable
from mirada.messages import msg

Raw = TypeVar("Raw")
Ready = TypeVar("Ready")
Result = TypeVar("Result")

_SMOOTHING = 0.2  # weight of the newest batch in the running rate
_LONGEST_RETRY_S = 60


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """At most `max_batch` photographs a batch and `max_inside` in all; a part-filled batch goes after `max_wait_s`."""

    max_batch: int = 16
    max_wait_s: float = 0.003
    max_inside: int = 256


@dataclass(slots=True)
class _Waiting(Generic[Ready, Result]):
    ready: Ready
    answer: asyncio.Future[Result]
    since: float


class Batcher(Generic[Raw, Ready, Result]):
    """An async context manager; `submit` may be called from any number of tasks of its event loop.

    prepare: one raw photograph to what the network takes; runs in `decoders`; what it raises reaches its submitter.
    answer: a batch of prepared ones to as many results; runs in one thread, one batch at a time.
    """

    def __init__(
        self,
        prepare: Callable[[Raw], Ready],
        answer: Callable[[Sequence[Ready]], Sequence[Result]],
        *,
        decoders: Executor,
        limits: BatchLimits | None = None,
    ) -> None:
        self._prepare = prepare
        self._answer = answer
        self._decoders = decoders
        self.limits = limits or BatchLimits()
        self.n_inside = 0
        self.n_batches = 0
        self.n_answered = 0
        self._rate = 0.0  # photographs a second, 0: not known yet
        self._waiting: deque[_Waiting[Ready, Result]] = deque()
        self._arrived = asyncio.Event()
        self._network = ThreadPoolExecutor(1, thread_name_prefix="mirada-network")
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    async def __aenter__(self) -> Batcher[Raw, Ready, Result]:
        self._task = asyncio.create_task(self._run(), name="mirada-batcher")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def submit(self, photos: Sequence[Raw]) -> list[Result | MiradaError]:
        """One result for each photograph, or the MiradaError that preparing it raised.

        Raises Busy (with retry_after_s) where too many photographs are inside already, TooLarge where so many
        never fit, Unavailable after `close`. A cancelled caller's photographs are dropped, and counted out.
        """
        self.check_room(len(photos))
        self.n_inside += len(photos)
        tasks = [asyncio.create_task(self._one(photo)) for photo in photos]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            self.n_inside -= len(photos)

    def check_room(self, n: int = 1) -> None:
        """Raise what `submit` would raise for `n` photographs now."""
        if self._is_closed or self._task is None:
            raise _stopped()
        if n > self.limits.max_inside:
            raise TooLarge(
                msg("{n} photographs at once are too many; at most {most} fit.", n=n, most=self.limits.max_inside),
                msg("Send them in several requests."),
            )
        if self.n_inside + n > self.limits.max_inside:
            busy = Busy(
                msg("Too many photographs are waiting ({n}).", n=self.n_inside),
                msg("Send them again in {seconds} s.", seconds=self.retry_after_s()),
            )
            busy.retry_after_s = self.retry_after_s()
            raise busy

    def retry_after_s(self) -> int:
        """How long until what is inside now has been answered, in whole seconds, from 1."""
        if self._rate == 0.0:
            return 1
        return max(1, min(_LONGEST_RETRY_S, math.ceil(self.n_inside / self._rate)))

    async def close(self) -> None:
        """Stop; whoever still waits gets Unavailable. Safe to call twice."""
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        while self._waiting:
            _fail(self._waiting.popleft(), _stopped())
        await asyncio.to_thread(self._network.shutdown)

    async def _one(self, photo: Raw) -> Result | MiradaError:
        loop = asyncio.get_running_loop()
        try:
            ready = await loop.run_in_executor(self._decoders, self._prepare, photo)
        except MiradaError as error:
            return error
        if self._is_closed:
            raise _stopped()
        answer: asyncio.Future[Result] = loop.create_future()
        self._waiting.append(_Waiting(ready, answer, time.monotonic()))
        self._arrived.set()
        return await answer

    async def _run(self) -> None:
        while True:
            batch = await self._next_batch()
            if batch:
                await self._answer_batch(batch)

    async def _next_batch(self) -> list[_Waiting[Ready, Result]]:
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        while len(self._waiting) < self.limits.max_batch:
            left_s = self._waiting[0].since + self.limits.max_wait_s - time.monotonic()
            if left_s <= 0:
                break
            self._arrived.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), left_s)
        n = min(self.limits.max_batch, len(self._waiting))
        batch = [self._waiting.popleft() for _ in range(n)]
        return [one for one in batch if not one.answer.done()]  # those whose caller went away are done: cancelled

    async def _answer_batch(self, batch: list[_Waiting[Ready, Result]]) -> None:
        started = time.monotonic()
        loop = asyncio.get_running_loop()
        try:
            results = await loop.run_in_executor(self._network, self._answer, [one.ready for one in batch])
            pairs = list(zip(batch, results, strict=True))
        except asyncio.CancelledError:
            for one in batch:
                _fail(one, _stopped())
            raise
        except Exception as error:  # noqa: BLE001 - whatever the network raises belongs to the callers; the loop lives on
            for one in batch:
                _fail(one, error)
            return
        for one, result in pairs:
            if not one.answer.done():
                one.answer.set_result(result)
        self.n_batches += 1
        self.n_answered += len(batch)
        rate = len(batch) / max(time.monotonic() - started, 1e-6)
        self._rate = rate if self._rate == 0.0 else (1 - _SMOOTHING) * self._rate + _SMOOTHING * rate


def _fail(one: _Waiting[Ready, Result], error: Exception) -> None:
    if not one.answer.done():
        one.answer.set_exception(error)


def _stopped() -> Unavailable:
    return Unavailable(msg("The server is stopping."), msg("Send the request again in a moment."))
