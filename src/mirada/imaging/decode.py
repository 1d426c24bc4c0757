"""The one door for photographs: bytes in, upright RGB out, or a reason why not.

Whatever enters Mirada is decoded here. The size is checked from the header, before memory is taken for pixels; a
file that ends early or fails its checks is refused whole. Decoders release the interpreter lock while they work,
so threads scale (docs/adr/0001-decoding.md has the figures).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from mirada.errors import DecodeError
from mirada.imaging.base import REASONS, Decoded, Limits, Opened, check_bytes, damaged, refused
from mirada.imaging.exif import upright
from mirada.imaging.jpeg import open_jpeg
from mirada.imaging.raster import open_avif, open_bmp, open_gif, open_heif, open_png, open_tiff, open_webp

__all__ = ["REASONS", "Decoded", "Limits", "decode", "probe", "read_file"]

_OPENERS: tuple[tuple[bytes, Callable[[bytes, Limits], Opened]], ...] = (
    (b"\xff\xd8\xff", open_jpeg),
    (b"\x89PNG\r\n\x1a\n", open_png),
    (b"GIF87a", open_gif),
    (b"GIF89a", open_gif),
    (b"BM", open_bmp),
    (b"II*\x00", open_tiff),
    (b"MM\x00*", open_tiff),
    (b"II+\x00", open_tiff),
    (b"MM\x00+", open_tiff),
)
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"})
_DEFAULT_LIMITS = Limits()


def decode(data: bytes, *, min_side: int | None = None, limits: Limits = _DEFAULT_LIMITS) -> Decoded:
    """Decode a whole photograph (JPEG, PNG, WebP, AVIF, HEIC, GIF, BMP, TIFF), told by its first bytes.

    With `min_side`, a JPEG may come back smaller (at an eighth to seven eighths of its size), its short side at
    least `min_side` pixels. Raises DecodeError, whose `code` is one of REASONS.
    """
    opened = _open(data, limits)
    try:
        pixels = opened.load(min_side)
    except DecodeError:
        raise
    except Exception as error:  # a boundary: decoders meet hostile bytes with every kind of error
        raise _translated(error) from error
    turn, mode, kind, width, height = opened.orientation, opened.mode, opened.format, opened.width, opened.height
    del opened  # and the library's copy of the pixels with it, before turning takes another
    if turn >= 5:
        width, height = height, width
    return Decoded(upright(pixels, turn), width, height, mode, kind)


def probe(data: bytes, *, limits: Limits = _DEFAULT_LIMITS) -> tuple[int, int, str, str]:
    """(width, height, mode, format), upright, from the header alone. Raises DecodeError like `decode`."""
    opened = _open(data, limits)
    if opened.orientation >= 5:
        return opened.height, opened.width, opened.mode, opened.format
    return opened.width, opened.height, opened.mode, opened.format


def read_file(path: Path, *, limits: Limits = _DEFAULT_LIMITS) -> bytes:
    """The bytes of a photograph's file. Raises DecodeError: missing, no_permission, too_many_bytes, empty, …"""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # before opening: a named pipe would wait for ever
            raise refused("not_an_image")
        with path.open("rb") as file:
            check_bytes(os.fstat(file.fileno()).st_size, limits)
            data = file.read(limits.max_bytes + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise refused("missing") from error
    except PermissionError as error:
        raise refused("no_permission") from error
    except (OSError, ValueError) as error:  # a loop of links, a name too long, a null in the name, a failing disk
        raise damaged(error) from error
    check_bytes(len(data), limits)
    return data


def _open(data: bytes, limits: Limits) -> Opened:
    check_bytes(len(data), limits)
    opener = _opener(data)
    try:
        return opener(data, limits)
    except DecodeError:
        raise
    except Exception as error:  # a boundary: see decode
        raise _translated(error) from error


def _opener(data: bytes) -> Callable[[bytes, Limits], Opened]:
    for start, opener in _OPENERS:
        if data.startswith(start):
            return opener
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return open_webp
    if data[4:8] == b"ftyp":
        size = min(int.from_bytes(data[:4], "big"), 256)
        brands = {data[8:12], *(data[at : at + 4] for at in range(16, size, 4))}
        if brands & _AVIF_BRANDS:
            return open_avif
        if brands & _HEIF_BRANDS:
            return open_heif
    raise refused("not_an_image")


def _translated(error: Exception) -> DecodeError:
    """A library's error as ours. Pillow and the codecs under it say "truncated" or end of file in words."""
    text = str(error).lower()
    if isinstance(error, EOFError) or any(word in text for word in ("truncated", "end of file", "incomplete")):
        return refused("truncated")
    return damaged(error)
