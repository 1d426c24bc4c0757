"""Small real photographs in every format."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from pillow_heif import from_pillow

Encode = Callable[..., bytes]


@pytest.fixture
def encode() -> Encode:
    """``encode(image, "PNG", **options)``: the bytes of a file."""

    def save(image: Image.Image, kind: str, **options: object) -> bytes:
        out = io.BytesIO()
        if kind == "HEIF":
            from_pillow(image).save(out, **options)
        else:
            image.save(out, kind, **options)
        return out.getvalue()

    return save


@pytest.fixture
def scene() -> Image.Image:
    """96 × 64: smooth, with corners of four colours (red, green / blue, white), so that any turn is seen."""
    pixels = np.full((64, 96, 3), 120, np.uint8)
    pixels[:24, :36], pixels[:24, 60:], pixels[40:, :36], pixels[40:, 60:] = (
        (220, 20, 20),
        (20, 200, 20),
        (20, 20, 220),
        (250, 250, 250),
    )
    return Image.fromarray(pixels)
