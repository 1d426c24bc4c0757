"""Laying one small picture over another: the affine map, brightness apart, that makes them most alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
_DAMPING = 1e-3
_LONGEST_STEP = 0.15
_LEAST_OVERLAP = 0.3
_FLAT = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Aligned:
    """How n pictures lie over n others.

    affine: (n, 2, 3), from a point (x, y) of the template to the one of the moving picture, both in −1 … 1.
    correlation: (n,), −1 to 1, normalised, over what both show. overlap: (n,), the share of the template that the
    moving picture shows too.
    """

    affine: Floats
    correlation: Floats
    overlap: Floats

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Aligned:
        """Some of them."""
        return Aligned(self.affine[rows], self.correlation[rows], self.overlap[rows])


def align(template: Floats, moving: Floats, affine: Floats, *, n_steps: int) -> Aligned:
    """Refine `affine` (n, 2, 3) so that moving(affine(x)) looks like template(x); pictures are (n, s, s).

    Lucas and Kanade's alignment in its inverse compositional form (S. Baker and I. Matthews, "Lucas-Kanade 20
    years on", 2004), all n at once; mean and contrast are made equal in every step, and only what both pictures
    show counts.
    """
    n, side = template.shape[:2]
    grid = _grid(side)  # (p, 3): x, y, 1
    flat = template.reshape(n, side * side)
    descent = _steepest_descent(template, grid)  # (n, 6, p)
    normal = np.matmul(descent, descent.transpose(0, 2, 1))
    damp = _DAMPING * np.trace(normal, axis1=1, axis2=2) / 6 + _FLAT
    back = np.linalg.inv(normal + damp[:, None, None] * np.eye(6, dtype=np.float32)) * _spread_all(flat)[:, None, None]
    affine = affine.astype(np.float32)
    values, seen = look_through(moving, affine, grid)
    score, overlap, error = _compare(flat, values, seen)
    found = Aligned(affine.copy(), score, overlap)
    for _ in range(n_steps):
        step = np.matmul(back, np.matmul(descent, error[:, :, None]))[:, :, 0]
        affine = _compose(affine, np.clip(step, -_LONGEST_STEP, _LONGEST_STEP))
        values, seen = look_through(moving, affine, grid)
        score, overlap, error = _compare(flat, values, seen)
        better = score > found.correlation
        found.affine[better], found.correlation[better], found.overlap[better] = (
            affine[better],
            score[better],
            overlap[better],
        )
    return found


def look_through(moving: Floats, affine: Floats, grid: Floats | None = None) -> tuple[Floats, Floats]:
    """(values, seen), each (n, s · s): the moving pictures at the template's points, and 1 where they show them."""
    n, side = moving.shape[:2]
    grid = _grid(side) if grid is None else grid
    points = np.matmul(affine, grid.T)  # (n, 2, p)
    edge = 1 + 1 / side
    seen = (np.abs(points) <= edge).all(axis=1).astype(np.float32)
    place = np.clip((points + 1) * np.float32(side / 2) - np.float32(0.5), 0, np.float32(side - 1.001))
    whole = place.astype(np.intp)
    place -= whole
    at = whole[:, 1] * side + whole[:, 0]
    at += (np.arange(n) * side * side)[:, None]
    x, y = place[:, 0], place[:, 1]
    source = moving.ravel()
    top, right = source.take(at), source.take(at + 1)
    top += x * (right - top)
    at += side
    bottom, right = source.take(at), source.take(at + 1)
    bottom += x * (right - bottom)
    top += y * (bottom - top)
    return top, seen


def _grid(side: int) -> Floats:
    axis = (2 * np.arange(side, dtype=np.float32) + 1) / side - 1
    x, y = np.meshgrid(axis, axis)
    return np.stack([x.ravel(), y.ravel(), np.ones(side * side, np.float32)], axis=1, dtype=np.float32)


def _steepest_descent(template: Floats, grid: Floats) -> Floats:
    side = template.shape[1]
    dy, dx = np.gradient(template, 2 / side, axis=(1, 2))
    x = dx.reshape(len(template), 1, side * side) * grid.T
    y = dy.reshape(len(template), 1, side * side) * grid.T
    return np.concatenate([x, y], axis=1)


def _compose(affine: Floats, step: Floats) -> Floats:
    """The warp followed back along a small one: W ∘ W(step)⁻¹."""
    small = step.reshape(-1, 2, 3)
    linear = np.matmul(affine[:, :, :2], np.linalg.inv(np.eye(2, dtype=np.float32) + small[:, :, :2]))
    shift = affine[:, :, 2] - np.matmul(linear, small[:, :, 2:])[:, :, 0]
    return np.concatenate([linear, shift[:, :, None]], axis=2).astype(np.float32)


def _spread_all(values: Floats) -> Floats:
    return np.asarray(np.sqrt(np.maximum(values.var(axis=1), _FLAT)), np.float32)


def _compare(template: Floats, values: Floats, seen: Floats) -> tuple[Floats, Floats, Floats]:
    """(correlation (n,), overlap (n,), error (n, p)): where both show something, made equal in mean and contrast."""
    total = np.maximum(seen.sum(axis=1), 1)
    a, b = _standard(template, seen, total), _standard(values, seen, total)
    score = np.einsum("np,np->n", a, b) / total
    overlap = seen.mean(axis=1)
    return np.where(overlap >= _LEAST_OVERLAP, score, -1).astype(np.float32), overlap, b - a


def _standard(values: Floats, seen: Floats, total: Floats) -> Floats:
    centred = (values - (np.einsum("np,np->n", values, seen) / total)[:, None]) * seen
    length = np.sqrt(np.maximum(np.einsum("np,np->n", centred, centred) / total, _FLAT))
    return np.asarray(centred / length[:, None], np.float32)
