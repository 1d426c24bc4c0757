"""The outer structure of PNG, TIFF, WebP, AVIF and HEIC files, checked before a library sees them.

Two aims: a file that ends early or fails its checksums is refused, and only the parts that pixels need are passed
on, so that text, colour profiles, thumbnails and further pages can neither swell nor surprise a decoder.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Literal

from mirada.imaging.base import damaged, refused
from mirada.imaging.exif import ORIENTATION_TAG, orientation

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_NEEDED = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEFLATE_BEST = 1032  # zlib cannot pack more bytes than this into one (zlib.net/zlib_tech.html)

# Baseline, strips and tiles, predictor, palette, extra samples, sample format, JPEG tables, YCbCr (TIFF 6.0).
_TIFF_NEEDED = frozenset(
    {254, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325}
    | {332, 338, 339, 347, 512, 513, 514, 519, 520, 521, 529, 530, 531, 532}
)
_TIFF_UNITS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_MOST_TIFF_TAGS = 1000


@dataclass(frozen=True, slots=True)
class Stripped:
    """A file reduced to what its pixels need, its stored size in pixels, and its EXIF orientation."""

    data: bytes
    width: int
    height: int
    orientation: int


def strip_png(data: bytes) -> Stripped:
    """Check the chunks of a PNG (lengths, CRC, order) to its end; of an animated one, keep the default image."""
    at, parts, turn, n_packed = 8, [_PNG_SIGNATURE], 1, 0
    seen: set[bytes] = set()
    while b"IEND" not in seen:
        if at + 12 > len(data):
            raise refused("truncated")
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            raise refused("truncated")
        if zlib.crc32(memoryview(data)[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise damaged(f"wrong checksum in PNG chunk {name!r}")
        if not seen and (name != b"IHDR" or length != 13):
            raise damaged("PNG without header")
        if name == b"eXIf":
            turn = orientation(data[at + 8 : end - 4])
        elif name in _PNG_NEEDED:
            parts.append(data[at:end])
            n_packed += length if name == b"IDAT" else 0
        seen.add(name)
        at = end
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    n_raw = height * (width * depth * _PNG_CHANNELS.get(colour, 1) // 8 + 1)
    if n_raw > _DEFLATE_BEST * (n_packed + 64):  # also true without any IDAT, but for a few pixels
        raise refused("truncated")
    return Stripped(b"".join(parts), width, height, turn)


def strip_tiff(data: bytes) -> Stripped:
    """Check the first directory of a TIFF or BigTIFF and thin it out, where it stands, to what pixels need."""
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    sign = "<" if order == "little" else ">"
    big = int.from_bytes(data[2:4], order) == 43
    word, count_code, entry_code = (8, sign + "Q", sign + "HHQ8s") if big else (4, sign + "H", sign + "HHI4s")
    at = int.from_bytes(data[word : 2 * word], order)
    first, size = at + struct.calcsize(count_code), struct.calcsize(entry_code)
    n_entries = int.from_bytes(data[at:first], order)
    if n_entries > _MOST_TIFF_TAGS:
        raise damaged(f"{n_entries} TIFF tags")
    end = first + n_entries * size + word  # after the entries: where the next page is
    if end > len(data):
        raise refused("truncated")
    kept: list[bytes] = []
    values: dict[int, int] = {}
    for tag, kind, count, inline in struct.iter_unpack(entry_code, data[first : end - word]):
        unit = _TIFF_UNITS.get(kind)
        if unit is None or tag in values or tag not in _TIFF_NEEDED | {ORIENTATION_TAG}:
            continue
        if count * unit > word and int.from_bytes(inline, order) + count * unit > len(data):
            raise refused("truncated")
        values[tag] = int.from_bytes(inline[: min(unit, word)], order)
        if tag != ORIENTATION_TAG:
            kept.append(struct.pack(entry_code, tag, kind, count, inline))
    directory = struct.pack(count_code, len(kept)) + b"".join(kept) + bytes(word)
    thinned = b"".join((data[:at], directory, memoryview(data)[at + len(directory) :]))
    turn = values.get(ORIENTATION_TAG, 1)
    return Stripped(thinned, values.get(256, 0), values.get(257, 0), turn if 1 <= turn <= 8 else 1)


def webp_size(data: bytes) -> tuple[int, int]:
    """Width and height of a WebP's canvas; the RIFF container must be whole (RFC 9649)."""
    if len(data) < 30 or int.from_bytes(data[4:8], "little") + 8 > len(data):
        raise refused("truncated")
    kind = data[12:16]
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    if kind == b"VP8L" and data[20] == 0x2F:
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    raise damaged(f"WebP chunk {kind!r}")


def check_boxes(data: bytes) -> None:
    """Refuse an ISO base media file (AVIF, HEIC) whose outer boxes do not end where the file does (ISO 14496-12)."""
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size == 0:  # to the end of the file
            return
        if size < 8:
            if at == 0:
                raise damaged("box of no size")
            return  # trailing bytes that are no box
        if at + size > len(data) and data[at + 4 : at + 8].isalnum():
            raise refused("truncated")
        at += size
