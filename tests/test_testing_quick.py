from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from mirada.testing import KINDS, class_folders, photo, pixels

pillow_heif.register_heif_opener()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_an_image_of_the_size_asked(kind: str) -> None:
    with Image.open(io.BytesIO(photo(3, (70, 50), kind))) as image:
        assert (image.format or "").lower() == kind.split("_")[0].replace("heic", "heif")
        stored = image.size
    assert stored == ((50, 70) if kind == "jpeg_exif" else (70, 50))


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("jpeg_grey", "L"), ("jpeg_cmyk", "CMYK"), ("png_alpha", "RGBA"), ("png_palette", "P"), ("png_16bit", "I;16")],
)
def test_kinds_have_the_mode_they_are_named_for(kind: str, mode: str) -> None:
    with Image.open(io.BytesIO(photo(kind=kind))) as image:
        assert image.mode == mode


def test_an_unknown_kind_is_refused_with_those_allowed() -> None:
    with pytest.raises(ValueError, match="jpeg_cmyk"):
        photo(kind="jpg2000")


def test_seed_and_look_decide_the_picture() -> None:
    assert photo(1) == photo(1)
    assert photo(1) != photo(2)
    assert photo(1, look=1) != photo(1, look=2)


def test_classes_are_told_apart_by_their_mean_colour() -> None:
    means = np.array([[pixels(seed, look=look, n_looks=4).mean((0, 1)) for seed in range(20)] for look in range(4)])
    centres = means.mean(1)
    nearest = np.linalg.norm(means[:, :, None] - centres, axis=-1).argmin(-1)
    assert (nearest == np.arange(4)[:, None]).mean() > 0.95


def test_class_folders_are_quick_and_whole(tmp_path: Path) -> None:
    start = time.process_time()
    written = class_folders(tmp_path, 3, 40, class_names=["a", "ñandú 🍲", "c"])
    assert time.process_time() - start < 1.0  # 120 photographs; about 0.05 s on a quiet machine
    assert [len(paths) for paths in written.values()] == [40, 40, 40]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "c", "ñandú 🍲"]
    assert len({path.read_bytes() for paths in written.values() for path in paths}) == 120
