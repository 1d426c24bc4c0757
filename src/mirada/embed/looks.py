"""One decoding a photograph for all that looks at pixels: statistics, lookalike, and a backbone's embedding.

What is known of a content is cached by its hash, each kind in a cache of its own, in blocks that a kill does not
undo. Statistics and lookalikes are always taken at the same scale, so that they are the same whether or not a
network looked too; its input is made exactly as `embed_samples` makes it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mirada.embed.backbone import Backbone
from mirada.embed.cache import EmbeddingCache
from mirada.embed.embed import BlockWriter, Failure, Floats, Reader, read_unchanged, refuse_other_width
from mirada.embed.network import Network
from mirada.engine.base import Engine, Progress, Silent
from mirada.errors import DecodeError
from mirada.imaging.base import Decoded, Pixels
from mirada.imaging.decode import Limits, decode
from mirada.imaging.lookalike import LOOKALIKE_DIM, LOOKALIKE_VERSION, describe
from mirada.imaging.preprocess import load_input, resize_crop, short_side
from mirada.imaging.statistics import LOOK_SIDE, STATISTICS, STATISTICS_VERSION, measure
from mirada.messages import Message, msg
from mirada.types import PreprocessSpec, Sample

Want = Literal["stats", "lookalike"]
Kind = Literal["stats", "lookalike", "vectors"]
BOTH: tuple[Want, ...] = ("stats", "lookalike")


@dataclass(frozen=True, slots=True, eq=False)
class Looks:
    """What was seen of n samples, a row a sample in their order.

    stats: float32 (n, len(STATISTICS)); lookalike: float32 (n, LOOKALIKE_DIM); vectors: float32 (n, d) of the
    backbone; None for what was not asked for. ok (n,): all of it is there; `failures` tells of the others, whose
    rows are NaN, but for what a cache still had. n_computed: contents looked at now; n_cached: samples that were
    complete in the caches.
    """

    stats: Floats | None
    lookalike: Floats | None
    vectors: Floats | None
    ok: NDArray[np.bool_]
    failures: tuple[Failure, ...]
    n_computed: int
    n_cached: int


def look(
    samples: Sequence[Sample],
    *,
    reader: Reader,
    engine: Engine,
    cache_root: Path | None,
    limits: Limits | None = None,
    progress: Progress | None = None,
    backbone: Backbone | None = None,
    embedding_cache: EmbeddingCache | None = None,
    precision: str = "auto",
    want: Sequence[Want] = BOTH,
) -> Looks:
    """Statistics and lookalikes of `samples` as `want` says, and with a `backbone` their embeddings.

    Each content is read and decoded once, or twice where the backbone takes a JPEG at another scale than
    statistics do. cache_root: the folder that holds the caches of statistics and lookalikes (None: no caches).
    embedding_cache: from `embed.cache.open_cache` for the same backbone and precision. Caches are written every
    1.5 s and when interrupted. A photograph that vanished, changed or cannot be read is in `failures`.
    """
    shas = [sample.content_sha256 for sample in samples]
    shelves = _shelves(shas, cache_root, want, backbone, embedding_cache)
    done = np.ones(len(samples), np.bool_)
    for shelf in shelves.values():
        done &= shelf.ok
    n_cached = int(done.sum())
    copies: dict[str, list[int]] = {}
    for row in np.flatnonzero(~done).tolist():
        copies.setdefault(shas[row], []).append(row)
    work = _Work(
        samples=samples,
        shelves=shelves,
        copies=copies,
        load=_Load(reader, limits or Limits(), backbone.preprocess if backbone is not None else None),
        engine=engine,
        progress=progress or Silent(),
    )
    if copies:
        work.run(_network(shelves, copies, backbone, precision), _label(backbone))
    done[[row for rows in copies.values() for row in rows if row not in work.failures]] = True
    failures = tuple(work.failures[row] for row in np.flatnonzero(~done).tolist())
    found = {kind: shelf.values for kind, shelf in shelves.items()}
    return Looks(
        found.get("stats"), found.get("lookalike"), found.get("vectors"), done, failures, work.n_computed, n_cached
    )


def see_both(pixels: Pixels) -> dict[str, Floats]:
    """Statistics and lookalike of uint8 RGB (h, w, 3) decoded with a `min_side` of `LOOK_SIDE`."""
    return {"stats": measure(pixels), "lookalike": describe(pixels)}


def see_stats(pixels: Pixels) -> dict[str, Floats]:
    """Statistics alone."""
    return {"stats": measure(pixels)}


def see_lookalike(pixels: Pixels) -> dict[str, Floats]:
    """Lookalike alone."""
    return {"lookalike": describe(pixels)}


class LookKeeper:
    """An `intake.Onlooker`: what `look` would find later is put into its caches while photographs are added.

    `want`: stats, lookalike or both.
    """

    side = LOOK_SIDE

    def __init__(self, cache_root: Path, want: Sequence[Want] = BOTH) -> None:
        self._writers = {kind: BlockWriter(EmbeddingCache(cache_root, *_about(kind))) for kind in want}

    @property
    def see(self) -> Callable[[Pixels], dict[str, Floats]]:
        """The function for the workers: one of a module, so that it reaches other processes by name."""
        if len(self._writers) == len(BOTH):
            return see_both
        return see_stats if "stats" in self._writers else see_lookalike

    def keep(self, content_sha256: str, seen: Mapping[str, Floats]) -> None:
        """Shelve what was seen of one content."""
        for kind, writer in self._writers.items():
            writer.add(content_sha256, seen[kind])

    def flush(self) -> None:
        """Write what waits."""
        for writer in self._writers.values():
            writer.flush()


def _about(kind: Want) -> tuple[str, int]:
    """The key and the width of a kind's cache."""
    if kind == "stats":
        return f"statistics-{STATISTICS_VERSION}-{LOOK_SIDE}", len(STATISTICS)
    return f"lookalike-{LOOKALIKE_VERSION}-{LOOK_SIDE}", LOOKALIKE_DIM


class _Shelf:
    """The values of one kind: what the cache has, what is being added, and which rows are there."""

    def __init__(self, shas: Sequence[str], dim: int, cache: EmbeddingCache | None) -> None:
        self.values: Floats = np.full((len(shas), dim), np.nan, np.float32)
        self.ok: NDArray[np.bool_] = np.zeros(len(shas), np.bool_)
        if cache is not None:
            self.values, self.ok = cache.get(shas)
        self.writer = BlockWriter(cache)

    def add(self, sha: str, rows: Sequence[int], value: Floats) -> None:
        self.writer.add(sha, value)
        self.values[rows] = value
        self.ok[rows] = True


def _shelves(
    shas: Sequence[str],
    root: Path | None,
    want: Sequence[Want],
    backbone: Backbone | None,
    embedding_cache: EmbeddingCache | None,
) -> dict[Kind, _Shelf]:
    shelves: dict[Kind, _Shelf] = {}
    for kind in want:
        key, dim = _about(kind)
        shelves[kind] = _Shelf(shas, dim, EmbeddingCache(root, key, dim) if root is not None else None)
    if backbone is not None:
        refuse_other_width(embedding_cache, backbone)
        shelves["vectors"] = _Shelf(shas, backbone.dim, embedding_cache)
    return shelves


def _network(
    shelves: dict[Kind, _Shelf], copies: dict[str, list[int]], backbone: Backbone | None, precision: str
) -> Network | None:
    """The network, if a content that is looked at lacks its vector."""
    if backbone is None or all(shelves["vectors"].ok[rows[0]] for rows in copies.values()):
        return None
    return Network(backbone.onnx_path, precision=precision)


@dataclass(frozen=True, slots=True)
class _Task:
    """One sample and what its content lacks."""

    sample: Sample
    lacks: frozenset[Kind]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a worker hands back; `pixels` is the network's input."""

    looks: dict[Kind, Floats]
    pixels: Pixels | None


@dataclass(frozen=True, slots=True)
class _Load:
    """Read, check, decode and look at one sample; runs on the engine's workers and so can be pickled."""

    reader: Reader
    limits: Limits
    spec: PreprocessSpec | None

    def __call__(self, task: _Task) -> _Seen | DecodeError:
        try:
            data = read_unchanged(self.reader, task.sample)
            looks: dict[Kind, Floats] = {}
            decoded = None
            if task.lacks != {"vectors"}:
                decoded = decode(data, min_side=LOOK_SIDE, limits=self.limits)
                if "stats" in task.lacks:
                    looks["stats"] = measure(decoded.pixels)
                if "lookalike" in task.lacks:
                    looks["lookalike"] = describe(decoded.pixels)
            return _Seen(looks, self._input(data, decoded) if "vectors" in task.lacks else None)
        except DecodeError as error:
            return error

    def _input(self, data: bytes, decoded: Decoded | None) -> Pixels | None:
        if self.spec is None:
            return None
        if decoded is not None and _is_as_decoded_for(decoded, self.spec):
            return resize_crop(decoded.pixels, self.spec)
        return load_input(data, self.spec, limits=self.limits)


def _is_as_decoded_for(decoded: Decoded, spec: PreprocessSpec) -> bool:
    """Whether decoding for `spec` would surely give these very pixels: only JPEGs come at reduced scales."""
    needed = short_side(spec)
    full = min(decoded.width, decoded.height) <= min(needed, LOOK_SIDE)
    return needed == LOOK_SIDE or full or decoded.format != "JPEG"


@dataclass(slots=True)
class _Work:
    """Everything that fills the shelves; failures are noted by row."""

    samples: Sequence[Sample]
    shelves: dict[Kind, _Shelf]
    copies: dict[str, list[int]]
    load: _Load
    engine: Engine
    progress: Progress
    failures: dict[int, Failure] = field(default_factory=dict)
    n_computed: int = 0

    def run(self, network: Network | None, label: Message) -> None:
        """Look at one sample of each content; where it cannot be read, at the next copy."""
        self.progress.start(label, len(self.copies))
        turn, groups = 0, list(self.copies.values())
        try:
            while groups:
                self._one_round([group[turn] for group in groups], network)
                failed = [group for group in groups if group[turn] in self.failures]
                turn += 1
                groups = [group for group in failed if len(group) > turn]
                self.progress.advance(len(failed) - len(groups))
        finally:
            # Also when interrupted: what is computed is kept, in each of the caches.
            with ExitStack() as stack:
                stack.callback(self.progress.finish)
                for shelf in self.shelves.values():
                    stack.callback(shelf.writer.flush)

    def _one_round(self, rows: list[int], network: Network | None) -> None:
        sent: deque[int] = deque()
        inputs = self._inputs(rows, sent)
        if network is None:
            deque(inputs, maxlen=0)
            return
        for vector in network.run(inputs):
            row = sent.popleft()
            self._keep(row, "vectors", vector)
            self._is_done(row)

    def _inputs(self, rows: list[int], sent: deque[int]) -> Iterator[Pixels]:
        """What the network has to see of `rows`; everything else is shelved on the way."""
        tasks = (_Task(self.samples[row], self._lacks(row)) for row in rows)
        for row, seen in zip(rows, self.engine.map(self.load, tasks), strict=True):
            if isinstance(seen, DecodeError):
                self.failures[row] = Failure(self.samples[row], seen.code, seen)
                continue
            for kind, value in seen.looks.items():
                self._keep(row, kind, value)
            if seen.pixels is None:
                self._is_done(row)
            else:
                sent.append(row)
                yield seen.pixels

    def _lacks(self, row: int) -> frozenset[Kind]:
        return frozenset(kind for kind, shelf in self.shelves.items() if not shelf.ok[row])

    def _keep(self, row: int, kind: Kind, value: Floats) -> None:
        sha = self.samples[row].content_sha256
        self.shelves[kind].add(sha, self.copies[sha], value)

    def _is_done(self, row: int) -> None:
        for copy in self.copies[self.samples[row].content_sha256]:
            self.failures.pop(copy, None)
        self.n_computed += 1
        self.progress.advance()


def _label(backbone: Backbone | None) -> Message:
    if backbone is None:
        return msg("Looking at photographs")
    return msg("Looking at photographs, and embedding with {name}", name=backbone.name)
