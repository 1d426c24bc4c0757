"""Photographs as training sees them: each content decoded once into a file of uint8 pixels, mapped or in memory.

`imaging.preprocess.load_input` makes the pixels, as for prediction. What is kept on disk, and how it outlives kills,
other processes and full disks, is `embed.cache`'s doing: a photograph's bytes are a row of 4-byte words to it.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mirada.embed.cache import EmbeddingCache
from mirada.embed.embed import Failure, Reader, read_unchanged
from mirada.engine.base import Engine, Progress, Silent
from mirada.errors import DecodeError
from mirada.imaging.decode import Limits
from mirada.imaging.preprocess import load_input, short_side
from mirada.messages import msg
from mirada.types import PreprocessSpec, Sample

IN_MEMORY = 1 << 30  # bytes of pixels up to which they are held in plain memory
BLOCK_BYTES = 1 << 26  # what is read or written at once …
BLOCK_S = 2.0  # … and how much work a kill may cost
TASK_PIXELS = 1 << 18  # of the files, that a worker is handed at once: some milliseconds …
TASK_ROWS = 256  # … and at most so many photographs
Bytes = NDArray[np.uint8]


class Images(Protocol):
    """uint8 (n, S, S, 3): an array, or `MappedRows`. Taking an array of rows gives an array of their pixels."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, S, S, 3)."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Any: ...


@dataclass(frozen=True, slots=True, eq=False)
class MappedRows:
    """Rows of a file that is mapped into memory, read when they are taken."""

    stored: Bytes  # (m, S, S, 3)
    rows: NDArray[np.int64]  # (n,)

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, S, S, 3)."""
        return (len(self.rows), *self.stored.shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: Any) -> Bytes:
        return np.array(self.stored[self.rows[rows]])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype)

    def take(self, rows: NDArray[np.int64]) -> MappedRows:
        """Some of the rows, still on disk."""
        return MappedRows(self.stored, self.rows[rows])


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """Labelled photographs. images: uint8 (n, S, S, 3), see `Images`; labels: int64 (n,)."""

    images: Images
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def side(self) -> int:
        """S."""
        return self.images.shape[1]

    def take(self, rows: NDArray[np.int64]) -> Pixels:
        """Some of the photographs, in the order of `rows`; what is on disk stays there."""
        images = self.images.take(rows) if isinstance(self.images, MappedRows) else self.images[rows]
        return Pixels(images, self.labels[rows])


def prepare_pixels(
    samples: Sequence[Sample],
    labels: Sequence[int] | NDArray[np.int64],
    spec: PreprocessSpec,
    *,
    reader: Reader,
    engine: Engine,
    folder: Path,
    margin: float = 1.0,
    in_memory: int = IN_MEMORY,
    progress: Progress | None = None,
    limits: Limits | None = None,
) -> tuple[Pixels, tuple[Failure, ...]]:
    """Pixels of those `samples` that can be read, in their order, and what became of the others.

    Each content is decoded once for ever: pixels are kept in `folder` by what `spec` asks for and by content. margin:
    the cached side as a multiple of the input's, so that a random crop finds more pixels than it needs. in_memory:
    bytes up to which all pixels are held in memory; above, they are read from the file as they are taken. A photograph
    that vanished, changed or cannot be read is a failure. Raises StorageError (disk full, …).
    """
    spec = with_margin(spec, margin)
    cache = PixelCache(folder, spec)
    shape = (len(samples), spec.input_size, spec.input_size, 3)
    images = np.empty(shape, np.uint8) if np.prod(shape, dtype=np.int64) <= in_memory else None
    ok = cache.read([sample.content_sha256 for sample in samples], images)
    load = _Load(reader, spec, limits or Limits())
    work = _Decoding(samples, load, engine, progress or Silent(), _Block(cache), images, ok)
    if not ok.all():
        work.run()
    kept = np.flatnonzero(ok)
    pixels: Images
    if images is None:
        pixels = cache.mapped([samples[row].content_sha256 for row in kept.tolist()])
    else:
        pixels = images if len(kept) == len(samples) else images[kept]
    failures = tuple(work.failures[row] for row in np.flatnonzero(~ok).tolist())
    return Pixels(pixels, np.asarray(labels, np.int64)[kept]), failures


def with_margin(spec: PreprocessSpec, margin: float) -> PreprocessSpec:
    """The same cut of a photograph at `margin` times the side."""
    size = round(spec.input_size * margin)
    return replace(spec, input_size=size, resize=max(size, round(short_side(spec) * margin)))


class PixelCache:
    """uint8 photographs (S, S, 3) by content SHA-256, in a folder of its own for all that changes them."""

    def __init__(self, root: Path, spec: PreprocessSpec) -> None:
        self._shape = (spec.input_size, spec.input_size, 3)
        self._n_bytes = 3 * spec.input_size**2
        self._words = -(-self._n_bytes // 4)
        self._cache = EmbeddingCache(root, _key(spec), self._words)
        self.block_rows = max(1, BLOCK_BYTES // (4 * self._words))

    def __len__(self) -> int:
        """Photographs on disk now."""
        return len(self._cache)

    def read(self, shas: Sequence[str], into: Bytes | None) -> NDArray[np.bool_]:
        """Which of them are here and sound (n,); their pixels go `into` an array (n, S, S, 3)."""
        ok = np.zeros(len(shas), np.bool_)
        if not len(self):
            return ok
        for first in range(0, len(shas), self.block_rows):
            part = slice(first, first + self.block_rows)
            words, ok[part] = self._cache.get(shas[part])
            if into is not None:
                into[part] = self._pictures(words)
        return ok

    def put(self, shas: Sequence[str], images: Sequence[Bytes]) -> None:
        """Append arrays (m, S, S, 3) of photographs; one counts once all of it is on disk. Raises StorageError."""
        rows = np.zeros((len(shas), 4 * self._words), np.uint8)
        np.concatenate([part.reshape(len(part), -1) for part in images], out=rows[:, : self._n_bytes])
        self._cache.put(shas, rows.view(np.float32))

    def mapped(self, shas: Sequence[str]) -> MappedRows:
        """Photographs that are all here, without reading them."""
        words, rows = self._cache.rows(shas)
        return MappedRows(self._pictures(words), rows)

    def _pictures(self, words: NDArray[np.float32]) -> Bytes:
        return np.asarray(words).view(np.uint8)[:, : self._n_bytes].reshape(len(words), *self._shape)


def _key(spec: PreprocessSpec) -> str:
    """All of `spec` that changes pixels: mean and std come after."""
    about = [spec.input_size, short_side(spec), spec.crop, spec.interpolation, spec.channels]
    return f"{spec.input_size}px-{hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]}"


@dataclass(frozen=True, slots=True)
class _Load:
    """Read, check and prepare some samples; runs on the engine's workers and so can be pickled."""

    reader: Reader
    spec: PreprocessSpec
    limits: Limits

    def __call__(self, samples: Sequence[Sample]) -> tuple[Bytes, dict[int, DecodeError]]:
        """Pixels (n, S, S, 3), and why some of the rows are not filled."""
        images = np.empty((len(samples), self.spec.input_size, self.spec.input_size, 3), np.uint8)
        errors = {}
        for place, sample in enumerate(samples):
            try:
                images[place] = load_input(read_unchanged(self.reader, sample), self.spec, limits=self.limits)
            except DecodeError as error:
                errors[place] = error
        return images, errors


class _Block:
    """Hands photographs to the cache in blocks, by size and by time."""

    def __init__(self, cache: PixelCache) -> None:
        self._cache = cache
        self._waiting: list[tuple[list[str], Bytes]] = []
        self._n_rows = 0
        self._begun = time.monotonic()

    def add(self, shas: list[str], images: Bytes) -> None:
        """Some more (n, S, S, 3), to be written with their block."""
        self._waiting.append((shas, images))
        self._n_rows += len(shas)
        if self._n_rows >= self._cache.block_rows or time.monotonic() - self._begun >= BLOCK_S:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        waiting, self._waiting, self._n_rows = self._waiting, [], 0
        if waiting:
            self._cache.put([sha for shas, _ in waiting for sha in shas], [images for _, images in waiting])
        self._begun = time.monotonic()


@dataclass(frozen=True, slots=True)
class _Decoding:
    """Decodes what is not `ok` yet and marks it; failures are noted by row."""

    samples: Sequence[Sample]
    load: _Load
    engine: Engine
    progress: Progress
    block: _Block
    images: Bytes | None
    ok: NDArray[np.bool_]
    failures: dict[int, Failure] = field(default_factory=dict)

    def run(self) -> None:
        """One row of each content; where it cannot be read, the next row of that content is tried."""
        copies: dict[str, list[int]] = {}
        for row in np.flatnonzero(~self.ok).tolist():
            copies.setdefault(self.samples[row].content_sha256, []).append(row)
        groups, turn = list(copies.values()), 0
        self.progress.start(msg("Decoding at {side} pixels", side=self.load.spec.input_size), len(groups))
        try:
            while groups:
                failed = self._one_round(groups, turn)
                turn += 1
                groups = [group for group in failed if len(group) > turn]
                self.progress.advance(len(failed) - len(groups))
        finally:
            # Also when interrupted: what is decoded is kept.
            self.block.flush()
            self.progress.finish()

    def _one_round(self, groups: list[list[int]], turn: int) -> list[list[int]]:
        failed = []
        tasks = list(self._tasks(groups, turn))
        loaded = self.engine.map(self.load, ([self.samples[group[turn]] for group in task] for task in tasks))
        for task, (images, errors) in zip(tasks, loaded, strict=True):
            for place, error in errors.items():
                row = task[place][turn]
                self.failures[row] = Failure(self.samples[row], error.code, error)
                failed.append(task[place])
            good = [place for place in range(len(task)) if place not in errors]
            if good:
                self._keep([task[place] for place in good], images[good] if errors else images)
        return failed

    def _tasks(self, groups: list[list[int]], turn: int) -> Iterator[list[list[int]]]:
        """Pieces of about `TASK_PIXELS`: handing over small photographs costs little, and large ones start at once."""
        task: list[list[int]] = []
        n_pixels = 0
        for group in groups:
            task.append(group)
            n_pixels += self.samples[group[turn]].width * self.samples[group[turn]].height
            if n_pixels >= TASK_PIXELS or len(task) >= TASK_ROWS:
                yield task
                task, n_pixels = [], 0
        if task:
            yield task

    def _keep(self, groups: list[list[int]], images: Bytes) -> None:
        self.block.add([self.samples[group[0]].content_sha256 for group in groups], images)
        places = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
        rows = np.array([row for group in groups for row in group])
        if self.images is not None:
            self.images[rows] = images[places]
        self.ok[rows] = True
        self.progress.advance(len(groups))
