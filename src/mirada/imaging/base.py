"""What every decoder of this room shares: reasons, limits, and what a decoder hands over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mirada.errors import DecodeError
from mirada.messages import Message, msg

Pixels = NDArray[np.uint8]

REASONS: Mapping[str, Message] = {
    "missing": msg("The file is not there."),
    "empty": msg("The file is empty."),
    "not_an_image": msg("This is not a photograph in a format Mirada reads."),
    "truncated": msg("The file ends early: part of the photograph is missing."),
    "too_many_pixels": msg("The photograph has more pixels than allowed."),
    "too_many_bytes": msg("The file has more bytes than allowed."),
    "too_long_side": msg("A side of the photograph is longer than allowed."),
    "no_permission": msg("The file may not be read: permission is missing."),
    "unreadable": msg("The file is damaged or uses a feature Mirada cannot read."),
    "changed": msg("The file changed while it was being read."),
}

# The pixel limit is a limit on memory: a baseline JPEG needs three bytes a pixel, other decoders hold several
# copies. Each format may use this share of the limit, so that all of them peak at about the same memory
# (measured with 8-bit colour: docs/adr/0001-decoding.md).
_SHARE = {"JPEG": 1.0, "PROGRESSIVE": 0.4, "PNG": 0.5, "BMP": 0.5, "GIF": 0.5, "TIFF": 0.4, "HEIF": 0.5, "AVIF": 0.25}
_LEAST_SHARE = 0.2  # WebP: several RGBA canvases


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused before decoding. Pixels, bytes of the file, pixels of the longer side."""

    max_pixels: int = 120_000_000
    max_bytes: int = 200_000_000
    max_side: int = 65_500


@dataclass(frozen=True, slots=True)
class Decoded:
    """A photograph as RGB.

    `pixels` is uint8 (h, w, 3), contiguous and upright; h × w may be a reduced size. `width` and `height` are the
    full upright size in pixels; `mode` is the file's own (Pillow's names: L, RGB, CMYK, P, RGBA, I;16 …) and
    `format` one of JPEG, PNG, WEBP, AVIF, HEIF, GIF, BMP, TIFF.
    """

    pixels: Pixels
    width: int
    height: int
    mode: str
    format: str


@dataclass(frozen=True, slots=True)
class Opened:
    """A file whose header was read and accepted, not yet decoded.

    `width` and `height` are as stored, before `orientation` (EXIF, 1 to 8) is applied. `load(min_side)` gives
    uint8 RGB (h, w, 3) as stored, at a reduced size with a short side of at least `min_side` where the format can.
    """

    width: int
    height: int
    mode: str
    format: str
    orientation: int
    load: Callable[[int | None], Pixels]


def refused(code: str, message: Message | None = None, hint: Message | None = None) -> DecodeError:
    """The error for reason `code`; its sentence is `message`, else the general one of REASONS."""
    return DecodeError(message or REASONS[code], hint, code=code)


def damaged(detail: object) -> DecodeError:
    """The error for a file whose contents cannot be decoded; `detail` is the decoder's own (English) complaint."""
    text = str(detail).strip().rstrip(".")[:200] or type(detail).__name__
    return refused(
        "unreadable", msg("The file is damaged or uses a feature Mirada cannot read ({detail}).", detail=text)
    )


def check_bytes(n_bytes: int, limits: Limits) -> None:
    """Refuse an empty file or one of more than `limits.max_bytes` bytes."""
    if n_bytes == 0:
        raise refused("empty")
    if n_bytes > limits.max_bytes:
        sentence = msg(
            "The file has {n_bytes} bytes; at most {limit} are allowed.", n_bytes=n_bytes, limit=limits.max_bytes
        )
        raise refused("too_many_bytes", sentence, msg("Raise decode.max_bytes to accept it."))


def check_size(width: int, height: int, limits: Limits, *, kind: str) -> None:
    """Refuse a photograph of `kind` (format, or PROGRESSIVE) whose header claims too long a side or too many pixels."""
    if width < 1 or height < 1:
        raise damaged(f"{width} × {height} pixels")
    size = {"width": width, "height": height}
    if max(width, height) > limits.max_side:
        sentence = msg("A side is too long: {width} × {height} pixels, at most {limit}.", **size, limit=limits.max_side)
        raise refused("too_long_side", sentence, msg("Raise decode.max_side to accept it."))
    allowed = int(limits.max_pixels * _SHARE.get(kind, _LEAST_SHARE))
    if width * height > allowed:
        sentence = msg(
            "Too many pixels: {width} × {height}; at most {allowed} are allowed for {kind}.",
            **size,
            allowed=allowed,
            kind=kind,
        )
        raise refused("too_many_pixels", sentence, msg("Raise decode.max_pixels to accept it."))
