"""`mirada train --learning-curve`: train on growing parts of train, and say what more photographs would bring.

Each part contains the one before, holds every class in its share, and never tears copies of one photograph apart. Val
and test stay as they are; nothing is chosen on test. No model is registered. What each training answered is kept in
the workspace's `curves/`, so that a curve that was killed goes on with what is missing.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mirada.catalog.catalog import Catalog
from mirada.engine.base import Progress, Silent
from mirada.errors import NotEnoughData, UsageError
from mirada.evaluate.learning_curve import LearningCurve, SizeAnswers
from mirada.evaluate.learning_curve import learning_curve as fit_curve
from mirada.messages import Message, msg, msg_n
from mirada.training.folds import group_classes, group_index
from mirada.workflow.data import Dataset, add, load_dataset, open_source
from mirada.workflow.embedding import Embedded
from mirada.workflow.learning import HeadWay, Learned, Way, Work
from mirada.workflow.runs import Stopwatch
from mirada.workflow.splitting import Divided, divide
from mirada.workflow.subsetting import find_subset, narrow, refuse_both
from mirada.workflow.train import TrainRequest
from mirada.workflow.ways import choose_way
from mirada.workspace import Workspace, storage_errors, write_atomic

HEAD_SIZES, NETWORK_SIZES = 7, 5
PER_CLASS, SHARE = 10, 16  # the smallest part: so many photographs a class, or one of so many of train
FEWEST_PER_CLASS, LEAST_SPAN = 2, 4
SEEDS, CHEAP = 3, 2000  # heads: so many for each part of at most so many photographs or a quarter of train
DONE_NAME = "done.json"
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Part:
    """One training: the first `n` photographs or a few more, as groups are whole, in the order that `seed` draws."""

    n: int
    seed: int
    rows: Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveResult:
    """What came of it. `subject` names what was trained; n: photographs in train, val and test."""

    subject: str
    curve: LearningCurve
    class_names: tuple[str, ...]
    n: Mapping[str, int]
    seconds: float
    notes: tuple[Message, ...]


def learning_curve(workspace: Workspace, request: TrainRequest, *, progress: Progress | None = None) -> CurveResult:
    """Measure the curve of what `request` would train. Raises what training raises, and NotEnoughData."""
    _refuse(request)
    with Catalog.open(workspace.catalog_url) as catalog:
        return _Measuring(workspace, catalog, request, progress or Silent()).execute()


def _refuse(request: TrainRequest) -> None:
    """What does not go with a curve."""
    refuse_both(request.source, request.subset)
    given = [name for name, value in (("--name", request.name), ("--resume", request.resume)) if value is not None]
    if given:
        raise UsageError(
            msg("{option} does not go with --learning-curve, which registers no model.", option=given[0]),
            msg("Leave it out; a curve that was interrupted goes on when the same command is given again."),
        )


class _Measuring:
    """One curve, from the photographs to the answers of every part."""

    def __init__(self, workspace: Workspace, catalog: Catalog, request: TrainRequest, display: Progress) -> None:
        self.workspace, self.catalog, self.request, self.display = workspace, catalog, request, display
        self.seed = workspace.config.integer("train.seed") if request.seed is None else request.seed
        self.clock = Stopwatch()
        self.notes: list[Message] = []

    def execute(self) -> CurveResult:
        """Everything, in order; what can be wrong by its name first."""
        request = self.request
        subset = None if request.subset is None else find_subset(self.catalog, request.subset)
        way = choose_way(
            self.workspace, recipe=request.recipe, backbone=request.backbone, weights=request.weights,
            epochs=request.epochs, device=request.device, precision=request.precision, head=request.head,
            class_weight=request.class_weight, flips=request.flips,
            grey=subset is not None and subset.recipe.grey, progress=self.display,
        )  # fmt: skip
        data, divided = self._divided(way)
        if subset is not None:
            narrowed = narrow(subset, data, divided)
            data, divided = narrowed.data, narrowed.divided
            self.notes += narrowed.notes
        if not divided.split.test:
            raise NotEnoughData(
                msg("No photograph is left to test on: each class has only one."),
                msg("A class needs at least two photographs, better twenty."),
            )
        answers, baseline = self._answers(way, data, divided)
        self.notes += _told_of(way)
        return CurveResult(
            subject=_subject(way), curve=fit_curve(answers, baseline=baseline, seed=self.seed),
            class_names=data.class_names, n=divided.counts(), seconds=self.clock.total()["total"],
            notes=tuple(self.notes),
        )  # fmt: skip

    def _divided(self, way: Way) -> tuple[Dataset, Divided]:
        """The photographs and their split, as `mirada train` makes and keeps it."""
        request, source = self.request, None
        if request.source is not None:
            opened = open_source(request.source, fmt=request.format, labels=request.labels)
            source = add(self.workspace, self.catalog, opened, progress=self.display).source
        data = load_dataset(self.catalog, source)
        ratios = request.ratios or way.ratios or self.workspace.config.text("split.ratios")
        dataset_id = self.catalog.freeze_dataset().dataset_id
        divided = divide(self.catalog, data, ratios=ratios, seed=self.seed, dataset_id=dataset_id)
        self.notes += divided.notes
        return data, divided

    def _answers(self, way: Way, data: Dataset, divided: Divided) -> tuple[list[SizeAnswers], float]:
        """Which test photographs each training names rightly, by size; and the share of their commonest class."""
        folder = self.workspace.path / "curves" / _fingerprint(way, data, divided, self.seed)
        parts = draw_parts(data, data.rows(divided.split.train), is_cheap=isinstance(way, HeadWay), seed=self.seed)
        right = np.full((len(parts), len(data.samples)), np.nan, np.float32)  # NaN: not answered
        embedded: Embedded | None = None
        for i, part in enumerate(parts):
            place = folder / f"{part.n}-{part.seed}"
            kept = _kept(place)
            if kept is None:
                work = self._work(data, divided, part, place)
                if not isinstance(way, HeadWay):
                    n, photos = len(parts), len(part.rows)
                    self.display.note(msg("Training {i} of {n}: {photos} photographs", i=i + 1, n=n, photos=photos))
                    learned = way.learn(work)
                else:
                    if embedded is None:
                        embedded = way.embedded(work)
                        self.display.start(msg("Fitting heads on growing parts"), len(parts) - i)
                    learned = way.learn_on(embedded, work)
                    self.display.advance()
                kept = _keep(place, learned)
            rows, probs = kept
            right[i, rows] = probs.argmax(axis=1) == data.y[rows]
        self.display.finish()
        judged = np.flatnonzero(np.isfinite(right).all(axis=0))
        if not len(judged):
            raise NotEnoughData(msg("No photograph of test can be read."))
        if n := len(divided.split.test) - len(judged):
            self.notes.append(
                msg_n("{n} test photograph could not be read.", "{n} test photographs could not be read.", n=n)
            )
        _, counts = np.unique(data.y[judged], return_counts=True)
        return _by_size(parts, right[:, judged] > 0), float(counts.max() / len(judged))

    def _work(self, data: Dataset, divided: Divided, part: Part, folder: Path) -> Work:
        ids = data.ids
        split = replace(divided.split, train=tuple(ids[row] for row in part.rows))
        return Work(
            workspace=self.workspace, data=data, divided=replace(divided, split=split), run_folder=folder,
            seed=part.seed, clock=self.clock, progress=self.display,
        )  # fmt: skip


def draw_parts(data: Dataset, train: Rows, *, is_cheap: bool, seed: int) -> list[Part]:
    """The trainings, smallest first. is_cheap: more sizes, and several draws of the small ones.

    Raises NotEnoughData where train is too small for two sizes.
    """
    orders = {s: _order(data, train, s) for s in range(seed, seed + (SEEDS if is_cheap else 1))}
    sizes = _sizes(len(train), len(np.unique(data.y[train])), HEAD_SIZES if is_cheap else NETWORK_SIZES)
    return [
        Part(n, s, order.first(n))
        for n in sizes
        for s, order in orders.items()
        if s == seed or (n < sizes[-1] and n <= max(CHEAP, len(train) // 4))
    ]


def _sizes(n: int, n_classes: int, most: int) -> list[int]:
    """Sizes from small to `n`, by equal factors."""
    first = max(PER_CLASS * n_classes, n // SHARE)
    if LEAST_SPAN * first > n:
        first = max(FEWEST_PER_CLASS * n_classes, n // LEAST_SPAN)
    if 2 * first > n:
        raise NotEnoughData(
            msg("A learning curve needs more photographs: train has {n} of {classes} classes.", n=n, classes=n_classes),
            msg("It takes {n} a class, better a hundred.", n=2 * FEWEST_PER_CLASS),
        )
    return sorted({round(size) for size in np.geomspace(first, n, most)})


@dataclass(frozen=True, slots=True)
class _Order:
    """Rows (n,) in an order of which every beginning is stratified; ends (g,): where each group ends."""

    rows: Rows
    ends: Rows

    def first(self, n: int) -> Rows:
        """The beginning with at least `n` rows and whole groups."""
        return self.rows[: self.ends[np.searchsorted(self.ends, n)]]


def _order(data: Dataset, train: Rows, seed: int) -> _Order:
    """The groups of train drawn class by class, then dealt so that each class comes in its share."""
    groups = data.groups
    group = group_index([groups[row] for row in train], len(train))
    y = np.asarray(data.y[train], dtype=np.intp)
    classes, sizes = group_classes(y, group, len(data.class_names)), np.bincount(group)
    rng = np.random.default_rng([seed, 0x1EA])
    key, tie = np.empty(len(sizes)), rng.permutation(len(sizes))
    for c in np.unique(classes):
        mine = rng.permutation(np.flatnonzero(classes == c))
        before = np.cumsum(sizes[mine]) - sizes[mine]
        key[mine] = (before + sizes[mine] / 2) / sizes[mine].sum()
        key[mine[0]] = 0.0  # every part knows every class
    dealt = np.lexsort((tie, key))
    rank = np.empty(len(sizes), dtype=np.intp)
    rank[dealt] = np.arange(len(sizes))
    return _Order(train[np.argsort(rank[group], kind="stable")], np.cumsum(sizes[dealt]).astype(np.int64))


def _by_size(parts: list[Part], right: NDArray[np.bool_]) -> list[SizeAnswers]:
    """The trainings of one size together. Where whole groups make two sizes one, the later is left out."""
    of_size: dict[int, list[int]] = {}
    for i, part in enumerate(parts):
        of_size.setdefault(part.n, []).append(i)
    made = [SizeAnswers(len(parts[rows[0]].rows), right[rows]) for rows in of_size.values()]
    return made[:1] + [b for a, b in pairwise(made) if b.n > a.n]


def _keep(folder: Path, learned: Learned) -> tuple[Rows, NDArray[np.float32]]:
    """Keep what a training answers on test; the network itself has done its work and goes."""
    rows, probs = learned.material.part_rows("test"), learned.head.probs(learned.material.part("test")[0])
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "rows.npy", rows, allow_pickle=False)
        np.save(folder / "probs.npy", probs, allow_pickle=False)
        points = [[point.name, point.step, point.value] for point in learned.curves]
        write_atomic(
            folder / DONE_NAME, json.dumps({"n_train": learned.material.counts()["train"], "curves": points}).encode()
        )
        for left in folder.iterdir():
            if left.is_dir():
                shutil.rmtree(left)
            elif left.suffix in (".safetensors", ".onnx"):
                left.unlink()
    return rows, probs


def _kept(folder: Path) -> tuple[Rows, NDArray[np.float32]] | None:
    """The answers of a training that is done."""
    if not (folder / DONE_NAME).is_file():
        return None
    return np.load(folder / "rows.npy", allow_pickle=False), np.load(folder / "probs.npy", allow_pickle=False)


def _fingerprint(way: Way, data: Dataset, divided: Divided, seed: int) -> str:
    """Changes with anything that the answers depend on."""
    rows = [(s.sample_id, s.content_sha256, label) for s, label in zip(data.samples, data.labels, strict=True)]
    split = divided.split
    asked = [
        asdict(replace(way.config, seed=seed)),
        way.channels,
        rows,
        data.groups,
        split.train,
        split.val,
        split.test,
    ]
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _subject(way: Way) -> str:
    config = way.config
    return config.model_name if config.recipe in ("", "head") else f"{config.recipe} ({config.model_name})"


def _told_of(way: Way) -> tuple[Message, ...]:
    """What a reader must know of how it was measured."""
    if isinstance(way, HeadWay):
        return ()
    return (msg("Each size was trained once, for the recipe's epochs: with fewer photographs those are fewer steps."),)
