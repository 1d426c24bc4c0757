"""Scenes of menus, and of what has nothing to do with a restaurant."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from mirada.testing.dishes import serve
from mirada.testing.paint import Canvas, Patch, Rng, ellipse, font, grain, ink, lump, noise, polygon, rgb, soften, vary
from mirada.testing.streets import SKIES, sky
from mirada.testing.surfaces import CLOTHS, FLOORS, any_of, far_room, flat, ground, pick, plaster, table_view
from mirada.testing.vessels import VESSELS

PAPERS = (
    rgb(244, 240, 230),
    rgb(250, 250, 248),
    rgb(226, 206, 168),
    rgb(38, 40, 42),
    rgb(30, 44, 40),
    rgb(120, 30, 34),
)
SYLLABLES = (
    "ca",
    "to",
    "ri",
    "ma",
    "sal",
    "pes",
    "que",
    "ta",
    "lo",
    "fri",
    "to",
    "pol",
    "en",
    "sa",
    "la",
    "da",
    "vi",
    "no",
)


def words(rng: Rng, n: int) -> str:
    """`n` made-up words that look like names of dishes."""
    return " ".join("".join(rng.choice(SYLLABLES, int(rng.integers(2, 4)))).capitalize() for _ in range(n))


def page(rng: Rng, width: int, height: int) -> Image.Image:
    """A menu page (RGB): a heading, then sections of dishes with prices, in one or two columns."""
    paper = pick(rng, PAPERS)
    text = rgb(36, 30, 28) if paper.mean() > 0.5 else rgb(240, 236, 222)
    accent = pick(rng, CLOTHS) if rng.random() < 0.5 else text
    image = Image.new("RGB", (width, height), ink(paper)[:3])
    pen = ImageDraw.Draw(image)
    margin, columns = width * 0.08, int(rng.choice([1, 1, 2]))
    if rng.random() < 0.4:
        pen.rectangle((margin / 2, margin / 2, width - margin / 2, height - margin / 2), outline=ink(accent), width=3)
    pen.text((width / 2, height * 0.07), words(rng, 1), font=font(int(width * 0.11)), fill=ink(accent), anchor="mm")
    size = width / columns * rng.uniform(0.045, 0.065)
    for column in range(columns):
        left, right = margin + column * width / columns, (column + 1) * width / columns - margin
        y = height * 0.16
        while y < height * 0.93:
            if rng.random() < 0.18:
                y += size
                pen.text((left, y), words(rng, 1).upper(), font=font(int(size * 1.25)), fill=ink(accent), anchor="lm")
            else:
                pen.text(
                    (left, y), words(rng, int(rng.integers(1, 4))), font=font(int(size)), fill=ink(text), anchor="lm"
                )
                pen.text(
                    (right, y),
                    f"{rng.integers(3, 40)}.{rng.integers(0, 10)}0",
                    font=font(int(size)),
                    fill=ink(text),
                    anchor="rm",
                )
                if rng.random() < 0.3:
                    y += size * 1.1
                    pen.text(
                        (left, y),
                        words(rng, 4).lower(),
                        font=font(int(size * 0.7)),
                        fill=ink(0.6 * text + 0.4 * paper),
                        anchor="lm",
                    )
            y += size * rng.uniform(1.5, 1.9)
    return image


def warp(canvas: Canvas, rng: Rng, image: Image.Image, corners: list[tuple[float, float]]) -> None:
    """Put a page onto the canvas so that its corners (clockwise from the upper left) come to lie there."""
    xs, ys = [c[0] for c in corners], [c[1] for c in corners]
    x0, y0 = int(min(xs)), int(min(ys))
    size = (int(max(xs)) + 1 - x0, int(max(ys)) + 1 - y0)
    rows, target = [], []
    w, h = image.size
    for (x, y), (u, v) in zip(corners, [(0, 0), (w, 0), (w, h), (0, h)], strict=True):
        x, y = x - x0, y - y0
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        target += [u, v]
    coefficients = np.linalg.solve(np.array(rows, np.float64), np.array(target, np.float64))
    moved = image.transform(size, Image.Transform.PERSPECTIVE, coefficients.tolist(), Image.Resampling.BILINEAR)
    mask = polygon([(x - x0, y - y0) for x, y in corners])
    light = 1 + rng.uniform(-0.15, 0.15) * np.linspace(-1, 1, size[0], dtype=np.float32)[None, :, None]
    texture = np.asarray(moved, np.float32) / 255 * light
    full = np.zeros((*mask.alpha.shape, 3), np.float32)
    oy, ox = -mask.y, -mask.x
    full[oy : oy + size[1], ox : ox + size[0]] = texture[: full.shape[0] - oy, : full.shape[1] - ox]
    canvas.paint(Patch(mask.alpha, mask.x + x0, mask.y + y0), full)


def sheet(rng: Rng, cx: float, cy: float, height: float, aspect: float) -> list[tuple[float, float]]:
    """Corners of a page lying or hanging a little askew."""
    tilt, narrow = rng.normal(0, 0.1), rng.uniform(0.82, 1.0)
    half_w, half_h = height * aspect / 2, height / 2
    c, s = float(np.cos(tilt)), float(np.sin(tilt))
    raw = [(-half_w * narrow, -half_h), (half_w * narrow, -half_h), (half_w, half_h), (-half_w, half_h)]
    return [(cx + c * x - s * y, cy + s * x + c * y) for x, y in raw]


def menu_scene(rng: Rng, h: int, w: int) -> Canvas:
    """A menu on the table, in front of the room, or on the wall."""
    place = rng.random()
    if place < 0.55:
        canvas = table_view(rng, h, w, float(rng.choice([0.8, 1.0])))
    elif place < 0.8:
        canvas = far_room(rng, h, w)
    else:
        canvas = Canvas(flat(h, w, repeat=1.2, angle=0.0, tile=plaster(rng)))
    if rng.random() < 0.3:
        serve(
            canvas,
            rng,
            (w * rng.choice([0.02, 0.98]), h * rng.uniform(0.05, 0.9), canvas.unit * 0.3, 1.0 if place < 0.55 else 0.4),
        )
    n = int(rng.choice([1, 1, 2]))
    height, aspect = h * rng.uniform(0.75, 1.25), rng.uniform(0.55, 0.8) if n == 1 else 0.62
    tilt = sheet(rng, w * rng.uniform(0.42, 0.58), h * rng.uniform(0.45, 0.6), height, aspect * n)
    shadow = polygon(tilt)
    canvas.shade(soften(Patch(shadow.alpha, shadow.x + 6, shadow.y + 9), 8), 0.5)
    warp(canvas, rng, page(rng, int(520 * aspect * n), 520), tilt)
    if n == 2:
        fold = polygon([tilt_mid(tilt, 0, -3), tilt_mid(tilt, 0, 3), tilt_mid(tilt, 2, 3), tilt_mid(tilt, 2, -3)])
        canvas.shade(soften(fold, 4), 0.35)
    if rng.random() < 0.25:
        vessel = VESSELS[int(rng.integers(len(VESSELS)))]
        vessel(canvas, rng, (w * rng.choice([0.06, 0.94]), h * 0.9, h * 0.45), 0.3)
    return canvas


def tilt_mid(corners: list[tuple[float, float]], edge: int, shift: float) -> tuple[float, float]:
    """The middle of an edge of the page, moved sideways."""
    (ax, ay), (bx, by) = corners[edge], corners[edge + 1]
    return (ax + bx) / 2 + shift, (ay + by) / 2


def landscape(rng: Rng, h: int, w: int) -> Canvas:
    """Hills or a coast under the sky."""
    canvas = Canvas(sky(rng, h, w, pick(rng, SKIES)))
    x = np.linspace(-5, w + 5, 30)
    for i in range(int(rng.integers(2, 5))):
        line = h * (0.4 + 0.13 * i) + 0.07 * h * noise(rng, (1, 30), cell=9, octaves=3)[0]
        hill = polygon([*[(float(a), float(b)) for a, b in zip(x, line, strict=True)], (w + 5, h + 5), (-5, h + 5)])
        colour = pick(rng, (rgb(80, 110, 70), rgb(110, 120, 130), rgb(60, 100, 140), rgb(180, 160, 110)))
        canvas.paint(hill, colour * (1 + 0.12 * grain(rng, hill.alpha.shape, 20))[..., None])
    return canvas


def flower(rng: Rng, h: int, w: int) -> Canvas:
    """A flower close up before leaves out of focus."""
    canvas = far_room(rng, h, w)
    canvas.pixels = 0.4 * canvas.pixels + 0.6 * rgb(60, 110, 50) * (1 + 0.3 * noise(rng, (h, w), cell=w / 5))[..., None]
    colour = pick(rng, (rgb(230, 60, 120), rgb(250, 220, 60), rgb(240, 240, 250), rgb(140, 80, 200)))
    cx, cy, size, n = w * 0.5, h * 0.48, canvas.unit * 0.24, int(rng.integers(5, 13))
    canvas.paint(polygon([(cx - 5, cy), (cx + 5, cy), (cx + 12, h + 5), (cx, h + 5)]), rgb(60, 120, 40))
    for angle in np.linspace(0, 6.283, n, endpoint=False):
        lump(
            canvas,
            rng,
            cx + size * float(np.cos(angle)),
            cy + size * float(np.sin(angle)),
            size * 0.6,
            size * 0.5,
            vary(rng, colour),
        )
    lump(canvas, rng, cx, cy, size * 0.5, size * 0.5, rgb(200, 150, 30))
    return canvas


def screen(rng: Rng, h: int, w: int) -> Canvas:
    """A screenshot: bars and panels of plain colour."""
    canvas = Canvas(np.broadcast_to(rgb(246, 247, 250), (h, w, 3)).copy())
    canvas.pixels[: h // 9] = pick(rng, CLOTHS)
    for _ in range(int(rng.integers(5, 14))):
        x, y = int(rng.uniform(0, 0.8) * w), int(rng.uniform(0.14, 0.9) * h)
        canvas.pixels[y : y + int(rng.uniform(0.03, 0.2) * h), x : x + int(rng.uniform(0.1, 0.5) * w)] = pick(
            rng, (rgb(200, 206, 216), rgb(90, 140, 220), rgb(230, 232, 238))
        )
    return canvas


def court(rng: Rng, h: int, w: int) -> Canvas:
    """A ball on a court or a lawn."""
    canvas = Canvas(ground(h, w, horizon=0.3 * h, repeat=0.4, angle=0.4, tile=any_of(rng, FLOORS)) * rgb(150, 230, 130))
    canvas.pixels[: int(0.36 * h)] = sky(rng, int(0.36 * h), w, pick(rng, SKIES))
    x, y, r = w * rng.uniform(0.3, 0.7), h * rng.uniform(0.6, 0.75), canvas.unit * rng.uniform(0.1, 0.22)
    canvas.shade(ellipse(x + r * 0.4, y + r * 0.9, r, r * 0.3, edge=0.3 * r), 0.6)
    ball = ellipse(x, y, r, r)
    xs, ys = ball.grid()
    light = 1.05 - 0.35 * ((xs - x) + (ys - y)) / r - 0.2 * ((xs - x) ** 2 + (ys - y) ** 2) / r**2
    canvas.paint(
        ball,
        (pick(rng, (rgb(230, 110, 40), rgb(240, 240, 240), rgb(210, 230, 60))) * light[..., None]).astype(np.float32),
    )
    return canvas


STRANGERS: tuple[Callable[[Rng, int, int], Canvas], ...] = (landscape, flower, screen, court)


def stranger_scene(rng: Rng, h: int, w: int) -> Canvas:
    """A photograph that has no place in a data set of restaurants."""
    return STRANGERS[int(rng.integers(len(STRANGERS)))](rng, h, w)
