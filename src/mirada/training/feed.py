"""Batches for the loop: rows in an order that the seed gives, gathered, augmented and normalised on the device."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mirada.models.base import Photographs
from mirada.models.recipe import Stage
from mirada.training.augment import augment_batch
from mirada.training.devices import Machine
from mirada.training.geometry import resized
from mirada.training.outcome import Labels
from mirada.training.pixels import Images
from mirada.types import PreprocessSpec

GPU_SHARE = 0.4  # of the GPU's free memory that photographs may take
SMALLEST_REST = 8  # an epoch's last rows make a step where they are at least this fraction of one
Rows = NDArray[np.int64]


class Store:
    """Photographs (n, S, S, 3) where their rows are gathered: on the GPU where all fit, else in memory or a file."""

    def __init__(self, images: Images, machine: Machine) -> None:
        self._images, self._device = images, machine.device
        self.on_device: torch.Tensor | None = None
        n_bytes = math.prod(images.shape)
        if machine.on_gpu and n_bytes < GPU_SHARE * torch.cuda.mem_get_info(machine.device)[0]:
            self.on_device = torch.tensor(np.asarray(images[:]), device=machine.device)

    def __len__(self) -> int:
        return len(self._images)

    @property
    def side(self) -> int:
        """Height and width in pixels."""
        return int(self._images.shape[1])

    def rows(self, rows: Rows) -> torch.Tensor:
        """uint8 (len(rows), S, S, 3) on the device."""
        if self.on_device is not None:
            return self.on_device[torch.from_numpy(rows).to(self._device, non_blocking=True)]
        gathered = torch.from_numpy(np.asarray(self._images[rows]))
        if self._device.type == "cpu":
            return gathered
        return gathered.pin_memory().to(self._device, non_blocking=True)


@dataclass(frozen=True, slots=True)
class Batch:
    """What goes through the network at once: `x` (n, 3, S, S) normalised, `targets` (n,) or (n, k).

    `n_step`: photographs in the whole step; `last`: the step's gradient is complete with it; `draw`: what the
    dropout of this batch is seeded with.
    """

    step: int
    x: torch.Tensor
    targets: torch.Tensor
    n_step: int
    last: bool
    draw: int


@dataclass(frozen=True, slots=True)
class _Piece:
    step: int
    rows: Rows
    n_step: int
    last: bool
    first: int


def n_steps_of_epoch(n: int, per_step: int) -> int:
    """Full steps, and one for what is left where that is an eighth of a step or more (and two photographs)."""
    full, rest = divmod(n, per_step)
    return full + int(full == 0 or (rest * SMALLEST_REST >= per_step and rest > 1))


def epoch_rows(labels: Labels, stage: Stage, *, seed: int, index: int, epoch: int) -> Rows:
    """The epoch's order: every photograph once, or drawn so that every class comes as often. From the seed alone."""
    rng = np.random.default_rng((seed, index, epoch))
    n = len(labels)
    if stage.sampling == "uniform":
        return rng.permutation(n)
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return np.asarray(rng.choice(n, n, p=(1 / (len(counts) * counts))[inverse]), dtype=np.int64)


def pieces_of_epoch(order: Rows, *, per_step: int, micro: int, start: int) -> Iterator[_Piece]:
    """From step `start` on, each step's rows in parts of at most `micro`, as even as can be."""
    for step in range(start, n_steps_of_epoch(len(order), per_step)):
        rows = order[step * per_step : (step + 1) * per_step]
        parts = np.array_split(rows, -(-len(rows) // micro))
        first = step * per_step
        for i, part in enumerate(parts):
            yield _Piece(step, part, len(rows), i == len(parts) - 1, first)
            first += len(part)


class Feed:
    """Makes the batches of a stage's epochs; a batch depends on seed, stage, epoch and rows alone."""

    def __init__(
        self, train: tuple[Images, Labels], n_classes: int, spec: PreprocessSpec, machine: Machine, *, seed: int
    ) -> None:
        self.store, self.labels = Store(train[0], machine), np.asarray(train[1], dtype=np.int64)
        self.n_classes, self.seed = n_classes, seed
        self._machine = machine
        self._normalise = Photographs(spec).to(machine.device)

    def epoch(
        self,
        stage: Stage,
        *,
        index: int,
        epoch: int,
        start: int,
        micro: int,
        side_at: Callable[[int], int],
        prefetch: bool,
    ) -> Generator[Batch, None, None]:
        """The batches of an epoch of stage number `index` from step `start` on; close it where it is left early."""
        order = epoch_rows(self.labels, stage, seed=self.seed, index=index, epoch=epoch)
        per_step = stage.batch_size * stage.accumulate
        pieces = pieces_of_epoch(order, per_step=per_step, micro=micro, start=start)

        def make(piece: _Piece) -> Batch:
            draw = (((index << 20) + epoch) << 36) + piece.first
            return self._batch(piece, stage, side=side_at(piece.step), epoch=epoch, draw=draw)

        # a GPU works through its queue by itself where the photographs are there
        ahead = prefetch and self.store.on_device is None
        return _one_ahead(make, pieces) if ahead else _in_turn(make, pieces)

    def _batch(self, piece: _Piece, stage: Stage, *, side: int, epoch: int, draw: int) -> Batch:
        labels = torch.from_numpy(self.labels[piece.rows]).to(self._machine.device, non_blocking=True)
        x, targets = augment_batch(
            self.store.rows(piece.rows),
            labels,
            stage.augment,
            n_classes=self.n_classes,
            side=side,
            seed=self.seed,
            step=draw,
            epoch=epoch,
            rows=piece.rows,
        )
        return Batch(piece.step, self.normalised(x), targets, piece.n_step, piece.last, draw)

    def normalised(self, x: torch.Tensor) -> torch.Tensor:
        """(n, 3, S, S) of 0 to 255 to the network's input, channels last."""
        normal: torch.Tensor = self._normalise(x.permute(0, 2, 3, 1))
        return normal.contiguous(memory_format=torch.channels_last)

    def sample(self, n: int, side: int) -> torch.Tensor:
        """At most `n` normalised training photographs as they are (m, 3, side, side), the same for the same seed."""
        rows = np.random.default_rng(self.seed).permutation(len(self.labels))[:n]
        return self.normalised(resized(self.store.rows(rows), side))


def _in_turn(make: Callable[[_Piece], Batch], pieces: Iterator[_Piece]) -> Generator[Batch, None, None]:
    for piece in pieces:
        yield make(piece)


def _one_ahead(make: Callable[[_Piece], Batch], pieces: Iterator[_Piece]) -> Generator[Batch, None, None]:
    """Each batch is made in a thread while the one before it is learned from."""
    with ThreadPoolExecutor(1, thread_name_prefix="mirada-batches") as pool:
        ahead: Future[Batch] | None = None
        for piece in pieces:
            made, ahead = ahead, pool.submit(make, piece)
            if made is not None:
                yield made.result()
        if ahead is not None:
            yield ahead.result()
