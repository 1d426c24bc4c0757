"""Mutated photographs through `decode`, in a process of their own: ``python fuzzing.py SEED N`` prints JSON.

Run as a script by test_fuzz.py. Each mutation must end in pixels or in a DecodeError; how long each took (CPU) and
the peak memory of the process are reported.
"""

from __future__ import annotations

import io
import json
import sys
import time
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from mirada.errors import DecodeError
from mirada.imaging.decode import REASONS, decode

ABSURD = (0, 1, 255, 256, 4096, 16383, 16384, 20000, 32767, 32768, 40000, 65500, 65535, 2**24 - 1, 2**31 - 1, 2**32 - 1)


def seeds() -> dict[str, bytes]:
    """A sound file of each format and of its odder kinds, 120 × 90, part noise and part gradient."""
    rng = np.random.default_rng(5)
    pixels = np.dstack([*np.meshgrid(np.arange(120) * 2, np.arange(90) * 2), np.full((90, 120), 99)]).astype(np.uint8)
    pixels[30:60, 40:80] = rng.integers(0, 256, (30, 40, 3), np.uint8)
    rgb = Image.fromarray(pixels)
    alpha = rgb.copy()
    alpha.putalpha(rgb.convert("L"))
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "jpeg": saved(rgb, "JPEG", exif=exif),
        "progressive": saved(rgb, "JPEG", progressive=True),
        "cmyk": saved(rgb.convert("CMYK"), "JPEG"),
        "png": saved(rgb, "PNG"),
        "palette": saved(rgb.quantize(16), "PNG"),
        "grey16": saved(Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 257), "PNG"),
        "webp": saved(alpha, "WEBP"),
        "lossless": saved(rgb, "WEBP", lossless=True, exif=exif),
        "gif": saved(rgb, "GIF", save_all=True, append_images=[rgb.rotate(90)]),
        "bmp": saved(rgb, "BMP"),
        "tiff": saved(rgb, "TIFF"),
        "lzw": saved(alpha, "TIFF", compression="tiff_lzw"),
        "tiff_jpeg": saved(rgb, "TIFF", compression="jpeg"),
        "float": saved(Image.fromarray(pixels[:, :, 0].astype(np.float32)), "TIFF", compression="tiff_adobe_deflate"),
        "avif": saved(rgb, "AVIF", speed=10, exif=exif),
        "heic": heic(rgb),
    }


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def heic(image: Image.Image) -> bytes:
    from pillow_heif import from_pillow

    out = io.BytesIO()
    from_pillow(image).save(out)
    return out.getvalue()


def mutate(data: bytes, others: list[bytes], rng: np.random.Generator) -> bytes:
    """One to three of the ways in which files break."""
    for _ in range(rng.integers(1, 4)):
        data = MUTATIONS[rng.integers(len(MUTATIONS))](data, others, rng)
    return fix_png(data) if rng.random() < 0.7 else data


def flip_bits(data: bytes, _others: list[bytes], rng: np.random.Generator) -> bytes:
    broken = np.frombuffer(data, np.uint8).copy()
    if len(broken):
        reach = len(broken) if rng.random() < 0.5 else min(len(broken), 400)  # headers are where it hurts
        np.bitwise_xor.at(broken, rng.integers(0, reach, rng.integers(1, 20)), 1 << rng.integers(0, 8))
    return broken.tobytes()


def cut(data: bytes, _others: list[bytes], rng: np.random.Generator) -> bytes:
    return data[: rng.integers(0, len(data) + 1)]


def swap_header(data: bytes, others: list[bytes], rng: np.random.Generator) -> bytes:
    n, other = int(rng.choice([4, 12, 30, 100, 600])), others[rng.integers(len(others))]
    return other[:n] + data[n:]


def shuffle_parts(data: bytes, _others: list[bytes], rng: np.random.Generator) -> bytes:
    """Delete, repeat or blank a stretch."""
    low, high = sorted(rng.integers(0, len(data) + 1, 2).tolist())
    middle = (b"", data[low:high] * 2, bytes(high - low), rng.bytes(high - low))[rng.integers(4)]
    return data[:low] + middle + data[high:]


def absurd_sizes(data: bytes, _others: list[bytes], rng: np.random.Generator) -> bytes:
    """Wherever 120 or 90 (or one less, as WebP writes it) stands as a number, or at random, put another."""
    number = int(ABSURD[rng.integers(len(ABSURD))])
    n_bytes = int(rng.choice([2, 3, 4]))
    order = ("big", "little")[rng.integers(2)]
    needle = int(rng.choice([120, 90, 119, 89])).to_bytes(n_bytes, order)
    at = data.find(needle)
    if at < 0:
        at = int(rng.integers(0, min(len(data), 300) + 1))
    return data[:at] + (number % 256**n_bytes).to_bytes(n_bytes, order) + data[at + n_bytes :]


MUTATIONS = (flip_bits, flip_bits, cut, swap_header, shuffle_parts, absurd_sizes, absurd_sizes)


def fix_png(data: bytes) -> bytes:
    """Right checksums, so that damage gets past the first guard."""
    if not data.startswith(b"\x89PNG"):
        return data
    at, fixed = 8, bytearray(data)
    while at + 12 <= len(fixed):
        end = at + 12 + int.from_bytes(fixed[at : at + 4], "big")
        if end > len(fixed):
            break
        fixed[end - 4 : end] = zlib.crc32(fixed[at + 4 : end - 4]).to_bytes(4, "big")
        at = end
    return bytes(fixed)


def main(seed: int, n: int) -> dict[str, object]:
    rng = np.random.default_rng(seed)
    files = seeds()
    names, others = list(files), list(files.values())
    results: list[tuple[str, str, float]] = []
    for i in range(n):
        name = names[i % len(names)]
        data = mutate(files[name], others, rng)
        start = time.process_time()
        outcome = outcome_of(data, None if i % 2 else 48)
        results.append((name, outcome, time.process_time() - start))
    # Not getrusage: its peak is inherited from the process that started this one.
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return {"results": results, "peak_bytes": int(peak.split()[1]) * 1024}


def outcome_of(data: bytes, min_side: int | None) -> str:
    try:
        decoded = decode(data, min_side=min_side)
    except DecodeError as error:
        return error.code if error.code in REASONS and str(error) else f"unknown reason {error.code}"
    sound = decoded.pixels.dtype == np.uint8 and decoded.pixels.ndim == 3 and decoded.pixels.shape[2] == 3
    return "decoded" if sound else f"wrong shape {decoded.pixels.shape}"


if __name__ == "__main__":
    json.dump(main(int(sys.argv[1]), int(sys.argv[2])), sys.stdout)
