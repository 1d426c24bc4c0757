"""Scenes of restaurants seen from the street."""

from __future__ import annotations

import numpy as np
from PIL import ImageDraw

from mirada.testing.paint import F32, Canvas, Rng, blob, ellipse, f32, font, ink, noise, polygon, rgb, soften, vary
from mirada.testing.rooms import WARM, face, person, quad, table, window
from mirada.testing.surfaces import CLOTHS, FACADES, FLOORS, STONES, WALLS, WOODS, any_of, ground, pick

SKIES = (rgb(120, 170, 220), rgb(176, 196, 214), rgb(206, 208, 210), rgb(240, 180, 130), rgb(40, 50, 84))
LEAF = rgb(70, 104, 52)


def sign(canvas: Canvas, rng: Rng, x0: float, y0: float, x1: float, y1: float) -> None:
    """A board above the door with strokes that look like letters."""
    ground_colour = pick(rng, CLOTHS + WALLS) * 0.8
    quad(canvas, x0, y0, x1, y1, ground_colour)
    letters = rgb(246, 238, 214) if ground_colour.mean() < 0.5 else rgb(40, 30, 30)

    def draw(pen: ImageDraw.ImageDraw, scale: int) -> None:
        tall = (y1 - y0) * 0.6 * scale
        text = "".join(rng.choice(list("AEIOURSTLNCMDPB"), int(rng.integers(4, 9))))
        pen.text(
            ((x1 - x0) * scale / 2, (y1 - y0) * scale / 2), text, font=font(int(tall)), fill=ink(letters), anchor="mm"
        )

    canvas.sketch((x0, y0, x1, y1), draw)


def awning(canvas: Canvas, rng: Rng, x0: float, x1: float, y: float, drop: float) -> None:
    """A striped or plain awning over windows and door."""
    colour, other = pick(rng, CLOTHS), rgb(240, 236, 226)
    n = int(rng.integers(7, 15))
    for i in range(n):
        left, right = x0 + (x1 - x0) * i / n, x0 + (x1 - x0) * (i + 1) / n
        wide_left, wide_right = left + (left - (x0 + x1) / 2) * 0.08, right + (right - (x0 + x1) / 2) * 0.08
        canvas.paint(
            polygon([(left, y), (right, y), (wide_right, y + drop), (wide_left, y + drop)]), other if i % 2 else colour
        )
    shadow = polygon([(x0, y + drop), (x1, y + drop), (x1, y + drop * 2), (x0, y + drop * 2)])
    canvas.shade(soften(shadow, drop * 0.25), 0.45)


def tree(canvas: Canvas, rng: Rng, x: float, y: float, size: float) -> None:
    """A tree or a potted plant."""
    quad(canvas, x - size * 0.05, y - size * 0.8, x + size * 0.05, y, rgb(84, 62, 44))
    for _ in range(14):
        dx, dy, r = rng.normal(0, 0.2) * size, rng.normal(0, 0.18) * size, size * rng.uniform(0.1, 0.22)
        canvas.paint(blob(rng, x + dx, y - size + dy, r, r, rough=0.3), vary(rng, LEAF * (1 - dy / size), 0.14))


def car(canvas: Canvas, rng: Rng, x: float, y: float, size: float) -> None:
    """A parked car."""
    colour = pick(rng, CLOTHS + STONES)
    canvas.shade(ellipse(x, y, size, size * 0.1, edge=0.1 * size), 0.6)
    canvas.paint(
        polygon(
            [
                (x - 0.5 * size, y - 0.36 * size),
                (x - 0.3 * size, y - 0.6 * size),
                (x + 0.3 * size, y - 0.6 * size),
                (x + 0.55 * size, y - 0.36 * size),
            ]
        ),
        rgb(60, 72, 84),
    )
    canvas.paint(blob(rng, x, y - 0.24 * size, 0.95 * size, 0.17 * size, rough=0.04), colour)
    for wheel in (-0.55, 0.55):
        canvas.paint(ellipse(x + wheel * size, y - 0.1 * size, 0.16 * size, 0.16 * size), rgb(28, 28, 30))
        canvas.paint(ellipse(x + wheel * size, y - 0.1 * size, 0.08 * size, 0.08 * size), rgb(150, 150, 154))


def sky(rng: Rng, h: int, w: int, colour: F32) -> F32:
    """A sky (h, w, 3) with clouds, lighter towards the horizon."""
    low = 0.75 + 0.35 * np.linspace(0, 1, h, dtype=np.float32)[:, None]
    clouds = np.clip(noise(rng, (h, w), cell=w / 3, octaves=4) * 0.5, 0, 1)[..., None]
    base = colour * low[..., None]
    return f32(base + clouds * 0.6 * (rgb(250, 246, 240) * colour.mean() * 1.3 - base))


def outside_scene(rng: Rng, h: int, w: int) -> Canvas:
    """The front of a restaurant, with the street and the sky."""
    colour = pick(rng, SKIES)
    night = colour.mean() < 0.35
    canvas = Canvas(sky(rng, h, w, colour))
    street = h * rng.uniform(0.68, 0.82)
    roof = h * rng.uniform(-0.2, 0.3)
    x0, x1 = w * rng.uniform(-0.3, 0.15), w * rng.uniform(0.85, 1.3)
    for side in (x0 - w * 0.2, x1):
        if rng.random() < 0.7:
            height = h * rng.uniform(0.1, 0.45)
            face(
                canvas,
                [(side, height), (side + w * 0.25, height), (side + w * 0.25, street), (side, street)],
                any_of(rng, FACADES),
                2.0,
                0.75,
            )
    lean = h * rng.uniform(-0.08, 0.08)
    face(
        canvas,
        [(x0, roof + lean), (x1, roof - lean), (x1, street), (x0, street)],
        any_of(rng, FACADES),
        rng.uniform(1.2, 2.5),
        0.95,
    )
    lit = WARM * 0.95 if night or rng.random() < 0.3 else rgb(70, 84, 96)
    front(canvas, rng, (x0, max(roof, -0.05 * h), x1, street), lit)
    low = int(street)
    stones = ground(h, w, horizon=street - 0.12 * h, repeat=0.4, angle=0.0, tile=any_of(rng, FLOORS), start=low)
    canvas.pixels[low:] = (0.2 + 0.6 * stones.mean(axis=2, keepdims=True)) * rgb(236, 230, 222)
    if night:
        canvas.pixels *= f32([0.66, 0.62, 0.68])
        for _ in range(4):
            canvas.glow(rng.uniform(x0, x1), street - rng.uniform(0.05, 0.4) * h, h * 0.22, WARM * 0.4)
    terrace(canvas, rng, street)
    return canvas


def front(canvas: Canvas, rng: Rng, box: tuple[float, float, float, float], lit: F32) -> None:
    """Door, windows, sign and awning of the ground floor, windows above."""
    x0, y0, x1, street = box
    tall = canvas.h * rng.uniform(0.26, 0.36)
    y = street - tall
    n = int(rng.integers(3, 5))
    door = int(rng.integers(n))
    for i in range(n):
        left, right = x0 + (x1 - x0) * (i + 0.14) / n, x0 + (x1 - x0) * (i + 0.86) / n
        if i == door:
            middle, half = (left + right) / 2, min(right - left, tall * 0.55) / 2
            quad(canvas, middle - half - 4, y - 4, middle + half + 4, street, pick(rng, STONES))
            quad(canvas, middle - half, y, middle + half, street, pick(rng, CLOTHS + WOODS) * 0.7)
            quad(canvas, middle - half * 0.6, y + tall * 0.1, middle + half * 0.6, y + tall * 0.6, lit)
        else:
            window(canvas, rng, left, y, right, street - tall * 0.25, lit)
        if y0 < y - canvas.h * 0.3:
            window(canvas, rng, left + 8, y - canvas.h * 0.36, right - 8, y - canvas.h * 0.2, rgb(80, 92, 104))
    if rng.random() < 0.75:
        awning(canvas, rng, x0 + (x1 - x0) * 0.05, x1 - (x1 - x0) * 0.05, y - tall * 0.12, tall * 0.24)
    if rng.random() < 0.8:
        middle, half = x0 + (x1 - x0) * rng.uniform(0.35, 0.65), canvas.w * rng.uniform(0.14, 0.3)
        sign(canvas, rng, middle - half, y - tall * 0.5, middle + half, y - tall * 0.18)


def terrace(canvas: Canvas, rng: Rng, street: float) -> None:
    """What stands on the pavement: tables, people, trees, a car."""
    h, w = canvas.h, canvas.w
    if rng.random() < 0.45:
        tree(canvas, rng, w * rng.uniform(0, 1), street + 0.04 * h, h * rng.uniform(0.25, 0.7))
    if rng.random() < 0.4:
        top, seat = pick(rng, WOODS), pick(rng, WOODS + CLOTHS)
        for x in rng.uniform(0, w, int(rng.integers(1, 4))):
            table(canvas, rng, float(x), street + rng.uniform(0.1, 0.2) * h, canvas.unit * 0.11, top, seat)
    for x in rng.uniform(0, w, int(rng.integers(0, 4))):
        person(canvas, rng, float(x), street + rng.uniform(0.03, 0.15) * h, h * 0.3)
    if rng.random() < 0.3:
        car(canvas, rng, w * rng.uniform(0, 1), h * 0.97, w * rng.uniform(0.25, 0.4))
