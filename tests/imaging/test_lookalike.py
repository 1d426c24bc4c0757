from __future__ import annotations

import numpy as np
import pytest

from mirada.imaging.lookalike import LOOKALIKE_DIM, LOOKALIKE_SIDE, describe
from mirada.testing import pixels


def picture(values: np.ndarray) -> np.ndarray:
    return describe(np.ascontiguousarray(values)).reshape(LOOKALIKE_SIDE, LOOKALIKE_SIDE)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (7, 5), (64, 64), (640, 427)])
def test_any_size_gives_grey_levels(size: tuple[int, int]) -> None:
    found = describe(pixels(0, size))
    assert found.shape == (LOOKALIKE_DIM,)
    assert found.dtype == np.float32
    assert 0 <= found.min() <= found.max() <= 255


def test_a_flat_picture_keeps_its_brightness() -> None:
    assert (describe(np.full((40, 30, 3), 77, np.uint8)) == 77).all()


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("mirror", [False, True])
def test_mirroring_and_quarter_turns_commute_with_describing(turns: int, mirror: bool) -> None:
    photo = pixels(3, (224, 224))
    turned, expected = np.rot90(photo, turns), np.rot90(picture(photo), turns)
    if mirror:
        turned, expected = turned[:, ::-1], expected[:, ::-1]
    assert np.abs(picture(turned) - expected).max() <= 1


def test_a_smaller_copy_looks_the_same() -> None:
    photo = pixels(5, (448, 320))
    assert np.abs(picture(photo) - picture(photo.reshape(160, 2, 224, 2, 3).mean((1, 3)).astype(np.uint8))).mean() < 1.5
