from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from mirada.evaluate.calibrate import calibration_error, fit_temperature, reject_threshold, reliability_bins


def calibrated_logits(n: int, *, k: int = 5, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Logits whose softmax is the very distribution that the labels are drawn from."""
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((n, k)) * 2
    edges = softmax(logits, axis=1).cumsum(axis=1)
    return logits, (rng.random((n, 1)) > edges).sum(axis=1).clip(0, k - 1)


@pytest.mark.parametrize("factor", [0.25, 1.0, 4.0])
def test_the_true_temperature_is_found(factor: float) -> None:
    logits, y = calibrated_logits(20_000)
    fitted = fit_temperature(logits * factor, y)
    assert fitted.value == pytest.approx(factor, rel=0.03)
    assert fitted.loss_after <= fitted.loss_before + 1e-9
    assert fitted.notes == ()


def test_it_is_the_minimum_of_the_log_loss() -> None:
    logits, y = calibrated_logits(2_000)
    found = minimize_scalar(
        lambda u: -log_softmax(logits * 3 / np.exp(u), axis=1)[np.arange(len(y)), y].mean(), bounds=(-3, 3)
    )
    assert fit_temperature(logits * 3, y, spread=1e6).value == pytest.approx(float(np.exp(found.x)), rel=1e-3)


@pytest.mark.parametrize("n", [1, 5, 75])
def test_a_val_without_an_error_does_not_make_the_model_certain(n: int) -> None:
    y = np.arange(n) % 3
    fitted = fit_temperature(np.eye(3)[y] * 8, y, prior=0.8)
    assert 0.2 < fitted.value < 0.9
    assert bool(fitted.notes) == (n < 50)


def test_a_hopeless_val_stays_within_bounds() -> None:
    y = np.arange(300) % 3
    fitted = fit_temperature(np.eye(3)[(y + 1) % 3] * 50, y)
    assert 1 < fitted.value <= 50
    assert np.isfinite(fitted.loss_after)


def test_no_val_keeps_the_prior_and_says_so() -> None:
    fitted = fit_temperature(np.zeros((0, 3)), np.zeros(0), prior=0.7)
    assert fitted.value == 0.7
    assert "No val" in str(fitted.notes[0])


def test_the_threshold_is_the_least_that_reaches_the_target() -> None:
    logits, y = calibrated_logits(3_000)
    probs = softmax(logits, axis=1)
    rule = reject_threshold(probs, y, target=0.9)
    top, right = probs.max(axis=1), probs.argmax(axis=1) == y
    assert right[top >= rule.threshold].mean() == pytest.approx(rule.accuracy)
    assert rule.accuracy >= 0.9
    assert rule.coverage == pytest.approx((top >= rule.threshold).mean())
    lower = np.unique(top[top < rule.threshold])
    assert all(right[top >= score].mean() < 0.9 for score in lower)


def test_a_model_that_is_good_enough_refuses_nothing() -> None:
    y = np.arange(30) % 3
    rule = reject_threshold(np.eye(3)[y] * 0.5 + 0.1, y)
    assert (rule.threshold, rule.coverage) == (0.0, 1.0)


def test_a_target_out_of_reach_is_told() -> None:
    probs = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4]])
    rule = reject_threshold(probs, [1, 0, 1], target=0.95)
    assert rule.accuracy == 0.5
    assert "95%" in str(rule.notes[0])
    assert reject_threshold(np.zeros((0, 2)), []).threshold == 0.0


def test_equal_scores_are_refused_together() -> None:
    probs = np.array([[0.9, 0.1], [0.7, 0.3], [0.7, 0.3], [0.7, 0.3]])
    rule = reject_threshold(probs, [0, 0, 1, 1], target=0.6)
    assert rule.coverage == 0.25


def test_calibration_error_by_hand() -> None:
    probs = np.array([[0.95, 0.05], [0.95, 0.05], [0.55, 0.45], [0.55, 0.45]])
    y = np.array([0, 1, 0, 0])
    top, right = probs.max(axis=1), probs.argmax(axis=1) == y
    assert calibration_error(top, right) == pytest.approx((abs(1.9 - 1) + abs(1.1 - 2)) / 4)
    assert reliability_bins(probs, y) == ((pytest.approx(0.55), 1.0, 2), (pytest.approx(0.95), 0.5, 2))
    assert reliability_bins(np.array([[1.0, 0.0]]), [0]) == ((1.0, 1.0, 1),)
    assert reliability_bins(np.zeros((0, 2)), []) == ()


def test_calibrated_scores_have_a_small_error() -> None:
    logits, y = calibrated_logits(20_000)
    probs = softmax(logits, axis=1)
    assert calibration_error(probs.max(axis=1), probs.argmax(axis=1) == y) < 0.015
