"""Files that end early, are damaged, or lie about their size are refused whole; harmless oddities are not."""

from __future__ import annotations

import struct
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from mirada.errors import DecodeError
from mirada.imaging.decode import decode

KINDS = [
    ("JPEG", {}),
    ("JPEG", {"progressive": True}),
    ("JPEG", {"restart_marker_rows": 1}),
    ("PNG", {}),
    ("WEBP", {}),
    ("WEBP", {"lossless": True}),
    ("GIF", {}),
    ("BMP", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("TIFF", {"compression": "jpeg"}),
    ("AVIF", {}),
    ("HEIF", {}),
]


def code_of(data: bytes) -> str:
    with pytest.raises(DecodeError) as caught:
        decode(data)
    return caught.value.code


@pytest.mark.parametrize(("kind", "options"), KINDS, ids=lambda value: str(value))
def test_no_part_of_a_file_decodes_to_part_of_a_photograph(encode, scene, kind, options):
    """Cut anywhere: refused, or (nothing but the end mark is missing) the very same pixels."""
    data = encode(scene, kind, **options)
    whole = decode(data).pixels
    cuts = {*range(0, len(data), max(1, len(data) // 60)), *range(len(data) - 12, len(data)), 1, 3, 11, 20, 30}
    n_refused = 0
    for cut in sorted(cuts):
        try:
            part = decode(data[:cut]).pixels
        except DecodeError as error:
            n_refused += error.code in {"truncated", "unreadable", "not_an_image", "empty"}
        else:
            assert cut > len(data) - 12, cut
            assert np.array_equal(part, whole)
    assert n_refused >= len(cuts) - 11


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_cut_and_closed_again_is_refused(encode, scene, progressive):
    data = encode(Image.effect_noise((96, 64), 60).convert("RGB"), "JPEG", progressive=progressive)
    for share in (0.4, 0.7, 0.9):
        assert code_of(data[: int(len(data) * share)] + b"\xff\xd9") in {"truncated", "unreadable"}
    assert code_of(data[:-2][: len(data) // 2]) == "truncated"


def test_a_progressive_jpeg_between_two_scans_is_refused(encode, scene):
    data = encode(scene, "JPEG", progressive=True)
    assert code_of(data[: data.rfind(b"\xff\xda")]) == "truncated"


def test_harmless_oddities_of_jpeg_pass(encode, scene):
    data = encode(scene, "JPEG", quality=95)
    whole = decode(data).pixels
    after_start = data[:2]
    odd = {
        "trailing bytes": data + b"\x00" * 5000,
        "another file behind": data + data,
        "filler before the end": data[:-2] + b"\xff\xff\xff\xd9",
        "padding before the end": data[:-2] + b"\x00" * 300 + b"\xff\xd9",
        "a few bytes before the end": data[:-2] + b"\x00\x01\x02\xff\xd9",
        "unknown segment": after_start + b"\xff\xe9\x00\x06junk" + data[2:],
        "bytes between segments": data[:20] + b"\x00\x01\x02" + data[20:],
        "strange JFIF version": data.replace(b"JFIF\x00\x01\x01", b"JFIF\x00\x09\x01"),
        "no end mark": data[:-2],
        "broken EXIF": after_start + b"\xff\xe1\x00\x10Exif\x00\x00MM\x00*\xff\xff\xff\xff" + data[2:],
    }
    for what, file in odd.items():
        assert np.array_equal(decode(file).pixels, whole), what


def test_most_damage_inside_the_scan_of_a_jpeg_is_noticed(encode):
    """Huffman codes carry no checksum: some damage goes unseen by any decoder. Most must not."""
    rng = np.random.default_rng(7)
    photo = Image.radial_gradient("L").convert("RGB")
    sound = encode(Image.blend(photo, Image.effect_noise(photo.size, 80).convert("RGB"), 0.3), "JPEG", quality=85)
    n_refused = 0
    for _ in range(40):
        data, at = bytearray(sound), int(rng.integers(700, len(sound) - 300))
        data[at : at + 40] = rng.bytes(40)
        try:
            decode(bytes(data))
        except DecodeError as error:
            n_refused += error.code in {"truncated", "unreadable"}
    assert n_refused >= 28


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def test_every_byte_of_a_png_counts(encode, scene):
    data = encode(scene, "PNG")
    for at in range(8, len(data), max(1, len(data) // 80)):
        broken = bytearray(data)
        broken[at] ^= 0x10
        assert code_of(bytes(broken)) in {"truncated", "unreadable", "too_many_pixels", "too_long_side"}, at


def test_png_extras_are_never_read(encode, scene):
    """Compressed text and profiles that would unpack to gigabytes, and broken ones, have no say."""
    data = encode(scene, "PNG")
    bomb = zlib.compress(bytes(20_000_000), 9)
    extras = (
        chunk(b"zTXt", b"k\x00\x00" + bomb)
        + chunk(b"iCCP", b"p\x00\x00" + bomb)
        + chunk(b"iTXt", b"k\x00\x01\x00\x00\x00" + bomb)
    )
    start = time.process_time()
    assert np.array_equal(decode(data[:33] + extras + data[33:] + b"trailing").pixels, np.asarray(scene))
    assert time.process_time() - start < 1


def png_claiming(width: int, height: int, body: bytes, depth: int = 8, colour: int = 2) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def webp_claiming(width: int, height: int, webp: bytes) -> bytes:
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    parts = b"WEBPVP8X" + struct.pack("<I", 10) + b"\x00\x00\x00\x00" + sides + webp[12:]
    return b"RIFF" + struct.pack("<I", len(parts)) + parts


def jpeg_claiming(width: int, height: int, jpeg: bytes) -> bytes:
    at = next(jpeg.find(mark) for mark in (b"\xff\xc0", b"\xff\xc2") if mark in jpeg) + 5
    return jpeg[:at] + struct.pack(">HH", height, width) + jpeg[at + 4 :]


def tiff_claiming(width: int, height: int, tiff: bytes) -> bytes:
    data, at = bytearray(tiff), struct.unpack_from("<I", tiff, 4)[0]
    for i in range(struct.unpack_from("<H", tiff, at)[0]):
        tag = struct.unpack_from("<H", tiff, at + 2 + 12 * i)[0]
        if tag in (256, 257):
            struct.pack_into("<HHII", data, at + 2 + 12 * i, tag, 4, 1, width if tag == 256 else height)
    return bytes(data)


BOMB_SIZES = [(40_000, 40_000), (65_500, 1_800), (60_000, 60_000), (9_000, 9_000), (16_000, 16_000)]
RUNNER = """
import resource, sys, time
from pathlib import Path
from mirada.errors import DecodeError
from mirada.imaging.decode import decode
for path in sorted(Path(sys.argv[1]).iterdir()):
    start = time.process_time()
    try:
        outcome = f"decoded {decode(path.read_bytes()).pixels.shape}"
    except DecodeError as error:
        outcome = error.code
    print(path.stem, outcome, round(time.process_time() - start, 2), sep="|")
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print("peak", peak.split()[1], 0, sep="|")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_bombs_cost_neither_time_nor_memory(encode, scene, tmp_path):
    """Files of a few kilobytes that claim up to 3.6 gigapixels; in a process of their own, below 500 MB."""
    flat = zlib.compress(bytes(120_001 * 600), 9)
    jpeg, progressive, tiff = encode(scene, "JPEG"), encode(scene, "JPEG", progressive=True), encode(scene, "TIFF")
    files = {"flat_png": png_claiming(40_000, 40_000, zlib.compress(bytes(5_001 * 40_000), 9), depth=1, colour=0)}
    for width, height in BOMB_SIZES:
        name = f"{width}x{height}"
        files |= {
            f"png_{name}": png_claiming(width, height, flat),
            f"jpeg_{name}": jpeg_claiming(width, height, jpeg),
            f"progressive_{name}": jpeg_claiming(width, height, progressive),
            f"webp_{name}": webp_claiming(width, height, encode(scene, "WEBP")),
            f"tiff_{name}": tiff_claiming(width, height, tiff),
            f"gif_{name}": b"GIF89a" + struct.pack("<HH", width % 65536, height % 65536) + encode(scene, "GIF")[10:],
            f"bmp_{name}": encode(scene, "BMP")[:18] + struct.pack("<ii", width, height) + encode(scene, "BMP")[26:],
            f"avif_{name}": encode(scene, "AVIF").replace(
                struct.pack(">II", 96, 64), struct.pack(">II", width, height)
            ),
            f"heic_{name}": encode(scene, "HEIF").replace(
                struct.pack(">II", 96, 64), struct.pack(">II", width, height)
            ),
        }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, tmp_path], capture_output=True, text=True, check=True, timeout=120
    )
    rows = [line.split("|") for line in done.stdout.splitlines()]
    assert len(rows) == len(files) + 1
    for name, outcome, seconds in rows[:-1]:
        small_canvas = name in {"gif_9000x9000", "webp_9000x9000"}
        assert outcome in {"truncated", "too_many_pixels", "too_long_side", "unreadable"} or small_canvas, (
            name,
            outcome,
        )
        assert float(seconds) < 1, (name, seconds)
    assert int(rows[-1][1]) < 500_000, "kB at the peak"


def test_progressive_jpeg_of_very_many_scans_is_refused(encode):
    """A known way to make decoders work for minutes: small scans repeated over a large frame."""
    data = encode(Image.new("RGB", (4000, 4000)), "JPEG", progressive=True)
    at = data.rfind(b"\xff\xda")
    assert code_of(data[:at] + data[at:-2] * 300 + b"\xff\xd9") == "too_many_pixels"


def test_somebody_else_allowing_half_read_files_changes_nothing(encode, scene, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = encode(scene, "BMP")
    assert code_of(data[:-100]) == "truncated"


def test_tiff_metadata_cannot_warn_or_lead_astray(encode, scene):
    """Pillow warns about broken tags; here broken extra tags are left out and broken needed ones refuse the file."""
    data = encode(scene, "TIFF", description="x" * 50)
    at = struct.unpack_from("<I", data, 4)[0]
    entries = [at + 2 + 12 * i for i in range(struct.unpack_from("<H", data, at)[0])]
    for entry in entries:
        tag, kind, count = struct.unpack_from("<HHI", data, entry)
        broken = bytearray(data)
        struct.pack_into("<HHII", broken, entry, tag, kind, 0x7FFF_FFFF, 0x7FFF_FFFF)
        if tag == 270:
            assert np.array_equal(decode(bytes(broken)).pixels, np.asarray(scene))
        elif tag in (256, 257, 258, 273, 279):
            assert code_of(bytes(broken)) in {"truncated", "unreadable"}, (tag, kind, count)
