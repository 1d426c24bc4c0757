"""JPEG through simplejpeg (libjpeg-turbo): reduced DCT scales, and no half-read files.

The decoder runs in strict mode, where any warning of the library refuses the file. Some warnings are harmless
(a strange header field, filler bytes): then the file is tidied and tried again, and only what is known to leave
every pixel decoded is forgiven. See docs/adr/0001-decoding.md for the choice of library.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

import simplejpeg

from mirada.imaging.base import Limits, Opened, Pixels, check_size, damaged, refused
from mirada.imaging.exif import orientation

_SOI, _EOI, _SOS, _APP0, _APP1, _APP14 = 0xD8, 0xD9, 0xDA, 0xE0, 0xE1, 0xEE
_SOF = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_WITHOUT_LENGTH = frozenset({0x01, _SOI, *range(0xD0, 0xD8)})
_NEEDED = frozenset({*range(0xC0, 0xD0), 0xDB, 0xDD, _APP14, _SOS})  # frame, tables, restart interval, Adobe colours
_JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
_EXTRANEOUS = re.compile(r"(\d+) extraneous bytes before marker 0x(\w\w)")
_FEW_BYTES = 16
_MOST_SCAN_WORK = 1_500_000_000  # pixels × scans: several seconds; a usual progressive file has ten scans
_PIXELS_A_BYTE = 512  # one bit for each 8 × 8 block is the least that Huffman coding can spend
_SMALL = 1_000_000  # pixels below which a lying header can do no harm


@dataclass(frozen=True, slots=True)
class _Header:
    width: int
    height: int
    n_components: int
    progressive: bool
    orientation: int
    segments: tuple[tuple[int, int, int], ...]  # marker, start, end
    scan_at: int


def open_jpeg(data: bytes, limits: Limits) -> Opened:
    """Read and check the header of a JPEG. Raises DecodeError."""
    header = _read_header(data)
    pixels = header.width * header.height
    check_size(header.width, header.height, limits, kind="PROGRESSIVE" if header.progressive else "JPEG")
    if pixels > max(_SMALL, _PIXELS_A_BYTE * len(data)):
        raise refused("truncated")
    if header.progressive and pixels * data.count(b"\xff\xda") > _MOST_SCAN_WORK:
        raise refused("too_many_pixels")

    def load(min_side: int | None) -> Pixels:
        return _load(data, header, min_side)

    mode = _MODES.get(header.n_components)
    if mode is None:
        raise damaged(f"{header.n_components} colour channels")
    return Opened(header.width, header.height, mode, "JPEG", header.orientation, load)


def _read_header(data: bytes) -> _Header:
    """Walk the segments up to the first scan."""
    frame: tuple[int, int, int, int] | None = None
    turn, at, segments = 1, 2, []
    while True:
        at = _next_marker(data, at)
        marker = data[at - 1]
        if marker in _WITHOUT_LENGTH:
            continue
        if marker == _EOI or at + 2 > len(data):
            raise refused("truncated")
        end = at + int.from_bytes(data[at : at + 2], "big")
        if end < at + 2:
            raise damaged(f"segment of {end - at} bytes")
        if end > len(data):
            raise refused("truncated")
        segments.append((marker, at - 2, end))
        if marker in _SOF and frame is None and end >= at + 8:
            height, width, n_components = struct.unpack_from(">HHB", data, at + 3)
            frame = (marker, width, height, n_components)
        elif marker == _APP1 and turn == 1 and data[at + 2 : at + 8] == b"Exif\x00\x00":
            turn = orientation(data[at + 8 : end])
        elif marker == _SOS:
            break
        at = end
    if frame is None:
        raise damaged("no frame before the first scan")
    return _Header(frame[1], frame[2], frame[3], frame[0] in _PROGRESSIVE, turn, tuple(segments), end)


def _next_marker(data: bytes, at: int) -> int:
    """Where the marker after `at` ends, skipping filler the way libjpeg does."""
    while True:
        at = data.find(b"\xff", at)
        if at < 0:
            raise refused("truncated")
        while at < len(data) and data[at] == 0xFF:
            at += 1
        if at >= len(data):
            raise refused("truncated")
        if data[at] != 0:
            return at + 1


def _load(data: bytes, header: _Header, min_side: int | None) -> Pixels:
    side = min_side if min_side is not None and min_side < min(header.width, header.height) else 0
    try:
        return _decode(data, side)
    except ValueError:
        tidy = _tidied(data, header)
    try:
        return _decode(tidy, side)
    except ValueError as error:
        if not _harmless(str(error), tidy):
            raise refused("truncated") if "premature end" in str(error).lower() else damaged(error) from error
    try:
        return _decode(tidy, side, strict=False)
    except ValueError as error:
        raise damaged(error) from error


def _decode(data: bytes, side: int, *, strict: bool = True) -> Pixels:
    pixels: Pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=side, min_width=side, strict=strict)
    return pixels


def _tidied(data: bytes, header: _Header) -> bytes:
    """The same JPEG with nothing but what decoding needs.

    Unknown or odd application segments, comments and filler between segments go. A missing end marker is added
    to a file of one sequential scan: if pixels are missing too, the decoder still says so. A progressive file
    without its end may lack whole refinement scans unnoticed, so it gets none.
    """
    parts = [b"\xff\xd8"]
    if any(marker == _APP0 and data[start + 4 : start + 8] == b"JFIF" for marker, start, _ in header.segments):
        parts.append(_JFIF)  # it decides how colours are read
    parts += [data[start:end] for marker, start, end in header.segments if marker in _NEEDED]
    parts.append(data[header.scan_at :])
    if not header.progressive and b"\xff\xd9" not in data[header.scan_at :] and data.count(b"\xff\xda") == 1:
        parts.append(b"\xff\xd9")
    return b"".join(parts)


def _harmless(warning: str, data: bytes) -> bool:
    """Whether libjpeg's first `warning` leaves every pixel decoded.

    "Extraneous bytes before the end marker" comes after the last pixel. Yet it is also what remains when damage
    in the middle makes the decoder lose its place: four in five photographs with 40 overwritten bytes end so,
    half of them with more than 150 bytes. So a few bytes are forgiven, or many of one value (padding).
    Bytes between scans and odd progressions are forgiven where the file has its end.
    """
    end = data.find(b"\xff\xd9", data.rfind(b"\xff\xda"))
    if end < 0:
        return False
    found = _EXTRANEOUS.search(warning)
    if found is None:
        return "Inconsistent progression sequence" in warning or "Invalid SOS parameters" in warning
    n_bytes = int(found[1])
    return n_bytes <= _FEW_BYTES or (found[2] == "d9" and len(set(data[end - n_bytes : end])) == 1)
