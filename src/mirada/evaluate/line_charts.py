"""Lines, bands and points over two axes, as inline SVG in the manner of `charts`: colours by class, words escaped.

A drawing is as wide as a telephone, so that its words can be read there; a wider page puts two side by side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from mirada.evaluate.words import percent

WIDTH, LEFT, RIGHT = 300, 46, 24
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Axis:
    """From `low` to `high`; ticks: (value, words). log: equal factors are equally far apart."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def at(self, value: float) -> float:
        """Where on the axis `value` lies: 0 to 1."""
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return min(1.0, max(0.0, (value - low) / (high - low)))


def linear_axis(
    values: Sequence[float], write: Callable[[float], str], *, most: int = 5, step: float = 0.0, zero: bool = False
) -> Axis:
    """An axis that holds all `values`, with round ticks; step: the smallest between two. zero: begin at 0."""
    low, high = (0.0 if zero else min(values)), max(values)
    if high - low < 1e-12:
        low, high = (0.0, high) if zero and high > 0 else (low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2)
    step = max(step, _round_step((high - low) / most))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return Axis(first * step, last * step, tuple((i * step, write(i * step)) for i in range(first, last + 1)))


def share_axis(values: Sequence[float]) -> Axis:
    """An axis of percentages, from 0 to 100 at most, that holds all `values`."""
    low, high = min(values), max(values)
    if high - low < 0.02:
        low, high = max(0.0, low - 0.02), min(1.0, high + 0.02)
    return linear_axis([low, high], lambda v: percent(v, 0 if abs(100 * v - round(100 * v)) < 1e-6 else 1), step=0.01)


def epoch_axis(last: int) -> Axis:
    """Epochs 1 to `last`, with whole numbers."""
    step = max(1, math.ceil(_round_step(last / 6)))
    ticks = sorted({1, *range(step, last + 1, step)})
    return Axis(1, max(2, last), tuple((i, str(i)) for i in ticks))


def log_axis(low: float, high: float, write: Callable[[float], str]) -> Axis:
    """From `low` to `high`, ticks at 1, 2 and 5 times powers of ten, fewer where they would crowd."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        ticks = [f * 10.0**k for k in decades for f in factors if low <= f * 10.0**k <= high]
        if len(ticks) <= 6:
            break
    return Axis(low, high, tuple((tick, write(tick)) for tick in ticks or [low, high]), log=True)


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a drawing's values come to lie. top: room above it; height: of the field."""

    x: Axis
    y: Axis
    height: int = 200
    top: int = 10

    def px(self, value: float) -> float:
        """Across."""
        return round(LEFT + WIDTH * self.x.at(value), 2)

    def py(self, value: float) -> float:
        """Down."""
        return round(self.top + self.height * (1 - self.y.at(value)), 2)

    def line(self, points: Points, kind: str) -> str:
        """A line through `points`, or a dot where there is but one."""
        if len(points) == 1:
            return self.dot(*points[0], kind=f"dot {kind}")
        return f'<polyline class="line {kind}" points="{self._places(points)}"/>' if points else ""

    def band(self, points: Sequence[tuple[float, float, float]]) -> str:
        """What lies between low and high: (x, low, high)."""
        there, back = [(x, high) for x, _, high in points], [(x, low) for x, low, _ in reversed(points)]
        return f'<polygon class="band" points="{self._places([*there, *back])}"/>'

    def dot(self, x: float, y: float, *, kind: str = "dot", hint: str = "", radius: float = 3.5) -> str:
        """A point; `hint` is told where the pointer rests on it."""
        told = f"<title>{escape(hint)}</title>" if hint else ""
        return f'<circle class="{kind}" cx="{self.px(x)}" cy="{self.py(y)}" r="{radius}">{told}</circle>'

    def whisker(self, x: float, low: float, high: float) -> str:
        """An interval."""
        return f'<line class="spread" x1="{self.px(x)}" x2="{self.px(x)}" y1="{self.py(low)}" y2="{self.py(high)}"/>'

    def upright(self, x: float) -> str:
        """A line from top to bottom."""
        ends = f'y1="{self.top}" y2="{self.top + self.height}"'
        return f'<line class="ideal" x1="{self.px(x)}" x2="{self.px(x)}" {ends}/>'

    def stretch(self, first: float, last: float, name: str, *, shaded: bool) -> str:
        """A part of the field from `first` to `last`, named above it where there is room."""
        left, right = self.px(first), self.px(last)
        room = f'x="{left}" y="{self.top}" width="{right - left:.2f}" height="{self.height}"'
        parts = [f'<rect class="stretch" {room}><title>{escape(name)}</title></rect>'] if shaded else []
        letters = int((right - left) / 6.5)
        if letters >= 3:
            short = name if len(name) <= letters else f"{name[: letters - 1]}…"
            middle = round((left + right) / 2, 2)
            parts.append(
                f'<text class="tick" x="{middle}" y="{self.top - 6}" text-anchor="middle">{escape(short)}</text>'
            )
        return "".join(parts)

    def _places(self, points: Points) -> str:
        return " ".join(f"{self.px(x)},{self.py(y)}" for x, y in points)

    def drawn(self, parts: Sequence[str], *, title: str, x_label: str = "") -> Markup:
        """The whole drawing: grid, ticks, `parts`."""
        floor = self.top + self.height
        marks = [f"<title>{escape(title)}</title>"]
        for value, words in self.y.ticks:
            at, ends = self.py(value), f'x1="{LEFT}" x2="{LEFT + WIDTH}"'
            marks.append(f'<line class="grid" {ends} y1="{at}" y2="{at}"/>')
            marks.append(f'<text class="tick" x="{LEFT - 7}" y="{at + 4}" text-anchor="end">{escape(words)}</text>')
        for value, words in self.x.ticks:
            marks.append(
                f'<text class="tick" x="{self.px(value)}" y="{floor + 18}" text-anchor="middle">{escape(words)}</text>'
            )
        if x_label:
            middle = LEFT + WIDTH / 2
            marks.append(
                f'<text class="axis" x="{middle}" y="{floor + 38}" text-anchor="middle">{escape(x_label)}</text>'
            )
        size = f'viewBox="0 0 {LEFT + WIDTH + RIGHT} {floor + (46 if x_label else 24)}"'
        body = "".join([*marks, *parts])
        # Safe: numbers and classes of ours; words went through escape() above.
        return Markup(f'<svg class="chart" {size} role="img" aria-label="{escape(title)}">{body}</svg>')  # noqa: S704


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 2.5 and 5 times a power of ten that is not below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(f * power for f in (1, 2, 2.5, 5, 10) if f * power >= least * (1 - 1e-9))
