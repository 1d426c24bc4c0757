"""The map and the oddest."""

from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from mirada.explore import space
from mirada.explore.oddness import oddest
from mirada.explore.pictures import choose, make_sheets
from mirada.explore.space import map_2d
from mirada.testing import photo


def clusters(n: int, k: int = 4, d: int = 32, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """n vectors around k centres, and which."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    return (rng.normal(0, 1, (k, d))[y] + rng.normal(0, 0.25, (n, d))).astype(np.float32), y


def purity(xy: np.ndarray, y: np.ndarray) -> float:
    """How often the nearest neighbour on the map is of the same cluster."""
    distances = ((xy[:, None] - xy[None]) ** 2).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    return float((y[distances.argmin(axis=1)] == y).mean())


def test_alike_vectors_lie_side_by_side_whatever_the_threads() -> None:
    vectors, y = clusters(200)
    made = map_2d(vectors, seed=3)
    assert made.xy.shape == (200, 2)
    assert made.xy.min() == 0
    assert made.xy.max() == 1
    assert made.n_landmarks == 200
    assert purity(made.xy, y) > 0.98
    with threadpool_limits(2):
        assert np.array_equal(map_2d(vectors, seed=3).xy, made.xy)


def test_of_many_a_sample_is_placed_and_the_rest_amid_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space, "MOST_EXACT", 300)
    monkeypatch.setattr(space, "N_LANDMARKS", 200)
    vectors, y = clusters(1500)
    made = map_2d(vectors, strata=y)
    assert 190 <= made.n_landmarks <= 210
    assert np.isfinite(made.xy).all()
    assert purity(made.xy, y) > 0.98
    # They do not fall upon one another: a point is not just where its nearest landmark is.
    assert len(np.unique(made.xy.round(4), axis=0)) > 1300


@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, 9])
def test_few_vectors_have_a_place(n: int) -> None:
    made = map_2d(np.random.default_rng(0).normal(0, 1, (n, 8)).astype(np.float32))
    assert made.xy.shape == (n, 2)
    assert np.isfinite(made.xy).all()


def test_identical_vectors_and_such_that_are_not_there() -> None:
    vectors = np.ones((40, 8), np.float32)
    vectors[3] = np.nan
    made = map_2d(vectors)
    assert np.isnan(made.xy[3]).all()
    assert np.isfinite(np.delete(made.xy, 3, axis=0)).all()
    assert np.isnan(map_2d(np.full((4, 8), np.nan, np.float32)).xy).all()


def test_what_does_not_belong_is_the_oddest() -> None:
    vectors, y = clusters(120, k=2, seed=1)
    vectors[[5, 70]] = clusters(2, k=1, seed=9)[0]
    vectors[9] = np.nan
    scores, found = oddest(vectors, y, k=3)
    assert np.isnan(scores[9])
    assert {row for extremes in found for row, _ in extremes.oddest} >= {5, 70}
    for extremes in found:
        listed = [score for _, score in extremes.oddest]
        assert listed == sorted(listed, reverse=True)
        assert extremes.plainest[0][1] < extremes.oddest[-1][1]
        assert all(y[row] == extremes.y for row, _ in (*extremes.oddest, *extremes.plainest))


def test_copies_are_shown_once() -> None:
    vectors, _ = clusters(60, k=1)
    vectors[1] = vectors[0] = -vectors[0]
    copies = np.arange(60)
    copies[1] = copies[0]
    _, (found,) = oddest(vectors, np.zeros(60, np.int64), k=4, copies=copies)
    assert len({0, 1} & {row for row, _ in found.oddest}) == 1
    assert oddest(vectors[:2], np.zeros(2, np.int64))[1] == ()


def test_pictures_are_spread_over_the_map() -> None:
    xy = np.random.default_rng(0).beta(8, 8, (5000, 2)).astype(np.float32)
    xy[0] = (0.0, 0.0)
    xy[1] = np.nan
    rows = choose(xy, most=100)
    assert len(rows) == 100
    assert len(set(rows.tolist())) == 100
    assert 1 not in rows
    assert np.ptp(xy[rows], axis=0).min() > 0.7
    assert np.array_equal(rows, choose(xy, most=100))


def test_sheets_keep_order_and_size() -> None:
    made = make_sheets([photo(i, (40 + i % 3, 30), "webp") for i in range(330)])
    assert len(made.sheets) == 2
    assert made.sizes[:4] == ((40, 30), (41, 30), (42, 30), (40, 30))
    assert make_sheets([]).sheets == ()
