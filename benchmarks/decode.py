"""Decoding to a network's input: ours beside Pillow and OpenCV, on the same photographs in the same process.

    python -m benchmarks.decode [FOLDER] [--size 600x400] [--n 200]

FOLDER holds photographs in JPEG (default: ../shared/data/restaurant_dirty/photos); with --size they are first
saved again at that size (quality 88). Each way decodes a file and makes a 224 × 224 input of it: short side to
224, centre cut, bicubic. Printed: CPU milliseconds a photograph (the least of the repetitions), the ratio to
Pillow's full decoding, and how far the input lies from that in grey levels. Everything
runs in one thread. OpenCV is measured where it can be imported.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mirada.imaging.decode import decode
from mirada.imaging.preprocess import load_input, resize_crop
from mirada.types import PreprocessSpec

Pixels = NDArray[np.uint8]
SPEC = PreprocessSpec(input_size=224, resize=224, interpolation="bicubic")
REPETITIONS = 5


def photographs(folder: Path, n: int, size: tuple[int, int] | None) -> list[bytes]:
    """Up to `n` RGB JPEG files of `folder`, saved again at `size` where it is given."""
    found: list[bytes] = []
    for path in sorted(folder.rglob("*.jpg")):
        data = path.read_bytes()
        try:
            image = Image.open(io.BytesIO(data))
            image.load()
        except (UnidentifiedImageError, OSError):
            continue
        if image.mode != "RGB" or min(image.size) < 64:
            continue
        if size is not None:
            out = io.BytesIO()
            image.resize(size, Image.Resampling.LANCZOS).save(out, "JPEG", quality=88)
            data = out.getvalue()
        found.append(data)
        if len(found) == n:
            break
    return found


def ours(data: bytes) -> Pixels:
    return load_input(data, SPEC)


def ours_full(data: bytes) -> Pixels:
    return resize_crop(decode(data).pixels, SPEC)


def fast_scales(data: bytes) -> Pixels:
    """The library alone, with the scales that have vector code only: 1, 1/2, 1/4, 1/8."""
    return resize_crop(simplejpeg.decode_jpeg(data, min_height=224, min_width=224, min_factor=2), SPEC)


def pillow(data: bytes) -> Pixels:
    return resize_crop(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")), SPEC)


def pillow_draft(data: bytes) -> Pixels:
    image = Image.open(io.BytesIO(data))
    image.draft("RGB", (224, 224))
    return resize_crop(np.asarray(image.convert("RGB")), SPEC)


def opencv_ways() -> dict[str, Callable[[bytes], Pixels]]:
    """OpenCV's full and reduced decoding, where it is installed."""
    try:
        import cv2
    except ImportError:
        return {}
    cv2.setNumThreads(1)

    def way(flag: int) -> Callable[[bytes], Pixels]:
        def load(data: bytes) -> Pixels:
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
            return resize_crop(np.ascontiguousarray(pixels[:, :, ::-1]), SPEC)

        return load

    def area(data: bytes) -> Pixels:
        """OpenCV alone: its own resizing too."""
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        scale = 224 / min(pixels.shape[:2])
        size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
        small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)[:, :, ::-1]
        top, left = (small.shape[0] - 224) // 2, (small.shape[1] - 224) // 2
        return np.ascontiguousarray(small[top : top + 224, left : left + 224])

    return {
        "OpenCV, full": way(cv2.IMREAD_COLOR),
        "OpenCV, half size": way(cv2.IMREAD_REDUCED_COLOR_2),
        "OpenCV, full, its INTER_AREA": area,
    }


def measure(ways: dict[str, Callable[[bytes], Pixels]], files: list[bytes]) -> None:
    """Print a line for each way. The ways take turns, so that a busy moment of the machine hits all of them."""
    best = dict.fromkeys(ways, float("inf"))
    inputs: dict[str, list[Pixels]] = {}
    for _ in range(REPETITIONS):
        for name, way in ways.items():
            start = time.process_time()
            inputs[name] = [way(data) for data in files]
            best[name] = min(best[name], time.process_time() - start)
    truth, base = inputs["Pillow, full"], best["Pillow, full"]
    print(f"{'':32}{'ms':>8}{'ratio':>8}{'mean |d|':>10}{'p99':>7}{'max':>6}")
    for name in ways:
        far = [np.abs(a.astype(np.int16) - b) for a, b in zip(inputs[name], truth, strict=True)]
        mean, p99 = np.mean([d.mean() for d in far]), np.mean([np.percentile(d, 99) for d in far])
        worst = max(int(d.max()) for d in far)
        ms = 1000 * best[name] / len(files)
        print(f"{name:32}{ms:8.3f}{best[name] / base:8.2f}{mean:10.2f}{p99:7.1f}{worst:6d}")


def main() -> None:
    here = Path(__file__).parents[1]
    shared = Path(os.environ.get("MIRADA_SHARED") or here.parent / "shared")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=shared / "data/restaurant_dirty/photos")
    parser.add_argument("--size", help="save the photographs again at WIDTHxHEIGHT first")
    parser.add_argument("--n", type=int, default=200)
    arguments = parser.parse_args()
    width, _, height = (arguments.size or "").partition("x")
    files = photographs(arguments.folder, arguments.n, (int(width), int(height)) if height else None)
    if not files:
        parser.error(f"no JPEG photographs in {arguments.folder}")
    print(
        f"{len(files)} photographs, {sum(map(len, files)) / len(files) / 1000:.0f} kB on average; {REPETITIONS} rounds"
    )
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()},")
    print(f"Pillow {PIL.__version__}, simplejpeg {simplejpeg.__version__}")
    ways: dict[str, Callable[[bytes], Pixels]] = {
        "Mirada, reduced": ours,
        "Mirada, full": ours_full,
        "simplejpeg, halves only": fast_scales,
        "Pillow, full": pillow,
        "Pillow, draft": pillow_draft,
    }
    measure(ways | opencv_ways(), files)


if __name__ == "__main__":
    main()
