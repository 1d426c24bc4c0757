"""Near vectors among many: all pairs above a similarity, and the nearest of each, without an n × n matrix.

Small sets are compared exactly, block by block. Large ones are divided into cells around centres (an inverted file,
as in faiss): a vector lies in the cell of its nearest centre, and is compared with what lies in the cells whose
centres are about as near to it as its own. Each cell is one product of matrices, which is several times faster on
a processor than following faiss' lists vector by vector (docs/benchmarks.md), and gives the same pairs every time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mirada.clean.base import Floats, Ints, Neighbours
from mirada.engine.local import LocalEngine

EXACT_PAIRS = 30_000
EXACT_NEAREST = 60_000
_BLOCK = 1 << 22  # products held at once: 16 MiB
_CELL = 256  # vectors a cell holds on average
_MOST_CELLS = 4096
_REACH = 2.0
_ROUNDS = 4
_MOST = 64

Pairs = tuple[Ints, Ints, Floats]
T = TypeVar("T")
R = TypeVar("R")


def in_threads(fn: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """``fn(item)`` in order, on all cores, with the matrix library on one: its own threads wait for each other on
    small products, and would cut sums differently on another machine.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with LocalEngine() as engine, threadpool_limits(1, user_api="blas"):
        yield from engine.map(fn, items)


def near_pairs(vectors: Floats, *, min_similarity: float, most: int = _MOST, seed: int = 0) -> Pairs:
    """(i, j, cosine) with i < j: every pair of rows of `vectors` (n, d) whose cosine is at least `min_similarity`.

    Exact up to 30,000 distinct rows, above that more than 99 % of them (docs/benchmarks.md). Rows that are equal are
    compared once: each is paired with the first of them, whose other pairs stand for all. A row names at most `most`
    others within a block of its comparisons, the most similar ones: 10,000 pictures that are nearly the same do not
    become 50 million pairs, and still hang together. Rows with NaN or without length are in no pair.
    """
    unit, usable = _unit_rows(vectors)
    first, copies, of = _distinct(unit, usable)
    chosen = unit[first] if len(first) < len(unit) else unit
    found = _unordered(_hits(chosen, min_similarity, most, seed), len(first))
    i, j, similarity = first[found[0]], first[found[1]], found[2]
    i, j = np.concatenate([np.minimum(i, j), of]), np.concatenate([np.maximum(i, j), copies])
    similarity = np.concatenate([similarity, np.ones(len(of), np.float32)])
    order = np.lexsort((j, i))
    return i[order], j[order], similarity[order]


def nearest(vectors: Floats, k: int, *, seed: int = 0) -> Neighbours:
    """The `k` most similar other rows of each row of `vectors` (n, d), by cosine; -1 where there are fewer.

    Exact up to 60,000 rows; above, among the cells around each row. Rows with NaN have no neighbours and are
    nobody's.
    """
    unit, usable = _unit_rows(vectors)
    rows = np.full((len(unit), k), -1, np.int64)
    similarity = np.full((len(unit), k), -1.0, np.float32)
    kept = np.flatnonzero(usable)
    if len(kept) < 2 or k < 1:
        return Neighbours(rows, similarity)
    chosen = unit[kept] if len(kept) < len(unit) else unit
    wanted = min(k, len(kept) - 1)
    at, values = _top(chosen, wanted, seed)
    rows[kept, :wanted] = np.where(at >= 0, kept[at], -1)
    similarity[kept, :wanted] = values
    return Neighbours(rows, similarity)


class Cells:
    """Rows of unit length divided into cells around centres, to be searched cell by cell."""

    def __init__(self, base: Floats, *, n_cells: int, seed: int) -> None:
        self.base = base
        self.centres = _centres(base, n_cells, seed)
        own = _own(base, self.centres)
        order = np.argsort(own, kind="stable")
        ends = np.cumsum(np.bincount(own, minlength=len(self.centres)))
        self.members = [rows.astype(np.int64) for rows in np.split(order, ends[:-1])]

    def hits(self, queries: Floats, *, min_similarity: float, slack: float, most: int = _MOST) -> Iterator[Pairs]:
        """Blocks of (query, row of base, cosine) at or above `min_similarity`, itself included.

        A query looks into each cell whose centre is at most `slack` less similar to it than the best one.
        """
        asked, cells = _probes(queries, self.centres, slack)
        order = np.argsort(cells, kind="stable")
        asked, ends = asked[order], np.cumsum(np.bincount(cells, minlength=len(self.centres)))
        for rows, members in zip(np.split(asked, ends[:-1]), self.members, strict=True):
            if len(rows) and len(members):
                base = self.base[members]
                for block in _blocks(rows, len(members)):
                    i, j, similarity = _above(queries[block] @ base.T, min_similarity, most)
                    yield block[i], members[j], similarity


def _hits(unit: Floats, least: float, most: int, seed: int) -> Iterator[Pairs]:
    everything = np.arange(len(unit))
    if len(unit) <= EXACT_PAIRS:
        jobs = [(rows, everything) for rows in _blocks(everything, len(unit))]
    else:
        cells = Cells(unit, n_cells=min(_MOST_CELLS, len(unit) // _CELL), seed=seed)
        # A row at an angle from another is nearer to or farther from a centre by about sin(angle) / √dimensions.
        slack = _REACH * float(np.sqrt(max(0.0, 1 - least**2) / _dimensions(unit)))
        asked, near = _probes(unit, cells.centres, slack)
        order = np.argsort(near, kind="stable")
        ends = np.cumsum(np.bincount(near, minlength=len(cells.members)))
        queues = np.split(asked[order], ends[:-1])
        del asked, near, order
        jobs = [
            (rows, members)
            for queue, members in zip(queues, cells.members, strict=True)
            if len(members)
            for rows in _blocks(queue, len(members))
        ]

    def compare(job: tuple[Ints, Ints]) -> Pairs:
        rows, members = job
        i, j, similarity = _above(unit[rows] @ unit[members].T, least, most)
        other = rows[i] != members[j]
        return rows[i][other], members[j][other], similarity[other]

    yield from in_threads(compare, jobs)


def _blocks(rows: Ints, n_columns: int) -> Iterator[Ints]:
    step = max(1, _BLOCK // max(1, n_columns))
    for at in range(0, len(rows), step):
        yield rows[at : at + step]


def _own(rows: Floats, centres: Floats) -> Ints:
    """The nearest centre of each row."""

    def nearest_centre(block: Floats) -> Ints:
        return np.asarray((block @ centres.T).argmax(axis=1), np.int64)

    step = max(1, _BLOCK // len(centres))
    parts = in_threads(nearest_centre, (rows[at : at + step] for at in range(0, len(rows), step)))
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _dimensions(unit: Floats) -> float:
    """How many directions the rows really use: (Σλ)² / Σλ² of their covariance (the participation ratio)."""
    sample = unit[:: max(1, len(unit) // 4096)].astype(np.float64)
    values = np.linalg.eigvalsh(sample.T @ sample / len(sample))
    return float(values.sum() ** 2 / (values**2).sum())


def _above(products: Floats, least: float, most: int) -> Pairs:
    """(i, j, value) of what is at least `least`; of a row with more than `most`, the highest."""
    flat = np.flatnonzero(products >= least)
    i, j = np.divmod(flat, products.shape[1])
    if len(flat) > most:
        crowded = np.flatnonzero(np.bincount(i, minlength=1) > most + 1)
        if len(crowded):
            keep = ~np.isin(i, crowded)
            best = np.argpartition(-products[crowded], most, axis=1)[:, : most + 1]
            i = np.concatenate([i[keep], np.repeat(crowded, most + 1)])
            j = np.concatenate([j[keep], best.ravel()])
    return i.astype(np.int64), j.astype(np.int64), products[i, j]


def _unordered(hits: Iterator[Pairs], n: int) -> Pairs:
    """Hits as pairs i < j, each once, without a row and itself."""
    parts = []
    for i, j, similarity in hits:
        other = i != j
        low, high = np.minimum(i, j)[other], np.maximum(i, j)[other]
        parts.append((low * n + high, similarity[other]))
    if not parts:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
    key, first = np.unique(np.concatenate([part[0] for part in parts]), return_index=True)
    similarity = np.concatenate([part[1] for part in parts])[first]
    return key // n, key % n, np.minimum(similarity, np.float32(1))


def _probes(queries: Floats, centres: Floats, slack: float) -> tuple[Ints, Ints]:
    """(query, cell): every cell whose centre is at most `slack` less similar to the query than the best one."""

    def probe(at: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        block = queries[at : at + step] @ centres.T
        near = np.flatnonzero(block >= block.max(axis=1, keepdims=True) - np.float32(slack))
        i, j = np.divmod(near, len(centres))
        return (i + at).astype(np.int32), j.astype(np.int32)

    step = max(1, _BLOCK // len(centres))
    starts = range(0, len(queries), step)
    parts = list(in_threads(probe, starts)) if len(starts) > 1 else [probe(at) for at in starts]
    empty = np.zeros(0, np.int32)
    return np.concatenate([empty, *(part[0] for part in parts)]), np.concatenate([empty, *(part[1] for part in parts)])


def _centres(base: Floats, n_cells: int, seed: int) -> Floats:
    """Spherical k-means on a sample: a few rounds are enough for cells of about one size."""
    rng = np.random.default_rng(seed)
    n_cells = max(1, min(n_cells, len(base)))
    sample = base[np.sort(rng.choice(len(base), min(len(base), 16 * n_cells), replace=False))]
    centres = sample[np.sort(rng.choice(len(sample), n_cells, replace=False))]
    for _ in range(_ROUNDS):
        own = _own(sample, centres)
        sums = _sum_by(sample, own, n_cells)
        length = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(length > 1e-6, sums / np.maximum(length, 1e-6), centres).astype(np.float32)
    return centres


def _sum_by(rows: Floats, own: NDArray[np.intp], n: int) -> Floats:
    order = np.argsort(own, kind="stable")
    counts = np.bincount(own, minlength=n)
    sums = np.zeros((n, rows.shape[1]), np.float32)
    there = np.flatnonzero(counts)
    starts = (np.cumsum(counts) - counts)[there]
    sums[there] = np.add.reduceat(rows[order], starts, axis=0)
    return sums


def _unit_rows(vectors: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Rows divided by their length, and which of them have one; the others are 0."""
    vectors = np.asarray(vectors, np.float32)
    length = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    usable: NDArray[np.bool_] = np.isfinite(length) & (length > 0)
    unit = vectors / np.where(usable, length, 1).astype(np.float32)[:, None]
    unit[~usable] = 0
    return unit, usable


def _distinct(unit: Floats, usable: NDArray[np.bool_]) -> tuple[Ints, Ints, Ints]:
    """(first rows of each value, later copies, which first row each copies), of the usable rows."""
    seen: dict[bytes, int] = {}
    first, copies, of = [], [], []
    for row in np.flatnonzero(usable).tolist():
        held = seen.setdefault(unit[row].tobytes(), row)
        if held == row:
            first.append(row)
        else:
            copies.append(row)
            of.append(held)
    return np.array(first, np.int64), np.array(copies, np.int64), np.array(of, np.int64)


def _top(unit: Floats, k: int, seed: int) -> tuple[Ints, Floats]:
    """(rows, cosine), each (n, k), of the nearest others, best first."""
    import faiss

    dim = unit.shape[1]
    if len(unit) <= EXACT_NEAREST:
        flat = faiss.IndexFlatIP(dim)
        flat.add(unit)
        similarity, rows = flat.search(unit, k + 1)
        return _without_itself(rows, similarity, k)
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, round(4 * np.sqrt(len(unit))), faiss.METRIC_INNER_PRODUCT)
    index.cp.seed, index.cp.niter, index.cp.max_points_per_centroid = seed, 6, 64
    index.nprobe = 24
    index.train(unit)
    index.add(unit)
    similarity, rows = index.search(unit, k + 1)
    return _without_itself(rows, similarity, k)


def _without_itself(rows: Ints, similarity: Floats, k: int) -> tuple[Ints, Floats]:
    own = rows == np.arange(len(rows))[:, None]
    # Where many rows are equal, a row may not be among its own k + 1: then the last one goes.
    own[~own.any(axis=1), -1] = True
    rows, similarity = rows[~own].reshape(-1, k), similarity[~own].reshape(-1, k)
    similarity = np.where(rows >= 0, np.clip(similarity, -1, 1), -1).astype(np.float32)
    return rows.astype(np.int64), similarity
