"""Photographic statistics: what is measured on the pixels of every photograph, once.

All is measured on a working copy whose short side is at most 256 pixels, so that a thumbnail and a photograph of
24 megapixels are compared at the size at which a network or a person at a contact sheet sees them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mirada.imaging.base import Pixels

STATISTICS: tuple[str, ...] = (
    "brightness",
    "brightness_p1",
    "brightness_p5",
    "brightness_p50",
    "brightness_p95",
    "brightness_p99",
    "contrast",
    "sharpness",
    "detail",
    "entropy",
    "colourfulness",
    "chroma",
    "border",
    "border_top",
    "border_right",
    "border_bottom",
    "border_left",
)
STATISTICS_VERSION = 2
LOOK_SIDE = 224
"""The short side, in pixels, at which `measure` works on whatever is larger than 256: decode with this `min_side`."""

_MOST_SIDE = 256
_MOST_AREA = _MOST_SIDE * 1024
_TILE = 16
_PERCENTILES = (0.01, 0.05, 0.5, 0.95, 0.99)
_SHARP_TILES = 0.9  # the sharpest tenth of the tiles tells: a blurred background is a style
_LEAST_RANGE = 24  # grey levels between the darkest and the lightest pixel of a tile that shows something …
_FAINT_RANGE = 12  # … and of one, in a picture that has no better, whose edges are more than noise
_PLAIN = 4.0  # grey levels of spread and of drift in a plain frame, with what JPEG adds
_PLAIN_RANGE = 40
_STEP = 12  # grey levels between a plain frame and the picture, more than what JPEG adds; …
_JUMP = 12  # … between a blurred one and the picture; …
_STRAIGHT = 0.6  # … along this share of the edge
_STRAIGHT_SMALL = 0.85  # … where a thing on plain ground is but a few rows from filling its width
_SMALL = 64  # pixels
_Grey = NDArray[np.uint8]
_Floats = NDArray[np.float32]


def measure(pixels: Pixels) -> NDArray[np.float32]:
    """float32 (len(STATISTICS),) of uint8 RGB (h, w, 3), in the order of `STATISTICS`. About 0.4 ms at 224 × 224.

    brightness        mean luma (ITU-R BT.601), 0 black to 1 white; _p1 … _p99: its percentiles
    contrast          standard deviation of luma, 0 to 0.5
    sharpness         of the contrast within a tile of 16 × 16, the share that lies between two neighbouring
                      pixels, in the sharpest tenth of the tiles with contrast: 1 a hard edge, 0.4 / σ an edge
                      blurred by σ pixels of the working copy, 0 nothing to judge by
    detail            share of the tiles whose contrast is more than 24 of 255 grey levels, 0 to 1
    entropy           Shannon entropy of the histogram of luma, 0 to 8 bits
    colourfulness     after D. Hasler and S. Süsstrunk, "Measuring colourfulness in natural images" (2003): 0 grey,
                      about 15 slightly, 45 quite, 80 highly colourful
    chroma            99th percentile of the difference between the largest and the smallest channel, 0 (truly
                      grey) to 1
    border            share of the picture's area in a plain frame that ends in a straight edge, 0 to 1
    border_top …      how far the frame reaches in from each side, as a share of the height or width
    """
    image = _working_copy(pixels)
    luma = image.convert("L")
    grey = np.asarray(luma)
    across, down = _steps(grey, axis=1), _steps(grey, axis=0)
    *tones, entropy = _tones(luma.histogram())
    sides = _frame(grey, across, down)
    top, right, bottom, left = sides
    area = 1 - (1 - top - bottom) * (1 - right - left)
    return np.array([*tones, *_edges(grey, across, down), entropy, *_colours(image), area, *sides], np.float32)


def column(stats: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """One statistic (n,) out of `stats` (n, len(STATISTICS)). Raises ValueError for a name that is not one."""
    values: NDArray[np.float32] = stats[:, STATISTICS.index(name)]
    return values


def _working_copy(pixels: Pixels) -> Image.Image:
    height, width = pixels.shape[:2]
    image = Image.fromarray(pixels)
    short = min(height, width)
    scale = LOOK_SIDE / short if short > _MOST_SIDE else 1.0
    scale = min(scale, (_MOST_AREA / (height * width)) ** 0.5)  # a strip of 60,000 × 300 is bounded too
    if scale == 1.0:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return image.resize(size, Image.Resampling.BOX, reducing_gap=2.0)


def _tones(histogram: list[int]) -> tuple[float, ...]:
    """Mean, percentiles and deviation of luma (0 to 1), and its entropy in bits."""
    share = np.array(histogram, np.float64)
    share /= share.sum()
    levels = np.arange(256) / 255
    mean = float(share @ levels)
    deviation = float(share @ (levels - mean) ** 2) ** 0.5
    at = np.minimum(np.searchsorted(np.cumsum(share), _PERCENTILES), 255) / 255
    some = share[share > 0]
    return mean, *at.tolist(), deviation, max(0.0, -float(some @ np.log2(some)))


def _steps(grey: _Grey, *, axis: int) -> _Grey:
    """Differences of neighbours along an axis, absolute, uint8."""
    one, other = (grey[:, 1:], grey[:, :-1]) if axis == 1 else (grey[1:], grey[:-1])
    steps: _Grey = np.maximum(one, other) - np.minimum(one, other)
    return steps


def _edges(grey: _Grey, across: _Grey, down: _Grey) -> tuple[float, float]:
    """Sharpness and detail: what share of its contrast each tile crosses in one step."""
    tile = min(_TILE, *grey.shape)
    steps = np.zeros_like(grey)
    steps[:, :-1] = across
    steps[:, tile - 1 :: tile] = 0  # these lead out of the tile, as do those of its last row
    inner = down.copy()
    inner[tile - 1 :: tile] = 0
    np.maximum(steps[:-1], inner, out=steps[:-1])
    span = _by_tile(grey, tile, np.maximum).astype(np.float32) - _by_tile(grey, tile, np.minimum)
    detail = float((span > _LEAST_RANGE).mean())
    telling = span >= max(_FAINT_RANGE, 0.5 * float(span.max()))
    if not telling.any():
        return 0.0, detail
    ratio = _by_tile(steps, tile, np.maximum)[telling] / span[telling]
    kth = int(_SHARP_TILES * (len(ratio) - 1))
    return float(np.partition(ratio, kth)[kth]), detail


def _by_tile(values: _Grey, tile: int, reduce: np.ufunc) -> _Grey:
    """`reduce` over tiles of `tile` × `tile`; what is left over at the right and the bottom is not looked at."""
    rows, columns = values.shape[0] // tile, values.shape[1] // tile
    cut = values[: rows * tile, : columns * tile]
    bands = reduce.reduce(cut.reshape(rows, tile, columns * tile), axis=1)
    reduced: _Grey = reduce.reduce(bands.reshape(rows, columns, tile), axis=2)
    return reduced


def _colours(image: Image.Image) -> tuple[float, float]:
    """Colourfulness and chroma, of one pixel in sixteen."""
    step = min(4, max(1, min(image.size) // 16))
    some = image.resize((image.width // step, image.height // step), Image.Resampling.NEAREST)
    red, green, blue = np.asarray(some).reshape(-1, 3).T.astype(np.float32)  # (n,) each
    red_green, yellow_blue = red - green, (red + green) / 2 - blue
    means = float(red_green.mean()), float(yellow_blue.mean())
    squares = (float((values * values).mean()) for values in (red_green, yellow_blue))
    spread = max(0.0, sum(squares) - means[0] ** 2 - means[1] ** 2) ** 0.5
    chroma = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    kth = int(0.99 * (len(chroma) - 1))
    return spread + 0.3 * (means[0] ** 2 + means[1] ** 2) ** 0.5, float(np.partition(chroma, kth)[kth]) / 255


def _frame(grey: _Grey, across: _Grey, down: _Grey) -> tuple[float, float, float, float]:
    """How far a frame reaches in from top, right, bottom and left, as shares of height and width."""
    top, bottom = _frame_rows(grey, across, down)
    left, right = _frame_rows(grey.T, down.T, across.T)
    height, width = grey.shape
    return top / height, right / width, bottom / height, left / width


def _frame_rows(grey: _Grey, across: _Grey, down: _Grey) -> tuple[int, int]:
    """Rows of a frame at the top and the bottom: plain, or a pair of bands with next to no detail."""
    height = len(grey)
    if min(grey.shape) < _TILE:
        return 0, 0
    top, bottom = _plain_rows(grey), _plain_rows(grey[::-1])
    if top + bottom >= height:
        return 0, 0
    return (top, bottom) if top or bottom else _soft_bands(across, down)


def _plain_rows(grey: _Grey) -> int:
    """Rows of one colour from the start, if the picture begins behind them along a straight edge, else 0.

    A thing on plain ground has no such edge; nor has a frame of the picture's own tone, which is not seen.
    """
    first = grey[0]
    if int(first.max()) - int(first.min()) > _PLAIN_RANGE:
        return 0  # nearly every photograph ends here
    values, colour = grey.astype(np.float32), float(first.mean())
    plain = (values.std(axis=1) <= _PLAIN) & (np.abs(values.mean(axis=1) - colour) <= _PLAIN)
    n = int(np.argmin(plain))  # of a picture that is plain all over: 0
    if n < 2 or n + 2 >= len(values):
        return 0
    side = values.shape[1] // 8  # the frame's own sides may stand there
    behind = np.abs(values[n + 1 : n + 2 + len(values) // 128, side : values.shape[1] - side] - colour).max(axis=0)
    straight = _STRAIGHT if min(grey.shape) >= _SMALL else _STRAIGHT_SMALL
    return n if float((behind > _STEP).mean()) >= straight else 0


def _soft_bands(across: _Grey, down: _Grey) -> tuple[int, int]:
    """Two bands of about one height, each with little detail beside the picture and a straight edge to it.

    This is how a blurred or graded filling of the frame looks. A sky or a floor has no partner of its height.
    """
    some = down[:, ::4] > _JUMP  # one column in four tells as much
    jumps = some.sum(axis=1, dtype=np.uint16) / some.shape[1]
    reach = len(jumps) * 2 // 5
    top, bottom = int(np.argmax(jumps[:reach])), int(np.argmax(jumps[::-1][:reach]))
    least = min(jumps[top], jumps[::-1][bottom])
    if least < _STRAIGHT or min(top, bottom) < 3 or abs(top - bottom) > 0.04 * len(jumps):
        return 0, 0
    detail = across.mean(axis=1)
    inside = float(detail[top + 2 : len(detail) - bottom - 2].mean())
    outside = max(float(detail[: top - 1].mean()), float(detail[::-1][: bottom - 1].mean()))
    return (top + 1, bottom + 1) if outside < 0.3 * inside else (0, 0)
