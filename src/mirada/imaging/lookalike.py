"""What a photograph looks like, in a few numbers that copies of it share: cheap to make, cheap to compare."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mirada.imaging.base import Pixels

LOOKALIKE_DIM = 256
LOOKALIKE_VERSION = 1


def describe(pixels: Pixels) -> NDArray[np.float32]:
    """float32 (LOOKALIKE_DIM,) of uint8 RGB (h, w, 3): luma at 16 × 16, mean 0, length 1 (0 for a flat picture)."""
    grey = Image.fromarray(pixels).resize((16, 16), Image.Resampling.BOX, reducing_gap=2.0).convert("L")
    values = np.asarray(grey, np.float32).ravel()
    values -= values.mean()
    length = float(np.linalg.norm(values))
    return values / length if length > 1e-3 else np.zeros_like(values)
