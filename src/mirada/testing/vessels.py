"""Vessels: glasses, cups and bottles with drinks in them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mirada.testing.dishes import plate
from mirada.testing.paint import (
    F32,
    Canvas,
    Points,
    Rng,
    blob,
    ellipse,
    f32,
    grain,
    lump,
    polygon,
    revolve,
    rgb,
    ring,
    soften,
    vary,
)
from mirada.testing.surfaces import pick

LIQUIDS = (
    rgb(120, 18, 34),
    rgb(232, 206, 120),
    rgb(226, 140, 30),
    rgb(70, 36, 22),
    rgb(236, 120, 90),
    rgb(120, 180, 90),
    rgb(200, 60, 110),
)
BEERS = (rgb(230, 166, 40), rgb(196, 110, 30), rgb(60, 32, 20))
FOAM, GLASS, CHINA = rgb(248, 240, 222), rgb(214, 226, 230), rgb(242, 240, 234)
Place = tuple[float, float, float]  # x of the axis, y of the foot, height


def body(
    canvas: Canvas, place: Place, profile: Points, colour: F32, *, part: tuple[float, float], solid: float
) -> None:
    """A turned body between two fractions of the height; `solid` is how little shines through."""
    x, foot, height = place
    top, bottom = foot - height * (1 - part[0]), foot - height * (1 - part[1])
    local = [((at - part[0]) / (part[1] - part[0]), width) for at, width in profile]
    patch, across = revolve(x, top, bottom - top, local)
    light = 0.95 - 0.3 * across * across - 0.16 * across + 0.3 * np.exp(-40 * (across + 0.55) ** 2)
    opacity = f32(np.clip(solid + 0.45 * across**6, 0, 1))
    canvas.paint(patch, f32(colour * light[..., None]), opacity)


def rim(canvas: Canvas, x: float, y: float, half: float, squash: float, colour: F32) -> None:
    """The open top of a glass: a thin ellipse."""
    canvas.paint(ring(x, y, half, max(half * squash, 2.5), thick=1.6, inside=0.15), colour, 0.75)


def shine(canvas: Canvas, place: Place, half: float, part: tuple[float, float]) -> None:
    """The reflection of a window along the left side."""
    x, foot, height = place
    y0, y1 = foot - height * (1 - part[0]), foot - height * (1 - part[1])
    strip = polygon([(x - half * 0.72, y0), (x - half * 0.55, y0), (x - half * 0.52, y1), (x - half * 0.66, y1)])
    canvas.paint(soften(strip, 1.5), GLASS * 1.1, 0.55)


def under(canvas: Canvas, place: Place, half: float, squash: float) -> None:
    """The shadow and the faint mirror image on the table."""
    x, foot, height = place
    flat = max(3.0, half * squash * 1.3)
    canvas.shade(ellipse(x + 0.12 * height, foot + 2, half * 1.35, flat, edge=max(4.0, 0.8 * flat)), 0.5)


def wine(canvas: Canvas, rng: Rng, place: Place, squash: float) -> None:
    """A stemmed glass."""
    x, foot, height = place
    half = height * rng.uniform(0.17, 0.23)
    bowl: Points = [
        (0.0, half * 0.78),
        (0.2, half * 0.98),
        (0.32, half),
        (0.45, half * 0.78),
        (0.54, half * 0.2),
        (0.57, half * 0.07),
    ]
    whole = [*bowl, (0.93, half * 0.07), (1.0, half * 0.3)]
    under(canvas, place, half * 0.8, squash)
    canvas.paint(ellipse(x, foot - half * 0.75 * squash * 0.4, half * 0.78, half * 0.78 * squash), GLASS, 0.45)
    level = rng.uniform(0.16, 0.34)
    body(canvas, place, bowl, pick(rng, LIQUIDS[:3]), part=(level, 0.56), solid=0.88)
    body(canvas, place, whole, GLASS, part=(0.0, 1.0), solid=0.12)
    wide = float(np.interp(level, [p[0] for p in bowl], [p[1] for p in bowl]))
    rim(canvas, x, foot - height * (1 - level), wide, squash, GLASS * 0.8)
    rim(canvas, x, foot - height, half * 0.78, squash, GLASS)
    shine(canvas, place, half, (0.08, 0.4))


def tumbler(canvas: Canvas, rng: Rng, place: Place, squash: float) -> None:
    """A straight glass with ice, perhaps a slice and a straw."""
    x, foot, height = place
    half = height * rng.uniform(0.22, 0.4)
    taper = rng.uniform(0.72, 0.95)
    shape: Points = [(0.0, half), (1.0, half * taper)]
    under(canvas, place, half, squash)
    canvas.paint(ellipse(x, foot - 1, half * taper, half * taper * squash * 0.6), GLASS, 0.5)
    liquid, level = pick(rng, LIQUIDS), rng.uniform(0.1, 0.35)
    body(canvas, place, shape, liquid, part=(level, 0.96), solid=rng.uniform(0.6, 0.95))
    top = foot - height * (1 - level)
    canvas.paint(ellipse(x, top, half * 0.97, half * squash), np.minimum(liquid * 1.2, 1))
    for _ in range(int(rng.integers(0, 6))):
        lump(
            canvas,
            rng,
            x + rng.uniform(-0.6, 0.6) * half,
            top + rng.uniform(-0.1, 0.25) * height,
            half * 0.3,
            half * 0.26,
            GLASS,
            gloss=0.5,
        )
    if rng.random() < 0.5:
        lean = rng.uniform(-0.5, 0.9) * half
        straw = polygon(
            [
                (x - 3, top + 0.3 * height),
                (x + 3, top + 0.3 * height),
                (x + lean + 4, foot - height * 1.3),
                (x + lean - 4, foot - height * 1.3),
            ]
        )
        canvas.paint(straw, pick(rng, (rgb(220, 40, 50), rgb(40, 40, 44), rgb(240, 240, 230))))
    body(canvas, place, shape, GLASS, part=(0.0, 1.0), solid=0.14)
    rim(canvas, x, foot - height, half, squash, GLASS)
    if rng.random() < 0.5:
        fruit = pick(rng, (rgb(240, 200, 60), rgb(240, 150, 40), rgb(120, 180, 60)))
        lump(canvas, rng, x + half * 0.95, foot - height, half * 0.4, half * 0.4, fruit, gloss=0.2)
        canvas.paint(ellipse(x + half * 0.95, foot - height, half * 0.28, half * 0.28), np.minimum(fruit * 1.3, 1), 0.6)
    shine(canvas, place, half, (0.12, 0.85))


def beer(canvas: Canvas, rng: Rng, place: Place, squash: float) -> None:
    """A glass or mug of beer with its head."""
    x, foot, height = place
    half = height * rng.uniform(0.2, 0.28)
    shape: Points = [(0.0, half), (0.25, half * 0.98), (0.85, half * rng.uniform(0.65, 0.95)), (1.0, half * 0.75)]
    under(canvas, place, half, squash)
    if rng.random() < 0.4:
        handle = ring(x + half * 1.1, foot - height * 0.5, half * 0.55, height * 0.26, thick=half * 0.2)
        canvas.paint(handle, GLASS * 0.9, 0.7)
    body(canvas, place, shape, pick(rng, BEERS), part=(0.1, 0.95), solid=0.95)
    body(canvas, place, shape, GLASS, part=(0.0, 1.0), solid=0.08)
    head = foot - height * 0.98
    body(canvas, place, shape, FOAM, part=(0.02, rng.uniform(0.14, 0.26)), solid=1.0)
    top = blob(rng, x, head, half * 1.02, max(half * squash, half * 0.18), rough=0.05)
    canvas.paint(top, FOAM * (0.98 + 0.03 * grain(rng, top.alpha.shape, 5))[..., None])
    shine(canvas, place, half, (0.25, 0.85))


def cocktail(canvas: Canvas, rng: Rng, place: Place, squash: float) -> None:
    """A wide conical glass."""
    x, foot, height = place
    half = height * rng.uniform(0.3, 0.4)
    cone: Points = [(0.0, half), (0.46, half * 0.06)]
    under(canvas, place, half * 0.6, squash)
    canvas.paint(ellipse(x, foot - 2, half * 0.55, half * 0.55 * squash), GLASS, 0.5)
    liquid = pick(rng, LIQUIDS)
    body(canvas, place, [(0.0, half), (0.46, half * 0.06)], liquid, part=(0.07, 0.46), solid=0.85)
    body(canvas, place, [*cone, (0.95, half * 0.05), (1.0, half * 0.3)], GLASS, part=(0.0, 1.0), solid=0.14)
    canvas.paint(ellipse(x, foot - height * 0.93, half * 0.86, half * 0.86 * squash), np.minimum(liquid * 1.25, 1))
    rim(canvas, x, foot - height, half, squash, GLASS)
    lump(
        canvas,
        rng,
        x + half * rng.uniform(-0.7, 0.7),
        foot - height,
        half * 0.2,
        half * 0.2,
        pick(rng, LIQUIDS[1:]),
        gloss=0.3,
    )


def bottle(canvas: Canvas, rng: Rng, place: Place, squash: float) -> None:
    """A bottle with a label."""
    half = place[2] * rng.uniform(0.12, 0.16)
    shape: Points = [(0.0, half * 0.36), (0.28, half * 0.36), (0.42, half), (1.0, half)]
    under(canvas, place, half, squash)
    glass = pick(rng, (rgb(34, 66, 40), rgb(90, 50, 22), rgb(30, 34, 40), rgb(190, 210, 206)))
    body(canvas, place, shape, glass, part=(0.0, 1.0), solid=0.93)
    body(
        canvas,
        place,
        [(0.5, half * 0.99), (0.8, half * 0.99)],
        pick(rng, (CHINA, rgb(180, 40, 40), rgb(220, 190, 120))),
        part=(0.5, 0.8),
        solid=1.0,
    )
    body(canvas, place, [(0.0, half * 0.42), (0.1, half * 0.42)], pick(rng, LIQUIDS), part=(0.0, 0.1), solid=1.0)
    shine(canvas, place, half, (0.42, 0.95))


def cup(canvas: Canvas, rng: Rng, place: Place, squash: float) -> None:
    """A cup on its saucer, seen from the seat or from above."""
    x, foot, height = place
    half, q = height * 0.42, max(squash, 0.3)
    china = vary(rng, CHINA if rng.random() < 0.7 else pick(rng, LIQUIDS))
    plate(canvas, (x, foot - half * q * 0.5, half * 1.75, q), vary(rng, CHINA))
    tall = half * 1.5 * (1.05 - q)
    y = foot - half * q * 0.6 - tall
    middle = y + tall * 0.45 + half * q * rng.uniform(-0.3, 0.5)
    handle = ring(x + half * 1.05, middle, half * 0.42, half * (0.16 + 0.3 * (1 - q)), thick=half * 0.13)
    canvas.shade(ellipse(x + 4, y + tall + 4, half * 0.75, half * q * 0.75, edge=0.25 * half), 0.45)
    canvas.paint(handle, china * 0.9)
    if tall > 4:
        base = half * 0.55 * q
        curve: Points = [(0.0, half), (0.3, half * 0.97), (0.6, half * 0.85), (0.8, half * 0.68), (0.93, half * 0.45)]
        patch, across = revolve(x, y, tall + base, [*curve, (1.0, half * 0.18)])
        canvas.paint(patch, china * f32(0.95 - 0.25 * across * across - 0.14 * across)[..., None])
    canvas.paint(ellipse(x, y, half, half * q), china)
    coffee = pick(rng, (rgb(92, 52, 28), rgb(60, 32, 18), rgb(176, 124, 76), rgb(130, 90, 30)))
    canvas.paint(ellipse(x, y + half * 0.03, half * 0.88, half * 0.86 * q), coffee)
    if rng.random() < 0.6:
        for k in range(int(rng.integers(1, 4))):
            art = blob(rng, x, y + (k - 1) * half * q * 0.3, half * (0.5 - 0.1 * k), half * q * 0.22, rough=0.2)
            canvas.paint(soften(art, 1.5), FOAM, 0.85)


VESSELS: tuple[Callable[[Canvas, Rng, Place, float], None], ...] = (wine, tumbler, beer, cocktail, bottle, tumbler)
