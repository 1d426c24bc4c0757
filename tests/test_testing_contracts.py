from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import pytest

from mirada.engine.local import LocalEngine
from mirada.sources.base import SourceInfo, detect
from mirada.testing import ContractError, check_engine, check_source, class_folders
from mirada.types import Photo

T = TypeVar("T")
R = TypeVar("R")


INFO = SourceInfo("listed", "/p", ("a", "b"), ("train",))


@dataclass
class Listed:
    """A source made of what a test says."""

    listed: list[Photo]
    info: SourceInfo = INFO
    name: str = "/p"
    signatures: list[str] = field(default_factory=lambda: ["same"] * 9)

    def photos(self) -> Iterator[Photo]:
        return iter(self.listed)

    def describe(self) -> SourceInfo:
        return self.info

    def signature(self) -> str:
        return self.signatures.pop()


GOOD = [Photo("/p/1.jpg", "/p", "a", "train", 10), Photo("/p/2.jpg", "/p", "b"), Photo("/p/3.jpg", "/p")]


def test_sources_that_keep_the_contract_pass(tmp_path: Path) -> None:
    check_source(Listed(GOOD))
    class_folders(tmp_path, 2, 3)
    check_source(detect(tmp_path))


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (Listed([*GOOD, GOOD[0]]), "more than once"),
        (Listed([replace(GOOD[0], label="c")]), "'c', which describe"),
        (Listed([replace(GOOD[0], split="test")]), "split 'test'"),
        (Listed([replace(GOOD[0], source="/q")]), "carries the source '/q'"),
        (Listed([replace(GOOD[0], uri="")]), "empty uri"),
        (Listed(GOOD, name=""), "a name that is not empty"),
        (Listed(GOOD, info=SourceInfo("listed", "/p", ("a", "a"), ())), "names a class twice"),
        (Listed(GOOD, signatures=["1", "2"]), "changes while nothing has changed"),
    ],
)
def test_a_source_that_breaks_the_contract_is_told_how(source: Listed, sentence: str) -> None:
    with pytest.raises(ContractError, match=sentence):
        check_source(source)


class Engineer:
    """A correct engine in one thread; tests break it."""

    n_workers = 1

    def map(self, fn: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        return map(fn, items)

    def close(self) -> None: ...


class Backwards(Engineer):
    def map(self, fn: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        return iter([fn(i) for i in list(items)][::-1])


class Greedy(Engineer):
    def map(self, fn: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        ahead = [item for item, _ in zip(items, range(20_000), strict=False)]
        return map(fn, ahead)


class Forgiving(Engineer):
    def map(self, fn: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        for item in items:
            try:
                yield fn(item)
            except Exception:  # noqa: BLE001 - the fault that the check must find
                continue


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_the_local_engine_keeps_the_contract(kind: str) -> None:
    engine = LocalEngine(workers=2, kind=kind)
    try:
        check_engine(engine)
    finally:
        engine.close()


def test_a_correct_engine_passes() -> None:
    check_engine(Engineer())


@pytest.mark.parametrize(
    ("engine", "sentence"),
    [(Backwards(), "in the order"), (Greedy(), "drawn lazily"), (Forgiving(), "error of the function")],
)
def test_an_engine_that_breaks_the_contract_is_told_how(engine: Engineer, sentence: str) -> None:
    with pytest.raises(ContractError, match=sentence):
        check_engine(engine)
