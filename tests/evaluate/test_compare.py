from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest

from mirada.errors import NotEnoughData
from mirada.evaluate.compare import compare, is_better, mcnemar_exact


def one_hot(right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Two-class probabilities that are right (class 0) where asked."""
    return np.where(right[:, None], [0.8, 0.2], [0.2, 0.8])


def pair(
    both: int, only_a: int, only_b: int, neither: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]:
    a = np.repeat([True, True, False, False], [both, only_a, only_b, neither])
    b = np.repeat([True, False, True, False], [both, only_a, only_b, neither])
    return one_hot(a), one_hot(b), np.zeros(len(a), dtype=np.intp)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (0, 1), (5, 5), (0, 6), (7, 1), (40, 19), (300, 200)])
def test_the_p_value_is_that_of_the_exact_binomial(only_a: int, only_b: int) -> None:
    expected = binomtest(only_a, only_a + only_b, 0.5).pvalue if only_a + only_b else 1.0
    assert mcnemar_exact(only_a, only_b) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("counts", "verdict"),
    [
        ((60, 15, 2, 0), "a better"),
        ((60, 2, 15, 0), "b better"),
        ((70, 3, 1, 1), "tie"),
        ((75, 0, 0, 0), "tie"),
        ((60, 5, 0, 0), "tie"),
    ],
)
def test_the_verdict(counts: tuple[int, int, int, int], verdict: str) -> None:
    a, b, y = pair(*counts)
    result = compare(a, b, y)
    assert result.verdict == verdict
    assert (result.only_a, result.only_b, result.n) == (counts[1], counts[2], sum(counts))
    assert result.difference.value == pytest.approx((counts[1] - counts[2]) / sum(counts))
    assert result.difference.low <= result.difference.value <= result.difference.high
    assert ("tied" in str(result.message("new", "old"))) == (verdict == "tie")
    assert is_better(a, b, y) == (verdict == "a better")
    assert is_better(b, a, y) == (verdict == "b better")


def test_the_winner_is_named_with_its_lead() -> None:
    a, b, y = pair(60, 2, 18, 0)
    assert str(compare(a, b, y).message("new", "old")).startswith(
        "old is better than new on 80 photographs by 20.0 points"
    )


def test_the_interval_of_the_difference_is_the_paired_one() -> None:
    result = compare(*pair(700, 120, 80, 100))
    spread = 1.96 * np.sqrt((0.12 + 0.08 - 0.04**2) / 1000)
    assert (result.difference.low, result.difference.high) == pytest.approx((0.04 - spread, 0.04 + spread), abs=0.003)


def test_equal_models_are_rarely_told_apart() -> None:
    rng = np.random.default_rng(0)
    y = np.zeros(200, dtype=np.intp)
    verdicts = [
        compare(one_hot(rng.random(200) < 0.8), one_hot(rng.random(200) < 0.8), y, n_boot=50).verdict
        for _ in range(300)
    ]
    assert verdicts.count("tie") >= 285


def test_no_photographs_or_other_photographs_are_refused() -> None:
    with pytest.raises(NotEnoughData):
        compare(np.zeros((0, 2)), np.zeros((0, 2)), [])
    with pytest.raises(ValueError, match="one length"):
        compare(np.zeros((3, 2)), np.zeros((2, 2)), [0, 0, 0])
