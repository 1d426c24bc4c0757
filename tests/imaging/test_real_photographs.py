"""The development photographs: what is corrupt is refused, what is merely odd is kept."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image, ImageOps

from mirada.errors import DecodeError
from mirada.imaging.decode import decode, read_file

pytestmark = pytest.mark.shared


def test_restaurant_dirty(shared):
    root = shared("data/restaurant_dirty")
    with (root / "truth.csv").open(encoding="utf-8", newline="") as file:
        truth = {row[0]: (row[1], row[2]) for row in csv.reader(file)}
    listed = [json.loads(line)["photo_id"] for line in (root / "photos.json").read_text(encoding="utf-8").splitlines()]
    files = {path.stem: path for path in (root / "photos").iterdir()}
    reasons: dict[str, str] = {}
    for photo_id in listed:
        path = files.get(photo_id, root / "photos" / f"{photo_id}.jpg")
        try:
            decode(read_file(path))
        except DecodeError as error:
            reasons[photo_id] = error.code
    corrupt = {photo_id for photo_id, (what, _) in truth.items() if what == "corrupt"}
    assert len(corrupt) == 10
    assert {photo_id for photo_id, reason in reasons.items() if reason != "missing"} == corrupt
    assert sum(reason == "missing" for reason in reasons.values()) == 1
    awkward = {detail: files[photo_id] for photo_id, (what, detail) in truth.items() if what == "awkward"}
    assert len(awkward) == 8
    modes = {detail: decode(read_file(path)).mode for detail, path in awkward.items()}
    assert (modes["cmyk"], modes["grey"], modes["alpha"], modes["palette"]) == ("CMYK", "L", "RGBA", "P")
    assert decode(read_file(awkward["one_pixel"])).pixels.shape == (1, 1, 3)
    assert decode(read_file(awkward["black"])).pixels.max() <= 1


def test_the_photograph_rotated_by_exif_is_upright(shared):
    root = shared("data/restaurant_dirty")
    with (root / "truth.csv").open(encoding="utf-8", newline="") as file:
        name = next(row[0] for row in csv.reader(file) if row[2] == "exif_rotated")
    path = next((root / "photos").glob(f"{name}*"))
    with Image.open(path) as image:
        stored = np.asarray(image.convert("RGB"))
        turned = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    pixels = decode(path.read_bytes()).pixels
    assert np.abs(pixels.astype(int) - turned).mean() < 1
    assert np.abs(pixels.astype(int) - stored).mean() > 10


def test_every_photograph_of_sports15(shared, long_run):
    paths = sorted(shared("data/sports15").glob("*/*/*.jpg"))
    assert len(paths) > 2000
    for path in paths if long_run else paths[::5]:
        decoded = decode(read_file(path), min_side=112)
        assert (decoded.width, decoded.height) == (224, 224)
        assert decoded.mode in {"RGB", "L"}
        assert decoded.pixels.shape == (112, 112, 3)
