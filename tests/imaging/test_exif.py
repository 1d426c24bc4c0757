"""Orientation is read from sound EXIF blocks and is 1 for every broken one."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirada.imaging.exif import orientation, upright


def block(order: str, entries: list[tuple[int, int, int, int]]) -> bytes:
    head = (b"II*\x00" if order == "<" else b"MM\x00*") + struct.pack(order + "IH", 8, len(entries))
    return head + b"".join(struct.pack(order + "HHIHH", *entry, 0) for entry in entries) + bytes(4)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("prefix", [b"", b"Exif\x00\x00"])
def test_both_byte_orders(order, prefix):
    assert orientation(prefix + block(order, [(0x010F, 2, 1, 7), (0x0112, 3, 1, 8)])) == 8


@pytest.mark.parametrize(
    "entry", [(0x0112, 3, 1, 0), (0x0112, 3, 1, 9), (0x0112, 4, 1, 6), (0x0112, 3, 2, 6), (0x0113, 3, 1, 6)]
)
def test_values_that_mean_nothing(entry):
    assert orientation(block("<", [entry])) == 1


@given(st.binary(max_size=60))
def test_noise_never_raises(noise):
    assert 1 <= orientation(noise) <= 8
    assert 1 <= orientation(b"MM\x00*\x00\x00\x00\x08" + noise) <= 8


def test_cut_block():
    whole = block(">", [(0x0112, 3, 1, 6)])
    assert all(orientation(whole[:n]) == 1 for n in range(8 + 2 + 12))


def test_turning_twice_comes_back():
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    back = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}
    for how, inverse in back.items():
        assert np.array_equal(upright(upright(pixels, how), inverse), pixels)
        assert upright(pixels, how).flags.c_contiguous
