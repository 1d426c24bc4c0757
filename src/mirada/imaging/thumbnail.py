"""Small pictures for reports and pages."""

from __future__ import annotations

import base64
import io

from PIL import Image

from mirada.imaging.base import Limits
from mirada.imaging.decode import decode

_QUALITY = 80
_EFFORT = 2  # of 6: half the time of Pillow's default for a few per cent more bytes
_DEFAULT_LIMITS = Limits()


def make_thumbnail(data: bytes, *, side: int = 256, limits: Limits = _DEFAULT_LIMITS) -> bytes:
    """A photograph as a WebP of at most `side` pixels a side: upright, no metadata. Raises DecodeError.

    A photograph that is smaller keeps its size.
    """
    decoded = decode(data, min_side=side, limits=limits)
    scale = min(1.0, side / max(decoded.width, decoded.height))
    size = (max(1, round(decoded.width * scale)), max(1, round(decoded.height * scale)))
    image = Image.fromarray(decoded.pixels).resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    out = io.BytesIO()
    image.save(out, "WEBP", quality=_QUALITY, method=_EFFORT)
    return out.getvalue()


def data_uri(webp: bytes) -> str:
    """WebP bytes as a ``data:`` address, for a page that must stand alone."""
    return "data:image/webp;base64," + base64.b64encode(webp).decode("ascii")


def thumbnail_data_uri(data: bytes, *, side: int = 256, limits: Limits = _DEFAULT_LIMITS) -> str:
    """`make_thumbnail` as a ``data:`` address. Raises DecodeError."""
    return data_uri(make_thumbnail(data, side=side, limits=limits))
