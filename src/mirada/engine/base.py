"""The contracts of an engine and of a progress display."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from mirada.messages import Message

T = TypeVar("T")
R = TypeVar("R")


class Engine(Protocol):
    """Maps a function over many items, in order, with a bounded number in flight."""

    @property
    def n_workers(self) -> int:
        """How many items are worked on at once."""
        ...

    def map(self, fn: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield ``fn(item)`` in the order of `items`; `items` is drawn lazily; the first error is raised."""
        ...

    def close(self) -> None:
        """Release the workers; safe to call twice."""
        ...


class Progress(Protocol):
    """A display for long work. One task at a time: start, advance, finish."""

    def start(self, label: Message, total: int | None = None) -> None:
        """Begin a task of `total` steps (None: unknown)."""
        ...

    def advance(self, n: int = 1) -> None:
        """`n` more steps are done."""
        ...

    def finish(self) -> None:
        """The task is over."""
        ...

    def note(self, message: Message) -> None:
        """Tell something that does not end the work."""
        ...


class Silent:
    """A `Progress` that shows nothing."""

    def start(self, label: Message, total: int | None = None) -> None:
        """Nothing is shown."""

    def advance(self, n: int = 1) -> None:
        """Nothing is shown."""

    def finish(self) -> None:
        """Nothing is shown."""

    def note(self, message: Message) -> None:
        """Nothing is shown."""
