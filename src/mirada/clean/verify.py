"""Whether two photographs are copies of one: laid over each other, brightness made equal, does anything differ?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace

import numpy as np
from PIL import Image

from mirada.clean.align import Aligned, align, look_through
from mirada.clean.base import Floats, Ints
from mirada.clean.candidates import Candidates
from mirada.clean.neighbours import in_threads
from mirada.errors import MiradaError
from mirada.imaging.decode import decode
from mirada.imaging.lookalike import LOOKALIKE_SIDE

SIDE = 64
_BLOCK = 8  # pixels at SIDE: a hand that moved between two shots fills a block
_BATCH = 64
_COARSE = ((LOOKALIKE_SIDE // 2, 4, 0.87), (LOOKALIKE_SIDE, 4, 0.92))  # side, steps, least correlation to go on
_FINE_STEPS = 4
_LEAST_OVERLAP = 0.55
# Where a measure says "as likely a copy as not". Copies at JPEG quality 30, turned by 6° with black corners or
# brightened until they clip stay on the right side; two shots of one scene differ somewhere by half of the contrast.
_CORRELATION, _WORST, _MIDDLE, _DETAIL = 0.94, 0.62, 0.31, 0.68
_CLOSE = 4  # pixels at SIDE: detail is what differs within such a square
_DARK, _LIGHT = 6.0, 249.0
_GREY = 3.0

Read = Callable[[int], bytes]


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """Pairs of rows that were laid over each other. All arrays have length n.

    affine: (n, 2, 3), a point of the template, in −1 … 1, to the one of the moving picture that shows the same.
    confidence: 0 to 1; from 0.5 they are copies. correlation: of luma, brightness and contrast apart. gain, bias:
    template ≈ gain · moving + bias, in grey levels. greyed: one has colours and the other none.
    """

    template: Ints
    moving: Ints
    affine: Floats
    confidence: Floats
    correlation: Floats
    gain: Floats
    bias: Floats
    greyed: Ints

    def __len__(self) -> int:
        return len(self.template)

    def take(self, rows: Ints) -> Matches:
        """Some of them, in this order."""
        return Matches(*(getattr(self, field.name)[rows] for field in fields(self)))

    def and_also(self, more: Matches, rows: Ints) -> Matches:
        """These and `more`, whose rows are places in `rows`."""
        there = replace(more, template=rows[more.template], moving=rows[more.moving])
        columns = [(getattr(self, field.name), getattr(there, field.name)) for field in fields(self)]
        return Matches(*(np.concatenate(column) for column in columns))


def verify(pictures: Floats, candidates: Candidates, read: Read | None) -> Matches:
    """Judge candidates among small pictures (n, LOOKALIKE_DIM): cheaply on these first, then on the photographs.

    `read(row)` gives a photograph's bytes. Where it cannot, or is None, its small picture stands in for it.
    """
    pictures = pictures.reshape(-1, LOOKALIKE_SIDE, LOOKALIKE_SIDE)
    template, moving, affine = candidates.template, candidates.moving, candidates.affine
    for side, n_steps, least in _COARSE:
        small = _shrunk(pictures, side)
        found = _aligned(small, small, template, moving, affine, n_steps)
        keep = np.flatnonzero((found.correlation >= least) & (found.overlap >= _LEAST_OVERLAP))
        template, moving, affine = template[keep], moving[keep], found.affine[keep]
    return judge(pictures, template, moving, affine, read=read)


def judge(pictures: Floats, template: Ints, moving: Ints, affine: Floats, *, read: Read | None) -> Matches:
    """Lay pairs over each other at 64 × 64, from `affine` (n, 2, 3) on, and measure what is left."""
    rows, at = np.unique(np.concatenate([template, moving]), return_inverse=True)
    large, colour = _photographs(pictures.reshape(-1, LOOKALIKE_SIDE, LOOKALIKE_SIDE), rows, read)
    t, m = at[: len(template)], at[len(template) :]

    def one_batch(slot: slice) -> tuple[Aligned, tuple[Floats, ...]]:
        found = align(large[t[slot]], large[m[slot]], affine[slot], n_steps=_FINE_STEPS)
        return found, _measure(large[t[slot]], large[m[slot]], found)

    parts = list(in_threads(one_batch, _slices(len(t), 16)))
    nothing = np.zeros(0, np.float32)
    measures = [np.concatenate([nothing, *(part[1][k] for part in parts)]) for k in range(4)]
    refined = np.concatenate([np.zeros((0, 2, 3), np.float32), *(part[0].affine for part in parts)])
    greyed = ((colour[t] < _GREY) != (colour[m] < _GREY)) & (np.abs(colour[t] - colour[m]) > _GREY)
    confidence, correlation, gain, bias = measures
    return Matches(template, moving, refined, confidence, correlation, gain, bias, greyed.astype(np.int64))


def _aligned(a: Floats, b: Floats, template: Ints, moving: Ints, affine: Floats, n_steps: int) -> Aligned:
    def one_batch(slot: slice) -> Aligned:
        return align(a[template[slot]], b[moving[slot]], affine[slot], n_steps=n_steps)

    parts = list(in_threads(one_batch, _slices(len(template), _BATCH)))
    nothing = np.zeros(0, np.float32)
    return Aligned(
        np.concatenate([np.zeros((0, 2, 3), np.float32), *(part.affine for part in parts)]),
        np.concatenate([nothing, *(part.correlation for part in parts)]),
        np.concatenate([nothing, *(part.overlap for part in parts)]),
    )


def _slices(n: int, step: int) -> Iterator[slice]:
    return (slice(at, at + step) for at in range(0, n, step))


def _shrunk(pictures: Floats, side: int) -> Floats:
    n, whole = len(pictures), pictures.shape[1]
    small: Floats = pictures.reshape(n, side, whole // side, side, whole // side).mean((2, 4), dtype=np.float32)
    return small


def _photographs(pictures: Floats, rows: Ints, read: Read | None) -> tuple[Floats, Floats]:
    """Luma (len(rows), SIDE, SIDE) and the mean difference of the colour channels (len(rows),), in grey levels."""

    def load(row: int) -> tuple[Floats, float]:
        try:
            if read is not None:
                image = Image.fromarray(decode(read(row), min_side=SIDE).pixels)
                small = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=3.0)
                rgb = np.asarray(small, np.float32)
                return np.asarray(small.convert("L"), np.float32), float(np.ptp(rgb, axis=2).mean())
        except (MiradaError, OSError):
            pass  # it vanished or changed since: the looks stage tells so, and the small picture is still here
        stand_in = Image.fromarray(pictures[row]).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        return np.asarray(stand_in, np.float32), float("nan")

    loaded = list(in_threads(load, rows.tolist()))
    colour = np.array([part[1] for part in loaded], np.float32)
    return np.stack([part[0] for part in loaded]) if loaded else np.zeros((0, SIDE, SIDE), np.float32), colour


def _measure(template: Floats, moving: Floats, found: Aligned) -> tuple[Floats, Floats, Floats, Floats]:
    """(confidence, correlation, gain, bias) of pictures (n, s, s) that lie over each other."""
    n = len(template)
    goal = template.reshape(n, -1)
    values, seen = look_through(moving, found.affine)
    shown = (goal > _DARK) & (goal < _LIGHT) & (seen > 0)  # what clipped says nothing of brightness
    few = shown.mean(axis=1) < 0.2
    shown[few] = seen[few] > 0
    gain, bias = _line(values, goal, shown.astype(np.float32))
    expected = np.clip(gain[:, None] * values + bias[:, None], 0, 255)
    correlation, spread = _correlate(expected, goal, seen)
    worst, middle = _blocks((goal - expected) * seen, seen, spread)
    sure = 0.5 + (correlation - _CORRELATION) / (2 * (1 - _CORRELATION))
    sure = np.minimum(sure, np.minimum(1 - worst / (2 * _WORST), 1 - middle / (2 * _MIDDLE)))
    # Two skies have the same light above and below, and correlate; only copies share their detail.
    sure = np.minimum(sure, 0.5 + (_shared_detail(expected, goal, seen) - _DETAIL) / (2 * (1 - _DETAIL)))
    sure = np.where((found.overlap >= _LEAST_OVERLAP) & (gain > 0), np.clip(sure, 0, 1), 0)
    return sure.astype(np.float32), correlation, gain, bias


def _line(x: Floats, y: Floats, weight: Floats) -> tuple[Floats, Floats]:
    total = np.maximum(weight.sum(axis=1), 1)
    mean_x, mean_y = (x * weight).sum(axis=1) / total, (y * weight).sum(axis=1) / total
    dx = (x - mean_x[:, None]) * weight
    gain = (dx * (y - mean_y[:, None])).sum(axis=1) / np.maximum((dx * dx).sum(axis=1), 1e-3)
    return gain, mean_y - gain * mean_x


def _correlate(a: Floats, b: Floats, seen: Floats) -> tuple[Floats, Floats]:
    total = np.maximum(seen.sum(axis=1), 1)
    da = (a - ((a * seen).sum(axis=1) / total)[:, None]) * seen
    db = (b - ((b * seen).sum(axis=1) / total)[:, None]) * seen
    spread = np.sqrt(np.maximum((db * db).sum(axis=1) / total, 1e-3))
    length = np.sqrt(np.maximum((da * da).sum(axis=1) / total, 1e-3)) * spread
    return ((da * db).sum(axis=1) / total / length).astype(np.float32), spread


def _blocks(left: Floats, seen: Floats, spread: Floats) -> tuple[Floats, Floats]:
    """What is left in the worst tenth of the blocks, and in the middle one: root mean squares, shares of `spread`."""
    n, k = len(left), SIDE // _BLOCK
    shape = (n, k, _BLOCK, k, _BLOCK)
    area = seen.reshape(shape).sum((2, 4)).reshape(n, -1)
    energy = (left * left).reshape(shape).sum((2, 4)).reshape(n, -1)
    rest = np.sqrt(energy / np.maximum(area, 1)) / spread[:, None]
    rest[area < 0.6 * _BLOCK * _BLOCK] = np.nan
    rest[np.isnan(rest).all(axis=1)] = 9
    return np.nanquantile(rest, 0.9, axis=1), np.nanmedian(rest, axis=1)


def _shared_detail(a: Floats, b: Floats, seen: Floats) -> Floats:
    """The correlation of what is left of two pictures when each square of `_CLOSE` pixels loses its mean."""
    n, k = len(a), SIDE // _CLOSE
    shape = (n, k, _CLOSE, k, _CLOSE)
    whole = seen.reshape(shape).min((2, 4), keepdims=True)
    x, y = ((part - part.mean((2, 4), keepdims=True)) * whole for part in (a.reshape(shape), b.reshape(shape)))
    length = np.sqrt((x * x).sum((1, 2, 3, 4)) * (y * y).sum((1, 2, 3, 4)) + 1e-3)
    shared: Floats = (x * y).sum((1, 2, 3, 4)) / length
    return shared
