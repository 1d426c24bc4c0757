"""Drawings as inline SVG: no style attribute; colours by class, to follow the theme."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup, escape

from mirada.explore.spread import Bars, Spread
from mirada.explore.summary import SizeDot
from mirada.explore.words import count, figure

N_COLOURS = 12
OUTSIDE = 0.002
_W, _H, _LEFT, _TOP, _RIGHT, _BOTTOM = 720, 440, 62, 14, 18, 50


def colour_class(y: int) -> str:
    """The style class of a class's colour; "" is without a label."""
    return "c-none" if y < 0 else f"c{y % N_COLOURS}"


def stacked_bar(parts: Mapping[str, int], total: int, *, most: int, colour: str) -> Markup:
    """A class's photographs as a bar, the largest class filling the width; train, val and test in it, or one colour."""
    x, shapes = 0.0, [f'<rect class="track" x="0" y="3" width="{1000 * total / max(1, most):.1f}" height="10" rx="3"/>']
    for name, n in parts.items():
        width = 1000 * n / max(1, most)
        shapes.append(
            f'<rect class="s-{name}" x="{x:.1f}" y="3" width="{width:.1f}" height="10">'
            f"<title>{name}: {n}</title></rect>"
        )
        x += width
    if not parts:
        shapes.append(
            f'<rect class="plain {colour}" x="0" y="3" width="{1000 * total / max(1, most):.1f}" height="10"/>'
        )
    return _svg(
        f'<svg class="bar" viewBox="0 0 1000 16" preserveAspectRatio="none" aria-hidden="true">{"".join(shapes)}</svg>'
    )


def histogram(name: str, bars: Bars, *, title: str) -> Markup:
    """A quantity's bars, with its lowest and highest edge below; hovering tells the count."""
    most = max(bars.counts, default=1) or 1
    width, tall = 320, 96
    step = width / max(1, len(bars.counts))
    shapes = [f"<title>{escape(title)}</title>"]
    for i, n in enumerate(bars.counts):
        high = tall * n / most
        hint = f"{figure(name, bars.edges[i])} – {figure(name, bars.edges[i + 1])}: {count(n)}"
        if n:
            shapes.append(
                f'<rect class="value" x="{i * step + 0.5:.1f}" y="{tall - max(high, 1.5):.1f}" width="{step - 1:.1f}" '
                f'height="{max(high, 1.5):.1f}" rx="1"><title>{hint}</title></rect>'
            )
    shapes.append(f'<line class="grid" x1="0" x2="{width}" y1="{tall}" y2="{tall}"/>')
    shapes.append(f'<text class="tick" x="0" y="{tall + 16}">{figure(name, bars.edges[0])}</text>')
    shapes.append(
        f'<text class="tick" x="{width}" y="{tall + 16}" text-anchor="end">{figure(name, bars.edges[-1])}</text>'
    )
    frame = f'class="chart" viewBox="0 0 {width} {tall + 22}" role="img" aria-label="{escape(title)}"'
    return _svg(f"<svg {frame}>{''.join(shapes)}</svg>")


def strip(name: str, spread: Spread | None, low: float, high: float) -> Markup:
    """A class's spread on the scale from `low` to `high`: 5 to 95 %, the middle half, the median."""
    if spread is None:
        return _svg("–")
    reach = max(high - low, 1e-12)
    p5, p25, mid, p75, p95 = (
        round(100 * min(1.0, max(0.0, (v - low) / reach)) + 6, 1)
        for v in (spread.p5, spread.p25, spread.median, spread.p75, spread.p95)
    )
    told = f"{figure(name, spread.median)} ({figure(name, spread.p5)} – {figure(name, spread.p95)})"
    shapes = [
        f"<title>{told}</title>",
        '<line class="track-line" x1="6" x2="106" y1="8" y2="8"/>',
        f'<line class="whisker" x1="{p5}" x2="{p95}" y1="8" y2="8"/>',
        f'<line class="half" x1="{p25}" x2="{max(p75, p25 + 0.1)}" y1="8" y2="8"/>',
        f'<circle class="median" cx="{mid}" cy="8" r="4.5"/>',
    ]
    return _svg(f'<svg class="strip" viewBox="0 0 112 16" role="img" aria-label="{told}">{"".join(shapes)}</svg>')


def sizes(
    dots: Sequence[SizeDot], names: Sequence[str], *, no_label: str, labels: tuple[str, str, str],
    commonest: tuple[int, int, int] | None,
) -> Markup:  # fmt: skip
    """Width by height, a circle for the photographs of a class at a size; labels: title, width, height."""
    low, high = _log_range(dots)
    most = max((dot.n for dot in dots), default=1)
    shapes = [f"<title>{escape(labels[0])}</title>", *_axes(low, high, labels)]
    for dot in dots:
        radius = round(2.6 + 15 * math.sqrt(dot.n / most), 1)
        name = no_label if dot.y < 0 else names[dot.y]
        hint = escape(f"{name}: {count(round(dot.width))} × {count(round(dot.height))}, n = {count(dot.n)}")
        place = f'cx="{_x(dot.width, low, high)}" cy="{_y(dot.height, low, high)}" r="{radius}"'
        shapes.append(
            f'<circle class="dot {colour_class(dot.y)}" data-y="{dot.y}" {place}><title>{hint}</title></circle>'
        )
    if commonest is not None:
        x, y = _x(commonest[0], low, high), _y(commonest[1], low, high)
        side = -1 if x > 0.7 * _W else 1
        anchor = "end" if side < 0 else "start"
        shapes.append(f'<line class="leader" x1="{x}" y1="{y}" x2="{x + 26 * side}" y2="{y - 26}"/>')
        shapes.append(
            f'<text class="callout" x="{x + 30 * side}" y="{y - 28}" text-anchor="{anchor}">'
            f"{commonest[0]} × {commonest[1]}</text>"
        )
    frame = f'class="chart sizes" viewBox="0 0 {_W} {_H}" role="img" aria-label="{escape(labels[0])}"'
    return _svg(f"<svg {frame}>{''.join(shapes)}</svg>")


def _log_range(dots: Sequence[SizeDot]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Logarithms of (least width, least height) and of the greatest, with a margin; at least a factor of two.

    One photograph in 500 may lie outside at either end, and is drawn at the edge: a single pixel squeezes nothing.
    """
    low, high = [], []
    n = np.array([dot.n for dot in dots] or [1])
    for sides in ([dot.width for dot in dots] or [100.0], [dot.height for dot in dots] or [100.0]):
        order = np.argsort(sides)
        share = np.cumsum(n[order]) / n.sum()
        logs = np.log(np.asarray(sides)[order])
        least = float(logs[np.searchsorted(share, OUTSIDE)])
        most = float(logs[min(len(logs) - 1, np.searchsorted(share, 1 - OUTSIDE))])
        margin = max(0.12 * (most - least), (math.log(2) - (most - least)) / 2, 0.05)
        low.append(least - margin)
        high.append(most + margin)
    return (low[0], low[1]), (high[0], high[1])


def _axes(low: tuple[float, float], high: tuple[float, float], labels: tuple[str, str, str]) -> list[str]:
    shapes = []
    for tick in _ticks(low[0], high[0]):
        x = _x(tick, low, high)
        shapes.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{_TOP}" y2="{_H - _BOTTOM}"/>')
        shapes.append(f'<text class="tick" x="{x}" y="{_H - _BOTTOM + 18}" text-anchor="middle">{count(tick)}</text>')
    for tick in _ticks(low[1], high[1]):
        y = _y(tick, low, high)
        shapes.append(f'<line class="grid" x1="{_LEFT}" x2="{_W - _RIGHT}" y1="{y}" y2="{y}"/>')
        shapes.append(f'<text class="tick" x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{count(tick)}</text>')
    middle = (_LEFT + _W - _RIGHT) / 2
    shapes.append(f'<text class="axis" x="{middle}" y="{_H - 8}" text-anchor="middle">{escape(labels[1])}</text>')
    y = (_TOP + _H - _BOTTOM) / 2
    place = f'x="14" y="{y}" text-anchor="middle" transform="rotate(-90 14 {y})"'
    shapes.append(f'<text class="axis" {place}>{escape(labels[2])}</text>')
    return shapes


def _ticks(low: float, high: float) -> list[int]:
    """Round numbers between two logarithms: 1, 2, 5 in each decade, or more where those are few."""
    for parts in ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7), tuple(i / 10 for i in range(10, 100))):
        found = {round(part * 10**decade) for decade in range(6) for part in parts}
        inside = sorted(tick for tick in found if low <= math.log(max(tick, 1)) <= high)
        if len(inside) >= 4:
            return inside[:: -(-len(inside) // 10)]
    return inside


def _x(width: float, low: tuple[float, float], high: tuple[float, float]) -> float:
    share = (math.log(width) - low[0]) / (high[0] - low[0])
    share = min(1.0, max(0.0, share))
    return round(_LEFT + share * (_W - _LEFT - _RIGHT), 1)


def _y(height: float, low: tuple[float, float], high: tuple[float, float]) -> float:
    share = (math.log(height) - low[1]) / (high[1] - low[1])
    share = min(1.0, max(0.0, share))
    return round(_H - _BOTTOM - share * (_H - _TOP - _BOTTOM), 1)


def _svg(text: str) -> Markup:
    # Safe: numbers and names of ours; whatever comes from users went through escape() where it was put in.
    return Markup(text)  # noqa: S704
