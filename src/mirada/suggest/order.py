"""Which unlabelled photographs to label next: first one of each cluster, then the unsure ones that differ.

While new classes keep turning up, the photographs are put into as many clusters as there are answers, those given
and those asked for; of each cluster without an answer the most typical photograph is asked, the largest cluster
first (TypiClust: Hacohen, Dekel and Weinshall, ICML 2022). How likely an answer is to be a new class is Good and
Turing's estimate: the share of answers that are the only one of their class (Good, Biometrika 40, 1953).

After that the photographs are clustered by how unsure a head is of them: weight (1 - margin)², margin the gap
between its two highest probabilities, one cluster for each question, and the one nearest to each centre is asked
(Zhdanov, Diverse mini-batch active learning, 2019).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mirada.suggest.clusters import Floats, Ints, kmeans, most_typical, unit

Why = Literal["cluster", "uncertain", "diverse"]
_WHY: tuple[Why, ...] = get_args(Why)
# More candidates than this are drawn from: what is asked then takes the same time for any number of photographs.
MAX_POOL = 12_000
MAX_CLUSTERS = 500
NEW_CLASS_CHANCE = 0.2
UNSURE_MARGIN = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """Rows (m,) to ask about, the best first, and why each. `left_out`: rows (…,) whose embedding is not finite."""

    rows: Ints
    why: tuple[Why, ...]
    left_out: Ints


def order(
    X: Floats,
    y: ArrayLike,
    probs: Floats | None = None,
    *,
    n: int,
    seed: int = 0,
    groups: ArrayLike | None = None,
) -> Order:
    """The next `n` of the unlabelled rows to ask about; fewer where fewer are left.

    `X` (rows, d) embeddings of all photographs, `y` (rows,) class indices with -1 for unlabelled ones, `probs`
    (rows, k) a head's probabilities where there is one, `groups` (rows,) what is one photograph: of each group
    one is asked, and none where one is labelled, as long as there are others. The same input and seed give the
    same order.
    """
    labels = np.asarray(y, dtype=np.int64)
    finite = finite_rows(X)
    open_, spare = _candidates(labels, finite, None if groups is None else np.asarray(groups))
    rng = np.random.default_rng(seed)
    rows, why = open_[:0], _WHY[:0]
    if len(open_) and n > 0:
        if probs is None or new_class_chance(labels) > NEW_CLASS_CHANCE:
            rows, why = _by_clusters(X, labels, finite, open_, n=n, rng=rng)
        else:
            rows, why = _by_doubt(X, probs, open_, n=n, rng=rng)
    rows, why = _filled(rows, why, np.concatenate([open_, spare]), n)
    return Order(rows, why, np.flatnonzero(~finite))


def finite_rows(X: Floats) -> NDArray[np.bool_]:
    """Which rows (n,) of `X` (n, d) are finite numbers all through."""
    # A sum is finite if its terms are, and takes no array of the size of X.
    return np.asarray(np.isfinite(X.sum(axis=1, dtype=np.float64)), dtype=np.bool_)


def new_class_chance(y: Ints) -> float:
    """How likely the next answer is to be a class not met so far: Good and Turing's estimate from `y` (-1: none)."""
    known = y[y >= 0]
    return float((np.bincount(known) == 1).sum() / len(known)) if len(known) else 1.0


def margins(probs: Floats) -> Floats:
    """The gap (n,) between the two highest of each row of `probs` (n, k)."""
    if probs.shape[1] < 2:
        return np.ones(len(probs), dtype=np.float32)
    top = np.partition(probs, -2, axis=1)[:, -2:]
    return np.asarray(top[:, 1] - top[:, 0], dtype=np.float32)


def _candidates(y: Ints, finite: NDArray[np.bool_], groups: NDArray[np.generic] | None) -> tuple[Ints, Ints]:
    """Rows to choose from, and those that only repeat a group."""
    unlabelled = np.flatnonzero((y < 0) & finite)
    if groups is None:
        return unlabelled, unlabelled[:0]
    _, group = np.unique(groups, return_inverse=True)
    taken = np.zeros(int(group.max(initial=-1)) + 1, dtype=np.bool_)
    taken[group[y >= 0]] = True
    _, first = np.unique(group[unlabelled], return_index=True)
    best = np.sort(unlabelled[first])
    best = best[~taken[group[best]]]
    return best, np.setdiff1d(unlabelled, best)


def _by_clusters(
    X: Floats, y: Ints, finite: NDArray[np.bool_], open_: Ints, *, n: int, rng: np.random.Generator
) -> tuple[Ints, tuple[Why, ...]]:
    labelled = np.flatnonzero((y >= 0) & finite)
    pool = _drawn(open_, None, rng)
    if len(labelled) > MAX_POOL:
        labelled = _drawn(labelled, None, rng)
    U = unit(X[np.concatenate([labelled, pool])])
    # As many clusters as answers, but two rows a cluster at least: else typical means nothing.
    k = max(n, min(len(labelled) + n, MAX_CLUSTERS, len(U) // 2))
    found = kmeans(U, k, seed=int(rng.integers(2**31)))
    answered = np.bincount(found.of[: len(labelled)], minlength=found.n)
    chosen: list[int] = []
    for cluster in np.lexsort((-found.sizes(), answered)):
        members = len(labelled) + np.flatnonzero(found.of[len(labelled) :] == cluster)
        if len(members):
            chosen.append(int(pool[most_typical(U, members) - len(labelled)]))
        if len(chosen) == n:
            break
    return np.array(chosen, dtype=np.int64), _WHY[:1] * len(chosen)


def _by_doubt(
    X: Floats, probs: Floats, open_: Ints, *, n: int, rng: np.random.Generator
) -> tuple[Ints, tuple[Why, ...]]:
    doubt = (1 - margins(probs[open_])) ** 2
    picked = _drawn(np.arange(len(open_)), doubt, rng)
    pool, weight = open_[picked], doubt[picked] if len(open_) <= MAX_POOL else np.ones(len(picked), dtype=np.float32)
    found = kmeans(unit(X[pool]), n, seed=int(rng.integers(2**31)), weights=weight)
    mass = np.bincount(found.of, weights=weight, minlength=found.n)
    chosen = []
    for cluster in np.argsort(-mass, kind="stable"):
        members = np.flatnonzero(found.of == cluster)
        if len(members):
            chosen.append(int(picked[members[found.likeness[members].argmax()]]))
    unsure = margins(probs[open_[chosen]]) < UNSURE_MARGIN
    return open_[chosen], tuple(_WHY[1] if doubtful else _WHY[2] for doubtful in unsure)


def _drawn(rows: Ints, weight: Floats | None, rng: np.random.Generator) -> Ints:
    """At most MAX_POOL of `rows`, in order, each as likely as its `weight`."""
    if len(rows) <= MAX_POOL:
        return rows
    chance = None
    if weight is not None:
        # A little for everybody: there may be fewer doubtful ones than are drawn.
        chance = weight.astype(np.float64) + 1e-9
        chance /= chance.sum()
    return np.sort(rng.choice(rows, MAX_POOL, replace=False, p=chance))


def _filled(rows: Ints, why: tuple[Why, ...], rest: Ints, n: int) -> tuple[Ints, tuple[Why, ...]]:
    """`n` rows: where photographs coincide there are fewer clusters than questions."""
    more = rest[~np.isin(rest, rows)][: max(n - len(rows), 0)]
    return np.concatenate([rows, more]), (*why, *_WHY[2:] * len(more))
