"""EXIF orientation: read from the few bytes that hold it, and applied to pixels.

Metadata is written by many hands and often broken, so nothing here raises: an orientation that cannot be read is 1.
"""

from __future__ import annotations

import struct

import numpy as np

from mirada.imaging.base import Pixels

ORIENTATION_TAG = 0x0112
_SHORT = 3


def orientation(exif: bytes) -> int:
    """The orientation (1 to 8; EXIF 2.32, 4.6.4) in an EXIF block, with or without the prefix that JPEG gives it."""
    tiff = exif.removeprefix(b"Exif\x00\x00")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return 1
    at: int = struct.unpack_from(order + "I", tiff, 4)[0]
    if at + 2 > len(tiff):
        return 1
    n_entries = struct.unpack_from(order + "H", tiff, at)[0]
    for entry in range(at + 2, min(at + 2 + 12 * n_entries, len(tiff) - 11), 12):
        tag, kind, count, value = struct.unpack_from(order + "HHIH", tiff, entry)
        if tag == ORIENTATION_TAG:
            return value if kind == _SHORT and count == 1 and 1 <= value <= 8 else 1
    return 1


def upright(pixels: Pixels, how: int) -> Pixels:
    """`pixels` (h, w, 3) turned and mirrored so that orientation `how` (1 to 8) is up; contiguous."""
    turned = pixels.swapaxes(0, 1) if how >= 5 else pixels  # 5 to 8 are stored on their side
    if how in (3, 4, 7, 8):
        turned = turned[::-1]
    if how in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    return np.ascontiguousarray(turned)
