"""Which of two models is better on the same photographs: paired tests that say "tie" where it is one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from mirada.errors import NotEnoughData
from mirada.evaluate.intervals import percentile
from mirada.messages import Message, msg
from mirada.types import Metric

Verdict = Literal["a better", "b better", "tie"]
SIGNIFICANCE = 0.05
N_BOOT = 10_000


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models on the same samples. `difference` is accuracy of a less accuracy of b, with its interval.

    `only_a` and `only_b` count the samples that one alone got right; the p-value rests on them.
    """

    difference: Metric
    p_value: float
    verdict: Verdict
    only_a: int
    only_b: int
    n: int

    def message(self, a: str, b: str) -> Message:
        """The verdict as a sentence; `a` and `b` name the models."""
        if self.verdict == "tie":
            return msg(
                "{a} and {b} are tied on {n} photographs: {only_a} right by the one alone, {only_b} by the other "
                "(p = {p:.2g}).",
                a=a,
                b=b,
                n=self.n,
                only_a=self.only_a,
                only_b=self.only_b,
                p=self.p_value,
            )
        winner, loser = (a, b) if self.verdict == "a better" else (b, a)
        return msg(
            "{winner} is better than {loser} on {n} photographs by {points:.1f} points (p = {p:.2g}).",
            winner=winner,
            loser=loser,
            n=self.n,
            points=abs(self.difference.value) * 100,
            p=self.p_value,
        )


def compare(probs_a: ArrayLike, probs_b: ArrayLike, y: ArrayLike, *, seed: int = 0, n_boot: int = N_BOOT) -> Comparison:
    """Compare two sets of probabilities (n, k) on the same samples in the same order, labels `y` (n,).

    The p-value is that of McNemar's exact test (Psychometrika 12, 1947; the binomial on the samples where the two
    disagree in being right); the interval of the difference is a paired percentile bootstrap. It is a tie at
    p ≥ 0.05, so that a challenger is promoted only on evidence. Raises NotEnoughData where there is no sample.
    """
    labels = np.asarray(y, dtype=np.intp)
    a, b = np.asarray(probs_a), np.asarray(probs_b)
    if len(a) != len(labels) or len(b) != len(labels):
        raise ValueError(f"probs_a, probs_b and y must be of one length; got {len(a)}, {len(b)}, {len(labels)}")
    if len(labels) == 0:
        raise NotEnoughData(msg("Two models can only be compared on photographs that both have judged."))
    right_a, right_b = a.argmax(axis=1) == labels, b.argmax(axis=1) == labels
    return _from_counts(int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum()), len(labels), seed, n_boot)


def is_better(challenger: ArrayLike, champion: ArrayLike, y: ArrayLike) -> bool:
    """Whether probabilities `challenger` (n, k) beat `champion` on `y` beyond chance; a tie keeps the champion."""
    return compare(challenger, champion, y).verdict == "a better"


def _from_counts(only_a: int, only_b: int, n: int, seed: int, n_boot: int) -> Comparison:
    p_value = mcnemar_exact(only_a, only_b)
    rng = np.random.default_rng([seed, 0xC0])
    # Drawing samples in pairs is drawing these three counts: one right alone, the other, or neither.
    drawn = rng.multinomial(n, [only_a / n, only_b / n, 1 - (only_a + only_b) / n], size=n_boot)
    value = (only_a - only_b) / n
    difference = percentile(value, (drawn[:, 0] - drawn[:, 1]) / n, n) or Metric(value, value, value, n)
    verdict: Verdict = "tie"
    if p_value < SIGNIFICANCE:
        verdict = "a better" if only_a > only_b else "b better"
    return Comparison(difference, p_value, verdict, only_a, only_b, n)


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """Two-sided p-value: how likely a split at least this uneven is where each side is as likely. 1 for no split."""
    from scipy.special import bdtr

    total = only_a + only_b
    return min(1.0, 2.0 * float(bdtr(min(only_a, only_b), total, 0.5)))
