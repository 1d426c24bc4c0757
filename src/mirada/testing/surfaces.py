"""Materials as square tiles, and the planes they lie on: table tops, floors, walls, backgrounds out of focus."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from mirada.testing.paint import F32, Canvas, Rng, f32, noise, rgb, vary

TILE = 256

WOODS = (rgb(150, 98, 58), rgb(188, 138, 88), rgb(104, 66, 42), rgb(72, 48, 36), rgb(206, 170, 124))
CLOTHS = (rgb(190, 40, 44), rgb(40, 84, 150), rgb(60, 120, 76), rgb(230, 226, 214), rgb(214, 160, 60))
WALLS = (
    rgb(222, 206, 178),
    rgb(196, 120, 84),
    rgb(120, 148, 140),
    rgb(214, 214, 208),
    rgb(96, 60, 58),
    rgb(66, 84, 108),
)
STONES = (rgb(208, 204, 198), rgb(60, 62, 68), rgb(150, 146, 140), rgb(232, 230, 226))


def pick(rng: Rng, options: tuple[F32, ...]) -> F32:
    """One of the colours, a little varied."""
    return vary(rng, options[int(rng.integers(len(options)))])


def _tinted(colour: F32, light: ArrayLike) -> F32:
    return f32(colour * f32(light)[..., None])


def wood(rng: Rng) -> F32:
    """Planks along the rows of the tile."""
    n_planks = int(rng.choice([2, 4, 5, 8]))
    row = np.arange(TILE)
    tone = rng.normal(1, 0.07, n_planks)[row * n_planks // TILE]
    seam = np.where((row * n_planks) % TILE < n_planks * 2, 0.62, 1.0)
    grain = noise(rng, (TILE, 16), cell=5, wrap=True).repeat(TILE // 16, axis=1)
    light = (tone * seam)[:, None] * (1 + 0.07 * grain + 0.03 * noise(rng, (TILE, TILE), cell=40, octaves=2, wrap=True))
    return _tinted(pick(rng, WOODS), light)


def cloth(rng: Rng) -> F32:
    """A woven cloth: plain, striped or checked."""
    base, other = pick(rng, CLOTHS), rgb(236, 232, 222)
    period = int(rng.choice([32, 64]))
    stripe = (np.arange(TILE) % period < period // 2).astype(np.float32)
    kind = rng.integers(3)
    across = stripe[:, None] if kind else np.zeros((TILE, 1), np.float32)
    along = stripe[None, :] if kind == 2 else across
    share = (across + along)[..., None] / 2 * np.ones((TILE, TILE, 1), np.float32)
    weave = 1 + 0.05 * rng.standard_normal((TILE, TILE), dtype=np.float32)
    return (base + share * (other - base)) * (weave + 0.04 * noise(rng, (TILE, TILE), cell=60, wrap=True))[..., None]


def stone(rng: Rng) -> F32:
    """Marble, slate or concrete: clouds and a few veins."""
    clouds = noise(rng, (TILE, TILE), cell=70, octaves=5, wrap=True)
    veins = np.exp(-(np.abs(noise(rng, (TILE, TILE), cell=90, octaves=3, wrap=True)) * 14))
    return _tinted(pick(rng, STONES), 1 + 0.06 * clouds - rng.uniform(0, 0.25) * veins)


def plaster(rng: Rng) -> F32:
    """A painted wall."""
    return _tinted(pick(rng, WALLS), 1 + 0.05 * noise(rng, (TILE, TILE), cell=110, octaves=4, wrap=True))


def brick(rng: Rng) -> F32:
    """Rows of bricks, every second one shifted."""
    rows, columns = 16, 8
    y, x = np.mgrid[0:TILE, 0:TILE]
    row = y * rows // TILE
    shifted = (x + (row % 2) * (TILE // columns // 2)) % TILE
    tone = rng.normal(1, 0.12, (rows, columns)).astype(np.float32)[row, shifted * columns // TILE]
    mortar = ((y * rows) % TILE < rows * 2) | ((shifted * columns) % TILE < columns * 2)
    colour = pick(rng, (rgb(160, 78, 56), rgb(126, 66, 50), rgb(190, 170, 150), rgb(88, 84, 86)))
    bricks = _tinted(colour, tone + 0.07 * noise(rng, (TILE, TILE), cell=8, octaves=2, wrap=True))
    return f32(np.where(mortar[..., None], rgb(178, 170, 160) * rng.uniform(0.6, 1.1), bricks))


def tiles(rng: Rng) -> F32:
    """A tiled floor, chequered or plain."""
    n = int(rng.choice([4, 8]))
    y, x = np.mgrid[0:TILE, 0:TILE]
    odd = ((y * n // TILE + x * n // TILE) % 2).astype(np.float32)[..., None]
    first, second = pick(rng, STONES), pick(rng, STONES) if rng.random() < 0.6 else pick(rng, WALLS)
    joint = ((y * n) % TILE < 2 * n) | ((x * n) % TILE < 2 * n)
    floor = (first + odd * (second - first)) * (1 + 0.03 * noise(rng, (TILE, TILE), cell=50, wrap=True))[..., None]
    return f32(np.where(joint[..., None], floor * 0.7, floor))


Material = Callable[[Rng], F32]
TABLES: tuple[Material, ...] = (wood, wood, wood, cloth, stone)
FLOORS: tuple[Material, ...] = (wood, wood, tiles, stone)
FACADES: tuple[Material, ...] = (brick, plaster, plaster, wood, stone)


def any_of(rng: Rng, materials: tuple[Material, ...]) -> F32:
    """A tile (256, 256, 3) of one of the materials."""
    return materials[int(rng.integers(len(materials)))](rng)


def lay(tile: F32, u: F32, v: F32) -> F32:
    """The tile repeated over plane coordinates: u and v in tiles, both broadcast to (h, w)."""
    rows = (v * TILE).astype(np.int32) % TILE
    columns = (u * TILE).astype(np.int32) % TILE
    return np.take(tile.reshape(-1, 3), rows * TILE + columns, axis=0)


def ground(
    h: int, w: int, *, horizon: float, repeat: float, angle: float, tile: F32, start: int = 0
) -> F32:  # (h - start, w, 3)
    """Rows `start` to `h` of a level plane seen in perspective; it ends at row `horizon`, which may be negative."""
    y = np.arange(start, h, dtype=np.float32)[:, None]
    depth = np.maximum(y - horizon, 0.02 * h) / h
    z = f32(repeat / depth)
    x = f32((np.arange(w, dtype=np.float32)[None, :] - w / 2) / h)
    across, away = x * z, z * np.ones_like(x)
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    fade = 1 - 0.12 * np.clip(z / repeat / 12, 0, 1)
    return lay(tile, c * across + s * away, c * away - s * across) * f32(fade)[..., None]


def flat(h: int, w: int, *, repeat: float, angle: float, tile: F32) -> F32:
    """A plane seen straight on or from above, (h, w, 3); the tile fits `repeat` times into the height."""
    y = f32(np.arange(h) / h * repeat)[:, None]
    x = f32(np.arange(w) / h * repeat)[None, :]
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return lay(tile, c * x + s * y + np.float32(0.37), c * y - s * x + np.float32(0.21))


def table_view(rng: Rng, h: int, w: int, squash: float) -> Canvas:
    """A table top filling the frame; `squash` 1 is seen from above, less is flatter."""
    tile, angle = any_of(rng, TABLES), rng.uniform(0, 6.3)
    if squash > 0.9:
        return Canvas(flat(h, w, repeat=rng.uniform(0.7, 1.4), angle=angle, tile=tile))
    horizon = -h * (0.25 + 2.2 * max(0.0, squash - 0.4))
    return Canvas(ground(h, w, horizon=horizon, repeat=rng.uniform(0.8, 1.8), angle=angle, tile=tile))


def far_room(rng: Rng, h: int, w: int) -> Canvas:
    """A room far out of focus: patches of colour and lights."""
    dark = rng.uniform(0.25, 1.0)
    base = pick(rng, WALLS) * dark
    mottled = 1 + 0.12 * noise(rng, (h, w), cell=w / 3, octaves=2)
    canvas = Canvas(base * mottled[..., None])
    for _ in range(int(rng.integers(4, 10))):
        x, width = rng.uniform(0, w), rng.uniform(0.05, 0.25) * w
        y0, y1 = sorted(rng.uniform(0, h, 2))
        box = canvas.pixels[int(y0) : int(y1), max(0, int(x - width / 2)) : int(x + width / 2)]
        box += 0.6 * (pick(rng, WALLS + WOODS + CLOTHS) * dark - box)
    canvas.blur(canvas.unit * 0.035)
    for _ in range(int(rng.integers(0, 14))):
        light = rgb(255, 214, 150) * rng.uniform(0.15, 0.5)
        canvas.glow(rng.uniform(0, w), rng.uniform(0, h * 0.7), canvas.unit * rng.uniform(0.03, 0.09), light)
    return canvas
