"""Drawings for the report as inline SVG: no script, no style attribute; colours by class, to follow the theme."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

from mirada.evaluate.intervals import wilson
from mirada.evaluate.words import percent
from mirada.types import Metric

HEAT_LEVELS = 10
Rgb = tuple[float, float, float]

# Ends of the two ramps (page → right, page → wrong) in the light and the dark theme, 0–255.
_RAMPS: Mapping[str, Mapping[str, tuple[Rgb, Rgb]]] = {
    "light": {"right": ((238, 244, 242), (17, 94, 89)), "wrong": ((252, 240, 233), (154, 52, 18))},
    "dark": {"right": ((29, 42, 43), (112, 205, 190)), "wrong": ((46, 34, 30), (244, 150, 110))},
}
_INKS: tuple[Rgb, Rgb] = ((11, 15, 18), (255, 255, 255))


def luminance(colour: Rgb) -> float:
    """Relative luminance of an sRGB colour (WCAG 2.2)."""
    linear = [c / 255 / 12.92 if c <= 10.31 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: Rgb, b: Rgb) -> float:
    """Contrast ratio of two colours (WCAG 2.2): 4.5 or more is legible at any size."""
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def heat_colours(theme: str, kind: str, level: int) -> tuple[Rgb, Rgb]:
    """(background, text) of a matrix cell of `level` 1 to 10, the text being the ink that contrasts more."""
    start, end = _RAMPS[theme][kind]
    share = (level - 1) / (HEAT_LEVELS - 1)
    r, g, b = (round(s + (e - s) * share) for s, e in zip(start, end, strict=True))
    return (r, g, b), max(_INKS, key=lambda ink: contrast(ink, (r, g, b)))


def heat_css(theme: str) -> str:
    """Style rules of the matrix cells in one theme."""
    rules = []
    for kind in ("right", "wrong"):
        for level in range(1, HEAT_LEVELS + 1):
            back, ink = (f"rgb({r:.0f},{g:.0f},{b:.0f})" for r, g, b in heat_colours(theme, kind, level))
            rules.append(f".{kind}-{level}{{background:{back};color:{ink};fill:{back}}}")
    return "\n".join(rules)


def heat_level(share: float) -> int:
    """1 to 10 for a share above 0; the square root lets rare confusions be seen."""
    return min(HEAT_LEVELS, max(1, round(math.sqrt(share) * HEAT_LEVELS)))


def interval_bar(metric: Metric, *, wide: bool = False, baseline: float | None = None) -> Markup:
    """A share between 0 and 1 as a bar with its interval; `baseline` adds a tick."""
    width, height = (1000, 34) if wide else (160, 14)
    middle, thick = height / 2, height * (0.3 if wide else 0.43)
    x, low, high = (round(width * min(1.0, max(0.0, v)), 2) for v in (metric.value, metric.low, metric.high))
    parts = [
        f'<rect class="track" x="0" y="{middle - thick / 2}" width="{width}" height="{thick}" rx="{thick / 2}"/>',
        f'<rect class="value" x="0" y="{middle - thick / 2}" width="{x}" height="{thick}" rx="{thick / 2}"/>',
        f'<line class="whisker" x1="{low}" x2="{high}" y1="{middle}" y2="{middle}"/>',
    ]
    cap = height * 0.36
    parts += [f'<line class="whisker" x1="{v}" x2="{v}" y1="{middle - cap}" y2="{middle + cap}"/>' for v in (low, high)]
    if baseline is not None:
        at = round(width * baseline, 2)
        parts.append(f'<line class="baseline" x1="{at}" x2="{at}" y1="0" y2="{height}"/>')
    kind = "bar wide" if wide else "bar"
    frame = f'viewBox="-2 0 {width + 4} {height}" preserveAspectRatio="none" aria-hidden="true"'
    return _svg(f'<svg class="{kind}" {frame}>{"".join(parts)}</svg>')


Bins = Sequence[tuple[float, float, int]]
_SIDE, _LEFT, _TOP = 300, 46, 10


def reliability(bins: Bins, *, x_label: str, y_label: str, title: str) -> Markup:
    """Score against how often it is right, with intervals: `bins` are (mean score, share right, photographs)."""
    most = max((n for _, _, n in bins), default=1)
    parts = [_axes(title, x_label)]
    parts.append(f'<line class="ideal" x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}"/>')
    for score, share, n in bins:
        spread = wilson(round(share * n), n)
        ends = f'y1="{_y(spread.low)}" y2="{_y(spread.high)}"'
        parts.append(f'<line class="spread" x1="{_x(score)}" x2="{_x(score)}" {ends}/>')
    for score, share, n in bins:
        radius = round(2.5 + 6.5 * (n / most) ** 0.5, 1)
        hint = escape(f"{x_label} {percent(score)} · {y_label} {percent(share)} · n = {n}")
        dot = f'<circle class="dot" cx="{_x(score)}" cy="{_y(share)}" r="{radius}">'
        parts.append(f"{dot}<title>{hint}</title></circle>")
    return _figure(parts, title)


def histogram(edges: Sequence[tuple[float, float, int, int]], *, x_label: str, title: str) -> Markup:
    """Photographs by score: (low, high, right, wrong) for each bar; those wrong stand on top of those right."""
    most = max((right + wrong for _, _, right, wrong in edges), default=1) or 1
    parts = [_axes(title, x_label, counts=most)]
    for low, high, right, wrong in edges:
        width = round(_x(high) - _x(low) - 1.5, 2)
        tall, over = _SIDE * right / most, _SIDE * wrong / most
        hint = escape(f"{percent(low, 0)} – {percent(high, 0)}: {right} + {wrong}")
        parts.append(f"<g><title>{hint}</title>")
        if right:
            parts.append(
                f'<rect class="value" x="{_x(low) + 0.75}" y="{_y(0) - tall:.2f}" width="{width}" height="{tall:.2f}"/>'
            )
        if wrong:
            y = _y(0) - tall - over
            parts.append(f'<rect class="error" x="{_x(low) + 0.75}" y="{y:.2f}" width="{width}" height="{over:.2f}"/>')
        parts.append("</g>")
    return _figure(parts, title)


def bars_of(bins: Bins) -> list[tuple[float, float, int, int]]:
    """The bars of a histogram from the bins of calibration, which are a tenth or so wide and lie about their mean."""
    step = 1 / max(10, len(bins))
    counted: dict[int, tuple[int, int]] = {}
    for score, share, n in bins:
        place, right = min(int(score / step), round(1 / step) - 1), round(share * n)
        before = counted.get(place, (0, 0))  # two bins may fall into one bar
        counted[place] = (before[0] + right, before[1] + n - right)
    return [(place * step, place * step + step, *counts) for place, counts in sorted(counted.items())]


def small_matrix(confusion: Sequence[Sequence[int]], names: Sequence[str], *, title: str) -> Markup:
    """The confusion matrix of many classes as coloured squares; hovering names the pair."""
    k = len(confusion)
    cell = max(3.0, round(640 / k, 1))
    parts = [f'<rect class="plain" x="0" y="0" width="{k * cell:.1f}" height="{k * cell:.1f}"/>']
    for i, row in enumerate(confusion):
        total = sum(row)
        for j, n in enumerate(row):
            if n:
                kind = f"{'right' if i == j else 'wrong'}-{heat_level(n / total)}"
                hint = escape(f"{names[i]} → {names[j]}: {n} / {total}")
                place = f'x="{j * cell:.1f}" y="{i * cell:.1f}" width="{cell}" height="{cell}"'
                parts.append(f'<rect class="{kind}" {place}><title>{hint}</title></rect>')
    side = f"{k * cell:.1f}"
    label = f'role="img" aria-label="{escape(title)}"'
    return _svg(f'<svg class="matrix" viewBox="0 0 {side} {side}" {label}>{"".join(parts)}</svg>')


def _svg(text: str) -> Markup:
    # Safe: numbers and names of ours; whatever comes from users went through escape() where it was put in.
    return Markup(text)  # noqa: S704


def _x(value: float) -> float:
    return round(_LEFT + _SIDE * min(1.0, max(0.0, value)), 2)


def _y(value: float) -> float:
    return round(_TOP + _SIDE * (1 - min(1.0, max(0.0, value))), 2)


def _axes(title: str, x_label: str, *, counts: int | None = None) -> str:
    """Grid, tick labels and the level axis's title; `counts`: the upright axis counts up to it instead of to 100 %."""
    parts = [f"<title>{escape(title)}</title>"]
    for i in range(6):
        at = i / 5
        parts.append(f'<line class="grid" x1="{_x(0)}" x2="{_x(1)}" y1="{_y(at)}" y2="{_y(at)}"/>')
        parts.append(f'<text class="tick" x="{_x(at)}" y="{_y(0) + 18}" text-anchor="middle">{percent(at, 0)}</text>')
        if counts is None or (counts * i) % 5 == 0 or i in (0, 5):
            label = percent(at, 0) if counts is None else str(counts * i // 5)
            parts.append(f'<text class="tick" x="{_x(0) - 7}" y="{_y(at) + 4}" text-anchor="end">{label}</text>')
    middle = _LEFT + _SIDE / 2
    parts.append(f'<text class="axis" x="{middle}" y="{_y(0) + 38}" text-anchor="middle">{escape(x_label)}</text>')
    return "".join(parts)


def _figure(parts: Sequence[str], title: str) -> Markup:
    size = f'viewBox="0 0 {_LEFT + _SIDE + 24} {_TOP + _SIDE + 46}"'
    return _svg(f'<svg class="chart" {size} role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>')
