"""Clusters of embeddings, the same on every machine: k-means, and which member of a cluster is most typical of it.

Distances are between unit vectors, that is by cosine. BLAS runs on one thread, so that results do not depend on
the number of cores.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
ITERATIONS = 25
# Typical: close to this many others of the cluster, on average.
NEIGHBOURS, MAX_MEMBERS = 20, 2_000
BLOCK = 16_384


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """`centres` (k, d) unit vectors, the cluster (n,) of each row and its likeness (n,) to that centre, -1 to 1."""

    centres: Floats
    of: Ints
    likeness: Floats

    @property
    def n(self) -> int:
        """How many clusters."""
        return len(self.centres)

    def sizes(self) -> Ints:
        """Rows in each cluster (k,)."""
        return np.bincount(self.of, minlength=self.n).astype(np.int64)


def unit(X: Floats) -> Floats:
    """Rows of `X` (n, d) about their mean, at length 1; a row at the mean itself is 0."""
    out = np.array(X, dtype=np.float32)
    if len(out):
        out -= out.mean(axis=0, dtype=np.float64).astype(np.float32)
    length = np.sqrt(np.einsum("ij,ij->i", out, out))
    small = 1e-5 * float(np.abs(X).max(initial=0.0))
    out[length <= small] = 0
    out /= np.where(length <= small, 1, length).astype(np.float32)[:, None]
    return out


def kmeans(U: Floats, k: int, *, seed: int, weights: Floats | None = None) -> Clusters:
    """Spherical k-means of unit rows `U` (n, d) into at most `k` clusters (fewer where rows coincide).

    Starts as k-means++ does (Arthur and Vassilvitskii, SODA 2007); `weights` (n,) says how much each row pulls.
    """
    rng = np.random.default_rng(seed)
    pull = np.ones(len(U), dtype=np.float32) if weights is None else np.maximum(weights, 0).astype(np.float32)
    if not pull.any():
        pull[:] = 1
    with threadpool_limits(limits=1, user_api="blas"):
        centres = _lloyd(U, _start(U, pull, min(k, len(U)), rng), pull)
        of, likeness = assign(U, centres)
    return Clusters(centres, of, likeness)


def assign(U: Floats, centres: Floats) -> tuple[Ints, Floats]:
    """The nearest of `centres` (k, d) to each row of `U` (n, d), and its likeness; the first of equals."""
    of, likeness = np.empty(len(U), dtype=np.int64), np.empty(len(U), dtype=np.float32)
    for begin in range(0, len(U), BLOCK):
        part = slice(begin, begin + BLOCK)
        alike = U[part] @ centres.T
        of[part] = alike.argmax(axis=1)
        likeness[part] = np.take_along_axis(alike, of[part][:, None], axis=1)[:, 0]
    return of, likeness


def most_typical(U: Floats, members: Ints) -> int:
    """Which of `members` (rows of `U`) has the nearest neighbours among them: TypiClust's choice.

    Hacohen, Dekel and Weinshall, Active Learning on a Budget, ICML 2022.
    """
    part = members[:: -(-len(members) // MAX_MEMBERS)]
    if len(part) < 3:
        return int(part[0])
    with threadpool_limits(limits=1, user_api="blas"):
        alike = U[part] @ U[part].T
    np.fill_diagonal(alike, -1)
    near = min(NEIGHBOURS, len(part) - 1)
    return int(part[np.partition(alike, -near, axis=1)[:, -near:].mean(axis=1).argmax()])


def _start(U: Floats, pull: Floats, k: int, rng: np.random.Generator) -> Floats:
    """Greedy k-means++: of some drawn in proportion to `pull` times the squared distance to the nearest, the best."""
    chosen = [int(rng.choice(len(U), p=pull.astype(np.float64) / pull.sum(dtype=np.float64)))]
    far = np.maximum(1 - U @ U[chosen[0]], 0)
    trials = 2 + int(np.log(k))
    for _ in range(k - 1):
        chance = np.cumsum(far.astype(np.float64) * pull)
        if chance[-1] <= 1e-5 * float(pull.sum(dtype=np.float64)):
            break
        drawn = np.searchsorted(chance, rng.random(trials) * chance[-1], side="right").clip(max=len(U) - 1)
        further = np.minimum(far[:, None], np.maximum(1 - U @ U[drawn].T, 0))
        best = int((pull @ further).argmin())
        chosen.append(int(drawn[best]))
        far = further[:, best]
    return U[chosen]


def _lloyd(U: Floats, centres: Floats, pull: Floats) -> Floats:
    from scipy.sparse import csr_array

    before: Ints | None = None
    for _ in range(ITERATIONS):
        of, _ = assign(U, centres)
        if before is not None and float((of != before).mean()) < 1e-3:
            break
        before = of
        members = csr_array((pull, (of, np.arange(len(U)))), shape=(len(centres), len(U)))
        sums = np.asarray(members @ U, dtype=np.float32)
        length = np.linalg.norm(sums, axis=1)[:, None]
        # A cluster that lost its members keeps its place.
        centres = np.where(length > 0, sums / np.maximum(length, 1e-12), centres).astype(np.float32)
    return centres
