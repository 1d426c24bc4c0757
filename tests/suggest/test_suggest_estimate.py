"""The estimate holds where the labelled were chosen for being difficult, and bulk proposals hold their word."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mirada.suggest.estimate import coverage_weights, estimate_accuracy
from mirada.suggest.proposals import overview, propose


def world(n: int, *, seed: int, hard: float) -> tuple[NDArray, NDArray]:
    """Calibrated probabilities (n, 3) and classes (n,); `hard`: how many are near a coin's toss."""
    rng = np.random.default_rng(seed)
    top = np.where(rng.random(n) < hard, rng.uniform(0.4, 0.6, n), rng.uniform(0.9, 1.0, n))
    first = rng.integers(0, 3, n)
    probs = np.repeat(((1 - top) / 2)[:, None], 3, axis=1)
    probs[np.arange(n), first] = top
    y = np.array([rng.choice(3, p=row / row.sum()) for row in probs])
    return probs.astype(np.float32), y


def test_hard_choices_do_not_bias_it() -> None:
    errors, inside, naive = [], 0, []
    for seed in range(12):
        held, y = world(150, seed=seed, hard=0.8)
        rest, truth = world(1500, seed=100 + seed, hard=0.1)
        true = float((rest.argmax(axis=1) == truth).mean())
        found = estimate_accuracy(held, y, rest, weights=np.ones(150))
        assert found is not None
        errors.append(found.value - true)
        inside += found.low <= true <= found.high
        naive.append(float((held.argmax(axis=1) == y).mean()) - true)
    assert abs(np.mean(errors)) < 0.02
    assert inside >= 11
    assert np.mean(naive) < -0.2


def test_overconfidence_is_seen() -> None:
    held, y = world(300, seed=1, hard=0.5)
    rest, truth = world(2000, seed=2, hard=0.5)

    def louder(probs: NDArray) -> NDArray:
        sharp = probs.astype(np.float64) ** 4
        return (sharp / sharp.sum(axis=1, keepdims=True)).astype(np.float32)

    found = estimate_accuracy(louder(held), y, louder(rest), weights=np.ones(300))
    true = float((rest.argmax(axis=1) == truth).mean())
    assert found is not None
    assert abs(found.value - true) < 0.05 < float(louder(rest).max(axis=1).mean()) - true


def test_too_few_to_say() -> None:
    probs, y = world(9, seed=0, hard=0.5)
    assert estimate_accuracy(probs, y, probs, weights=np.ones(9)) is None
    many = np.eye(40, dtype=np.float32)
    assert estimate_accuracy(many, np.arange(40), many, weights=np.ones(40)) is None
    assert estimate_accuracy(probs, y, probs[:0], weights=np.ones(9)) is None


def test_weights_count_the_nearest() -> None:
    X = np.array([[1, 0], [0.9, 0.1], [0.95, 0], [-1, 0], [-0.9, 0]], np.float32)
    assert coverage_weights(X, np.array([0, -1, -1, 1, -1])).tolist() == [3.0, 2.0]
    assert coverage_weights(X, np.full(5, -1)).tolist() == []


def test_proposals_name_pure_clusters() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(4), 100)
    X = (rng.normal(size=(4, 16))[truth] + 0.2 * rng.normal(size=(400, 16))).astype(np.float32)
    y = np.where(np.arange(400) % 10 == 0, truth, -1)
    probs = np.eye(4, dtype=np.float32)[truth] * 0.96 + 0.01
    of = overview(X)
    found = propose(of, y, probs)
    assert sum(len(p.rows) for p in found) >= 250
    assert all((truth[p.rows] == p.label).all() and (y[p.rows] == -1).all() for p in found)
    assert all(0.8 <= p.confidence <= 1 and p.n_agreeing >= 2 for p in found)
    assert [len(p.rows) for p in found] == sorted((len(p.rows) for p in found), reverse=True)


def test_a_cluster_in_dispute_and_an_unsure_head_propose_nothing() -> None:
    of = np.zeros(20, dtype=np.int64)
    y = np.full(20, -1)
    y[:3] = [0, 0, 1]
    sure = np.tile(np.array([[0.9, 0.1]], np.float32), (20, 1))
    assert propose(of, y, sure) == ()
    y[2] = 0
    assert len(propose(of, y, sure)[0].rows) == 17
    assert propose(of, y, sure - 0.2) == ()


def test_clusters_of_odd_input() -> None:
    X = np.zeros((10, 4), np.float32)
    X[3] = np.nan
    of = overview(X)
    assert of[3] == -1
    assert (np.delete(of, 3) >= 0).all()
    assert overview(X[:0]).shape == (0,)
