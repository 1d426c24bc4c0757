"""Cross-validation of a way of learning: all photographs answered once by a model that did not see them.

Copies of one photograph are never torn apart, and what a fold chooses (its epoch, its temperature) it chooses on a
part of its own training photographs. Each fold's answers are kept, so that a run that was killed goes on with the
next one. Two ways on the same folds can be compared with a paired test.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mirada.catalog.catalog import Catalog
from mirada.engine.base import Progress
from mirada.evaluate.compare import Comparison, compare
from mirada.evaluate.leakage import Leakage
from mirada.messages import Message, msg
from mirada.training.folds import fold_of
from mirada.training.head import out_of_fold_probs
from mirada.training.trained import CHECKPOINT_FOLDER
from mirada.types import Split
from mirada.workflow.data import Dataset, load_dataset
from mirada.workflow.embedding import embed
from mirada.workflow.learning import HeadWay, Way, Work
from mirada.workflow.runs import Stopwatch
from mirada.workflow.splitting import Divided
from mirada.workspace import Workspace, storage_errors, write_atomic

VAL_PARTS = 8  # one of so many parts of a fold's training photographs chooses its epoch and its temperature


@dataclass(frozen=True, slots=True, kw_only=True)
class Pooled:
    """Answers (n, k) of all folds together for the photographs `rows` (n,) of `data`. `seconds`: of each fold."""

    data: Dataset
    rows: NDArray[np.int64]
    probs: NDArray[np.float32]
    seconds: tuple[float, ...]
    notes: tuple[Message, ...]


def cross_validate(
    workspace: Workspace, catalog: Catalog, way: Way, *, folds: int, seed: int, source: str | None, progress: Progress
) -> Pooled:
    """Train `folds` times and answer each photograph once. Raises NotEnoughData where a class is too small."""
    data = load_dataset(catalog, source)
    if isinstance(way, HeadWay):
        return _heads(workspace, way, data, folds=folds, seed=seed, progress=progress)
    fold = fold_of(data.y, groups=data.groups, folds=folds, seed=seed, n_classes=len(data.class_names))
    folder = workspace.path / "folds" / _fingerprint(way, data, folds, seed)
    probs = np.full((len(data.samples), len(data.class_names)), np.nan, np.float32)
    seconds, notes = list[float](), list[Message]()
    for held in range(int(fold.max()) + 1):
        rows, answers, took = _kept(folder / f"fold-{held}") or _one_fold(
            workspace, way, data, fold, held, seed=seed, folder=folder / f"fold-{held}", progress=progress
        )
        probs[rows] = answers
        seconds.append(took)
    answered = np.flatnonzero(np.isfinite(probs).all(axis=1))
    if len(answered) < len(data.samples):
        notes.append(msg("{n} photographs could not be read and are left out.", n=len(data.samples) - len(answered)))
    return Pooled(data=data, rows=answered, probs=probs[answered], seconds=tuple(seconds), notes=tuple(notes))


def _heads(workspace: Workspace, way: HeadWay, data: Dataset, *, folds: int, seed: int, progress: Progress) -> Pooled:
    """The same folds for heads on frozen embeddings, which need no val: they choose by nested cross-validation."""
    embedded = embed(
        workspace, data.samples, way.backbone, precision=way.precision, flips=way.flips, progress=progress
    )  # fmt: skip
    rows, groups = np.flatnonzero(embedded.ok), data.groups
    started = time.perf_counter()
    made = out_of_fold_probs(
        embedded.vectors[rows], data.y[rows], groups=[groups[i] for i in rows], folds=folds, seed=seed,
        n_classes=len(data.class_names), class_weight=way.class_weight, kind=way.kind,
    )  # fmt: skip
    took = (time.perf_counter() - started) / folds
    return Pooled(data=data, rows=rows, probs=made.probs, seconds=(took,) * folds, notes=(*embedded.notes, *made.notes))


def compare_pooled(a: Pooled, b: Pooled) -> Comparison:
    """A paired test on the photographs that both answered."""
    shared = np.intersect1d(a.rows, b.rows)
    places = [np.searchsorted(pooled.rows, shared) for pooled in (a, b)]
    return compare(a.probs[places[0]], b.probs[places[1]], a.data.y[shared])


Answers = tuple[NDArray[np.int64], NDArray[np.float32], float]


def _one_fold(
    workspace: Workspace,
    way: Way,
    data: Dataset,
    fold: NDArray[np.int64],
    held: int,
    *,
    seed: int,
    folder: Path,
    progress: Progress,
) -> Answers:
    progress.note(msg("Fold {i} of {n}", i=held + 1, n=int(fold.max()) + 1))
    clock = Stopwatch()
    work = Work(
        workspace=workspace, data=data, divided=_divided(data, fold, held, seed), run_folder=folder,
        seed=seed, clock=clock, progress=progress,
    )  # fmt: skip
    learned = way.learn(work)
    rows = learned.material.part_rows("test")
    answers = learned.head.probs(learned.material.part("test")[0])
    took = clock.total()["total"]
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "rows.npy", rows, allow_pickle=False)
        np.save(folder / "probs.npy", answers, allow_pickle=False)
        write_atomic(folder / "done.json", json.dumps({"seconds": took}).encode())
    shutil.rmtree(folder / CHECKPOINT_FOLDER, ignore_errors=True)
    for left in (*folder.glob("*.safetensors"), *folder.glob("*.onnx")):  # the network has done its work
        left.unlink(missing_ok=True)
    return rows, answers, took


def _kept(folder: Path) -> Answers | None:
    """The answers of a fold that is done."""
    if not (folder / "done.json").is_file():
        return None
    seconds = json.loads((folder / "done.json").read_text(encoding="utf-8"))["seconds"]
    return np.load(folder / "rows.npy"), np.load(folder / "probs.npy"), float(seconds)


def _divided(data: Dataset, fold: NDArray[np.int64], held: int, seed: int) -> Divided:
    """The split of a fold: what is held is test, a part of the rest is val."""
    rest, groups = np.flatnonzero(fold != held), data.groups
    part = fold_of(
        data.y[rest], groups=[groups[i] for i in rest], folds=VAL_PARTS, seed=seed + 1 + held,
        n_classes=len(data.class_names),
    )  # fmt: skip
    ids = np.array(data.ids)
    split = Split(
        split_id=f"fold-{held}", dataset_id="", strategy="folds", seed=seed,
        train=tuple(ids[rest[part != 0]]), val=tuple(ids[rest[part == 0]]), test=tuple(ids[fold == held]),
    )  # fmt: skip
    return Divided(split, split.split_id, Leakage(), {}, ())


def _fingerprint(way: Way, data: Dataset, folds: int, seed: int) -> str:
    """Changes with anything that the answers depend on."""
    rows = [(s.sample_id, s.content_sha256, label) for s, label in zip(data.samples, data.labels, strict=True)]
    asked = [asdict(replace(way.config, seed=seed)), way.channels, rows, data.groups, folds, VAL_PARTS]
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()[:16]
