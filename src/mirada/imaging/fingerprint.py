"""What a photograph is known by: the hash of its bytes, and a hash of what it looks like."""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np
from numpy.typing import NDArray

from mirada.imaging.base import Pixels
from mirada.imaging.lookalike import LOOKALIKE_SIDE, describe

_SIDE, _KEPT = LOOKALIKE_SIDE, 8


def content_sha256(data: bytes) -> str:
    """SHA-256 of the file's bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def perceptual_hash(pixels: Pixels) -> int:
    """A 64-bit hash of uint8 RGB (h, w, 3) that hardly changes when a photograph is resized or encoded again."""
    return hash_of_lookalike(describe(pixels))


def hash_of_lookalike(lookalike: NDArray[np.float32]) -> int:
    """The same from what `lookalike.describe` made of the photograph, float32 (32 * 32,).

    DCT hash after C. Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010): luma at
    32 × 32, its two-dimensional DCT-II, the 8 × 8 lowest frequencies without the constant row and column, a bit
    for each above their median. The number is signed, to fit a database's 64-bit integer. Compare two by the
    Hamming distance: unrelated photographs differ in about 32 bits. A photograph without detail hashes to 0.
    """
    rows = _dct_rows()
    low = rows @ lookalike.reshape(_SIDE, _SIDE).astype(np.float64) @ rows.T  # (8, 8)
    low = np.rint(low)  # so that rounding in the last digit decides no bit, and flat pictures have no noise
    bits = (low > np.median(low)).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big", signed=True)


@cache
def _dct_rows() -> NDArray[np.float64]:
    """Rows 1 to 8 of the orthonormal DCT-II of length 32."""
    frequency, position = np.arange(1, _KEPT + 1)[:, None], np.arange(_SIDE)[None, :]
    rows: NDArray[np.float64] = np.sqrt(2 / _SIDE) * np.cos(np.pi * frequency * (2 * position + 1) / (2 * _SIDE))
    return rows
