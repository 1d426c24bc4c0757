"""Dishes: meals on plates, in bowls and on boards."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import ImageDraw

from mirada.testing.paint import (
    F32,
    Canvas,
    Patch,
    Rng,
    blob,
    ellipse,
    f32,
    grain,
    ink,
    lump,
    polygon,
    rgb,
    soften,
    vary,
)

GREEN, RED, CREAM, BROWN = rgb(86, 136, 48), rgb(196, 44, 34), rgb(238, 222, 180), rgb(120, 72, 40)
GOLD, WHITE, ORANGE, PINK = rgb(222, 168, 70), rgb(240, 238, 232), rgb(226, 124, 50), rgb(228, 140, 130)
Dish = tuple[float, float, float, float]  # centre x, y, radius, squash


def spots(rng: Rng, dish: Dish, n: int, *, spread: float = 0.9) -> list[tuple[float, float]]:
    """`n` places on the dish, far ones first, so that near things cover them."""
    cx, cy, radius, squash = dish
    rho, phi = radius * spread * np.sqrt(rng.random(n)), rng.uniform(0, 6.283, n)
    places = [(cx + r * np.cos(p), cy + squash * r * np.sin(p)) for r, p in zip(rho, phi, strict=True)]
    return sorted(((float(x), float(y)) for x, y in places), key=lambda place: place[1])


def lumps(canvas: Canvas, rng: Rng, dish: Dish, colour: F32, *, n: int, size: float, gloss: float = 0.15) -> None:
    """A heap of `n` like pieces; `size` in radii of the dish."""
    radius, squash = dish[2], max(0.55, dish[3])
    for x, y in spots(rng, dish, n):
        r = radius * size * rng.uniform(0.7, 1.25)
        lump(canvas, rng, x, y, r * rng.uniform(0.8, 1.3), r * squash, vary(rng, colour, 0.09), gloss=gloss)


def disc(canvas: Canvas, rng: Rng, dish: Dish, colour: F32, *, texture: float = 0.08, cell: float = 0.2) -> None:
    """A flat round of something: sauce, soup, dough."""
    cx, cy, radius, squash = dish
    patch = blob(rng, cx, cy, radius, radius * squash, rough=0.03)
    light = 1 + texture * grain(rng, patch.alpha.shape, max(3.0, radius * cell))
    canvas.paint(patch, colour * light[..., None])


def strands(canvas: Canvas, rng: Rng, dish: Dish, colour: F32, *, n: int, width: float) -> None:
    """Curved strands over the dish: spaghetti, noodles, shredded leaves."""
    cx, cy, radius, squash = dish
    box = (cx - radius, cy - radius * squash, cx + radius, cy + radius * squash)

    def draw(pen: ImageDraw.ImageDraw, scale: int) -> None:
        turn = np.linspace(0, 1, 9)
        for i in range(n):
            start, bend, r = rng.uniform(0, 6.283), rng.uniform(-3.4, 3.4), radius * rng.uniform(0.15, 0.82)
            off = radius * rng.normal(0, 0.16, 2)
            xs = radius + off[0] + r * np.cos(start + bend * turn)
            ys = (radius + off[1] + r * np.sin(start + bend * turn)) * squash
            line = [(float(x) * scale, float(y) * scale) for x, y in zip(xs, ys, strict=True)]
            thick = max(2, int(width * radius * scale))
            tone = (0.72 + 0.36 * i / n) * rng.uniform(0.93, 1.07)
            pen.line(line, fill=ink(colour, tone * 0.66), width=thick + scale, joint="curve")
            pen.line(line, fill=ink(colour, tone), width=thick, joint="curve")

    canvas.sketch(box, draw)


def sticks(canvas: Canvas, rng: Rng, dish: Dish, colour: F32, *, n: int) -> None:
    """Chips, asparagus or other straight pieces in a heap."""
    for x, y in spots(rng, dish, n, spread=0.8):
        length, half, angle = dish[2] * rng.uniform(0.35, 0.6), dish[2] * 0.055, rng.uniform(-1.2, 1.2)
        along = np.array([np.cos(angle), np.sin(angle) * dish[3]]) * length / 2
        side = np.array([-np.sin(angle), np.cos(angle)]) * half
        corners = [along + side, along - side, -along - side, -along + side]
        patch = polygon([(x + float(c[0]), y + float(c[1])) for c in corners])
        canvas.shade(Patch(patch.alpha, patch.x + 2, patch.y + 2), 0.3)
        canvas.paint(patch, vary(rng, colour, 0.12))


def leaves(canvas: Canvas, rng: Rng, dish: Dish, *, n: int, size: float = 0.2) -> None:
    """Green leaves, lying any way."""
    for x, y in spots(rng, dish, n):
        green = vary(rng, GREEN * rng.uniform(0.75, 1.35), 0.1)
        r = dish[2] * size * rng.uniform(0.6, 1.3)
        patch = blob(rng, x, y, r * rng.uniform(0.6, 1.2), r * rng.uniform(0.4, 0.9), rough=0.4)
        canvas.shade(Patch(patch.alpha, patch.x + 2, patch.y + 3), 0.3)
        canvas.paint(patch, green * (1 + 0.2 * grain(rng, patch.alpha.shape, max(3.0, r / 2)))[..., None])


def pasta(canvas: Canvas, rng: Rng, dish: Dish) -> None:
    """Spaghetti with a sauce and herbs."""
    strands(canvas, rng, dish, vary(rng, rgb(232, 196, 112)), n=int(rng.integers(60, 110)), width=0.045)
    cx, cy, r, q = dish
    sauce = (cx, cy - 0.06 * r, r * rng.uniform(0.35, 0.6), q)
    lumps(canvas, rng, sauce, RED * rng.uniform(0.6, 1.0), n=26, size=0.17, gloss=0.25)
    leaves(canvas, rng, (cx, cy - 0.1 * r, r * 0.4, q), n=int(rng.integers(2, 7)), size=0.25)


def salad(canvas: Canvas, rng: Rng, dish: Dish) -> None:
    """Leaves, tomato, onion and something on top."""
    leaves(canvas, rng, dish, n=45, size=0.26)
    lumps(canvas, rng, dish, RED, n=int(rng.integers(4, 10)), size=0.11, gloss=0.4)
    lumps(canvas, rng, dish, rng.choice([CREAM, WHITE, ORANGE, PINK]), n=int(rng.integers(3, 12)), size=0.09)
    leaves(canvas, rng, dish, n=10, size=0.18)


def roast(canvas: Canvas, rng: Rng, dish: Dish) -> None:
    """A piece of meat or fish with two sides."""
    cx, cy, r, q = dish
    side = rng.uniform(-0.4, 0.4) * r
    heap = (cx + 0.42 * r, cy - 0.1 * r * q + side * 0.3, r * 0.45, q)
    match int(rng.integers(3)):
        case 0:
            sticks(canvas, rng, heap, GOLD, n=26)
        case 1:
            lumps(canvas, rng, heap, CREAM, n=34, size=0.17)
        case _:
            lumps(canvas, rng, heap, GREEN * 0.8, n=22, size=0.26)
    meat = rng.choice([BROWN * 0.85, rgb(150, 84, 46), PINK * 0.95, GOLD * 0.95]).astype(np.float32)
    for shift in (0.0, 0.22) if rng.random() < 0.5 else (0.0,):
        lump(canvas, rng, cx - (0.38 - shift) * r, cy + (0.05 + shift) * r * q, 0.4 * r, 0.3 * r * max(q, 0.6), meat)
    leaves(canvas, rng, (cx - 0.1 * r, cy, 0.4 * r, q), n=4, size=0.3)


def pizza(canvas: Canvas, rng: Rng, dish: Dish) -> None:
    """Dough, tomato, cheese and toppings."""
    cx, cy, r, q = dish
    canvas.shade(ellipse(cx, cy + 0.05 * r, r, r * q, edge=0.13 * r), 0.4)
    disc(canvas, rng, dish, rgb(206, 152, 84), texture=0.14)
    disc(canvas, rng, (cx, cy, 0.86 * r, q), RED * 0.9)
    lumps(canvas, rng, (cx, cy, 0.82 * r, q), rgb(240, 214, 132), n=46, size=0.15, gloss=0.1)
    top = rng.choice([rgb(168, 40, 30), rgb(90, 60, 40), GREEN, rgb(50, 46, 44)]).astype(np.float32)
    lumps(canvas, rng, (cx, cy, 0.8 * r, q), top, n=int(rng.integers(8, 20)), size=0.1)
    leaves(canvas, rng, (cx, cy, 0.7 * r, q), n=int(rng.integers(0, 9)), size=0.14)


def soup(canvas: Canvas, rng: Rng, dish: Dish) -> None:
    """A bowl of soup or stew with a garnish."""
    colour = vary(rng, rng.choice([ORANGE, RED * 0.9, GREEN, CREAM, BROWN, GOLD]).astype(np.float32))
    disc(canvas, rng, dish, colour, texture=0.05, cell=0.4)
    canvas.paint(
        ellipse(dish[0] - dish[2] * 0.4, dish[1] - dish[2] * 0.4 * dish[3], dish[2] * 0.2, 6, edge=5), WHITE, 0.4
    )
    lumps(
        canvas,
        rng,
        (dish[0], dish[1], dish[2] * 0.6, dish[3]),
        vary(rng, colour * 0.8),
        n=int(rng.integers(0, 14)),
        size=0.14,
    )
    if rng.random() < 0.5:
        strands(canvas, rng, (dish[0], dish[1], dish[2] * 0.85, dish[3]), CREAM, n=30, width=0.04)
    leaves(canvas, rng, (dish[0], dish[1], dish[2] * 0.5, dish[3]), n=int(rng.integers(2, 9)), size=0.2)


def sushi(canvas: Canvas, rng: Rng, dish: Dish) -> None:
    """Rows of rice pieces with fish on top."""
    cx, cy, r, q = dish
    n_rows = int(rng.integers(2, 4))
    for row in range(n_rows):
        for column in range(4):
            x, y = cx + (column - 1.5) * 0.36 * r + row * 0.05 * r, cy + (row - n_rows / 2 + 0.5) * 0.45 * r * q
            lump(canvas, rng, x, y, 0.16 * r, 0.19 * r * max(q, 0.6), WHITE, gloss=0.0)
            top = rng.choice([ORANGE, PINK, rgb(40, 54, 40), RED * 0.9]).astype(np.float32)
            lump(canvas, rng, x, y - 0.07 * r, 0.15 * r, 0.13 * r * max(q, 0.6), top, gloss=0.3)


def eggs(canvas: Canvas, rng: Rng, dish: Dish) -> None:
    """A breakfast: fried eggs, bacon or sausage, toast."""
    cx, cy, r, q = dish
    lump(canvas, rng, cx + 0.35 * r, cy - 0.2 * r * q, 0.42 * r, 0.36 * r * q, rgb(190, 134, 74), gloss=0.0)
    for i in range(int(rng.integers(2, 5))):
        lump(canvas, rng, cx + 0.3 * r, cy + (0.1 + 0.17 * i) * r * q, 0.36 * r, 0.08 * r, rgb(150, 66, 48), gloss=0.3)
    for i in range(int(rng.integers(1, 3))):
        x, y = cx - 0.35 * r, cy + (i - 0.4) * 0.5 * r * q
        lump(canvas, rng, x, y, 0.36 * r, 0.3 * r * q, rgb(246, 244, 236), gloss=0.1)
        lump(canvas, rng, x, y - 0.03 * r, 0.14 * r, 0.13 * r * q, rgb(240, 176, 40), gloss=0.35)
    leaves(canvas, rng, (cx, cy, 0.8 * r, q), n=4, size=0.15)


def layers(canvas: Canvas, rng: Rng, dish: Dish) -> None:
    """Something stacked: a burger or a slice of cake, seen from the side of the plate."""
    cx, cy, r, q = dish
    burger = rng.random() < 0.6
    stack = [rgb(206, 146, 76), BROWN * 0.7, rgb(240, 190, 60), RED, GREEN * 1.2, rgb(214, 150, 78)]
    if not burger:
        cake = vary(rng, rng.choice([BROWN * 0.7, CREAM, PINK, GOLD]).astype(np.float32), 0.1)
        stack = [cake, WHITE, cake, WHITE, cake, rng.choice([WHITE, BROWN * 0.5, PINK]).astype(np.float32)]
    width, step = 0.44 * r, 0.13 * r
    for i, colour in enumerate(stack):
        tall = (0.2 if i == len(stack) - 1 else 0.12) * r
        wide = width * (1.12 if burger and i in (2, 4) else rng.uniform(0.96, 1.03))
        lump(canvas, rng, cx, cy - i * step, wide, tall, vary(rng, colour), gloss=0.12)
    if burger:
        sticks(canvas, rng, (cx + 0.6 * r, cy + 0.1 * r * q, 0.4 * r, q), GOLD, n=14)
    else:
        lumps(canvas, rng, (cx, cy - 5.6 * step, 0.3 * r, q), RED, n=3, size=0.3, gloss=0.4)


DISHES: tuple[Callable[[Canvas, Rng, Dish], None], ...] = (pasta, salad, roast, pizza, soup, sushi, eggs, layers)


# Light on a plate by distance from its centre: well, inner edge, rim, outer edge.
_PLATE_AT = (0.0, 0.66, 0.70, 0.74, 0.76, 0.94, 0.97, 1.0, 1.3)
_PLATE_LIGHT = (0.97, 0.95, 0.86, 0.9, 0.99, 1.0, 0.96, 0.82, 0.8)
_PLATE = np.interp(np.linspace(0, 1.3, 261), _PLATE_AT, _PLATE_LIGHT).astype(np.float32)


def plate(canvas: Canvas, dish: Dish, colour: F32) -> None:
    """An empty plate with its shadow, rim and well."""
    cx, cy, r, q = dish
    canvas.shade(ellipse(cx + 0.05 * r, cy + 0.09 * r, r * 1.01, r * q, edge=0.18 * r), 0.55)
    canvas.paint(ellipse(cx, cy + 0.025 * r, r, r * q), colour * 0.8)
    patch = ellipse(cx, cy, r, r * q)
    xs, ys = patch.grid()
    dx, dy = (xs - cx) / r, (ys - cy) / (r * q)
    ring = np.minimum(np.sqrt(dx * dx + dy * dy) * 200, 260).astype(np.int32)
    canvas.paint(patch, colour * f32(_PLATE[ring] * (1 - 0.06 * (dx + dy)))[..., None])


def board(canvas: Canvas, rng: Rng, dish: Dish) -> None:
    """A wooden board or slate in place of a plate."""
    cx, cy, r, q = dish
    tilt = rng.uniform(-0.2, 0.2) * r
    corners = [(cx - 1.15 * r, cy - 0.8 * r * q + tilt), (cx + 1.15 * r, cy - 0.8 * r * q - tilt)]
    corners += [(cx + 1.2 * r, cy + 0.85 * r * q - tilt), (cx - 1.2 * r, cy + 0.85 * r * q + tilt)]
    patch = polygon(corners)
    canvas.shade(soften(Patch(patch.alpha, patch.x + 4, patch.y + 8), 0.05 * r), 0.55)
    colour = vary(rng, rng.choice([rgb(176, 124, 76), rgb(58, 58, 62), rgb(120, 78, 48)]).astype(np.float32))
    canvas.paint(patch, colour * (1 + 0.08 * grain(rng, patch.alpha.shape, r / 3))[..., None])


def cutlery(canvas: Canvas, rng: Rng, x: float, y: float, length: float) -> None:
    """A fork or knife lying beside the plate."""
    tilt, steel = rng.uniform(-0.25, 0.25), vary(rng, rgb(196, 196, 200))
    dx, dy, half = float(np.sin(tilt)) * length, float(np.cos(tilt)) * length, length * 0.022
    for shift, tone in ((3.0, 0.0), (0.0, 1.0)):
        handle = polygon([(x - half, y), (x + half, y), (x + dx + half * 1.6, y + dy), (x + dx - half * 1.6, y + dy)])
        head = ellipse(x - dx * 0.06, y - length * 0.04, half * 2.6, length * 0.14)
        for patch in (handle, head):
            if tone:
                canvas.paint(patch, steel)
            else:
                canvas.shade(Patch(patch.alpha, patch.x + int(shift), patch.y + int(shift)), 0.35)


def serve(canvas: Canvas, rng: Rng, dish: Dish) -> None:
    """A dish with a meal on it."""
    cx, cy, r, q = dish
    meal = DISHES[int(rng.integers(len(DISHES)))]
    on_board = meal in (pizza, sushi, layers) and rng.random() < 0.5
    colour = vary(rng, rng.choice([WHITE, WHITE, WHITE, rgb(60, 66, 74), rgb(150, 176, 186), CREAM]).astype(np.float32))
    if on_board:
        board(canvas, rng, dish)
    else:
        plate(canvas, dish, colour)
    meal(canvas, rng, (cx, cy, r * (0.9 if meal is pizza else 0.84 if meal in (soup, pasta) else 0.98), q))
