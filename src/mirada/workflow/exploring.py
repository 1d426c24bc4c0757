"""What there is: catalogue, statistics, embeddings and pictures put together into figures and a page."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from mirada.catalog.catalog import Catalog
from mirada.embed.backbone import Backbone
from mirada.embed.cache import open_cache
from mirada.embed.embed import Failure
from mirada.embed.looks import Want, look
from mirada.embed.vino import resolve_precision
from mirada.engine.base import Progress
from mirada.errors import DecodeError, NotEnoughData
from mirada.explore.columns import Columns, collect
from mirada.explore.oddness import Extremes, oddest
from mirada.explore.page import MapPictures, PageContext, render
from mirada.explore.pictures import CELL, MOST_PICTURES, Sheets, choose, make_sheets
from mirada.explore.space import Placement, map_2d
from mirada.explore.summary import Summary, summarise
from mirada.explore.views import MOST_SHOWN_CLASSES
from mirada.imaging.decode import Limits
from mirada.imaging.statistics import STATISTICS
from mirada.imaging.thumbnail import make_thumbnail
from mirada.messages import Message, msg, msg_n
from mirada.sources.reader import PhotoReader
from mirada.types import Rejected, Sample
from mirada.workflow.backbones import resolve_backbone
from mirada.workflow.data import engine, limits
from mirada.workspace import Workspace, storage_errors, write_atomic

BLOCK = 20_000
"""So many photographs are looked at before the next are asked for."""
CARD_SIDE = 176
MOST_CARDS, MOST_OF_CLASS = 480, 6
log = logging.getLogger("mirada.workflow")


@dataclass(frozen=True, slots=True)
class ExploreRequest:
    """What to look at. html: write the page there. map: embed the photographs, for the map and the oddest."""

    html: Path | None = None
    backbone: str | None = None
    weights: Path | None = None
    map: bool = True
    seed: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Explored:
    """What was found; `html` is the page where one was written, seconds by stage."""

    summary: Summary
    columns: Columns
    extremes: tuple[Extremes, ...]
    notes: tuple[Message, ...]
    html: Path | None
    seconds: Mapping[str, float]


@dataclass(slots=True)
class _Clock:
    seconds: dict[str, float] = field(default_factory=dict)
    start: float = field(default_factory=time.perf_counter)
    last: float = field(default_factory=time.perf_counter)

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name], self.last = round(now - self.last, 3), now
        self.seconds["total"] = round(now - self.start, 3)


def explore(workspace: Workspace, request: ExploreRequest, *, progress: Progress) -> Explored:
    """Count, measure and, unless told not to, embed what the catalogue of `workspace` has; write the page if asked to.

    Raises NotEnoughData where there is no readable photograph, and what resolving the backbone raises.
    """
    clock = _Clock()
    samples, rejected = _load(workspace)
    clock.lap("load")
    backbone = None
    if request.map:
        backbone = resolve_backbone(workspace, request.backbone, request.weights, progress=progress)
    looks = _look(workspace, samples, backbone, progress)
    clock.lap("look")
    columns = collect(samples)
    summary = summarise(columns, stats=looks.stats, rejected=rejected)
    clock.lap("summarise")
    extremes = _extremes(columns, looks.vectors, seed=_seed(workspace, request))
    clock.lap("oddest")
    made = Explored(summary, columns, extremes, tuple(_notes(looks.failures)), None, clock.seconds)
    if request.html is None:
        return made
    placement = _place(columns, looks.vectors, progress, seed=_seed(workspace, request))
    clock.lap("map")
    # Nothing below needs them, and the page may be large.
    del looks
    shots = _Shots(workspace, samples, progress)
    page = _page(made, placement, shots, backbone)
    clock.lap("pictures")
    return replace(made, html=_write(request.html, page), notes=(*made.notes, *shots.notes()))


def _seed(workspace: Workspace, request: ExploreRequest) -> int:
    return workspace.config.integer("train.seed") if request.seed is None else request.seed


def _load(workspace: Workspace) -> tuple[list[Sample], list[Rejected]]:
    with Catalog.open(workspace.catalog_url) as catalog:
        samples, rejected = list(catalog.samples()), list(catalog.rejected())
    if samples:
        return samples, rejected
    if rejected:
        sentence = msg_n(
            "There is no readable photograph in {path}: {n} file was rejected.",
            "There is no readable photograph in {path}: {n} files were rejected.",
            n=len(rejected), path=workspace.path,
        )  # fmt: skip
    else:
        sentence = msg("There is no photograph in the workspace {path} yet.", path=workspace.path)
    raise NotEnoughData(sentence, msg("`mirada add PHOTOS` brings some in."))


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """stats: (n, len(STATISTICS)); vectors: (n, d), None without a backbone; failures: what could not be read."""

    stats: NDArray[np.float32]
    vectors: NDArray[np.float32] | None
    failures: tuple[Failure, ...]


def _look(workspace: Workspace, samples: Sequence[Sample], backbone: Backbone | None, progress: Progress) -> _Seen:
    """Statistics, and embeddings where there is a backbone; in blocks, as reading a cache takes its size thrice.

    Up to a block of photographs, lookalikes are made on the way: `clean` then has them. Of more, reading them back
    would take as much memory as all the rest.
    """
    stats = np.full((len(samples), len(STATISTICS)), np.nan, np.float32)
    vectors = None if backbone is None else np.full((len(samples), backbone.dim), np.nan, np.float32)
    used = resolve_precision(workspace.config.text("embed.precision"))
    cache = open_cache(workspace.embeddings_path, backbone, used) if backbone is not None else None
    want: tuple[Want, ...] = ("stats", "lookalike") if len(samples) <= BLOCK else ("stats",)
    failures: list[Failure] = []
    with engine(workspace) as pool:
        for start in range(0, len(samples), BLOCK):
            seen = look(
                samples[start : start + BLOCK], reader=PhotoReader(limits=limits(workspace)), engine=pool,
                cache_root=workspace.looks_path, limits=limits(workspace), progress=progress, backbone=backbone,
                embedding_cache=cache, precision=used, want=want,
            )  # fmt: skip
            failures += seen.failures
            if seen.stats is not None:
                stats[start : start + BLOCK] = seen.stats
            if vectors is not None and seen.vectors is not None:
                vectors[start : start + BLOCK] = seen.vectors
    return _Seen(stats, vectors, tuple(failures))


def _notes(failures: Sequence[Failure]) -> Iterable[Message]:
    if not failures:
        return ()
    first = failures[0]
    return (
        msg_n(
            "{n} photograph is counted, but cannot be looked at any more: {uri} ({reason}).",
            "{n} photographs are counted, but cannot be looked at any more, such as {uri} ({reason}).",
            n=len(failures), uri=first.sample.uri, reason=first.error.message,
        ),
        msg("`mirada add` of the same folder brings the catalogue up to date."),
    )  # fmt: skip


def _extremes(columns: Columns, vectors: NDArray[np.float32] | None, *, seed: int) -> tuple[Extremes, ...]:
    if vectors is None:
        return ()
    n_classes = max(1, min(MOST_SHOWN_CLASSES, len(columns.class_names)))
    k = max(2, min(MOST_OF_CLASS, MOST_CARDS // (2 * n_classes)))
    return oddest(vectors, columns.y, k=k, copies=columns.copies, seed=seed)[1]


def _place(columns: Columns, vectors: NDArray[np.float32] | None, progress: Progress, *, seed: int) -> Placement | None:
    if vectors is None:
        return None
    progress.start(msg("Drawing the map"))
    try:
        return map_2d(vectors, strata=columns.y, seed=seed)
    finally:
        progress.finish()


def _page(made: Explored, placement: Placement | None, shots: _Shots, backbone: Backbone | None) -> str:
    rows = [row for found in made.extremes for row, _ in (*found.oddest, *found.plainest)]
    shown = _shown_classes(made)
    cards = [row for row in rows if int(made.columns.y[row]) in shown]
    pictures = None if placement is None else _map_pictures(placement, shots)
    thumbnails = shots.take(cards, CARD_SIDE)
    context = PageContext(
        title=_title(shots.samples, shots.workspace),
        subtitle=(time.strftime("%Y-%m-%d"),),
        backbone=backbone.name if backbone is not None else "",
        placement=placement,
        pictures=pictures,
        extremes=made.extremes,
        thumbnails=thumbnails,
        notes=(*made.notes, *shots.notes()),
    )
    return render(made.summary, made.columns, context=context)


def _shown_classes(made: Explored) -> set[int]:
    index = {name: i for i, name in enumerate(made.columns.class_names)}
    largest = made.summary.classes[:MOST_SHOWN_CLASSES]
    return {-1 if portrait.name is None else index[portrait.name] for portrait in largest}


def _title(samples: Sequence[Sample], workspace: Workspace) -> str:
    """The folder's name where all come from one, else the workspace's."""
    sources = {sample.source for sample in samples}
    name = PurePath(sources.pop()).name if len(sources) == 1 else ""
    return name or workspace.path.name


def _map_pictures(placement: Placement, shots: _Shots) -> MapPictures:
    rows = choose(placement.xy, most=MOST_PICTURES)
    found = shots.take([int(row) for row in rows], CELL)
    cells = np.full(len(rows), -1, np.int64)
    has = np.array([int(row) in found for row in rows], np.bool_)
    cells[has] = np.arange(int(has.sum()))
    sheets = make_sheets([found[int(row)] for row in rows[has]]) if has.any() else Sheets()
    return MapPictures(rows, cells, sheets)


@dataclass(frozen=True, slots=True)
class _Shoot:
    """A small picture of one sample, or None where it cannot be read; runs on the engine's workers."""

    reader: PhotoReader
    limits: Limits
    side: int

    def __call__(self, sample: Sample) -> bytes | None:
        try:
            return make_thumbnail(self.reader.read(sample.uri), side=self.side, limits=self.limits)
        except DecodeError as error:
            # The page says that there is no picture; the figures do not depend on it.
            log.info("no thumbnail of %s: %s", sample.uri, error)
            return None


@dataclass(frozen=True, slots=True)
class _Shots:
    """Makes small pictures of samples."""

    workspace: Workspace
    samples: Sequence[Sample]
    progress: Progress
    missing: set[int] = field(default_factory=set)

    def notes(self) -> tuple[Message, ...]:
        """What has to be told of pictures that could not be made."""
        if not self.missing:
            return ()
        return (
            msg_n(
                "{n} photograph of this page has no picture: its file cannot be read any more.",
                "{n} photographs of this page have no picture: their files cannot be read any more.",
                n=len(self.missing),
            ),
        )

    def take(self, rows: Sequence[int], side: int) -> dict[int, bytes]:
        """Encoded pictures of at most `side` pixels a side, by row; those that cannot be read are left out."""
        allowed = limits(self.workspace)
        shoot = _Shoot(PhotoReader(limits=allowed), allowed, side)
        wanted = list(dict.fromkeys(rows))
        found: dict[int, bytes] = {}
        self.progress.start(msg("Making small pictures"), len(wanted))
        try:
            with engine(self.workspace) as pool:
                for row, picture in zip(wanted, pool.map(shoot, (self.samples[r] for r in wanted)), strict=True):
                    self.progress.advance()
                    if picture is None:
                        self.missing.add(row)
                    else:
                        found[row] = picture
        finally:
            self.progress.finish()
        return found


def _write(target: Path, page: str) -> Path:
    with storage_errors(target):
        if not target.parent.exists():
            target.parent.mkdir(parents=True)
        # A file name that is not valid Unicode reaches us with surrogates, which UTF-8 cannot hold.
        write_atomic(target, page.encode("utf-8", errors="replace"))
    return target
