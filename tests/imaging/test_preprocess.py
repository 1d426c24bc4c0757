"""The one preprocessing: sizes, centre, filters, and the same numbers wherever it runs."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mirada.imaging.decode import decode
from mirada.imaging.preprocess import load_input, resize_crop
from mirada.types import PreprocessSpec

SPEC = PreprocessSpec(input_size=64, resize=64)


def noise(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_the_right_size_is_left_alone():
    pixels = noise(64, 64)
    assert np.array_equal(resize_crop(pixels, SPEC), pixels)
    wide = noise(91, 64)
    assert np.array_equal(resize_crop(wide, SPEC), wide[:, 13:77])
    larger = PreprocessSpec(input_size=48, resize=64)
    assert np.array_equal(resize_crop(wide, larger), wide[8:56, 21:69])


@pytest.mark.parametrize("size", [(128, 128), (320, 128), (128, 400)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos", "box"])
def test_equals_resizing_the_whole_and_then_cutting(size, interpolation):
    pixels = noise(*size)
    spec = PreprocessSpec(input_size=48, resize=64, interpolation=interpolation)
    half = (size[0] // 2, size[1] // 2)
    small = np.asarray(Image.fromarray(pixels).resize(half, Image.Resampling[interpolation.upper()]))
    top, left = (half[1] - 48) // 2, (half[0] - 48) // 2
    assert np.abs(resize_crop(pixels, spec).astype(int) - small[top : top + 48, left : left + 48]).max() <= 1


@given(
    width=st.integers(1, 200),
    height=st.integers(1, 200),
    interpolation=st.sampled_from(["bilinear", "bicubic", "lanczos", "box"]),
)
@settings(max_examples=80, deadline=None)
def test_any_size_gives_the_input_size_and_keeps_a_flat_colour(width, height, interpolation):
    flat = np.full((height, width, 3), (12, 140, 250), np.uint8)
    spec = PreprocessSpec(input_size=32, resize=36, interpolation=interpolation)
    out = resize_crop(flat, spec)
    assert out.shape == (32, 32, 3)
    assert out.dtype == np.uint8
    assert out.flags.c_contiguous
    assert np.abs(out.astype(int) - flat[0, 0]).max() <= 1


def test_a_centre_larger_than_the_resize_is_filled():
    assert resize_crop(noise(50, 70), PreprocessSpec(input_size=64, resize=32)).shape == (64, 64, 3)


def test_the_centre_is_the_centre():
    pixels = np.zeros((100, 300, 3), np.uint8)
    pixels[:, 100:200] = 255
    cut = resize_crop(pixels, SPEC)
    assert cut[:, 1:-1].min() == 255
    assert cut.min() > 200  # at the edge the filter sees beyond the cut, as it would in the whole picture


def test_grey_networks_get_three_equal_channels():
    out = resize_crop(noise(80, 90), PreprocessSpec(input_size=64, resize=64, channels="grey"))
    assert np.array_equal(out[:, :, 0], out[:, :, 2])
    assert out.std() > 5


def test_reduced_decoding_stays_close_to_full_decoding(encode):
    smooth = Image.fromarray(noise(40, 30)).resize((800, 600), Image.Resampling.BICUBIC)
    data = encode(smooth, "JPEG", quality=90)
    reduced = load_input(data, SPEC).astype(int)
    full = resize_crop(decode(data).pixels, SPEC).astype(int)
    assert decode(data, min_side=64).pixels.shape == (75, 100, 3)
    assert np.abs(reduced - full).mean() < 2.5  # hard content: colours change every 20 pixels


def test_same_numbers_in_threads_and_processes(encode):
    files = [encode(Image.fromarray(noise(150 + i, 120, i)), kind) for i, kind in enumerate(["JPEG", "PNG", "WEBP"])]
    here = [load_input(data, SPEC) for data in files]
    with ThreadPoolExecutor(4) as threads:
        for found, expected in zip(threads.map(_load, files * 4), here * 4, strict=True):
            assert np.array_equal(found, expected)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        for found, expected in zip(processes.map(partial(load_input, spec=SPEC), files), here, strict=True):
            assert np.array_equal(found, expected)


def _load(data: bytes) -> np.ndarray:
    return load_input(data, SPEC)
