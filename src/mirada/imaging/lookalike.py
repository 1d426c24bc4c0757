"""What a photograph looks like, in a few numbers that copies of it share: cheap to make, cheap to compare."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mirada.imaging.base import Pixels

LOOKALIKE_SIDE = 32
LOOKALIKE_DIM = LOOKALIKE_SIDE * LOOKALIKE_SIDE
LOOKALIKE_VERSION = 2


def describe(pixels: Pixels) -> NDArray[np.float32]:
    """float32 (LOOKALIKE_DIM,) of uint8 RGB (h, w, 3): luma in grey levels, 0 to 255, the whole frame at 32 × 32.

    A plain small picture rather than a hash: a hash answers for whole frames only, while in a small picture any
    window, mirrored or turned, can be looked for without decoding again. The filter is a triangle over two cells,
    the same in both directions, so that mirroring and turning by 90° commute with it.
    """
    size = (LOOKALIKE_SIDE, LOOKALIKE_SIDE)
    grey = Image.fromarray(pixels).convert("L").resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)
    return np.asarray(grey, np.float32).ravel()
