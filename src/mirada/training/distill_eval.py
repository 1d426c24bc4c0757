"""How good a student is while it learns: k-NN and a linear probe on labelled photographs that it never learns from.

A held-out set is a folder per class. A seeded third of it is asked about, the rest answers: 20 nearest neighbours by
cosine (Wu et al. 2018, votes weighted by exp(similarity / 0.07)) and the logistic regression of `mirada train`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mirada.engine.base import Progress
from mirada.errors import DecodeError, NotEnoughData
from mirada.imaging.decode import read_file
from mirada.imaging.preprocess import load_input
from mirada.messages import decimal, msg
from mirada.training.distill_augment import normalised
from mirada.training.distill_data import SUFFIXES
from mirada.training.distill_export import student_preprocess
from mirada.training.distill_loop import Distiller
from mirada.training.head import fit_head
from mirada.training.students import Student

Floats = NDArray[np.float32]
NEIGHBOURS, SOFTNESS, ASKED = 20, 0.07, 3
MOST_PHOTOS = 3000  # of a set: looking must stay cheap beside learning
BATCH = 64


@dataclass(frozen=True, slots=True)
class Mark:
    """What a student reached after `views` views on the set `name`; shares of `n` photographs."""

    name: str
    views: int
    loss: float
    knn: float
    probe: float
    n: int


@dataclass(frozen=True, slots=True)
class _Set:
    name: str
    images: NDArray[np.uint8]  # (n, S, S, 3)
    y: NDArray[np.int64]
    asked: NDArray[np.bool_]


class Watch:
    """Called after every step; every `every` steps it evaluates the averaged student and appends to `path`."""

    def __init__(self, folders: Sequence[Path], path: Path, *, every: int, seed: int, progress: Progress) -> None:
        self.folders, self.path, self.every, self.seed, self.progress = tuple(folders), path, every, seed, progress
        self._sets: list[_Set] | None = None

    def __call__(self, run: Distiller) -> None:
        """Evaluate where it is time: every so many steps, and at the end."""
        if run.step % self.every and run.step != run.config.n_steps:
            return
        student = run.averaged()
        if self._sets is None:
            self._sets = [_open(folder, student, self.seed) for folder in self.folders]
        loss = float(np.mean(run.losses[-100:]))
        marks = [mark(held, student, views=run.step * run.config.batch, loss=loss) for held in self._sets]
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(asdict(found)) + "\n" for found in marks)
        for found in marks:
            self.progress.note(
                msg(
                    "{views} views, {name}: linear probe {probe} %, nearest neighbours {knn} % of {n}; loss {loss}.",
                    views=found.views, name=found.name, probe=decimal(100 * found.probe),
                    knn=decimal(100 * found.knn), n=found.n, loss=decimal(found.loss, 3),
                )
            )  # fmt: skip


def both(*watchers: Callable[[Distiller], None] | None) -> Callable[[Distiller], None]:
    """One watcher that calls each of several."""

    def watch(run: Distiller) -> None:
        for watcher in watchers:
            if watcher is not None:
                watcher(run)

    return watch


def mark(held: _Set, student: Student, *, views: int, loss: float) -> Mark:
    """Judge `student` on one set."""
    X = embed(student, held.images)
    known, asked = X[~held.asked], X[held.asked]
    y, wanted = held.y[~held.asked], held.y[held.asked]
    probe = fit_head(known, y, n_classes=int(held.y.max()) + 1, seed=0).logits(asked).argmax(1)
    return Mark(
        held.name, views, loss, knn_accuracy(known, y, asked, wanted), float((probe == wanted).mean()), len(wanted)
    )


def embed(student: Student, images: NDArray[np.uint8]) -> Floats:
    """float32 (n, dim) of uint8 images (n, S, S, 3), in torch and float32."""
    parts = []
    with torch.inference_mode():
        for first in range(0, len(images), BATCH):
            pixels = torch.from_numpy(images[first : first + BATCH]).permute(0, 3, 1, 2).float() / 255
            parts.append(student(normalised(pixels)).numpy())
    return np.concatenate(parts)


def knn_accuracy(train: Floats, y: NDArray[np.int64], test: Floats, wanted: NDArray[np.int64]) -> float:
    """Share of `test` whose weighted neighbours in `train` name the wanted class."""
    unit, query = (X / np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1e-12) for X in (train, test))
    likeness = query @ unit.T
    k = min(NEIGHBOURS, len(train) - 1)
    near = np.argpartition(-likeness, k, axis=1)[:, :k]
    weights = np.exp(np.take_along_axis(likeness, near, 1) / SOFTNESS)
    votes = np.stack([(weights * (y[near] == label)).sum(1) for label in range(int(y.max()) + 1)], axis=1)
    return float((votes.argmax(1) == wanted).mean())


def _open(folder: Path, student: Student, seed: int) -> _Set:
    paths = sorted(path for path in folder.glob("*/*") if path.suffix.lower() in SUFFIXES)
    rng = np.random.default_rng(seed)
    if len(paths) > MOST_PHOTOS:
        paths = [paths[i] for i in np.sort(rng.choice(len(paths), MOST_PHOTOS, replace=False))]
    images, labels = [], []
    for path in paths:
        try:
            images.append(load_input(read_file(path), student_preprocess(student)))
        except DecodeError:
            continue  # the training told of unreadable files; here they only do not count
        labels.append(path.parent.name)
    names, y = np.unique(labels, return_inverse=True)
    asked = np.zeros(len(y), bool)
    for label in range(len(names)):
        rows = rng.permutation(np.flatnonzero(y == label))
        asked[rows[: len(rows) // ASKED]] = True
    if len(names) < 2 or not asked.any():
        raise NotEnoughData(
            msg("{folder} cannot evaluate a student: it needs two classes of three photographs.", folder=folder),
            msg("Give a folder with a folder for each class."),
        )
    return _Set(folder.name, np.stack(images), y.astype(np.int64), asked)
