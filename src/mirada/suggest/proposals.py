"""Labels in bulk: clusters whose labelled photographs agree, and the rest of each that a head sees the same way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mirada.suggest.clusters import BLOCK, Floats, Ints, assign, kmeans, unit
from mirada.suggest.order import MAX_POOL, finite_rows

MIN_CLUSTERS, MAX_CLUSTERS = 4, 200
MIN_AGREEING = 2
LEAST_PROBABILITY = 0.8


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """Unlabelled `rows` (m,) of one cluster, the surest first, that probably all are of class `label`.

    `confidence`: the head's mean probability of it, 0–1. `n_agreeing`: how many labelled ones of the cluster say so.
    """

    cluster: int
    label: int
    confidence: float
    rows: Ints
    n_agreeing: int


def overview(X: Floats, *, seed: int = 0) -> Ints:
    """The cluster (n,) of each row of `X` (n, d), -1 where it is not finite: √n clusters, 4 to 200.

    It does not look at labels, so that the clusters stay as they are while answers come in.
    """
    of = np.full(len(X), -1, dtype=np.int64)
    rows = np.flatnonzero(finite_rows(X))
    if not len(rows):
        return of
    sample = rows
    if len(rows) > MAX_POOL:
        sample = np.sort(np.random.default_rng(seed).choice(rows, MAX_POOL, replace=False))
    k = int(np.clip(np.sqrt(len(rows)), MIN_CLUSTERS, MAX_CLUSTERS))
    found = kmeans(unit(X[sample]), k, seed=seed)
    of[sample] = found.of
    if len(sample) < len(rows):
        mean = X[sample].mean(axis=0, dtype=np.float64).astype(np.float32)
        for begin in range(0, len(rows), BLOCK):
            part = rows[begin : begin + BLOCK]
            # The length of a row changes no comparison between centres.
            of[part] = assign(X[part] - mean, found.centres)[0]
    return of


def propose(of: Ints, y: ArrayLike, probs: Floats) -> tuple[Proposal, ...]:
    """What may be confirmed in one look, the largest first.

    `of` (n,) clusters of `overview`, `y` (n,) class indices with -1 for unlabelled, `probs` (n, k) of a head. A
    cluster is proposed where at least two of its photographs are labelled and all of them agree; of its unlabelled
    ones those to which the head gives that class with a probability of 0.8 or more.
    """
    labels = np.asarray(y, dtype=np.int64)
    found = []
    known = np.flatnonzero((labels >= 0) & (of >= 0))
    for cluster in np.unique(of[known]):
        mine = labels[known[of[known] == cluster]]
        if len(mine) < MIN_AGREEING or (mine != mine[0]).any():
            continue
        rows = np.flatnonzero((of == cluster) & (labels < 0))
        sure = probs[rows, mine[0]]
        rows = rows[np.argsort(-sure, kind="stable")][: int((sure >= LEAST_PROBABILITY).sum())]
        if len(rows):
            mean = float(probs[rows, mine[0]].mean())
            found.append(Proposal(int(cluster), int(mine[0]), mean, rows, len(mine)))
    return tuple(sorted(found, key=lambda p: (-len(p.rows), p.cluster)))
