"""A map: vectors of many dimensions placed in two, so that alike photographs lie side by side.

Up to `MOST_EXACT` vectors by t-SNE (L. van der Maaten, "Accelerating t-SNE using tree-based algorithms", 2014) of
their first 50 principal components. Of more, a stratified sample is placed so, and each of the others is added to
that map as in P. Poličar, M. Stražar and B. Zupan, "Embedding to reference t-SNE space" (2019): it starts amid its
nearest neighbours of the sample and moves along the gradient, pulled by them and pushed by all of the sample. The
push is read off a grid, so that the work grows with the number of vectors alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from mirada.explore.columns import Ints

Floats = NDArray[np.float32]
MOST_EXACT = 4000
N_LANDMARKS = 2500
_DIMS, _FIT_ROWS = 50, 20_000
_PERPLEXITY, _MANY = 30.0, 1500
_K, _STEPS, _BLOCK, _GRID = 10, 30, 4096, 160


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """xy: float32 (n, 2) in 0–1, NaN for rows without a vector. n_landmarks: rows placed by t-SNE itself."""

    xy: Floats
    n_landmarks: int


def map_2d(vectors: Floats, *, strata: Ints | None = None, seed: int = 0) -> Placement:
    """Place `vectors` (n, d); rows with a NaN get no place. strata (n,): sampled alike when n is above `MOST_EXACT`.

    The same vectors and seed give the same map whatever the number of threads: it is made on one.
    """
    ok = np.flatnonzero(np.isfinite(vectors).all(axis=1)) if vectors.size else np.empty(0, np.int64)
    xy = np.full((len(vectors), 2), np.nan, np.float32)
    if not len(ok):
        return Placement(xy, 0)
    # Before the limit, which holds only for libraries that are loaded.
    import sklearn.manifold  # noqa: F401

    # The sums of several threads differ in their last bits, and t-SNE makes another map of that.
    with threadpool_limits(1):
        rng = np.random.default_rng(seed)
        reduced = _principal(vectors, ok, rng)
        if len(ok) <= MOST_EXACT:
            placed, n_landmarks = _tsne(reduced, seed), len(ok)
        else:
            chosen = _sample(np.zeros(len(ok), np.int64) if strata is None else strata[ok], rng)
            placed, n_landmarks = _extend(reduced, chosen, seed), len(chosen)
        xy[ok] = _fit_square(placed)
    return Placement(xy, n_landmarks)


def _principal(vectors: Floats, ok: Ints, rng: np.random.Generator) -> Floats:
    """The first principal components (len(ok), ≤ 50) of unit vectors, in blocks; axes from at most 20,000 rows."""
    fit = ok if len(ok) <= _FIT_ROWS else np.sort(rng.choice(ok, _FIT_ROWS, replace=False))
    sample = _unit(vectors[fit])
    mean = sample.mean(axis=0)
    sample -= mean
    _, axes = np.linalg.eigh((sample.T @ sample).astype(np.float64))
    axes = np.ascontiguousarray(axes[:, ::-1][:, : min(_DIMS, len(fit))], np.float32)
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    out = np.empty((len(ok), axes.shape[1]), np.float32)
    for start in range(0, len(ok), _BLOCK):
        out[start : start + _BLOCK] = (_unit(vectors[ok[start : start + _BLOCK]]) - mean) @ axes
    return out


def _unit(vectors: Floats) -> Floats:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12), np.float32)


def _tsne(reduced: Floats, seed: int) -> Floats:
    """t-SNE (n, 2) of `reduced` (n, d), from the first two principal components."""
    n = len(reduced)
    start = np.zeros((n, 2), np.float32)
    start[:, : min(2, reduced.shape[1])] = reduced[:, :2]
    scale = float(start[:, 0].std())
    if n < 8 or scale < 1e-6:
        return start
    from sklearn.manifold import TSNE

    # Copies share a place; t-SNE cannot part what starts at the same point.
    noise = np.random.default_rng(seed).normal(0, 1e-6, start.shape)
    start = np.asarray(start / scale * 1e-4 + noise, np.float32)
    n_steps = 1000 if n <= _MANY else 500
    model = TSNE(perplexity=min(_PERPLEXITY, (n - 1) / 3), init=start, max_iter=n_steps, random_state=seed, n_jobs=1)
    return np.asarray(model.fit_transform(reduced), np.float32)


def _sample(strata: Ints, rng: np.random.Generator) -> Ints:
    """About `N_LANDMARKS` rows, from each stratum its share but at least 20; in order."""
    _, inverse, sizes = np.unique(strata, return_inverse=True, return_counts=True)
    order = np.lexsort((rng.random(len(strata)), inverse))
    starts = np.cumsum(sizes) - sizes
    wanted = np.minimum(sizes, np.maximum(20, np.round(N_LANDMARKS * sizes / len(strata)).astype(np.int64)))
    taken = [order[start : start + n] for start, n in zip(starts, wanted, strict=True)]
    chosen = np.concatenate(taken)
    if len(chosen) > MOST_EXACT:
        chosen = rng.choice(chosen, MOST_EXACT, replace=False)
    return np.sort(chosen)


def _extend(reduced: Floats, chosen: Ints, seed: int) -> Floats:
    """The landmarks `chosen` by t-SNE, every other row of `reduced` added to their map."""
    landmarks = reduced[chosen]
    base = _tsne(landmarks, seed)
    push = _Push.of(base)
    placed = np.empty((len(reduced), 2), np.float32)
    squares = (landmarks**2).sum(axis=1)
    for start in range(0, len(reduced), _BLOCK):
        block = reduced[start : start + _BLOCK]
        distances = squares - 2 * (block @ landmarks.T) + (block**2).sum(axis=1, keepdims=True)
        near = np.argpartition(distances, _K, axis=1)[:, :_K]
        weights = _weights(np.maximum(np.take_along_axis(distances, near, axis=1), 0))
        placed[start : start + _BLOCK] = _settle(base[near], weights, push)
    placed[chosen] = base
    return placed


def _weights(squared: Floats) -> Floats:
    """Shares (n, k) of neighbours by squared distances (n, k), as wide as half the mean gap to the nearest."""
    gap = squared - squared.min(axis=1, keepdims=True)
    weights = np.exp(-gap / np.maximum(0.5 * gap.mean(axis=1, keepdims=True), 1e-9))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def _settle(near: Floats, weights: Floats, push: _Push) -> Floats:
    """Places (n, 2) after `_STEPS` steps of the gradient; near: (n, k, 2) places of the neighbours."""
    # From the weighted median neighbour: a mean of two clusters lies in neither.
    place = near[np.arange(len(near)), weights.argmax(axis=1)]
    place = 0.7 * place + 0.3 * np.einsum("nk,nkd->nd", weights, near)
    limit = push.step
    for i in range(_STEPS):
        away = place[:, None, :] - near
        pull = np.einsum("nk,nkd->nd", weights / (1 + (away**2).sum(axis=2)), away)
        move = push.at(place) - pull
        length = np.linalg.norm(move, axis=1, keepdims=True)
        place = place + move * np.minimum(1.0, limit / np.maximum(length, 1e-9)) * (1 - i / _STEPS)
    return np.asarray(place, np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class _Push:
    """What all landmarks push a point away with, on a grid over their map. field: (g, g, 2)."""

    low: Floats
    step: float
    field: Floats

    @classmethod
    def of(cls, base: Floats) -> _Push:
        low, high = base.min(axis=0), base.max(axis=0)
        margin = 0.05 * float((high - low).max())
        low, step = low - margin, float((high - low).max() + 2 * margin) / (_GRID - 1)
        ticks = np.arange(_GRID, dtype=np.float32) * step
        field = np.empty((_GRID, _GRID, 2), np.float32)
        for i, x in enumerate(ticks):
            away = np.stack([np.full(_GRID, low[0] + x), low[1] + ticks], axis=1)[:, None, :] - base
            q = 1 / (1 + (away**2).sum(axis=2))
            field[i] = np.einsum("gl,gld->gd", q * q, away) / q.sum(axis=1, keepdims=True)
        return cls(np.asarray(low, np.float32), step, field)

    def at(self, place: Floats) -> Floats:
        """The push (n, 2) at `place` (n, 2), between the four corners of its cell."""
        where = np.clip((place - self.low) / self.step, 0, _GRID - 1.001)
        cell = where.astype(np.int64)
        fx, fy = (where - cell).T[:, :, None]
        i, j = cell.T
        left = self.field[i, j] * (1 - fy) + self.field[i, j + 1] * fy
        right = self.field[i + 1, j] * (1 - fy) + self.field[i + 1, j + 1] * fy
        return np.asarray(left * (1 - fx) + right * fx, np.float32)


def _fit_square(placed: Floats) -> Floats:
    """Turned so that the longer axis lies level, then each axis stretched to 0–1."""
    centred = placed - placed.mean(axis=0)
    if len(placed) > 2:
        _, axes = np.linalg.eigh((centred.T @ centred).astype(np.float64))
        axes = axes[:, ::-1] * np.sign(axes[:, ::-1][np.abs(axes[:, ::-1]).argmax(axis=0), [0, 1]])
        centred = centred @ axes.astype(np.float32)
    low, high = centred.min(axis=0), centred.max(axis=0)
    return np.where(high - low > 1e-9, (centred - low) / np.maximum(high - low, 1e-9), 0.5).astype(np.float32)
