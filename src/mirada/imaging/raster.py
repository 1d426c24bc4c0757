"""Every format but JPEG: through Pillow's plugins and pillow-heif, called directly, never registered by us.

Pillow's own guards (warnings and a global pixel limit) are process-wide; here the size is checked from the header
first, per call.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from mirada.imaging.base import Limits, Opened, Pixels, check_size
from mirada.imaging.containers import check_boxes, strip_png, strip_tiff, webp_size
from mirada.imaging.exif import orientation

log = logging.getLogger("mirada.imaging")

_STRIP_PIXELS = 1 << 20  # pixels converted at once, so that conversion needs little memory beyond its result


def open_png(data: bytes, limits: Limits) -> Opened:
    """PNG and the default image of APNG."""
    from PIL.PngImagePlugin import PngImageFile

    stripped = strip_png(data)
    check_size(stripped.width, stripped.height, limits, kind="PNG")
    return _opened(PngImageFile(io.BytesIO(stripped.data)), limits, turn=stripped.orientation)


def open_tiff(data: bytes, limits: Limits) -> Opened:
    """The first page of a TIFF or BigTIFF."""
    from PIL.TiffImagePlugin import TiffImageFile

    stripped = strip_tiff(data)
    check_size(stripped.width, stripped.height, limits, kind="TIFF")
    return _opened(TiffImageFile(io.BytesIO(stripped.data)), limits, turn=stripped.orientation)


def open_webp(data: bytes, limits: Limits) -> Opened:
    """WebP; the first frame of an animated one."""
    from PIL.WebPImagePlugin import WebPImageFile

    width, height = webp_size(data)  # Pillow's decoder takes memory for the canvas as soon as it is made
    check_size(width, height, limits, kind="WEBP")
    return _opened(WebPImageFile(io.BytesIO(data)), limits)


def open_avif(data: bytes, limits: Limits) -> Opened:
    """AVIF; the first frame of an image sequence."""
    from PIL.AvifImagePlugin import AvifImageFile

    check_boxes(data)
    return _opened(AvifImageFile(io.BytesIO(data)), limits)


def open_gif(data: bytes, limits: Limits) -> Opened:
    """The first frame of a GIF."""
    from PIL.GifImagePlugin import GifImageFile

    width, height = int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    check_size(width, height, limits, kind="GIF")
    return _opened(GifImageFile(io.BytesIO(data)), limits)


def open_bmp(data: bytes, limits: Limits) -> Opened:
    """Windows and OS/2 bitmaps."""
    from PIL.BmpImagePlugin import BmpImageFile

    return _opened(BmpImageFile(io.BytesIO(data)), limits)


def open_heif(data: bytes, limits: Limits) -> Opened:
    """The primary image of a HEIC / HEIF file. libheif applies its rotations itself."""
    from pillow_heif import HeifFile

    check_boxes(data)
    heif = HeifFile(data)
    width, height = heif.size
    check_size(width, height, limits, kind="HEIF")

    def load(min_side: int | None) -> Pixels:  # noqa: ARG001 - libheif has no reduced decoding
        if heif.mode == "RGB":
            return np.ascontiguousarray(np.asarray(heif))
        return to_rgb(heif.to_pillow())

    return Opened(width, height, heif.mode, "HEIF", 1, load)


def _opened(image: ImageFile.ImageFile, limits: Limits, *, turn: int | None = None) -> Opened:
    """`turn`: the orientation where we read it ourselves; None: the plugin found the EXIF block."""
    kind = str(image.format)
    kind = "BMP" if kind == "DIB" else kind
    check_size(*image.size, limits, kind=kind)
    if turn is None:
        exif = image.info.get("exif")
        turn = orientation(exif) if isinstance(exif, bytes) else 1
    return Opened(*image.size, image.mode, kind, turn, _loader(image))


def _loader(image: ImageFile.ImageFile) -> Callable[[int | None], Pixels]:
    def load(min_side: int | None) -> Pixels:  # noqa: ARG001 - these formats have no reduced decoding
        if ImageFile.LOAD_TRUNCATED_IMAGES:
            # Somebody in this process asked Pillow for half-read files. We must not give them.
            log.warning("PIL.ImageFile.LOAD_TRUNCATED_IMAGES was on; switched off")
            ImageFile.LOAD_TRUNCATED_IMAGES = False
        image.load()
        return to_rgb(image)

    return load


def to_rgb(image: Image.Image) -> Pixels:
    """Any Pillow image as uint8 RGB (h, w, 3).

    Transparency is laid on white; 16 bit is scaled by 255 / 65535; 32-bit and float greys are read as 0–1, 0–255 or
    0–65535, the first range that holds them, else stretched from least to greatest. Colour profiles are not applied.
    """
    width, height = image.size
    rgb: Pixels = np.empty((height, width, 3), np.uint8)
    rows = max(1, _STRIP_PIXELS // width)
    scale = _grey_scale(image) if image.mode[0] in "IF" else None
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height))) if rows < height else image
        rgb[top : top + rows] = scale(np.asarray(strip))[:, :, None] if scale else np.asarray(_strip_rgb(strip))
    return rgb


def _strip_rgb(strip: Image.Image) -> Image.Image:
    if strip.has_transparency_data:
        white = Image.new("RGBA", strip.size, (255, 255, 255, 255))
        white.alpha_composite(strip.convert("RGBA"))
        return white.convert("RGB")
    return strip if strip.mode == "RGB" else strip.convert("RGB")


def _grey_scale(image: Image.Image) -> Callable[[NDArray[np.generic]], Pixels]:
    """How to bring greys of more than 8 bit to 8."""
    if image.mode.startswith("I;16"):
        return lambda grey: ((grey.astype(np.uint32) + 128) // 257).astype(np.uint8)
    low, high = _finite_range(np.asarray(image))
    if low >= 0 and high <= 65535:
        white = next(top for top in ((1, 255, 65535) if image.mode == "F" else (255, 65535)) if high <= top)
        low, high = 0.0, float(white)

    def scale(grey: NDArray[np.generic]) -> Pixels:
        share = (grey.astype(np.float64) - low) / max(high - low, 1e-12)
        scaled: Pixels = np.rint(np.clip(np.nan_to_num(share), 0, 1) * 255).astype(np.uint8)
        return scaled

    return scale


def _finite_range(grey: NDArray[np.generic]) -> tuple[float, float]:
    values = grey[np.isfinite(grey)]
    return (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
