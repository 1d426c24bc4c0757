"""Pictures for the page: which photographs of the map carry one, and sheets of many small ones."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from mirada.explore.columns import Ints
from mirada.explore.space import Floats

MOST_PICTURES = 1500
CELL = 96
"""Pixels a side of a small picture."""
_ACROSS, _DOWN = 16, 20
_QUALITY, _EFFORT = 76, 4


@dataclass(frozen=True, slots=True)
class Sheets:
    """Small pictures in sheets of 16 × 20 cells, WebP. sizes: (width, height) of each within its cell."""

    sheets: tuple[bytes, ...] = ()
    sizes: tuple[tuple[int, int], ...] = ()


def choose(xy: Floats, *, most: int = MOST_PICTURES, seed: int = 0) -> Ints:
    """Rows of `xy` (n, 2) that get a picture: all that have a place, or `most`, spread over the map; in order."""
    ok = np.flatnonzero(np.isfinite(xy).all(axis=1))
    if len(ok) <= most:
        return ok
    rng = np.random.default_rng(seed)
    ok = rng.permutation(ok)
    grid = int(np.sqrt(most * 2))
    cells = (np.clip(xy[ok], 0, 0.999999) * grid).astype(np.int64) @ np.array([grid, 1])
    # The first of each cell, then the second, …: a thin region keeps its pictures.
    turn = np.empty(len(ok), np.int64)
    order = np.argsort(cells, kind="stable")
    sizes = np.unique(cells, return_counts=True)[1]
    turn[order] = np.arange(len(ok)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.sort(ok[np.argsort(turn, kind="stable")[:most]])


def make_sheets(pictures: Sequence[bytes]) -> Sheets:
    """Small pictures (encoded, at most `CELL` pixels a side) put together, in their order."""
    sheets, sizes = [], []
    per_sheet = _ACROSS * _DOWN
    for start in range(0, len(pictures), per_sheet):
        part = pictures[start : start + per_sheet]
        rows = -(-len(part) // _ACROSS)
        sheet = Image.new("RGB", (_ACROSS * CELL, rows * CELL), (128, 128, 128))
        for i, data in enumerate(part):
            with Image.open(io.BytesIO(data)) as image:
                sheet.paste(image.convert("RGB"), (i % _ACROSS * CELL, i // _ACROSS * CELL))
                sizes.append(image.size)
        out = io.BytesIO()
        sheet.save(out, "WEBP", quality=_QUALITY, method=_EFFORT)
        sheets.append(out.getvalue())
    return Sheets(tuple(sheets), tuple(sizes))
