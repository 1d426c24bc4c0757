"""The oddest and the plainest photographs of each class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from mirada.explore.columns import Ints

Floats = NDArray[np.float32]
_REFERENCES, _NEAREST, _BLOCK, _TRIES = 256, 5, 8192, 20
ALIKE = 0.98
"""Above this cosine two photographs show the same: one of them is shown."""


@dataclass(frozen=True, slots=True)
class Extremes:
    """Rows of one class (y, -1: without a label), each with its oddness of 0 to 2: the oddest, the plainest first."""

    y: int
    oddest: tuple[tuple[int, float], ...]
    plainest: tuple[tuple[int, float], ...]


def oddest(
    vectors: Floats, y: Ints, *, k: int = 6, copies: Ints | None = None, seed: int = 0
) -> tuple[NDArray[np.float32], tuple[Extremes, ...]]:
    """How odd each row is within its class (n,), and the k oddest and plainest of each class of three or more.

    The oddness is the mean of two cosine distances: to the centre of the class (of the half that lies nearest to
    it) and to the 5 nearest of up to 256 of its photographs, so that a small way of being of the class is not odd.
    Rows with a NaN have none. copies (n,): of rows that share a number only one is shown.
    """
    odd = np.full(len(y), np.nan, np.float32)
    found = []
    ok = np.isfinite(vectors).all(axis=1) if vectors.size else np.zeros(len(y), np.bool_)
    rng = np.random.default_rng(seed)
    with threadpool_limits(1):
        for name in np.unique(y):
            rows = np.flatnonzero((y == name) & ok)
            if len(rows) < 3:
                continue
            odd[rows] = _oddness(vectors, rows, rng)
            order = rows[np.argsort(odd[rows], kind="stable")]
            n = min(k, len(rows) // 2)
            top, bottom = (_first(vectors, ends, n, copies) for ends in (order[::-1], order))
            found.append(
                Extremes(
                    int(name),
                    tuple((int(row), float(odd[row])) for row in top),
                    tuple((int(row), float(odd[row])) for row in bottom if row not in top),
                )
            )
    return odd, tuple(found)


def _oddness(vectors: Floats, rows: Ints, rng: np.random.Generator) -> Floats:
    centre = _centre(vectors, rows, rng)
    drawn = np.sort(rng.choice(rows, min(len(rows), _REFERENCES), replace=False))
    references = _unit(vectors[drawn])
    k = min(_NEAREST, len(drawn) - 1)
    out = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), _BLOCK):
        block_rows = rows[start : start + _BLOCK]
        block = _unit(vectors[block_rows])
        likeness = block @ references.T
        likeness[block_rows[:, None] == drawn] = -np.inf  # nobody is its own neighbour
        near = np.partition(likeness, likeness.shape[1] - k, axis=1)[:, -k:].mean(axis=1)
        out[start : start + _BLOCK] = 1 - 0.5 * (block @ centre + near)
    return out


def _centre(vectors: Floats, rows: Ints, rng: np.random.Generator) -> Floats:
    """The direction of the half of (up to 4,096 of) `rows` that lies nearest to the mean of all."""
    drawn = rows if len(rows) <= 4096 else np.sort(rng.choice(rows, 4096, replace=False))
    sample = _unit(vectors[drawn])
    mean = sample.mean(axis=0)
    nearest = np.argsort(-(sample @ mean), kind="stable")[: (len(sample) + 1) // 2]
    centre: Floats = _unit(sample[nearest].mean(axis=0, keepdims=True))[0]
    return centre


def _first(vectors: Floats, order: Ints, k: int, copies: Ints | None) -> list[int]:
    """The first k rows, one of each set of copies, and none that looks almost like one before it."""
    taken: list[int] = []
    seen: set[int] = set()
    for row in map(int, order[: k * _TRIES]):
        key = row if copies is None else int(copies[row])
        if key in seen or (taken and float((_unit(vectors[taken]) @ _unit(vectors[[row]])[0]).max()) > ALIKE):
            continue
        seen.add(key)
        taken.append(row)
        if len(taken) == k:
            break
    return taken


def _unit(vectors: Floats) -> Floats:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12), np.float32)
