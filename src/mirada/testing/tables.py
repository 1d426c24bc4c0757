"""Scenes at the table: food and drinks, with something of each other in them."""

from __future__ import annotations

import numpy as np

from mirada.testing.dishes import cutlery, serve
from mirada.testing.paint import Canvas, Rng
from mirada.testing.surfaces import TABLES, any_of, far_room, ground, table_view
from mirada.testing.vessels import VESSELS, cup


def food_scene(rng: Rng, h: int, w: int) -> Canvas:
    """One dish, or a main dish and parts of others, from above or from the seat."""
    squash = float(rng.choice([rng.uniform(0.45, 0.7), rng.uniform(0.7, 0.9), 1.0]))
    canvas = table_view(rng, h, w, squash)
    radius = canvas.unit * rng.uniform(0.32, 0.62)
    cx, cy = w * rng.uniform(0.38, 0.62), h * rng.uniform(0.45, 0.6)
    if rng.random() < 0.55:
        angle = rng.uniform(3.5, 6.0)
        far = (cx + 2.0 * radius * np.cos(angle), cy + 1.9 * radius * squash * np.sin(angle), radius * 0.8, squash)
        serve(canvas, rng, far)
        if squash < 0.9:
            canvas.blur(canvas.unit * 0.008)
    if rng.random() < 0.4:
        cutlery(canvas, rng, cx + radius * 1.2, cy - radius * 0.5 * squash, radius * 1.2)
    if rng.random() < 0.25:
        corner = (cx + rng.choice([-1.2, 1.2]) * radius, cy - radius * squash * 0.7, radius * 0.9)
        if squash > 0.8:
            cup(canvas, rng, corner, squash)
        else:
            VESSELS[int(rng.integers(len(VESSELS)))](canvas, rng, corner, squash * 0.6)
    serve(canvas, rng, (cx, cy, radius, squash))
    return canvas


def coffee_scene(rng: Rng, h: int, w: int) -> Canvas:
    """Cups on a table, as plates are, sometimes beside a plate of food."""
    squash = float(rng.choice([rng.uniform(0.5, 0.75), rng.uniform(0.8, 0.9), 1.0]))
    canvas = table_view(rng, h, w, squash)
    height = canvas.unit * rng.uniform(0.45, 0.75)
    x, y = w * rng.uniform(0.35, 0.65), h * rng.uniform(0.62, 0.78)
    if rng.random() < 0.4:
        serve(
            canvas,
            rng,
            (x + rng.choice([-1, 1]) * height * 1.2, y - height * rng.uniform(0.5, 0.9), height * 0.7, squash),
        )
    elif rng.random() < 0.4:
        cup(canvas, rng, (x - height * 1.1, y - height * 0.5, height * 0.8), squash)
    cup(canvas, rng, (x, y, height), squash)
    return canvas


def glass_scene(rng: Rng, h: int, w: int) -> Canvas:
    """Glasses seen from the side, the room behind them out of focus."""
    canvas = far_room(rng, h, w)
    edge = int(h * rng.uniform(0.5, 0.72))
    repeat, angle, tile = rng.uniform(0.5, 1.0), rng.uniform(0, 6.3), any_of(rng, TABLES)
    top = ground(h, w, horizon=edge - h * 0.35, repeat=repeat, angle=angle, tile=tile, start=edge)
    canvas.pixels[edge:] = top * rng.uniform(0.6, 1.05)
    squash = rng.uniform(0.1, 0.3)
    n_back = int(rng.integers(0, 4))
    for _ in range(n_back):
        vessel = VESSELS[int(rng.integers(len(VESSELS)))]
        vessel(canvas, rng, (rng.uniform(0, w), edge + h * 0.05, h * rng.uniform(0.3, 0.5)), squash)
    if rng.random() < 0.3:
        serve(canvas, rng, (rng.uniform(0, w), edge + 0.1 * h, 0.22 * h, 0.28))
    canvas.blur(canvas.unit * rng.uniform(0.006, 0.014))
    kind = VESSELS[int(rng.integers(len(VESSELS)))]
    n = int(rng.choice([1, 1, 1, 2, 2, 3]))
    for i in range(n):
        x = w * (0.5 + (i - (n - 1) / 2) * rng.uniform(0.24, 0.34)) + rng.uniform(-0.06, 0.06) * w
        kind(canvas, rng, (x, h * rng.uniform(0.86, 0.95), h * rng.uniform(0.58, 0.8)), squash)
    return canvas


def drink_scene(rng: Rng, h: int, w: int) -> Canvas:
    """A cup on a table or glasses at a bar."""
    return coffee_scene(rng, h, w) if rng.random() < 0.35 else glass_scene(rng, h, w)
