"""Thumbnails are small, upright WebP files that give nothing away."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from mirada.errors import DecodeError
from mirada.imaging.thumbnail import data_uri, make_thumbnail, thumbnail_data_uri


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@pytest.mark.parametrize(
    ("size", "expected"),
    [((800, 600), (256, 192)), ((600, 800), (192, 256)), ((100, 40), (100, 40)), ((3000, 2), (256, 1))],
)
def test_size(encode, size, expected):
    image = opened(make_thumbnail(encode(Image.new("RGB", size, (9, 90, 200)), "JPEG")))
    assert image.format == "WEBP"
    assert image.size == expected
    assert np.abs(np.asarray(image).astype(int) - (9, 90, 200)).max() <= 6


def test_upright_and_without_metadata(encode, scene):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x8825] = 6, "a camera", {1: "N"}
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = encode(scene, "JPEG", exif=exif, icc_profile=profile, quality=95)
    thumbnail = make_thumbnail(data, side=48)
    image = opened(thumbnail)
    assert image.size == (32, 48)
    assert not {"exif", "icc_profile", "xmp"} & set(image.info)
    red, green = np.asarray(image)[4, 26], np.asarray(image)[44, 26]  # the left corner of the file is the right one now
    assert red[0] > 150 > red[1]
    assert green[1] > 150 > green[0]


def test_data_uri(encode, scene):
    data = encode(scene, "PNG")
    uri = thumbnail_data_uri(data, side=32)
    assert uri == data_uri(make_thumbnail(data, side=32))
    assert opened(base64.b64decode(uri.removeprefix("data:image/webp;base64,"))).size == (32, 21)


def test_damaged_photographs_have_no_thumbnail(encode, scene):
    with pytest.raises(DecodeError):
        make_thumbnail(encode(scene, "PNG")[:-30])
