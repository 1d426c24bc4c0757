"""Small synthetic photographs for tests: made in under a millisecond, in every format and mode we read."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

UInt8 = NDArray[np.uint8]


def pixels(seed: int, size: tuple[int, int] = (64, 64), *, look: int = 0, n_looks: int = 6) -> UInt8:
    """A picture (h, w, 3) of a light disc or bar on a coloured, grained ground; `size` is (width, height).

    `look` sets hue, stripes and shape, so that pictures of different looks are easy to tell apart; `seed` moves
    everything else.
    """
    rng = np.random.default_rng([seed, look])
    w, h = size
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    y, x = y / max(h, 1), x / max(w, 1)
    hue = (look / n_looks + rng.uniform(-0.02, 0.02)) % 1
    ground = np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0.6, 0.9), rng.uniform(0.5, 0.8)), np.float32)
    light = (
        1
        + 0.25 * np.sin(6.3 * (2 + look % 4) * (x if look % 2 else y) + rng.uniform(0, 6))
        + rng.uniform(-0.2, 0.2) * x
    )
    cx, cy, r = rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.7), rng.uniform(0.12, 0.25)
    inside = np.maximum(abs(x - cx), abs(y - cy)) < r if look % 3 == 1 else (x - cx) ** 2 + (y - cy) ** 2 < r * r
    image = ground * light[..., None]
    image[inside] = 0.9 - 0.3 * ground
    image += rng.normal(0, 0.03, (h, w, 1)).astype(np.float32)
    return np.asarray(np.clip(image, 0, 1) * 255, dtype=np.uint8)


def _plain(format_: str, **options: object) -> Callable[[Image.Image], bytes]:
    def write(image: Image.Image) -> bytes:
        out = io.BytesIO()
        image.save(out, format_, **options)
        return out.getvalue()

    return write


def _alpha(image: Image.Image) -> bytes:
    image = image.convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, image.width // 2, image.height // 2))
    return _plain("PNG")(image)


def _deep(image: Image.Image) -> bytes:
    grey = np.asarray(image.convert("L"), np.uint16) * 257
    return _plain("PNG")(Image.fromarray(grey))


def _turned(image: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return _plain("JPEG", exif=exif)(image.transpose(Image.Transpose.ROTATE_90))


def _heic(image: Image.Image) -> bytes:
    # pillow-heif registers itself with Pillow; importing this module must not.
    import pillow_heif

    pillow_heif.register_heif_opener()
    return _plain("HEIF", quality=80)(image)


def _animated(image: Image.Image) -> bytes:
    return _plain("GIF", save_all=True, append_images=[image.rotate(90), image.rotate(180)])(image)


KINDS: dict[str, Callable[[Image.Image], bytes]] = {
    "jpeg": _plain("JPEG", quality=90),
    "jpeg_progressive": _plain("JPEG", quality=85, progressive=True),
    "jpeg_grey": lambda image: _plain("JPEG")(image.convert("L")),
    "jpeg_cmyk": lambda image: _plain("JPEG", quality=95)(image.convert("CMYK")),
    "jpeg_exif": _turned,
    "png": _plain("PNG"),
    "png_alpha": _alpha,
    "png_palette": lambda image: _plain("PNG")(image.quantize(64)),
    "png_grey": lambda image: _plain("PNG")(image.convert("L")),
    "png_16bit": _deep,
    "webp": _plain("WEBP", quality=85),
    "avif": _plain("AVIF", quality=80),
    "heic": _heic,
    "gif": _animated,
    "bmp": _plain("BMP"),
    "tiff": _plain("TIFF"),
}


def photo(seed: int = 0, size: tuple[int, int] = (64, 64), kind: str = "jpeg", *, look: int = 0) -> bytes:
    """An image file's bytes; `kind` is one of `KINDS`, `size` is (width, height) upright."""
    if kind not in KINDS:
        raise ValueError(f"kind is one of {', '.join(KINDS)}, got {kind!r}")
    return KINDS[kind](Image.fromarray(pixels(seed, size, look=look)))


def class_folders(
    folder: Path | str,
    n_classes: int = 3,
    n_per_class: int = 20,
    *,
    size: int = 64,
    seed: int = 0,
    class_names: Sequence[str] | None = None,
) -> dict[str, list[Path]]:
    """Write ``folder/<class>/<number>.jpg``, easy to tell apart by class; returns class name → paths."""
    names = list(class_names or [f"class{i}" for i in range(n_classes)])
    written: dict[str, list[Path]] = {}
    for look, name in enumerate(names):
        home = Path(folder) / name
        home.mkdir(parents=True, exist_ok=True)
        written[name] = []
        for i in range(n_per_class):
            image = Image.fromarray(pixels(seed * 100_003 + i, (size, size), look=look, n_looks=len(names)))
            path = home / f"{i:04d}.jpg"
            image.save(path, "JPEG", quality=90)
            written[name].append(path)
    return written
