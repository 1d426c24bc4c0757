"""How evenly photographs are spread over classes, and what that means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mirada.messages import Message, msg, msg_n

Level = Literal["one_class", "balanced", "mild", "marked", "severe"]
FEW = 20
"""With fewer photographs than this, a class can hardly be learned, and not be judged."""
_MILD, _MARKED, _SEVERE = 1.5, 3.0, 10.0


@dataclass(frozen=True, slots=True)
class Balance:
    """largest, smallest: (class, photographs). ratio: largest by smallest.

    effective_classes: exp of the entropy of the shares (Hill's number of order 1): so many equally large classes
    would be as diverse. guess: accuracy of always answering the largest class. few: classes below `FEW`.
    """

    level: Level
    n_classes: int
    largest: tuple[str, int]
    smallest: tuple[str, int]
    ratio: float
    effective_classes: float
    guess: float
    few: tuple[str, ...]

    def messages(self) -> tuple[Message, ...]:
        """What it means and what to do, one sentence after the other."""
        if self.level == "one_class":
            return (msg("There is one class alone, {name}: a classifier needs at least two.", name=self.largest[0]),)
        return (_LEVELS[self.level](self), *self._figures(), *_ADVICE[self.level], *self._few())

    def _figures(self) -> tuple[Message, ...]:
        return (
            msg(
                "Always answering {name} would already be right {share:.1f} % of the time: "
                "an accuracy is worth what it adds to that.",
                name=self.largest[0],
                share=100 * self.guess,
            ),
            msg(
                "The {n} classes are as diverse as {effective:.1f} classes of equal size.",
                n=self.n_classes,
                effective=self.effective_classes,
            ),
        )

    def _few(self) -> tuple[Message, ...]:
        if not self.few:
            return ()
        names = ", ".join(self.few[:5]) + ("…" if len(self.few) > 5 else "")
        return (
            msg_n(
                "{n} class has fewer than {few} photographs ({names}): "
                "too few to learn it well, or to judge it at all.",
                "{n} classes have fewer than {few} photographs ({names}): "
                "too few to learn them well, or to judge them at all.",
                n=len(self.few),
                few=FEW,
                names=names,
            ),
        )


def balance(counts: Mapping[str, int]) -> Balance | None:
    """The balance of classes by their number of photographs; None where there is no labelled photograph."""
    held = {name: n for name, n in counts.items() if n > 0}
    if not held:
        return None
    ordered = sorted(held.items(), key=lambda item: (-item[1], item[0]))
    largest, smallest = ordered[0], ordered[-1]
    shares = np.array([n for _, n in ordered], np.float64) / sum(held.values())
    ratio = largest[1] / smallest[1]
    return Balance(
        level=_level(len(held), ratio),
        n_classes=len(held),
        largest=largest,
        smallest=smallest,
        ratio=ratio,
        effective_classes=float(np.exp(-(shares * np.log(shares)).sum())),
        guess=float(shares[0]),
        few=tuple(name for name, n in reversed(ordered) if n < FEW),
    )


def _level(n_classes: int, ratio: float) -> Level:
    if n_classes == 1:
        return "one_class"
    if ratio < _MILD:
        return "balanced"
    if ratio < _MARKED:
        return "mild"
    return "marked" if ratio < _SEVERE else "severe"


def _facts(b: Balance) -> dict[str, object]:
    return {
        "large": b.largest[0],
        "n_large": b.largest[1],
        "small": b.smallest[0],
        "n_small": b.smallest[1],
        "ratio": b.ratio,
    }


_LEVELS = {
    "balanced": lambda b: msg(
        "The classes are balanced: from {n_small} photographs ({small}) to {n_large} ({large}).", **_facts(b)
    ),
    "mild": lambda b: msg(
        "The classes are nearly balanced: {large} has {ratio:.1f} times the photographs of {small} "
        "({n_large} and {n_small}).",
        **_facts(b),
    ),
    "marked": lambda b: msg(
        "The classes are unbalanced: {large} has {ratio:.1f} times the photographs of {small} "
        "({n_large} and {n_small}).",
        **_facts(b),
    ),
    "severe": lambda b: msg(
        "The classes are very unbalanced: {large} has {ratio:.0f} times the photographs of {small} "
        "({n_large} and {n_small}).",
        **_facts(b),
    ),
}
_ADVICE: Mapping[Level, tuple[Message, ...]] = {
    "balanced": (),
    "mild": (),
    "marked": (
        msg("Judge by the balanced accuracy and F1 by class; `mirada train --class-weight balanced` helps rare ones."),
    ),
    "severe": (
        msg(
            "Judge by the balanced accuracy and F1 by class. Gather more of the rare classes, join classes that need "
            "not be told apart, or train with `--class-weight balanced` or on a balanced subset."
        ),
    ),
}
