"""Scenes of dining rooms and bars, and what stands in them."""

from __future__ import annotations

import numpy as np

from mirada.testing.dishes import plate, serve
from mirada.testing.paint import F32, Canvas, Rng, blob, ellipse, grain, polygon, rgb, vary
from mirada.testing.surfaces import (
    CLOTHS,
    FLOORS,
    STONES,
    WALLS,
    WOODS,
    any_of,
    brick,
    flat,
    ground,
    pick,
    plaster,
    wood,
)
from mirada.testing.vessels import VESSELS

SKIES = (rgb(120, 170, 220), rgb(176, 196, 214), rgb(206, 208, 210), rgb(240, 180, 130), rgb(40, 50, 84))
WARM, LEAF = rgb(255, 214, 150), rgb(70, 104, 52)


def face(canvas: Canvas, corners: list[tuple[float, float]], tile: F32, repeat: float, light: float) -> None:
    """A wall or board: a quadrilateral (upper left, upper right, lower right, lower left) with a material."""
    patch = polygon(corners)
    h, w = patch.alpha.shape
    canvas.paint(patch, flat(h, w, repeat=repeat, angle=0.0, tile=tile) * np.float32(light))


def quad(canvas: Canvas, x0: float, y0: float, x1: float, y1: float, colour: F32) -> None:
    """An upright rectangle."""
    canvas.paint(polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]), colour)


def window(canvas: Canvas, rng: Rng, x0: float, y0: float, x1: float, y1: float, view: F32) -> None:
    """A window with its frame and bars; `view` is the light behind it."""
    frame = pick(rng, WOODS + STONES)
    quad(canvas, x0 - 5, y0 - 5, x1 + 5, y1 + 5, frame)
    patch = polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    cloudy = view * (1 + 0.12 * grain(rng, patch.alpha.shape, max(8.0, (x1 - x0) / 2)))[..., None]
    canvas.paint(patch, cloudy.astype(np.float32))
    n = int(rng.integers(1, 4))
    for i in range(1, n):
        x = x0 + (x1 - x0) * i / n
        quad(canvas, x - 2, y0, x + 2, y1, frame)
    if rng.random() < 0.6:
        y = y0 + (y1 - y0) * rng.uniform(0.3, 0.5)
        quad(canvas, x0, y - 2, x1, y + 2, frame)


def lamp(canvas: Canvas, rng: Rng, x: float, y: float, size: float, colour: F32) -> None:
    """A lamp hanging from the ceiling, lit."""
    quad(canvas, x - 1, 0, x + 1, y - size * 0.3, rgb(30, 30, 30))
    if rng.random() < 0.5:
        shade = polygon(
            [
                (x - size * 0.3, y - size * 0.4),
                (x + size * 0.3, y - size * 0.4),
                (x + size, y + size * 0.3),
                (x - size, y + size * 0.3),
            ]
        )
        canvas.paint(shade, colour)
    else:
        canvas.paint(ellipse(x, y, size * 0.8, size * 0.8), WARM)
    canvas.glow(x, y + size * 0.2, size * 4, WARM * 0.5)


def chair(canvas: Canvas, x: float, y: float, size: float, colour: F32, side: float) -> None:
    """A chair beside a table: legs, seat and back; `side` is -1 or 1."""
    dark = colour * 0.7
    for leg in (-0.3, 0.28):
        quad(canvas, x + leg * size, y - 0.42 * size, x + (leg + 0.07) * size, y, dark)
    canvas.paint(ellipse(x, y - 0.44 * size, 0.38 * size, 0.12 * size), colour)
    back = x + side * 0.32 * size
    quad(canvas, back - 0.05 * size, y - 1.05 * size, back + 0.05 * size, y - 0.4 * size, dark)
    quad(canvas, back - side * 0.1 * size - 0.05 * size, y - 1.05 * size, back + 0.05 * size, y - 0.78 * size, colour)


def table(canvas: Canvas, rng: Rng, x: float, y: float, size: float, top: F32, seat: F32) -> None:
    """A laid table with chairs; (x, y) is its foot on the floor."""
    canvas.shade(ellipse(x, y, size * 1.3, size * 0.3, edge=0.25 * size), 0.45)
    chair(canvas, x - size * 1.15, y - 0.05 * size, size * 1.1, seat, -1)
    chair(canvas, x + size * 1.15, y - 0.05 * size, size * 1.1, seat, 1)
    height = size * 0.8
    if rng.random() < 0.35:
        cloth = polygon(
            [
                (x - size, y - height),
                (x + size, y - height),
                (x + size * 1.02, y - height * 0.25),
                (x - size * 1.02, y - height * 0.25),
            ]
        )
        canvas.paint(cloth, top * 0.8)
    else:
        quad(canvas, x - size * 0.07, y - height, x + size * 0.07, y, top * 0.45)
        canvas.paint(ellipse(x, y, size * 0.4, size * 0.09), top * 0.4)
    canvas.paint(ellipse(x, y - height + 3, size, size * 0.27), top * 0.6)
    canvas.paint(ellipse(x, y - height, size, size * 0.27), top)
    for side in (-0.5, 0.5):
        if size > 20 and rng.random() < 0.7:
            plate(canvas, (x + side * size, y - height, size * 0.24, 0.3), rgb(240, 238, 232))
    if size > 24 and rng.random() < 0.6:
        vessel = VESSELS[int(rng.integers(len(VESSELS)))]
        vessel(canvas, rng, (x + rng.uniform(-0.2, 0.2) * size, y - height + 2, size * 0.55), 0.25)


def person(canvas: Canvas, rng: Rng, x: float, y: float, size: float) -> None:
    """A guest, seen as little more than a shape."""
    coat = pick(rng, CLOTHS + WALLS + STONES) * 0.75
    canvas.paint(blob(rng, x, y - 0.45 * size, 0.2 * size, 0.4 * size, rough=0.08), coat)
    quad(canvas, x - 0.13 * size, y - 0.3 * size, x + 0.13 * size, y, coat * 0.6)
    skin = pick(rng, (rgb(224, 180, 150), rgb(150, 100, 70), rgb(96, 62, 44)))
    canvas.paint(ellipse(x, y - 0.92 * size, 0.09 * size, 0.12 * size), skin)
    canvas.paint(ellipse(x, y - 0.97 * size, 0.1 * size, 0.08 * size), rgb(50, 36, 28))


def room(canvas: Canvas, rng: Rng, back: tuple[float, float, float, float]) -> None:
    """Floor, ceiling and walls about the back wall (x0, y0, x1, y1)."""
    h, w = canvas.h, canvas.w
    x0, y0, x1, y1 = back
    walls = plaster(rng) if rng.random() < 0.65 else any_of(rng, (brick, wood))
    vanish = (y0 + y1) / 2 + 0.1 * (y1 - y0)
    floor = ground(
        h,
        w,
        horizon=min(vanish, y1 - 0.06 * h),
        repeat=rng.uniform(0.4, 0.8),
        angle=float(rng.choice([0.0, 0.785, 1.571])),
        tile=any_of(rng, FLOORS),
        start=int(y1),
    )
    canvas.pixels[int(y1) :] = floor * rng.uniform(0.7, 1.0)
    canvas.paint(polygon([(0, 0), (w, 0), (x1, y0), (x0, y0)]), pick(rng, (*STONES, rgb(240, 236, 226))) * 0.85)
    slope = (y1 - y0) * 0.35
    face(canvas, [(-2, -slope), (x0, y0), (x0, y1), (-2, y1 + slope + h * 0.2)], walls, 1.5, 0.72)
    face(canvas, [(x1, y0), (w + 2, -slope), (w + 2, y1 + slope + h * 0.2), (x1, y1)], walls, 1.5, 0.84)
    face(canvas, [(x0, y0), (x1, y0), (x1, y1), (x0, y1)], walls, 1.5, 1.0)


def inside_scene(rng: Rng, h: int, w: int) -> Canvas:
    """A dining room or bar, sometimes with a dish on the nearest table."""
    canvas = Canvas(np.zeros((h, w, 3), np.float32))
    x0, x1 = w * rng.uniform(0.08, 0.3), w * rng.uniform(0.7, 0.92)
    y0, y1 = h * rng.uniform(0.1, 0.24), h * rng.uniform(0.5, 0.62)
    room(canvas, rng, (x0, y0, x1, y1))
    night = rng.random() < 0.35
    view = rgb(40, 46, 70) if night else rgb(226, 236, 244)
    n_windows = int(rng.integers(0, 4))
    for i in range(n_windows):
        left = x0 + (x1 - x0) * (i + 0.2) / n_windows
        window(canvas, rng, left, y0 + 0.2 * (y1 - y0), left + 0.6 * (x1 - x0) / n_windows, y0 + 0.75 * (y1 - y0), view)
        if not night:
            canvas.glow(left, (y0 + y1) / 2, h * 0.3, view * 0.2)
    if n_windows == 0:
        for _ in range(int(rng.integers(1, 6))):
            x, y = rng.uniform(x0, x1 - 20), y0 + rng.uniform(0.1, 0.5) * (y1 - y0)
            quad(canvas, x - 3, y - 3, x + h * 0.1 + 3, y + h * 0.08 + 3, rgb(40, 30, 24))
            quad(canvas, x, y, x + h * 0.1, y + h * 0.08, pick(rng, CLOTHS + SKIES))
    if rng.random() < 0.35:
        bar(canvas, rng, (x0, y0, x1, y1))
    furnish(canvas, rng, y1)
    tint, colour = rng.uniform(0.03, 0.055), pick(rng, CLOTHS + STONES)
    n = int(rng.integers(0, 6))
    for i in range(n):
        lamp(canvas, rng, w * (i + rng.uniform(0.3, 0.7)) / n, h * rng.uniform(0.12, 0.3), canvas.unit * tint, colour)
    if night:
        canvas.pixels *= np.array([0.72, 0.64, 0.56], np.float32)
    if rng.random() < 0.25:
        canvas.blur(canvas.unit * 0.006)
        serve(canvas, rng, (w * rng.uniform(0.2, 0.8), h * 1.0, canvas.unit * 0.2, 0.45))
    return canvas


def bar(canvas: Canvas, rng: Rng, back: tuple[float, float, float, float]) -> None:
    """A counter before the back wall, with shelves of bottles."""
    x0, y0, x1, y1 = back
    for shelf in (0.35, 0.6):
        y = y0 + shelf * (y1 - y0)
        quad(canvas, x0 + 8, y, x1 - 8, y + 4, pick(rng, WOODS) * 0.6)
        for x in np.arange(x0 + 14, x1 - 14, (x1 - x0) / 26):
            tall = (y1 - y0) * rng.uniform(0.1, 0.2)
            quad(canvas, float(x), y - tall, float(x) + (x1 - x0) / 42, y, pick(rng, CLOTHS + WALLS) * 0.8)
    face(
        canvas,
        [(x0 - 10, y1 - 0.2 * (y1 - y0)), (x1 + 10, y1 - 0.2 * (y1 - y0)), (x1 + 10, y1 + 12), (x0 - 10, y1 + 12)],
        wood(rng),
        1.2,
        0.7,
    )
    for _ in range(int(rng.integers(0, 3))):
        person(canvas, rng, rng.uniform(x0, x1), y1 + 10, (y1 - y0) * 0.8)


def furnish(canvas: Canvas, rng: Rng, floor: float) -> None:
    """Tables and guests, far ones first."""
    h, w = canvas.h, canvas.w
    top, seat = pick(rng, WOODS + CLOTHS), pick(rng, WOODS + CLOTHS) * 0.8
    for depth in sorted(rng.uniform(0.12, 1.0, int(rng.integers(3, 8)))):
        y = floor + depth * (h * 1.02 - floor)
        size = canvas.unit * (0.07 + 0.17 * float(depth))
        x = rng.uniform(-0.02, 1.02) * w
        if rng.random() < 0.22:
            person(canvas, rng, x + size, y - size * 0.1, size * 2.4)
        table(canvas, rng, x, y, size, vary(rng, top), vary(rng, seat))
