"""What is asked next: clusters first, one photograph a group, doubt afterwards, and every odd input."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mirada.suggest import order as module
from mirada.suggest.order import finite_rows, margins, new_class_chance, order


def blobs(sizes: list[int], *, d: int = 16, spread: float = 0.15, seed: int = 0) -> tuple[NDArray, NDArray]:
    """Gaussian classes about far centres: X (n, d) and the class (n,) of each row, shuffled."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    centres = rng.normal(size=(len(sizes), d))
    return (centres[y] + spread * rng.normal(size=(len(y), d))).astype(np.float32), y


def test_without_labels_each_cluster_is_asked_once() -> None:
    X, truth = blobs([60, 50, 40, 30, 20])
    asked = order(X, np.full(len(X), -1), n=5)
    assert sorted(truth[asked.rows]) == [0, 1, 2, 3, 4]
    assert list(truth[asked.rows]) == [0, 1, 2, 3, 4]  # the largest first
    assert asked.why == ("cluster",) * 5


def test_what_has_an_answer_is_not_asked_again() -> None:
    X, truth = blobs([60, 50, 40, 30, 20])
    y = np.full(len(X), -1)
    for label in range(4):
        y[np.flatnonzero(truth == label)[0]] = label
    asked = order(X, y, n=1)
    assert truth[asked.rows[0]] == 4
    assert (y[asked.rows] == -1).all()


def test_with_a_head_the_doubtful_are_asked_and_differ() -> None:
    X, truth = blobs([100, 100, 100])
    y = np.full(len(X), -1)
    for label in range(3):
        y[np.flatnonzero(truth == label)[:5]] = label
    probs = np.eye(3, dtype=np.float32)[truth] * 0.98 + 0.01
    doubtful = np.concatenate([np.flatnonzero((truth == label) & (y < 0))[:20] for label in (0, 1)])
    probs[doubtful] = [0.4, 0.35, 0.25]
    asked = order(X, y, probs, n=6)
    assert np.isin(asked.rows, doubtful).mean() >= 0.6
    assert {0, 1} <= set(truth[asked.rows].tolist())
    assert asked.why.count("uncertain") >= 4


def test_a_group_is_asked_once_and_not_where_it_is_labelled() -> None:
    X, truth = blobs([40, 40])
    groups = np.arange(80) // 2
    y = np.full(80, -1)
    y[0] = truth[0]
    asked = order(X, y, n=39, groups=groups)
    assert len(np.unique(groups[asked.rows])) == 39
    assert 0 not in groups[asked.rows]
    everything = order(X, y, n=100, groups=groups)
    assert sorted(everything.rows) == list(range(1, 80))


def test_the_same_again_and_another_seed_is_another_order() -> None:
    X, _ = blobs([200, 200], spread=1.0)
    y = np.full(len(X), -1)
    first, again, other = (order(X, y, n=20, seed=seed).rows for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_embeddings_that_are_no_numbers_are_left_out() -> None:
    X, _ = blobs([20, 20])
    X[3, 0], X[7, 5] = np.nan, np.inf
    asked = order(X, np.full(40, -1), n=40)
    assert list(asked.left_out) == [3, 7]
    assert len(asked.rows) == 38
    assert not np.isin([3, 7], asked.rows).any()


@pytest.mark.parametrize("n_labelled", [0, 1, 10])
def test_identical_photographs_are_asked_all_the_same(n_labelled: int) -> None:
    X = np.full((30, 8), 0.3, np.float32)
    y = np.full(30, -1)
    y[:n_labelled] = np.arange(n_labelled) % 2
    probs = np.full((30, 2), 0.5, np.float32) if n_labelled == 10 else None
    asked = order(X, y, probs, n=12)
    assert len(np.unique(asked.rows)) == 12
    assert (y[asked.rows] == -1).all()


def test_the_ends() -> None:
    X, truth = blobs([5, 5])
    assert len(order(X, truth, n=3).rows) == 0
    assert len(order(X, np.full(10, -1), n=0).rows) == 0
    assert len(order(X, np.full(10, -1), n=99).rows) == 10
    assert len(order(np.zeros((0, 4), np.float32), np.zeros(0), n=3).rows) == 0
    one = np.full(10, -1)
    one[:3] = 0
    assert len(order(X, one, np.ones((10, 1), np.float32), n=4).rows) == 4


def test_a_class_nobody_has_met_is_found_among_the_known() -> None:
    X, truth = blobs([150, 150, 12])
    y = np.full(len(X), -1)
    for label in (0, 1):
        y[np.flatnonzero(truth == label)[:6]] = label
    # The head knows two classes only, and is sure of them and in doubt about the third.
    probs = np.where(truth[:, None] == 2, 0.5, np.eye(3)[truth][:, :2] * 0.96 + 0.02).astype(np.float32)
    assert 2 in truth[order(X, y, probs, n=10).rows]


def test_more_than_the_pool_are_drawn_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_POOL", 100)
    X, truth = blobs([400, 300, 200])
    y = np.full(len(X), -1)
    assert set(truth[order(X, y, n=6).rows].tolist()) == {0, 1, 2}
    y[:12] = truth[:12]
    probs = np.eye(3, dtype=np.float32)[truth] * 0.98 + 0.01
    probs[500:540] = 1 / 3
    assert np.isin(order(X, y, probs, n=8).rows, np.arange(500, 540)).mean() >= 0.5


def test_small_parts() -> None:
    assert new_class_chance(np.array([-1, -1])) == 1.0
    assert new_class_chance(np.array([0, 0, 1, -1])) == pytest.approx(1 / 3)
    assert margins(np.array([[0.2, 0.7, 0.1]], np.float32))[0] == pytest.approx(0.5)
    assert margins(np.ones((2, 1), np.float32)).tolist() == [1.0, 1.0]
    assert finite_rows(np.array([[1, np.nan], [1, 2]], np.float32)).tolist() == [False, True]
