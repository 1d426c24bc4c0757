"""Samples as columns: what 200,000 rows are counted from without a Python object each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mirada.types import SPLIT_NAMES, Sample

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """n samples, one value a sample in each array (n,).

    y: position in `class_names`, -1 without a label. split: position in `SPLIT_NAMES`, -1 without one. file_format,
    mode: positions in `format_names`, `mode_names`. content: the same number for identical bytes. group: the same
    for members of a duplicate group, -1 outside of any. width, height: pixels, upright; n_bytes: of the file.
    """

    uris: tuple[str, ...]
    class_names: tuple[str, ...]
    format_names: tuple[str, ...]
    mode_names: tuple[str, ...]
    y: Ints
    split: Ints
    width: Ints
    height: Ints
    n_bytes: Ints
    file_format: Ints
    mode: Ints
    content: Ints
    group: Ints

    def __len__(self) -> int:
        return len(self.uris)

    @property
    def copies(self) -> Ints:
        """A number (n,) that copies of one photograph share: their duplicate group, else their bytes."""
        return np.where(self.group >= 0, self.group, self.content + len(self))


def collect(samples: Iterable[Sample]) -> Columns:
    """The columns of `samples`, drawn once; classes in the order of their names."""
    rows = [
        (s.uri, s.label, s.split, s.width, s.height, s.n_bytes, s.format, s.mode, s.content_sha256, s.group_id)
        for s in samples
    ]
    uris, labels, splits, width, height, n_bytes, formats, modes, contents, groups = (
        zip(*rows, strict=True) if rows else ((),) * 10
    )
    class_names, y = codes(labels)
    format_names, file_format = codes(formats)
    mode_names, mode = codes(modes)
    return Columns(
        uris=tuple(uris),
        class_names=class_names,
        format_names=format_names,
        mode_names=mode_names,
        y=y,
        split=np.array([-1 if name is None else SPLIT_NAMES.index(name) for name in splits], np.int64),
        width=np.array(width, np.int64),
        height=np.array(height, np.int64),
        n_bytes=np.array(n_bytes, np.int64),
        file_format=file_format,
        mode=mode,
        content=codes(contents)[1],
        group=codes(groups)[1],
    )


def codes(values: Sequence[str | None]) -> tuple[tuple[str, ...], Ints]:
    """The distinct values in order, and for each value its position (n,); None is -1."""
    names = tuple(sorted({value for value in values if value is not None}))
    position: dict[str | None, int] = {name: i for i, name in enumerate(names)}
    return names, np.fromiter((position.get(value, -1) for value in values), np.int64, len(values))
