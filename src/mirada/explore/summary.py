"""What there is, in figures: overall and class by class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mirada.explore.balance import Balance, balance
from mirada.explore.columns import Columns, Ints
from mirada.explore.copies import Copies, find_copies
from mirada.explore.spread import Bars, Spread, bars, bars_between, spread
from mirada.imaging.statistics import STATISTICS
from mirada.types import SPLIT_NAMES, Rejected

SHOWN = ("brightness", "contrast", "sharpness", "entropy", "colourfulness", "border")
"""The statistics that are told, out of all that are measured."""
GREY_CHROMA = 0.02
"""A photograph whose colours stay this close to grey (5 of 255 levels at the 99th percentile) has none."""
SQUARE = 0.02
"""A side may be longer than the other by this share, and the photograph still be square."""
MOST_SIZES = 1200
_ASPECT_EDGES = np.geomspace(0.25, 4.0, 34)


@dataclass(frozen=True, slots=True)
class Portrait:
    """A class, or all photographs together (`name` None and `is_all`), or those without a label (`name` None).

    commonest_size: (width, height) and how many have it, None where there is no photograph. n_grey: photographs
    without colour whatever their file's channels; None where pixels were not measured. statistics: by the names of
    `SHOWN`. aspect: width / height.
    """

    name: str | None
    is_all: bool
    n: int
    share: float
    by_split: Mapping[str, int]
    commonest_size: tuple[int, int, int] | None
    n_sizes: int
    n_landscape: int
    n_square: int
    n_portrait: int
    width: Spread | None
    height: Spread | None
    aspect: Spread | None
    n_bytes: Spread | None
    total_bytes: int
    formats: Mapping[str, int]
    channels: Mapping[str, int]
    n_grey: int | None
    n_measured: int
    statistics: Mapping[str, Spread]


@dataclass(frozen=True, slots=True)
class SizeDot:
    """Photographs of one class at about one size: class -1 has no label; sides in pixels."""

    y: int
    width: float
    height: float
    n: int


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything that is told of the photographs. `bars`: by "aspect", "n_bytes" and the names of `SHOWN`."""

    n: int
    n_unlabelled: int
    n_rejected: int
    rejected: Mapping[str, int]
    class_names: tuple[str, ...]
    by_split: Mapping[str, int]
    all: Portrait
    classes: tuple[Portrait, ...]
    balance: Balance | None
    copies: Copies
    sizes: tuple[SizeDot, ...]
    bars: Mapping[str, Bars]


def summarise(
    columns: Columns, *, stats: NDArray[np.float32] | None = None, rejected: Iterable[Rejected] = ()
) -> Summary:
    """The summary of `columns`; classes by size, those without a label last.

    stats: (n, len(STATISTICS)) from `imaging.statistics.measure`, NaN rows for photographs that could not be read;
    None where nothing was measured. rejected: what is in the catalogue but no sample.
    """
    reasons = Counter(item.reason for item in rejected)
    rows_of = _rows_by_class(columns.y, len(columns.class_names))
    everything = np.arange(len(columns))
    classes = [
        _portrait(columns, stats, rows, name=name) for name, rows in zip(columns.class_names, rows_of, strict=False)
    ]
    classes.sort(key=lambda portrait: (-portrait.n, portrait.name or ""))
    without = rows_of[-1]
    if len(without):
        classes.append(_portrait(columns, stats, without, name=None))
    whole = _portrait(columns, stats, everything, name=None, is_all=True)
    return Summary(
        n=len(columns),
        n_unlabelled=len(without),
        n_rejected=reasons.total(),
        rejected=dict(reasons.most_common()),
        class_names=columns.class_names,
        by_split=whole.by_split,
        all=whole,
        classes=tuple(classes),
        balance=balance({portrait.name: portrait.n for portrait in classes if portrait.name is not None}),
        copies=find_copies(columns),
        sizes=_size_dots(columns),
        bars=_bars(columns, stats),
    )


def _rows_by_class(y: Ints, n_classes: int) -> list[Ints]:
    """The rows of each class, and those without a label last."""
    keys = np.where(y < 0, n_classes, y)
    order = np.argsort(keys, kind="stable")
    ends = np.cumsum(np.bincount(keys, minlength=n_classes + 1))
    return [order[end - n : end] for end, n in zip(ends, np.bincount(keys, minlength=n_classes + 1), strict=True)]


def _portrait(
    columns: Columns, stats: NDArray[np.float32] | None, rows: Ints, *, name: str | None, is_all: bool = False
) -> Portrait:
    width, height = columns.width[rows], columns.height[rows]
    aspect = width / np.maximum(height, 1)
    commonest, n_sizes = _commonest_size(width, height)
    is_wide, is_tall = aspect > 1 + SQUARE, aspect < 1 / (1 + SQUARE)
    n_bytes = columns.n_bytes[rows]
    measured = None if stats is None else stats[rows]
    return Portrait(
        name=name,
        is_all=is_all,
        n=len(rows),
        share=len(rows) / max(1, len(columns)),
        by_split=_counts(columns.split[rows], SPLIT_NAMES),
        commonest_size=commonest,
        n_sizes=n_sizes,
        n_landscape=int(is_wide.sum()),
        n_square=len(rows) - int(is_wide.sum()) - int(is_tall.sum()),
        n_portrait=int(is_tall.sum()),
        width=spread(width),
        height=spread(height),
        aspect=spread(aspect),
        n_bytes=spread(n_bytes),
        total_bytes=int(n_bytes.sum()),
        formats=_counts(columns.file_format[rows], columns.format_names),
        channels=_counts(columns.mode[rows], columns.mode_names),
        n_grey=None if measured is None else _n_grey(measured),
        n_measured=0 if measured is None else int(np.isfinite(_column(measured, SHOWN[0])).sum()),
        statistics={} if measured is None else _statistics(measured),
    )


def _counts(values: Ints, names: tuple[str, ...]) -> dict[str, int]:
    """How often each name occurs, the most frequent first; those that do not occur are left out."""
    counts = np.bincount(values[values >= 0], minlength=len(names))
    if names == SPLIT_NAMES:
        return {name: int(n) for name, n in zip(names, counts, strict=True) if n}
    order = np.argsort(-counts, kind="stable")
    return {names[i]: int(counts[i]) for i in order if counts[i]}


def _commonest_size(width: Ints, height: Ints) -> tuple[tuple[int, int, int] | None, int]:
    if not len(width):
        return None, 0
    keys, counts = np.unique(width << 32 | height, return_counts=True)
    best = int(counts.argmax())
    return (int(keys[best] >> 32), int(keys[best] & 0xFFFFFFFF), int(counts[best])), len(keys)


def _column(stats: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    values: NDArray[np.float32] = stats[:, STATISTICS.index(name)]
    return values


def _n_grey(stats: NDArray[np.float32]) -> int:
    return int((_column(stats, "chroma") < GREY_CHROMA).sum())


def _statistics(stats: NDArray[np.float32]) -> dict[str, Spread]:
    found = {name: spread(_column(stats, name)) for name in SHOWN}
    return {name: value for name, value in found.items() if value is not None}


def _bars(columns: Columns, stats: NDArray[np.float32] | None) -> dict[str, Bars]:
    if not len(columns):
        return {}
    made = {
        "aspect": bars_between(columns.width / np.maximum(columns.height, 1), _ASPECT_EDGES),
        "n_bytes": bars(np.maximum(columns.n_bytes, 1), log=True),
    }
    for name in SHOWN if stats is not None else ():
        made[name] = bars(_column(stats, name))  # type: ignore[arg-type]
    return {name: value for name, value in made.items() if value is not None}


def _size_dots(columns: Columns) -> tuple[SizeDot, ...]:
    """Exact sizes while they are few, else cells of a logarithmic grid that gets coarser until they are."""
    width, height = np.maximum(columns.width, 1), np.maximum(columns.height, 1)
    for step in (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8):
        place = [side if step == 0 else np.round(np.log(side) / step).astype(np.int64) for side in (width, height)]
        cells, counts = np.unique(np.stack([columns.y, *place]), axis=1, return_counts=True)
        if cells.shape[1] <= MOST_SIZES:
            break
    sides = cells[1:] if step == 0 else np.exp(cells[1:] * step)
    dots = [
        SizeDot(int(y), float(w), float(h), int(n))
        for y, w, h, n in zip(cells[0], sides[0], sides[1], counts, strict=True)
    ]
    # The larger first, so that they are drawn below the smaller.
    return tuple(sorted(dots, key=lambda dot: (-dot.n, dot.y, dot.width, dot.height))[:MOST_SIZES])
