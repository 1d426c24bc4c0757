"""What more photographs would bring: a power law through the errors measured on growing parts of train.

error(n) = a + b · n^(-c), a ≥ 0, b ≥ 0: what stays however many photographs there are, and what falls with them
(Hestness et al., "Deep Learning Scaling is Predictable, Empirically", arXiv:1712.00409, 2017). Weighted least
squares; for each c the best a and b are known in closed form, so c is looked for on a grid, for all resamples at once.
Nothing is told beyond four times the photographs that were measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mirada.evaluate.intervals import Doubles, bootstrap_counts, percentile, wilson
from mirada.evaluate.words import count, decimal, percent
from mirada.messages import Message, msg
from mirada.types import Metric

TIMES = (2, 4)
FEWEST_SIZES = 4
N_BOOT = 1000
EXPONENTS: Doubles = np.geomspace(0.02, 3.0, 300)
# A gain is told from nothing above the first, and is little below the others.
NOTHING, LITTLE, LITTLE_WITHIN = 0.002, 0.01, 0.03
# Sizes before the power law sets in are left out where the curve misses by more than chance (chi² for each degree of
# freedom); a curve that still misses by more than that and by a whole point is no curve.
MISFIT, NO_FIT, NO_FIT_POINTS = 2.5, 4.0, 0.01
BAND_POINTS = 33
Verdict = Literal["rising", "flat", "unclear"]


@dataclass(frozen=True, slots=True)
class SizeAnswers:
    """Models trained on `n` photographs. right: bool (models, test photographs), the same photographs at all sizes."""

    n: int
    right: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """error(n) = a + b · n^(-c). `first_n`: from how many photographs on it was fitted."""

    a: float
    b: float
    c: float
    first_n: int

    def error(self, n: float) -> float:
        """The share answered wrongly after training on `n` photographs."""
        return float(self.a + self.b * n**-self.c)


@dataclass(frozen=True, slots=True)
class CurveSize:
    """What was measured with `n` photographs, the mean of `n_models`; `fitted`: accuracy by the law, where it holds."""

    n: int
    accuracy: Metric
    n_models: int
    fitted: float | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """Accuracy with `times` as many photographs as there are, and how much more that is than with those."""

    times: int
    n: int
    accuracy: Metric
    gain: Metric


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningCurve:
    """A measured curve and what follows from it. band: (n, accuracy, low, high) along the law, for a drawing."""

    sizes: tuple[CurveSize, ...]
    law: PowerLaw | None
    forecasts: tuple[Forecast, ...]
    verdict: Verdict
    told: tuple[Message, ...]
    n_test: int
    band: tuple[tuple[float, float, float, float], ...] = ()


def learning_curve(
    answers: Sequence[SizeAnswers], *, baseline: float, seed: int = 0, n_boot: int = N_BOOT
) -> LearningCurve:
    """The curve through `answers`, sizes ascending. baseline: share of the commonest class among the test photographs.

    The intervals are of a percentile bootstrap that draws test photographs, the same for all sizes, and models where
    a size has several. Where it has one, that one moves by as much as the others do from seed to seed, or else as the
    points lie off the curve. They tell of other photographs and other draws, not of other ways to train.
    """
    n = np.array([size.n for size in answers], dtype=np.float64)
    if not len(n) or (np.diff(n) <= 0).any():
        raise ValueError(f"sizes must be there and ascend; got {n.tolist()}")
    n_test = answers[0].right.shape[1]
    measured = np.array([1 - size.right.mean() for size in answers])
    bare = tuple(CurveSize(size.n, _accuracy(size.right), len(size.right), None) for size in answers)
    refused = _refusal(bare, measured, baseline)
    if refused is not None:
        return LearningCurve(
            sizes=bare, law=None, forecasts=(), verdict=refused[0], told=(refused[1],), n_test=n_test
        )  # fmt: skip
    used, law, fits = _fitted(n, measured, n_test)
    if not fits:
        told = msg("The accuracies do not lie on one curve: nothing can be told of more photographs.")
        return LearningCurve(sizes=bare, law=None, forecasts=(), verdict="unclear", told=(told,), n_test=n_test)
    off = np.array([law.error(m) for m in n[used]]) - measured[used]
    replicates = _resampled(answers, seed, n_boot, spread=_spread(answers, off))[:, used]
    drawn = fit_laws(n[used], replicates, _weights(measured[used], n_test))
    forecasts = tuple(_forecast(times, int(n[-1]), law, drawn, n_test) for times in TIMES)
    verdict, told_all = _verdict(forecasts[-1], forecasts, n_test)
    sizes = tuple(
        CurveSize(s.n, s.accuracy, s.n_models, 1 - law.error(s.n) if s.n >= law.first_n else None) for s in bare
    )  # fmt: skip
    return LearningCurve(
        sizes=sizes, law=law, forecasts=forecasts, verdict=verdict, told=told_all, n_test=n_test,
        band=_band(law, drawn, float(n[-1])),
    )  # fmt: skip


Laws = tuple[Doubles, Doubles, Doubles]


def fit_laws(n: Doubles, errors: Doubles, weights: Doubles) -> Laws:
    """a, b and c (r,) for each row of `errors` (r, m) measured with `n` (m,) photographs; `weights` (m,)."""
    largest = n.max()
    G = (n / largest)[None] ** -EXPONENTS[:, None]  # (exponents, m); 1 at the largest size
    S, Sg, Sgg = weights.sum(), G @ weights, (G * G) @ weights
    Se, Sge = errors @ weights, (errors * weights) @ G.T  # (r,), (r, exponents)
    b = np.maximum(0.0, (S * Sge - Sg * Se[:, None]) / (S * Sgg - Sg**2))
    a = (Se[:, None] - b * Sg) / S
    b = np.where(a < 0, Sge / Sgg, b)
    a = np.maximum(a, 0.0)
    loss = a * a * S + 2 * a * b * Sg + b * b * Sgg - 2 * a * Se[:, None] - 2 * b * Sge  # less the same for all
    best = loss.argmin(axis=1)
    rows, c = np.arange(len(errors)), EXPONENTS[best]
    return a[rows, best], b[rows, best] * largest**c, c


def _accuracy(right: NDArray[np.bool_]) -> Metric:
    share, n = float(right.mean()), right.shape[1]
    spread = wilson(round(share * n), n)
    return Metric(share, min(spread.low, share), max(spread.high, share), n)


def _refusal(sizes: Sequence[CurveSize], measured: Doubles, baseline: float) -> tuple[Verdict, Message] | None:
    """Why no curve is fitted; None where one can be."""
    if len(sizes) < FEWEST_SIZES:
        few = msg("Too few sizes for a curve: {n}; it takes {needed}.", n=len(sizes), needed=FEWEST_SIZES)
        return "unclear", few
    if sizes[-1].accuracy.low <= baseline:
        none = msg(
            "With all photographs the model is no better, beyond chance, than always answering the commonest class "
            "({baseline} of test): there is no curve yet to tell anything from.",
            baseline=percent(baseline),
        )
        return "unclear", none
    if measured[-1] == 0:
        return "flat", msg("All test photographs are named rightly: this test cannot show what more would bring.")
    return None


def _weights(errors: Doubles, n_test: int) -> Doubles:
    """One over the binomial variance; one wrong and one right more than counted, so that no weight is infinite."""
    p = (errors * n_test + 1) / (n_test + 2)
    return np.asarray(n_test / (p * (1 - p)), dtype=np.float64)


def _fitted(n: Doubles, errors: Doubles, n_test: int) -> tuple[slice, PowerLaw, bool]:
    """Which sizes lie on a power law, the law, and whether it fits."""
    for first in range(len(n) - FEWEST_SIZES + 1):
        used = slice(first, len(n))
        weights = _weights(errors[used], n_test)
        a, b, c = (float(part[0]) for part in fit_laws(n[used], errors[None, used], weights))
        law = PowerLaw(a, b, c, int(n[first]))
        residuals = np.array([law.error(m) for m in n[used]]) - errors[used]
        misfit = float((weights * residuals**2).sum()) / (len(residuals) - 3)
        if misfit <= MISFIT:
            return used, law, True
    return used, law, misfit <= NO_FIT or float(abs(residuals).max()) <= NO_FIT_POINTS


def _spread(answers: Sequence[SizeAnswers], off: Doubles) -> float:
    """Standard deviation of a model's error from draw to draw of its photographs: pooled over sizes with several."""
    several = [1 - size.right.mean(axis=1) for size in answers if len(size.right) > 1]
    if several:
        return float(np.sqrt(np.mean([errors.var(ddof=1) for errors in several])))
    return float(np.sqrt((off**2).sum() / max(1, len(off) - 3)))


def _resampled(answers: Sequence[SizeAnswers], seed: int, n_boot: int, *, spread: float) -> Doubles:
    """Errors (n_boot, sizes): test photographs drawn anew, the same for all sizes, and models of a size among them."""
    rng = np.random.default_rng([seed, 0x1C])
    n_test = answers[0].right.shape[1]
    counts = bootstrap_counts(n_test, n_boot, rng=rng).astype(np.float32)
    columns = []
    for size in answers:
        of_models = counts @ (~size.right).T.astype(np.float32) / n_test  # (n_boot, models)
        k = len(size.right)
        drawn = rng.multinomial(k, np.full(k, 1 / k), size=n_boot) / k
        moved = rng.normal(0.0, spread, n_boot) if k == 1 else 0.0
        columns.append((of_models * drawn).sum(axis=1) + moved)
    return np.asarray(np.clip(np.stack(columns, axis=1), 0, 1), dtype=np.float64)


def _errors_at(drawn: Laws, n: float) -> Doubles:
    a, b, c = drawn
    return np.asarray(a + b * n**-c, dtype=np.float64)


def _forecast(times: int, n: int, law: PowerLaw, drawn: Laws, n_test: int) -> Forecast:
    there, now = _errors_at(drawn, times * n), _errors_at(drawn, n)
    accuracy = percentile(1 - law.error(times * n), 1 - there, n_test)
    gain = percentile(law.error(n) - law.error(times * n), now - there, n_test)
    if accuracy is None or gain is None:
        raise ValueError("errors must be finite")
    return Forecast(times, times * n, accuracy, gain)


def _band(law: PowerLaw, drawn: Laws, largest: float) -> tuple[tuple[float, float, float, float], ...]:
    band = []
    for n in np.geomspace(law.first_n, TIMES[-1] * largest, BAND_POINTS).tolist():
        value = 1 - law.error(n)
        low, high = np.quantile(1 - _errors_at(drawn, n), (0.025, 0.975)).tolist()
        band.append((n, value, min(low, value), max(high, value)))
    return tuple(band)


def _verdict(furthest: Forecast, forecasts: Sequence[Forecast], n_test: int) -> tuple[Verdict, tuple[Message, ...]]:
    gain = furthest.gain
    if gain.high < LITTLE or (gain.low < NOTHING and gain.high <= LITTLE_WITHIN):
        flat = msg(
            "The curve is flat, as far as {n_test} test photographs can tell: {times} times as many photographs of "
            "the same kind would bring at most {points} points.",
            n_test=count(n_test), times=furthest.times, points=decimal(100 * gain.high, 1),
        )  # fmt: skip
        return "flat", (flat,)
    if gain.low < NOTHING:
        unclear = msg(
            "Too noisy to say: {times} times as many photographs would bring between {low} and {high} points. More "
            "test photographs would tell it better than {n_test} do.",
            times=furthest.times, low=decimal(100 * gain.low, 1), high=decimal(100 * gain.high, 1),
            n_test=count(n_test),
        )  # fmt: skip
        return "unclear", (unclear,)
    held = msg("This holds for more photographs of the same kind, trained on in the same way.")
    return "rising", (*(_rise(forecast) for forecast in forecasts), held)


def _rise(forecast: Forecast) -> Message:
    accuracy = forecast.accuracy
    values = {
        "n": count(forecast.n), "accuracy": percent(accuracy.value), "low": percent(accuracy.low),
        "high": percent(accuracy.high), "points": decimal(100 * forecast.gain.value, 1),
    }  # fmt: skip
    if forecast.times == 2:
        return msg(
            "With twice the photographs ({n}) about {accuracy} would be right ({low} to {high}): {points} points more.",
            **values,
        )
    return msg(
        "With {times} times the photographs ({n}) about {accuracy} would be right ({low} to {high}): {points} points "
        "more.",
        times=forecast.times,
        **values,
    )
