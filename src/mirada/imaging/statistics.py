"""Photographic statistics: what is measured on the pixels of every photograph, once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mirada.imaging.base import Pixels

STATISTICS: tuple[str, ...] = ("brightness", "contrast", "sharpness", "entropy", "colourfulness", "border")
STATISTICS_VERSION = 0


def measure(pixels: Pixels) -> NDArray[np.float32]:
    """float32 (len(STATISTICS),) of uint8 RGB (h, w, 3)."""
    raise NotImplementedError
