"""From samples to embeddings: what the cache has is taken, the rest is read, decoded and put through the network."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from mirada.embed.backbone import Backbone
from mirada.embed.cache import EmbeddingCache
from mirada.embed.network import Network
from mirada.engine.base import Engine, Progress, Silent
from mirada.errors import BackboneError, DecodeError
from mirada.imaging.decode import Limits
from mirada.imaging.fingerprint import content_sha256
from mirada.imaging.preprocess import load_input
from mirada.messages import msg
from mirada.types import PreprocessSpec, Sample

View = Literal["", "flip"]
BLOCK_S = 1.5  # a kill loses no more work than this …
BLOCK_ROWS = 2048  # … and memory holds no more than this before it is written
Floats = npt.NDArray[np.float32]


class Reader(Protocol):
    """Whatever reads a photograph's bytes: `sources.reader.PhotoReader`."""

    def read(self, uri: str) -> bytes:
        """The file's bytes. Raises DecodeError."""
        ...


@dataclass(frozen=True, slots=True)
class Failure:
    """A sample that could not be embedded; `reason` is a code of `imaging.decode.REASONS`."""

    sample: Sample
    reason: str
    error: DecodeError


@dataclass(frozen=True, slots=True)
class Embedded:
    """vectors: float32 (n, d), a row a sample in their order; rows of failures are NaN and False in `ok` (n,)."""

    vectors: Floats
    ok: npt.NDArray[np.bool_]
    failures: tuple[Failure, ...]
    n_computed: int
    n_cached: int


def read_unchanged(reader: Reader, sample: Sample) -> bytes:
    """The bytes that `sample` was added with. Raises DecodeError: what the reader says, or changed."""
    data = reader.read(sample.uri)
    if content_sha256(data) != sample.content_sha256:
        reason = msg("{uri} has changed since it was added.", uri=sample.uri)
        raise DecodeError(reason, msg("Add its folder again."), code="changed")
    return data


@dataclass(frozen=True, slots=True)
class _Load:
    """Read, check and prepare one sample; runs on the engine's workers and so can be pickled."""

    reader: Reader
    spec: PreprocessSpec
    limits: Limits
    view: View

    def __call__(self, sample: Sample) -> npt.NDArray[np.uint8] | DecodeError:
        try:
            pixels = load_input(read_unchanged(self.reader, sample), self.spec, limits=self.limits)
        except DecodeError as error:
            return error
        return np.ascontiguousarray(pixels[:, ::-1]) if self.view == "flip" else pixels


def embed_samples(
    samples: Sequence[Sample],
    backbone: Backbone,
    *,
    reader: Reader,
    cache: EmbeddingCache | None,
    engine: Engine,
    precision: str = "auto",
    progress: Progress | None = None,
    view: View = "",
    limits: Limits | None = None,
    network: Network | None = None,
) -> Embedded:
    """Embeddings of `samples`, one computation per distinct content.

    cache: from `open_cache` for the same backbone, precision and view; it is written every 1.5 s, so that a killed
    run goes on where it was. network: one that is open already, instead of opening `backbone` in `precision`.
    A photograph that vanished, changed or cannot be read is in `failures`, never skipped in silence.
    """
    refuse_other_width(cache, backbone)
    shas = [sample.content_sha256 for sample in samples]
    vectors, ok = cache.get(shas) if cache is not None else _nothing(len(samples), backbone.dim)
    n_cached = int(ok.sum())
    copies: dict[str, list[int]] = {}
    for row in np.flatnonzero(~ok).tolist():
        copies.setdefault(shas[row], []).append(row)
    if not copies:
        return Embedded(vectors, ok, (), 0, n_cached)
    work = _Work(
        samples=samples,
        network=network or Network(backbone.onnx_path, precision=precision),
        load=_Load(reader, backbone.preprocess, limits or Limits(), view),
        engine=engine,
        progress=progress or Silent(),
        failures={},
    )
    writer = BlockWriter(cache)
    work.progress.start(msg("Embedding with {name}", name=backbone.name), len(copies))
    try:
        for row, vector in work.vectors(list(copies.values())):
            writer.add(shas[row], vector)
            vectors[copies[shas[row]]] = vector
            ok[copies[shas[row]]] = True
            work.progress.advance()
    finally:
        # Also when interrupted: what is computed is kept.
        writer.flush()
        work.progress.finish()
    failures = tuple(work.failures[row] for row in np.flatnonzero(~ok).tolist())
    return Embedded(vectors, ok, failures, writer.n_added, n_cached)


@dataclass(frozen=True, slots=True)
class _Work:
    """Everything that turns rows of `samples` into vectors; failures are noted by row."""

    samples: Sequence[Sample]
    network: Network
    load: _Load
    engine: Engine
    progress: Progress
    failures: dict[int, Failure]

    def vectors(self, copies: list[list[int]]) -> Iterator[tuple[int, Floats]]:
        """Yield (row, vector) for one row of each list of copies; where one cannot be read, the next is tried."""
        turn = 0
        while copies:
            rows = [group[turn] for group in copies]
            yield from self._one_round(rows)
            failed = [group for group in copies if group[turn] in self.failures]
            turn += 1
            copies = [group for group in failed if len(group) > turn]
            self.progress.advance(len(failed) - len(copies))

    def _one_round(self, rows: list[int]) -> Iterator[tuple[int, Floats]]:
        sent: deque[int] = deque()

        def inputs() -> Iterator[npt.NDArray[np.uint8]]:
            loaded = self.engine.map(self.load, (self.samples[row] for row in rows))
            for row, pixels in zip(rows, loaded, strict=True):
                if isinstance(pixels, DecodeError):
                    self.failures[row] = Failure(self.samples[row], pixels.code, pixels)
                else:
                    sent.append(row)
                    yield pixels

        for vector in self.network.run(inputs()):
            yield sent.popleft(), vector


def refuse_other_width(cache: EmbeddingCache | None, backbone: Backbone) -> None:
    """Raise BackboneError where the cache is of vectors of another length."""
    if cache is not None and cache.dim != backbone.dim:
        raise BackboneError(
            msg(
                "The cache holds vectors of length {got}, but {name} makes {wanted}.",
                got=cache.dim,
                name=backbone.name,
                wanted=backbone.dim,
            )
        )


class BlockWriter:
    """Hands vectors to the cache in blocks, by time and by number."""

    def __init__(self, cache: EmbeddingCache | None) -> None:
        self.n_added = 0
        self._cache = cache
        self._block: list[tuple[str, Floats]] = []
        self._begun = time.monotonic()

    def add(self, sha: str, vector: Floats) -> None:
        """One more, to be written with its block."""
        self.n_added += 1
        if self._cache is None:
            return
        self._block.append((sha, vector))
        if len(self._block) >= BLOCK_ROWS or time.monotonic() - self._begun >= BLOCK_S:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        block, self._block = self._block, []
        self._begun = time.monotonic()
        if block and self._cache is not None:
            self._cache.put([sha for sha, _ in block], np.stack([vector for _, vector in block]))


def _nothing(n: int, dim: int) -> tuple[Floats, npt.NDArray[np.bool_]]:
    return np.full((n, dim), np.nan, np.float32), np.zeros(n, np.bool_)
