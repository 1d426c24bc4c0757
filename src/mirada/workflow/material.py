"""What a head is fitted on and judged by: samples, their parts, their embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mirada.embed.backbone import Backbone
from mirada.imaging.preprocess import load_input
from mirada.sources.reader import PhotoReader
from mirada.types import SPLIT_NAMES, Bundle, Sample
from mirada.workflow.champion import ask
from mirada.workflow.data import Dataset
from mirada.workflow.embedding import Embedded
from mirada.workflow.splitting import Divided


@dataclass(frozen=True, slots=True)
class Material:
    """The data of one training, by part ("train", "val", "test"), without what could not be embedded.

    `n_train`: photographs that a network was trained on, where train itself was not embedded.
    """

    data: Dataset
    divided: Divided
    embedded: Embedded
    backbone: Backbone
    n_train: int | None = None

    def rows(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Positions of `ids` among the samples."""
        rows = self.data.rows(ids)
        return rows[self.embedded.ok[rows]]

    def part_rows(self, subset: str) -> NDArray[np.int64]:
        """Positions of the samples of a part."""
        return self.rows(getattr(self.divided.split, subset))

    def part(self, subset: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Embeddings (n, d) and class indices (n,) of a part."""
        rows = self.part_rows(subset)
        return self.embedded.vectors[rows], self.data.y[rows]

    def training_part(self) -> tuple[NDArray[np.float32], NDArray[np.int64], list[str]]:
        """Embeddings, class indices and groups of train; with flips, each photograph and its mirror image."""
        rows = self.part_rows("train")
        groups = self.data.groups
        of_rows = [groups[i] for i in rows]
        X, y = self.embedded.vectors[rows], self.data.y[rows]
        if self.embedded.flipped is None:
            return X, y, of_rows
        return np.concatenate([X, self.embedded.flipped[rows]]), np.concatenate([y, y]), of_rows * 2

    def samples(self, subset: str) -> list[Sample]:
        """The samples of a part."""
        return [self.data.samples[i] for i in self.part_rows(subset)]

    def counts(self) -> dict[str, int]:
        """Photographs in each part."""
        counted: dict[str, int] = {subset: len(self.part_rows(subset)) for subset in SPLIT_NAMES}
        return counted if self.n_train is None else {**counted, "train": self.n_train}

    def inputs(self, rows: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
        """The photographs at `rows` as the network takes them, uint8 (S, S, 3)."""
        reader = PhotoReader()
        for i in rows:
            yield load_input(reader.read(self.data.samples[i].uri), self.backbone.preprocess)

    def ask(self, champion: Bundle, ids: Sequence[str]) -> NDArray[np.float32]:
        """A champion's probabilities (n, k) on the samples `ids`."""
        reader = PhotoReader()
        return ask(champion, [reader.read(self.data.samples[i].uri) for i in self.data.rows(ids)])
