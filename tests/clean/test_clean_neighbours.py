from __future__ import annotations

import numpy as np
import pytest

from mirada.clean import neighbours
from mirada.clean.neighbours import near_pairs, nearest


def unit(n: int, d: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def planted(n: int, n_planted: int, cosine: float = 0.95) -> tuple[np.ndarray, set[tuple[int, int]]]:
    vectors, noise = unit(n, 64), unit(n_planted, 64, seed=1)
    vectors[-n_planted:] = cosine * vectors[:n_planted] + np.sqrt(1 - cosine**2) * noise
    return vectors, {(k, n - n_planted + k) for k in range(n_planted)}


def as_set(found: tuple[np.ndarray, np.ndarray, np.ndarray]) -> set[tuple[int, int]]:
    return set(zip(found[0].tolist(), found[1].tolist(), strict=True))


def test_pairs_are_those_of_the_full_matrix() -> None:
    vectors = unit(400, 6)
    i, j, similarity = near_pairs(vectors * 3, min_similarity=0.9)
    full = np.triu(vectors @ vectors.T, 1)
    assert as_set((i, j, similarity)) == {(int(a), int(b)) for a, b in np.argwhere(full >= 0.9)}
    np.testing.assert_allclose(similarity, full[i, j], atol=1e-5)


def test_cells_find_almost_all_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, truth = planted(6000, 500)
    exact = as_set(near_pairs(vectors, min_similarity=0.85))
    monkeypatch.setattr(neighbours, "EXACT_PAIRS", 100)
    found = as_set(near_pairs(vectors, min_similarity=0.85))
    assert truth <= exact
    assert found <= exact
    assert len(found) >= 0.99 * len(exact)
    assert found == as_set(near_pairs(vectors, min_similarity=0.85))


def test_equal_rows_make_a_star() -> None:
    vectors = np.repeat(unit(1, 16), 5000, axis=0)
    i, j, similarity = near_pairs(vectors, min_similarity=0.9)
    assert len(i) == 4999
    assert (i == 0).all()
    assert j.tolist() == list(range(1, 5000))
    assert (similarity == 1).all()


def test_rows_that_are_almost_equal_do_not_make_all_pairs() -> None:
    vectors = np.repeat(unit(1, 16), 3000, axis=0) + 1e-3 * unit(3000, 16)
    i, _, _ = near_pairs(vectors, min_similarity=0.9, most=8)
    assert 3000 <= len(i) <= 3000 * 9


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_rows(n: int) -> None:
    vectors = np.ones((n, 4), np.float32)
    assert as_set(near_pairs(vectors, min_similarity=0.5)) == ({(0, 1)} if n == 2 else set())
    found = nearest(vectors, 3)
    assert found.rows.shape == found.similarity.shape == (n, 3)
    assert found.rows.tolist() == ([[1, -1, -1], [0, -1, -1]] if n == 2 else [[-1] * 3] * n)


def test_rows_without_a_direction_are_near_nothing() -> None:
    vectors = unit(20, 8)
    vectors[3], vectors[4], vectors[5] = np.nan, 0, vectors[6]
    pairs = as_set(near_pairs(vectors, min_similarity=0.999))
    assert pairs == {(5, 6)}
    found = nearest(vectors, 4)
    assert (found.rows[[3, 4]] == -1).all()
    assert not np.isin(found.rows, [3, 4]).any()
    assert np.isfinite(found.similarity).all()


@pytest.mark.parametrize("exact", [True, False])
def test_nearest_are_those_of_the_full_matrix(exact: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = unit(2000, 8)
    if not exact:
        monkeypatch.setattr(neighbours, "EXACT_NEAREST", 100)
    found = nearest(vectors, 5)
    full = vectors @ vectors.T
    np.fill_diagonal(full, -2)
    truth = np.argsort(-full, axis=1)[:, :5]
    assert np.mean([len(set(a) & set(b)) / 5 for a, b in zip(found.rows, truth, strict=True)]) >= (1 if exact else 0.97)
    assert (np.diff(found.similarity, axis=1) <= 1e-6).all()
    assert not (found.rows == np.arange(2000)[:, None]).any()


def test_nearest_among_equal_rows_names_others() -> None:
    found = nearest(np.ones((50, 4), np.float32), 3)
    assert not (found.rows == np.arange(50)[:, None]).any()
    assert (found.rows >= 0).all()
