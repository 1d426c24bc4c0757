"""The learning curve's law, its intervals, what it says, and its page."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from mirada.evaluate.learning_curve import SizeAnswers, fit_laws, learning_curve
from mirada.evaluate.learning_curve_page import CurveContext, draw_curve, render_curve_page
from mirada.messages import use_language

SIZES = (100, 200, 400, 800, 1600, 3200)


def _answers(
    errors: list[float], n_test: int, *, seed: int = 0, sizes: tuple[int, ...] = SIZES, models: int = 3
) -> list[SizeAnswers]:
    """Photographs differ in difficulty: those that a large model misses, a small one mostly misses too."""
    rng = np.random.default_rng(seed)
    difficulty = rng.random(n_test)
    made = []
    for n, error in zip(sizes, errors, strict=True):
        k = models if n < sizes[-1] else 1
        drawn = np.stack([np.where(rng.random(n_test) < 0.7, difficulty, rng.random(n_test)) for _ in range(k)])
        made.append(SizeAnswers(n, drawn >= error))
    return made


def _law(a: float, b: float, c: float, sizes: tuple[int, ...] = SIZES) -> list[float]:
    return [a + b * n**-c for n in sizes]


@pytest.mark.parametrize(("a", "b", "c"), [(0.05, 2.0, 0.45), (0.0, 1.5, 0.3), (0.1, 30.0, 1.0), (0.2, 0.5, 0.15)])
def test_a_planted_law_is_found(a: float, b: float, c: float) -> None:
    n = np.array(SIZES, dtype=np.float64)
    found = fit_laws(n, np.array([_law(a, b, c)]), np.ones(len(n)))
    # The grid of exponents is 1.7 % apart; a and b make up for what is left.
    assert found[2][0] == pytest.approx(c, rel=0.02)
    assert found[0][0] == pytest.approx(a, abs=0.01)
    assert found[0][0] + found[1][0] * 1000.0 ** -found[2][0] == pytest.approx(a + b * 1000**-c, abs=2e-4)


def test_neither_part_of_the_law_is_ever_negative() -> None:
    n = np.array(SIZES, dtype=np.float64)
    rows = np.array([[0.1, 0.12, 0.15, 0.2, 0.2, 0.25], [1.0, 0.5, 0.2, 0.05, 0.01, 0.0]])
    a, b, _ = fit_laws(n, rows, np.ones(len(n)))
    assert (a >= 0).all()
    assert (b >= 0).all()
    assert a[0] == pytest.approx(rows[0].mean()), "an error that rises is best met by its mean"


def test_what_more_would_bring_holds_the_truth() -> None:
    """Within the intervals in 95 of 100 experiments, or nearly."""
    a, b, c = 0.05, 2.0, 0.45
    held = rising = 0
    for seed in range(40):
        curve = learning_curve(_answers(_law(a, b, c), 500, seed=seed), baseline=0.1, n_boot=200)
        rising += curve.verdict == "rising"
        held += all(f.accuracy.low <= 1 - (a + b * f.n**-c) <= f.accuracy.high for f in curve.forecasts)
    assert held >= 34
    assert rising >= 34


def test_it_never_looks_further_than_four_times() -> None:
    curve = learning_curve(_answers(_law(0.05, 2.0, 0.45), 2000), baseline=0.1)
    assert [f.n for f in curve.forecasts] == [6400, 12800]
    assert max(n for n, *_ in curve.band) == pytest.approx(12800)
    assert curve.verdict == "rising"
    assert "twice" in str(curve.told[0])
    assert all(size.fitted == pytest.approx(size.accuracy.value, abs=0.03) for size in curve.sizes)


def test_a_flat_curve_is_called_flat() -> None:
    curve = learning_curve(_answers([0.1] * 6, 1000), baseline=0.1)
    assert curve.verdict == "flat"
    assert "flat" in str(curve.told[0])
    assert curve.forecasts[-1].gain.high < 0.03


def test_a_small_test_set_is_too_noisy() -> None:
    curve = learning_curve(_answers(_law(0.05, 2.0, 0.45), 30, models=1), baseline=0.1)
    assert curve.verdict == "unclear"
    assert "noisy" in str(curve.told[0])


@pytest.mark.parametrize(
    ("errors", "baseline", "verdict", "word"),
    [
        ([0.9, 0.9, 0.89, 0.9, 0.9, 0.9], 0.1, "unclear", "commonest class"),
        ([0.3, 0.1, 0.02, 0.0, 0.0, 0.0], 0.1, "flat", "All test photographs"),
        ([0.5, 0.1, 0.5, 0.1, 0.5, 0.1], 0.1, "unclear", "one curve"),
    ],
)
def test_where_nothing_can_be_told_that_is_told(errors: list[float], baseline: float, verdict: str, word: str) -> None:
    curve = learning_curve(_answers(errors, 400), baseline=baseline)
    assert curve.verdict == verdict
    assert word in str(curve.told[0])
    assert curve.forecasts == ()
    assert curve.law is None


def test_three_sizes_are_too_few() -> None:
    curve = learning_curve(_answers([0.5, 0.3, 0.2], 400, sizes=SIZES[:3]), baseline=0.1)
    assert (curve.verdict, curve.law) == ("unclear", None)
    assert "Too few sizes" in str(curve.told[0])


def test_sizes_before_the_law_sets_in_are_left_out() -> None:
    """With next to nothing to learn from, models are at chance for a while (Hestness et al., figure 6)."""
    sizes = (25, 50, 100, *SIZES[1:])
    errors = [0.9, 0.9, 0.9, *_law(0.05, 20.0, 0.6)[1:]]
    curve = learning_curve(_answers(errors, 4000, sizes=sizes), baseline=0.1)
    assert curve.law is not None
    assert curve.law.first_n >= 100
    assert [size.fitted is None for size in curve.sizes] == [size.n < curve.law.first_n for size in curve.sizes]
    assert curve.forecasts[-1].accuracy.low <= 0.95 - 20 * 12800**-0.6 <= curve.forecasts[-1].accuracy.high


def test_the_same_answers_tell_the_same() -> None:
    answers = _answers(_law(0.05, 2.0, 0.45), 300)
    assert learning_curve(answers, baseline=0.1, seed=3) == learning_curve(answers, baseline=0.1, seed=3)
    with pytest.raises(ValueError, match="ascend"):
        learning_curve(answers[::-1], baseline=0.1)


@pytest.mark.parametrize("errors", [_law(0.05, 2.0, 0.45), [0.9] * 6])
def test_the_page_stands_alone(errors: list[float]) -> None:
    curve = learning_curve(_answers(errors, 400), baseline=0.1)
    drawing = ET.fromstring(draw_curve(curve))
    assert len(drawing.findall("circle")) == len(SIZES)
    assert len(drawing.findall("polygon")) == (1 if curve.law else 0)
    html = render_curve_page(curve, CurveContext("<script>x</script>", "photos/", ("A note.",)))
    assert "<script" not in html
    assert "&lt;script&gt;x" in html
    assert all(str(told) in html for told in curve.told)
    assert "default-src 'none'" in html
    with use_language("es"):
        assert f"{100 * curve.sizes[-1].accuracy.value:.1f}".replace(".", ",") in render_curve_page(
            curve, CurveContext()
        )
