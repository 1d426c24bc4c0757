"""A small renderer: shapes with soft edges, shading, shadows, depth and grain on a float canvas.

Everything is numpy and Pillow, takes its chance from the `rng` handed in, and works on the box a shape covers, so
that a photograph of 600 × 400 pixels costs some 20 ms. Coordinates are pixels, x to the right, y down.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

F32 = NDArray[np.float32]
Rng = np.random.Generator
Points = Sequence[tuple[float, float]]
SUPER = 2  # shapes are drawn at twice the size and averaged: soft edges


def f32(values: ArrayLike) -> F32:
    """The values as a float32 array."""
    return np.asarray(values, dtype=np.float32)


def rgb(red: float, green: float, blue: float) -> F32:
    """A colour of 0–255 values as float32 (3,) in 0–1."""
    return f32([red / 255, green / 255, blue / 255])


def vary(rng: Rng, colour: F32, amount: float = 0.06) -> F32:
    """The colour, a little lighter or darker and a little off in hue."""
    moved = colour * (1 + rng.normal(0, amount)) + rng.normal(0, amount / 3, 3)
    return f32(np.clip(moved, 0, 1))


def noise(rng: Rng, shape: tuple[int, ...], *, cell: float, octaves: int = 3, wrap: bool = False) -> F32:
    """Smooth noise of `shape` (h, w) about 0, of unit scale; `cell` is the size of the largest spots in pixels.

    `wrap`: the left edge goes on where the right ends, and the top where the bottom does, for tiles.
    """
    height, width = shape
    total = np.zeros((height, width), np.float32)
    strength = 1.0
    for _ in range(octaves):
        rows, columns = int(height / cell) + 1, int(width / cell) + 1
        grid = rng.standard_normal((rows, columns), dtype=np.float32)
        image = Image.fromarray(np.pad(grid, 2, mode="wrap") if wrap else grid)
        box = (2, 2, columns + 2, rows + 2) if wrap else None
        image = image.resize((width, height), Image.Resampling.BICUBIC, box=box)
        total += strength * np.asarray(image)
        strength, cell = strength * 0.55, max(1.0, cell / 2.2)
    return total / np.float32(1.2)


_BANK_SIDE = 768
_BANK_CELLS = (1.0, 3.0, 6.0, 12.0, 24.0, 48.0, 96.0)


@cache
def _bank(index: int) -> F32:
    """Noise of one cell size, made once: (768, 768)."""
    rng = np.random.default_rng([2021, index])
    cell, shape = _BANK_CELLS[index], (_BANK_SIDE, _BANK_SIDE)
    return rng.standard_normal(shape, dtype=np.float32) if cell <= 1 else noise(rng, shape, cell=cell)


def grain(rng: Rng, shape: tuple[int, ...], cell: float) -> F32:
    """Like `noise`, but cut at random out of noise made once: for textures, of which a photograph needs hundreds."""
    h, w = shape
    if max(h, w) > _BANK_SIDE - 64:
        return noise(rng, shape, cell=cell)
    index = min(range(len(_BANK_CELLS)), key=lambda i: abs(_BANK_CELLS[i] - cell))
    y, x, flip = int(rng.integers(_BANK_SIDE - h)), int(rng.integers(_BANK_SIDE - w)), int(rng.integers(4))
    piece = _bank(index)[y : y + h, x : x + w]
    return piece[:: 1 - 2 * (flip & 1), :: 1 - (flip & 2)]


@dataclass(frozen=True, slots=True)
class Patch:
    """A shape: coverage 0–1 (h, w) with its upper left corner at (x, y) of the canvas."""

    alpha: F32
    x: int
    y: int

    def grid(self) -> tuple[F32, F32]:
        """Canvas coordinates of the patch's pixels: x (1, w) and y (h, 1)."""
        h, w = self.alpha.shape
        return (
            np.arange(self.x, self.x + w, dtype=np.float32)[None, :],
            np.arange(self.y, self.y + h, dtype=np.float32)[:, None],
        )


def ellipse(cx: float, cy: float, rx: float, ry: float, *, edge: float = 1.2) -> Patch:
    """A filled ellipse; `edge` is the width in pixels over which it fades."""
    rx, ry = max(rx, 0.8), max(ry, 0.8)
    x0, y0 = int(cx - rx - edge) - 1, int(cy - ry - edge) - 1
    x1, y1 = int(cx + rx + edge) + 2, int(cy + ry + edge) + 2
    dx = (np.arange(x0, x1, dtype=np.float32) - cx)[None, :] / rx
    dy = (np.arange(y0, y1, dtype=np.float32) - cy)[:, None] / ry
    distance = (1 - np.sqrt(dx * dx + dy * dy)) * (min(rx, ry) / edge) + 0.5
    return Patch(f32(np.clip(distance, 0, 1)), x0, y0)


def ring(cx: float, cy: float, rx: float, ry: float, *, thick: float, inside: float = 0.0) -> Patch:
    """The outline of an ellipse, `thick` pixels wide inwards; `inside` is the coverage within."""
    outer = ellipse(cx, cy, rx, ry)
    hole = ellipse(cx, cy, rx - thick, ry - thick)
    alpha = outer.alpha.copy()
    y, x = hole.y - outer.y, hole.x - outer.x
    h, w = hole.alpha.shape
    alpha[y : y + h, x : x + w] *= 1 - (1 - inside) * hole.alpha
    return Patch(alpha, outer.x, outer.y)


def polygon(points: Points) -> Patch:
    """A filled polygon with soft edges."""
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    x0, y0 = int(min(xs)) - 2, int(min(ys)) - 2
    size = (int(max(xs)) + 3 - x0, int(max(ys)) + 3 - y0)
    mask = Image.new("L", (size[0] * SUPER, size[1] * SUPER))
    ImageDraw.Draw(mask).polygon([((x - x0) * SUPER, (y - y0) * SUPER) for x, y in points], fill=255)
    return Patch(f32(np.asarray(mask.reduce(SUPER))) / np.float32(255), x0, y0)


def blob(rng: Rng, cx: float, cy: float, rx: float, ry: float, *, rough: float = 0.15) -> Patch:
    """A closed wobbling outline, filled."""
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    radius = np.ones_like(angle)
    for k in range(2, 6):
        radius += rough / k * 1.6 * rng.normal() * np.cos(k * angle + rng.uniform(0, 6.3))
    xs, ys = cx + rx * radius * np.cos(angle), cy + ry * radius * np.sin(angle)
    return polygon([(float(x), float(y)) for x, y in zip(xs, ys, strict=True)])


def revolve(cx: float, top: float, height: float, profile: Points) -> tuple[Patch, F32]:
    """A turned body seen from the side, such as a glass: its patch, and across it -1 (left edge) to 1 (right).

    `profile` lists (fraction of the height from the top, half width in pixels).
    """
    half = max(width for _, width in profile)
    x0, y0 = int(cx - half) - 2, int(top)
    n_rows, n_columns = max(2, int(height)), int(2 * half) + 5
    at = np.linspace(0, 1, n_rows)
    widths = f32(np.interp(at, [p[0] for p in profile], [p[1] for p in profile]))[:, None]
    dx = f32(np.arange(x0, x0 + n_columns) - cx)[None, :]
    alpha = f32(np.clip(widths - np.abs(dx) + 0.5, 0, 1))
    return Patch(alpha, x0, y0), f32(np.clip(dx / np.maximum(widths, 1), -1, 1))


def soften(patch: Patch, radius: float) -> Patch:
    """The patch blurred, on a box that is large enough for it: a shadow or a glow."""
    pad = int(radius * 2.5) + 1
    alpha = np.pad(patch.alpha, pad)
    image = Image.fromarray((alpha * 255).astype(np.uint8))
    image = _blurred(image, radius, 4 if radius > 7 else 1)
    return Patch(f32(np.asarray(image)) / np.float32(255), patch.x - pad, patch.y - pad)


def _blurred(image: Image.Image, radius: float, step: int) -> Image.Image:
    """A Gaussian blur; made on a copy `step` times smaller, since a wide blur leaves no fine detail."""
    if step == 1:
        return image.filter(ImageFilter.GaussianBlur(radius))
    small = image.reduce(step).filter(ImageFilter.GaussianBlur(radius / step))
    return small.resize(image.size, Image.Resampling.BILINEAR)


class Canvas:
    """The picture so far: `pixels` float32 (h, w, 3), 0–1, in display values."""

    def __init__(self, pixels: F32) -> None:
        self.pixels = np.ascontiguousarray(pixels, dtype=np.float32)
        self.h, self.w = self.pixels.shape[:2]
        self.unit = float(min(self.h, self.w))

    def _clip(self, patch: Patch) -> tuple[slice, slice, slice, slice] | None:
        h, w = patch.alpha.shape
        x0, y0 = max(0, patch.x), max(0, patch.y)
        x1, y1 = min(self.w, patch.x + w), min(self.h, patch.y + h)
        if x0 >= x1 or y0 >= y1:
            return None
        return slice(y0, y1), slice(x0, x1), slice(y0 - patch.y, y1 - patch.y), slice(x0 - patch.x, x1 - patch.x)

    def paint(self, patch: Patch, colour: F32, opacity: float | F32 = 1.0) -> None:
        """Cover the patch with a colour (3,) or a texture (h, w, 3) of the patch's own size."""
        cut = self._clip(patch)
        if cut is None:
            return
        ys, xs, from_ys, from_xs = cut
        alpha = patch.alpha[from_ys, from_xs]
        share = opacity[from_ys, from_xs] if isinstance(opacity, np.ndarray) else opacity
        fill = colour if colour.ndim == 1 else colour[from_ys, from_xs]
        target = self.pixels[ys, xs]
        target += f32(alpha * share)[..., None] * (fill - target)

    def shade(self, patch: Patch, strength: float) -> None:
        """Darken under the patch: 0 leaves as is, 1 is black."""
        cut = self._clip(patch)
        if cut is not None:
            ys, xs, from_ys, from_xs = cut
            self.pixels[ys, xs] *= (1 - strength * patch.alpha[from_ys, from_xs])[..., None]

    def glow(self, cx: float, cy: float, radius: float, colour: F32) -> None:
        """Add light that fades from (cx, cy)."""
        patch = ellipse(cx, cy, radius, radius, edge=radius)
        cut = self._clip(patch)
        if cut is not None:
            ys, xs, from_ys, from_xs = cut
            self.pixels[ys, xs] += (patch.alpha[from_ys, from_xs] ** 2)[..., None] * colour

    def blur(self, radius: float) -> None:
        """Put all that is painted so far out of focus."""
        image = Image.fromarray((np.clip(self.pixels, 0, 1) * 255).astype(np.uint8))
        self.pixels = f32(np.asarray(_blurred(image, radius, 2 if radius > 2 else 1))) / np.float32(255)

    def sketch(self, box: tuple[float, float, float, float], draw: Callable[[ImageDraw.ImageDraw, int], None]) -> None:
        """Let `draw(pen, scale)` draw with Pillow inside `box` (x0, y0, x1, y1); its origin is the box's corner."""
        x0, y0 = int(box[0]), int(box[1])
        size = (max(1, int(box[2]) - x0), max(1, int(box[3]) - y0))
        layer = Image.new("RGBA", (size[0] * SUPER, size[1] * SUPER))
        draw(ImageDraw.Draw(layer), SUPER)
        values = f32(np.asarray(layer.reduce(SUPER))) / np.float32(255)
        # reduce() averages with transparent black: take the colour out of the mixture again.
        alpha = values[..., 3]
        colour = values[..., :3] / np.maximum(alpha, 1e-3)[..., None]
        self.paint(Patch(alpha, x0, y0), np.minimum(colour, 1))


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font at a size in pixels."""
    return ImageFont.load_default(size)


def ink(colour: F32, factor: float = 1.0) -> tuple[int, int, int, int]:
    """A colour for Pillow's pens."""
    red, green, blue = (int(v) for v in np.clip(colour * factor, 0, 1) * 255)
    return red, green, blue, 255


def lump(
    canvas: Canvas, rng: Rng, cx: float, cy: float, rx: float, ry: float, colour: F32, *, gloss: float = 0.15
) -> None:
    """A rounded, uneven solid lit from the upper left, with its shadow: most food is made of these."""
    patch = blob(rng, cx, cy, rx, ry)
    canvas.shade(ellipse(cx + 0.12 * rx + 1, cy + 0.2 * ry + 1, rx, ry, edge=max(2.5, rx * 0.35)), 0.4)
    xs, ys = patch.grid()
    dx, dy = (xs - cx) / rx, (ys - cy) / ry
    light = 1.05 - 0.22 * (dx + 1.3 * dy) - 0.22 * (dx * dx + dy * dy)
    light = light + 0.07 * grain(rng, patch.alpha.shape, rx / 3)
    shine = gloss * np.exp(-6 * ((dx + 0.35) ** 2 + (dy + 0.4) ** 2))
    canvas.paint(patch, f32(colour * light[..., None] + shine[..., None]))


def develop(canvas: Canvas, rng: Rng) -> Image.Image:
    """From the canvas to a photograph: light fall-off, colour cast, exposure, focus, contrast and sensor noise.

    The canvas is used up.
    """
    h, w = canvas.h, canvas.w
    ys, xs = f32(np.linspace(-1, 1, h))[:, None], f32(np.linspace(-1, 1, w))[None, :]
    tilt_x, tilt_y = rng.uniform(-0.16, 0.16, 2)
    fall = f32(1 + tilt_x * xs + tilt_y * ys - rng.uniform(0.02, 0.2) * (xs * xs + ys * ys))
    warm = rng.normal(0, 0.045)
    cast = f32([1 + warm, 1 + rng.normal(0, 0.012), 1 - warm]) * np.float32(255 * rng.uniform(0.86, 1.16))
    # In place throughout: fresh arrays of this size cost more in page faults than the arithmetic does.
    pixels = canvas.pixels
    pixels *= fall[..., None]
    pixels *= cast
    image = Image.fromarray(np.clip(pixels, 0, 255, out=pixels).astype(np.uint8))
    # The lens: each pixel gets a little light of its neighbours, in one photograph of ten a lot.
    side = float(rng.choice([0.02, 0.06, 0.11, 0.2], p=[0.3, 0.35, 0.25, 0.1]))
    kernel = [side * side, side, side * side, side, 1.0, side, side * side, side, side * side]
    image = image.filter(ImageFilter.Kernel((3, 3), kernel)).point(_curve(rng.uniform(0.0, 0.55)) * 3)
    pixels[...] = np.asarray(image)
    pixels += np.float32(rng.uniform(0.8, 4.5)) * grain(rng, (h, w), 1)[..., None]
    for channel in range(3):
        pixels[..., channel] += 1.5 * grain(rng, (h, w), 3)
    return Image.fromarray(np.clip(pixels, 0, 255, out=pixels).astype(np.uint8))


def _curve(contrast: float) -> list[int]:
    """A tone curve for 8-bit values that darkens shadows and lifts lights."""
    level = [i / 255 for i in range(256)]
    return [round(255 * min(1.0, max(0.0, x + contrast * x * (1 - x) * (2 * x - 1)))) for x in level]
