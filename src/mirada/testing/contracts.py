"""Contract checks for people who add a source of photographs or an engine.

A check returns nothing where the contract holds, and raises `ContractError` with a sentence where it does not, so
that it can stand in a test as it is: ``check_source(MySource(path))``.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator

from mirada.engine.base import Engine
from mirada.sources.base import Source, SourceInfo
from mirada.types import SPLIT_NAMES, Photo


class ContractError(AssertionError):
    """Something does not keep a contract of Mirada; the sentence says which part."""


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise ContractError(sentence)


def check_source(source: Source) -> None:
    """A source lists each photograph once, in a fixed order, with labels and splits that it has announced."""
    name = source.name
    _require(isinstance(name, str) and name != "", "A source has a name that is not empty; samples carry it.")
    info = source.describe()
    _require(isinstance(info, SourceInfo), f"{name}: describe() returns a SourceInfo, got {type(info).__name__}.")
    unknown = set(info.splits) - set(SPLIT_NAMES)
    _require(not unknown, f"{name}: splits are named {', '.join(SPLIT_NAMES)}, got {sorted(unknown)}.")
    same = len(set(info.class_names)) == len(info.class_names)
    _require(same, f"{name}: describe() names a class twice: {list(info.class_names)}.")
    first = list(source.photos())
    for photo in first:
        _check_photo(photo, name, info)
    uris = [photo.uri for photo in first]
    twice = next((uri for uri, group in itertools.groupby(sorted(uris)) if len(list(group)) > 1), None)
    _require(twice is None, f"{name}: photos() yields {twice!r} more than once.")
    _require(first == list(source.photos()), f"{name}: photos() yields something else the second time.")
    _require(source.signature() == source.signature(), f"{name}: signature() changes while nothing has changed.")


def _check_photo(photo: Photo, name: str, info: SourceInfo) -> None:
    _require(isinstance(photo, Photo), f"{name}: photos() yields Photo, got {type(photo).__name__}.")
    _require(photo.uri != "", f"{name}: a photograph has an empty uri.")
    _require(photo.source == name, f"{name}: {photo.uri} carries the source {photo.source!r}.")
    known = photo.label is None or photo.label in info.class_names
    _require(known, f"{name}: {photo.uri} has the label {photo.label!r}, which describe() does not name.")
    told = photo.split is None or photo.split in info.splits
    _require(told, f"{name}: {photo.uri} is in the split {photo.split!r}, which describe() does not name.")
    sized = photo.n_bytes is None or photo.n_bytes >= 0
    _require(sized, f"{name}: {photo.uri} has {photo.n_bytes} bytes.")


class _Fault(Exception):
    """Raised by the checks' own function."""


def _double(value: int) -> int:
    return 2 * value


def _fail_at_seven(value: int) -> int:
    if value == 7:
        raise _Fault(value)
    return value


class _Counter:
    """Numbers on demand, counting how many were drawn."""

    def __init__(self) -> None:
        self.drawn = 0
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[int]:
        for value in itertools.count():
            with self._lock:
                self.drawn += 1
            yield value


def check_engine(engine: Engine, *, max_in_flight: int = 10_000) -> None:
    """An engine maps in order, draws its items lazily, raises the first error, and can be used again after it.

    The engine is left open. `max_in_flight` is how far ahead of the results it may draw.
    """
    _require(engine.n_workers >= 1, f"n_workers is at least 1, got {engine.n_workers}.")
    _require(list(engine.map(_double, [])) == [], "Mapping over nothing yields nothing.")
    expected = [2 * value for value in range(200)]
    _require(list(engine.map(_double, range(200))) == expected, "Results come in the order of the items.")
    _check_laziness(engine, max_in_flight)
    got: list[int] = []
    try:
        for value in engine.map(_fail_at_seven, range(100)):
            got.append(value)  # what came before the error must be kept
    except _Fault:
        _require(got == list(range(7)), f"Results before the first error are yielded: 0 to 6 expected, got {got}.")
    else:
        raise ContractError("An error of the function is raised while the results are drawn.")
    _require(list(engine.map(_double, range(3))) == [0, 2, 4], "The engine works again after an error.")


def _check_laziness(engine: Engine, max_in_flight: int) -> None:
    numbers = _Counter()
    results = engine.map(_double, numbers)
    _require([next(results) for _ in range(10)] == list(range(0, 20, 2)), "Endless items can be mapped.")
    bound = 10 + max_in_flight
    _require(numbers.drawn <= bound, f"Items are drawn lazily: after 10 results at most {bound}, got {numbers.drawn}.")
    close = getattr(results, "close", None)
    if close is not None:
        close()
