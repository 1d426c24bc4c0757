"""Photographs into the catalogue, and from the catalogue into arrays."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mirada.catalog.catalog import Catalog
from mirada.embed.looks import LookKeeper, Want
from mirada.engine.base import Progress
from mirada.engine.local import Kind, LocalEngine
from mirada.errors import NotEnoughData
from mirada.imaging.decode import Limits
from mirada.ingest import AddReport, ingest
from mirada.messages import msg
from mirada.sources import base as sources
from mirada.types import Sample, SplitName
from mirada.workspace import Workspace

MANY = 1500
"""From so many photographs on, processes pay for their start."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """The labelled live samples of a training, in the order of their ids. y: class index (n,)."""

    samples: tuple[Sample, ...]
    class_names: tuple[str, ...]
    y: NDArray[np.int64]

    @property
    def ids(self) -> list[str]:
        """Sample ids, in order."""
        return [sample.sample_id for sample in self.samples]

    @property
    def groups(self) -> list[str]:
        """What must stay on one side of a split: the duplicate group, else the content."""
        return [sample.group_id or sample.content_sha256 for sample in self.samples]

    @property
    def labels(self) -> list[str]:
        """The label of each sample."""
        return [self.class_names[i] for i in self.y]

    def rows(self, ids: Iterable[str]) -> NDArray[np.int64]:
        """The positions of `ids`."""
        position = {sample.sample_id: i for i, sample in enumerate(self.samples)}
        return np.fromiter((position[i] for i in ids), dtype=np.int64)

    def given_splits(self) -> Mapping[str, SplitName]:
        """Where each sample stands already: given by its source, or by an earlier split."""
        return {sample.sample_id: sample.split for sample in self.samples if sample.split is not None}


def limits(workspace: Workspace) -> Limits:
    """The workspace's limits on what is decoded."""
    config = workspace.config
    return Limits(
        max_pixels=config.integer("decode.max_pixels"),
        max_bytes=config.integer("decode.max_bytes"),
        max_side=config.integer("decode.max_side"),
    )


def engine(workspace: Workspace, *, kind: Kind = "threads") -> LocalEngine:
    """The workspace's pool of workers."""
    return LocalEngine(workspace.config.integer("engine.workers"), kind)


@dataclass(frozen=True, slots=True)
class Added:
    """What adding did, and the `source` that its samples carry."""

    source: str
    report: AddReport


def open_source(path: str | os.PathLike[str], *, fmt: str | None = None, labels: Path | None = None) -> sources.Source:
    """The source at `path`. Raises NotFound, InputError or UsageError before anything is made."""
    return sources.detect(path, format=fmt, labels=None if labels is None else os.fspath(labels))


def add(
    workspace: Workspace,
    catalog: Catalog,
    source: sources.Source,
    *,
    progress: Progress,
    look: Sequence[Want] = (),
) -> Added:
    """Add the photographs of `source`; twice the same is a no-op, and an interrupted one goes on where it was.

    `look`: what is wanted next of "stats" and "lookalike", made while the photographs are decoded. That is many small
    steps which hold the interpreter's lock, so where there are many photographs processes do it.
    """
    keeper = LookKeeper(workspace.looks_path, look) if look else None
    many = keeper is not None and sum(1 for _ in islice(source.photos(), MANY)) == MANY
    with workspace.lock("add"), engine(workspace, kind="processes" if many else "threads") as pool:
        report = ingest(catalog, source, engine=pool, progress=progress, limits=limits(workspace), onlooker=keeper)
    return Added(source.name, report)


def load_dataset(catalog: Catalog, source: str | None) -> Dataset:
    """The live, labelled samples of `source` (None: all). Raises NotEnoughData where they cannot make a classifier."""
    samples = tuple(s for s in catalog.samples(source=source) if s.label is not None)
    names = tuple(sorted({s.label for s in samples if s.label is not None}))
    if len(names) < 2:
        raise _too_few_classes(samples, names, source)
    index = {name: i for i, name in enumerate(names)}
    y = np.array([index[s.label] for s in samples if s.label is not None], dtype=np.int64)
    return Dataset(samples=samples, class_names=names, y=y)


def _too_few_classes(samples: Sequence[Sample], names: Sequence[str], source: str | None) -> NotEnoughData:
    where = source or msg("the workspace")
    if not samples:
        return NotEnoughData(
            msg("There is no readable photograph with a label in {where}.", where=where),
            msg("Put the photographs of each class in a folder of its own, or give --labels FILE."),
        )
    return NotEnoughData(
        msg("A classifier needs at least two classes; {where} has one: {name}.", where=where, name=names[0]),
        msg("Put the photographs of each class in a folder of its own."),
    )
