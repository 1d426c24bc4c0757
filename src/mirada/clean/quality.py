"""Checks on what a photograph is like by itself: light, focus, size, shape, content, colour, frame.

A score is 1 / (1 + (t / x)^p) of one measured value x (or of its reciprocal): it falls with x, and is 0.5 where a
person looking at a contact sheet begins to call it an issue. The values t were chosen by eye on photographs of
sports, food, objects and scenes, and on photographs blurred, darkened and framed on purpose; they are the same for
every data set. Size and shape alone are relative to the data set: odd is what is rare in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from mirada.clean.base import Evidence, Material, Need, Scores, register
from mirada.imaging.statistics import column
from mirada.messages import Message, msg

DARK_P95 = 0.25  # luma, 0 to 1: nineteen in twenty pixels are darker
BRIGHT_LOW = 0.72  # luma: mean of its 1st and 5th percentile; a thing on white ground has dark pixels, glare has none
BLURRY_SHARPNESS = 0.36  # as `statistics.measure` has it: edges blurred by a two-hundredth of the short side
LOW_ENTROPY = 1.5  # bits
LOW_DETAIL = 0.008  # share of the tiles: one in 125
GREY_CHROMA = 0.02  # 5 of 255 levels between the channels
BORDER_SHARE = 0.05  # of the area
ODD_FACTOR = 2.0  # twice or half as long as usual, at least, is odd
_ODD_SPREADS = 4.0  # as many robust standard deviations from the median are odd
_STEEP = 4.0
_NOTHING_TO_SEE = 0.02  # contrast below which nothing can be said of focus

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Measured:
    """What a check looked at: values (n,) by name, and the scores (n,) float32 that come of them."""

    values: dict[str, Values]
    scores: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class QualityCheck:
    """A check whose score comes from measured values alone; its evidence tells them and what is usual here."""

    name: str
    title: Message
    needs: frozenset[Need]
    measure: Callable[[Material], Measured]
    threshold: float = 0.5

    def run(self, material: Material) -> Scores:
        """Score every sample; NaN where it could not be measured."""
        found = self.measure(material)
        usual = {name: _usual(values) for name, values in found.values.items()}

        def evidence(row: int) -> Evidence:
            measured = {name: _plain(values[row]) for name, values in found.values.items()}
            return {"measured": measured, "usual": usual}

        return Scores(found.scores, evidence)


def register_quality() -> None:
    """Register dark, bright, blurry, odd_size, odd_aspect, low_information, greyscale and border."""
    for check in quality_checks():
        register(check)


def quality_checks() -> tuple[QualityCheck, ...]:
    """The checks of this module."""
    stats: frozenset[Need] = frozenset({"stats"})
    nothing: frozenset[Need] = frozenset()
    return (
        QualityCheck("dark", msg("Too dark"), stats, _dark),
        QualityCheck("bright", msg("Too bright"), stats, _bright),
        QualityCheck("blurry", msg("Out of focus or blurred"), stats, _blurry),
        QualityCheck("odd_size", msg("Much larger or smaller than usual here"), nothing, _odd_size),
        QualityCheck("odd_aspect", msg("Much longer or squarer than usual here"), nothing, _odd_aspect),
        QualityCheck("low_information", msg("Next to nothing in the picture"), stats, _low_information),
        QualityCheck("greyscale", msg("Without colour"), stats, _greyscale),
        QualityCheck("border", msg("A frame around the picture"), stats, _border),
    )


def _dark(material: Material) -> Measured:
    p95 = _column(material, "brightness_p95")
    values = {"brightness_p95": p95, "brightness": _column(material, "brightness")}
    return Measured(values, _falling(p95, DARK_P95))


def _bright(material: Material) -> Measured:
    p1, p5 = _column(material, "brightness_p1"), _column(material, "brightness_p5")
    low = (p1 + p5) / 2
    values = {"brightness_p1": p1, "brightness_p5": p5, "brightness": _column(material, "brightness")}
    return Measured(values, _falling(1 - low, 1 - BRIGHT_LOW))


def _blurry(material: Material) -> Measured:
    sharpness, contrast = _column(material, "sharpness"), _column(material, "contrast")
    scores = _falling(sharpness, BLURRY_SHARPNESS)
    # An all but even picture is low_information; whether it was in focus nobody can tell.
    scores[contrast < _NOTHING_TO_SEE] = 1
    return Measured({"sharpness": sharpness, "contrast": contrast}, scores)


def _low_information(material: Material) -> Measured:
    entropy, detail = _column(material, "entropy"), _column(material, "detail")
    scores = np.minimum(_falling(entropy, LOW_ENTROPY), _falling(detail, LOW_DETAIL, steep=1))
    return Measured({"entropy": entropy, "detail": detail}, scores)


def _greyscale(material: Material) -> Measured:
    chroma = _column(material, "chroma")
    values = {"chroma": chroma, "colourfulness": _column(material, "colourfulness")}
    return Measured(values, _falling(chroma, GREY_CHROMA, steep=2))


def _border(material: Material) -> Measured:
    names = ("border", "border_top", "border_right", "border_bottom", "border_left")
    values = {name: _column(material, name) for name in names}
    picture = 1 / np.maximum(values["border"], 1e-6)
    return Measured(values, _falling(picture, 1 / BORDER_SHARE, steep=1))


def _odd_size(material: Material) -> Measured:
    widths, heights = _sizes(material)
    values = {"width": widths, "height": heights, "side": np.sqrt(widths * heights)}
    return Measured(values, _odd(np.log(values["side"])))


def _odd_aspect(material: Material) -> Measured:
    widths, heights = _sizes(material)
    # Upright or lying makes no photograph odd: the longer side over the shorter one.
    longer = np.maximum(widths, heights) / np.minimum(widths, heights)
    return Measured({"width": widths, "height": heights, "long_by_short": longer}, _odd(np.log(longer)))


def _falling(values: Values, half: float, *, steep: float = _STEEP) -> NDArray[np.float32]:
    """0 at 0, 0.5 at `half`, towards 1; NaN stays NaN."""
    ratio = np.maximum(values, 0) / half
    with np.errstate(over="ignore"):
        powered = ratio**steep
    return np.asarray(1 - 1 / (1 + powered), np.float32)


def _odd(logs: Values) -> NDArray[np.float32]:
    """Scores by distance from the median of the data set, on a logarithmic scale.

    The spread is the largest of three robust ones: by the median deviation, by the quartiles, and by the 5th and
    95th percentile. So where one photograph in ten has another size, that size is not odd.
    """
    if not len(logs):
        return np.empty(0, np.float32)
    low, first, middle, third, high = np.percentile(logs, [5, 25, 50, 75, 95])
    distance = np.abs(logs - middle)
    spread = max(1.4826 * float(np.median(distance)), float(third - first) / 1.349, float(high - low) / 3.290)
    half = max(log(ODD_FACTOR), _ODD_SPREADS * spread)
    return np.asarray(1 / (1 + (distance / half) ** _STEEP), np.float32)


def _sizes(material: Material) -> tuple[Values, Values]:
    sizes = np.array([(sample.width, sample.height) for sample in material.samples], np.float64).reshape(-1, 2)
    sizes = np.maximum(sizes, 1)
    return sizes[:, 0], sizes[:, 1]


def _column(material: Material, name: str) -> Values:
    if material.stats is None:
        raise ValueError("this check needs `stats`")
    return column(material.stats, name).astype(np.float64)


def _usual(values: Values) -> dict[str, float | None]:
    """Where nine in ten samples lie, and the middle one."""
    known = values[np.isfinite(values)]
    if not len(known):
        return {"low": None, "median": None, "high": None}
    low, middle, high = np.percentile(known, [5, 50, 95])
    return {"low": _plain(low), "median": _plain(middle), "high": _plain(high)}


def _plain(value: float) -> float | None:
    """A number as JSON has it, at four significant digits."""
    return float(f"{value:.4g}") if np.isfinite(value) else None
