"""From a photograph to the network's input: the one preprocessing of training, prediction and server."""

from __future__ import annotations

import numpy as np
from PIL import Image

from mirada.imaging.base import Limits, Pixels
from mirada.imaging.decode import decode
from mirada.types import PreprocessSpec

_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
}
_DEFAULT_LIMITS = Limits()


def load_input(data: bytes, spec: PreprocessSpec, *, limits: Limits = _DEFAULT_LIMITS) -> Pixels:
    """A photograph's bytes as uint8 RGB (input_size, input_size, 3). Raises DecodeError."""
    return resize_crop(decode(data, min_side=short_side(spec), limits=limits).pixels, spec)


def resize_crop(pixels: Pixels, spec: PreprocessSpec) -> Pixels:
    """Resize uint8 (h, w, 3) so that its short side is `spec.resize`, and cut the centre: (S, S, 3).

    Both in one step: only the pixels that the centre needs are computed. Filters are Pillow's, which widen
    when shrinking (no aliasing). Pixels of the right size are returned as they are.
    """
    height, width = pixels.shape[:2]
    size, short = spec.input_size, min(height, width)
    if short == short_side(spec):
        top, left = (height - size) // 2, (width - size) // 2
        cut = pixels[top : top + size, left : left + size]
    else:
        span = size * short / short_side(spec)  # side of the centre square, in pixels of the source
        left_edge, top_edge = (width - span) / 2, (height - span) / 2
        box = (left_edge, top_edge, left_edge + span, top_edge + span)
        image = Image.fromarray(pixels).resize((size, size), _FILTERS[spec.interpolation], box=box)
        cut = np.asarray(image)
    return _grey(cut) if spec.channels == "grey" else np.ascontiguousarray(cut)


def short_side(spec: PreprocessSpec) -> int:
    """The short side, in pixels, that a photograph is resized to: the `min_side` it is decoded with."""
    return max(spec.resize, spec.input_size)  # a centre larger than the picture is asked for: fill it


def _grey(pixels: Pixels) -> Pixels:
    """Luma (ITU-R BT.601, as Pillow rounds it) in all three channels."""
    grey = np.asarray(Image.fromarray(pixels).convert("L"))
    return np.repeat(grey[:, :, None], 3, axis=2)
