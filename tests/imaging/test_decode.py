"""Every format and colour mode comes out as the same upright RGB; limits are read from the header."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from mirada.errors import DecodeError
from mirada.imaging.decode import REASONS, Decoded, Limits, decode, probe, read_file

LOSSLESS = [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("WEBP", {"lossless": True})]
TIFF_KINDS = ["tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd", "lzma"]


def greys(dtype: type, top: float) -> Image.Image:
    """A ramp from 0 to `top`, 16 × 16 (256 values)."""
    return Image.fromarray(
        (np.rint(np.arange(256) * (top / 255)) if top > 1 else np.arange(256) / 255).reshape(16, 16).astype(dtype)
    )


def code_of(data: bytes, **options: object) -> str:
    with pytest.raises(DecodeError) as caught:
        decode(data, **options)
    assert caught.value.code in REASONS
    assert str(caught.value)
    return caught.value.code


@pytest.mark.parametrize(("kind", "options"), LOSSLESS)
def test_lossless_formats_keep_every_pixel(encode, scene, kind, options):
    decoded = decode(encode(scene, kind, **options))
    assert np.array_equal(decoded.pixels, np.asarray(scene))
    assert (decoded.width, decoded.height, decoded.mode, decoded.format) == (96, 64, "RGB", kind)
    assert decoded.pixels.flags.c_contiguous


@pytest.mark.parametrize("compression", TIFF_KINDS)
def test_tiff_compressions(encode, scene, compression):
    assert np.array_equal(decode(encode(scene, "TIFF", compression=compression)).pixels, np.asarray(scene))


@pytest.mark.parametrize(("kind", "off"), [("JPEG", 4), ("AVIF", 6), ("HEIF", 6), ("WEBP", 8)])
def test_lossy_formats_come_close(encode, scene, kind, off):
    decoded = decode(encode(scene, kind, quality=90))
    assert np.abs(decoded.pixels.astype(int) - np.asarray(scene)).mean() < off
    assert (decoded.width, decoded.height, decoded.format) == (96, 64, kind)


def test_big_tiff_and_the_first_page_of_several(encode, scene):
    assert np.array_equal(decode(encode(scene, "TIFF", big_tiff=True)).pixels, np.asarray(scene))
    pages = encode(scene, "TIFF", save_all=True, append_images=[ImageOps.invert(scene)])
    assert np.array_equal(decode(pages).pixels, np.asarray(scene))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF"])
def test_the_first_frame_of_an_animation(encode, scene, kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(scene, kind, save_all=True, append_images=[ImageOps.invert(scene)] * 2, **options)
    decoded = decode(data)
    assert np.abs(decoded.pixels.astype(int) - np.asarray(scene)).mean() < 8
    assert decoded.format == kind


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_alpha_is_laid_on_white(encode, kind):
    image = Image.new("RGBA", (32, 32), (200, 0, 0, 255))
    image.paste((200, 0, 0, 0), (0, 0, 16, 32))
    image.paste((200, 0, 0, 128), (0, 16, 16, 32))
    pixels = decode(encode(image, kind, **({"lossless": True} if kind == "WEBP" else {}))).pixels.astype(int)
    assert np.abs(pixels[4, 4] - 255).max() <= 6
    assert np.abs(pixels[26, 4] - (227, 127, 127)).max() <= 6
    assert np.abs(pixels[4, 26] - (200, 0, 0)).max() <= 6


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palettes_with_and_without_transparency(encode, kind):
    image = Image.new("P", (8, 8), 1)
    image.putpalette([10, 200, 30, 250, 120, 0])
    image.paste(0, (0, 0, 8, 4))
    opaque, clear = decode(encode(image, kind)), decode(encode(image, kind, transparency=0))
    assert opaque.mode == "P"
    assert opaque.pixels[0, 0].tolist() == [10, 200, 30]
    assert opaque.pixels[7, 0].tolist() == clear.pixels[7, 0].tolist() == [250, 120, 0]
    assert clear.pixels[0, 0].tolist() == [255, 255, 255]


def test_transparent_colour_and_grey_with_alpha_in_png(encode):
    keyed = encode(Image.new("RGB", (4, 4), (1, 2, 3)), "PNG", transparency=(1, 2, 3))
    assert decode(keyed).pixels.min() == 255
    assert decode(encode(Image.new("LA", (4, 4), (100, 51)), "PNG")).pixels[0, 0].tolist() == [224, 224, 224]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_is_scaled_not_cut(encode, kind):
    decoded = decode(encode(greys(np.uint16, 65535), kind))
    assert decoded.mode == "I;16"
    assert np.array_equal(decoded.pixels[:, :, 1].ravel(), np.arange(256))


@pytest.mark.parametrize(
    ("dtype", "top"), [(np.float32, 1.0), (np.float32, 255.0), (np.float32, 65535.0), (np.int32, 255)]
)
def test_float_and_wide_greys(encode, dtype, top):
    pixels = decode(encode(greys(dtype, top), "TIFF")).pixels
    assert np.array_equal(pixels[:, :, 2].ravel(), np.arange(256))


def test_floats_that_are_not_numbers(encode):
    grey = np.array([[np.nan, -5.0], [np.inf, 15.0]], np.float32)
    assert decode(encode(Image.fromarray(grey), "TIFF")).pixels[:, :, 0].tolist() == [[0, 0], [255, 255]]


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_one_bit(encode, kind):
    image = Image.new("1", (9, 3), 1)
    image.putpixel((4, 1), 0)
    pixels = decode(encode(image, kind)).pixels
    assert pixels[1, 4].tolist() == [0, 0, 0]
    assert (pixels == 255).sum() == 26 * 3


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk(encode, kind):
    """Pillow writes CMYK JPEG inverted, the way Adobe does."""
    decoded = decode(encode(Image.new("CMYK", (32, 32), (0, 255, 255, 0)), kind))
    assert decoded.mode == "CMYK"
    assert np.abs(decoded.pixels[16, 16].astype(int) - (255, 0, 0)).max() <= 4


def test_grey_jpeg(encode):
    decoded = decode(encode(Image.new("L", (20, 10), 77), "JPEG"))
    assert (decoded.mode, decoded.pixels.shape) == ("L", (10, 20, 3))
    assert np.unique(decoded.pixels).tolist() == [77]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_upright_by_exif(encode, scene, kind, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    plain = decode(encode(scene, kind, quality=95)).pixels
    expected = np.asarray(ImageOps.exif_transpose(_tagged(plain, turn)))
    turned = decode(encode(scene, kind, quality=95, exif=exif))
    assert np.array_equal(turned.pixels, expected)
    assert (turned.height, turned.width) == expected.shape[:2]
    assert probe(encode(scene, kind, quality=95, exif=_exif(turn)))[:2] == (turned.width, turned.height)


def _exif(turn: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = turn
    return exif


def _tagged(pixels: np.ndarray, turn: int) -> Image.Image:
    image = Image.fromarray(pixels)
    image.getexif()[0x0112] = turn
    return image


def test_heic_is_turned_once(encode, scene):
    exif = Image.Exif()
    exif[0x0112] = 6
    decoded = decode(encode(scene, "HEIF", quality=95, exif=exif.tobytes()))
    assert decoded.pixels.shape == ((96, 64, 3) if (decoded.width, decoded.height) == (64, 96) else (64, 96, 3))


@pytest.mark.parametrize(
    ("min_side", "short"), [(224, 250), (100, 100), (50, 50), (51, 100), (400, 400), (1000, 400), (None, 400)]
)
def test_jpeg_comes_back_smaller_but_never_below_min_side(encode, min_side, short):
    data = encode(Image.linear_gradient("L").resize((600, 400)).convert("RGB"), "JPEG")
    decoded = decode(data, min_side=min_side)
    assert (decoded.width, decoded.height) == (600, 400)
    assert min(decoded.pixels.shape[:2]) == short


@given(width=st.integers(1, 90), height=st.integers(1, 90), side=st.integers(1, 100), progressive=st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_size_any_side(width, height, side, progressive):
    import io

    out = io.BytesIO()
    Image.new("RGB", (width, height), (40, 90, 160)).save(out, "JPEG", progressive=progressive)
    decoded = decode(out.getvalue(), min_side=side)
    assert min(decoded.pixels.shape[:2]) >= min(side, width, height)
    assert max(decoded.pixels.shape[:2]) <= max(width, height)
    assert np.abs(decoded.pixels.astype(int) - (40, 90, 160)).max() <= 4


def test_limits(encode, scene):
    data = encode(scene, "PNG")
    assert code_of(data, limits=Limits(max_side=95)) == "too_long_side"
    assert code_of(data, limits=Limits(max_pixels=96 * 64)) == "too_many_pixels"  # PNG may use half of it
    assert code_of(data, limits=Limits(max_bytes=len(data) - 1)) == "too_many_bytes"
    assert decode(data, limits=Limits(max_side=96, max_pixels=96 * 64 * 2, max_bytes=len(data))).width == 96
    jpeg = encode(scene, "JPEG")
    assert decode(jpeg, limits=Limits(max_pixels=96 * 64)).width == 96
    assert code_of(jpeg, limits=Limits(max_pixels=96 * 64 - 1)) == "too_many_pixels"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF", "GIF", "BMP", "TIFF"])
def test_every_format_obeys_the_limits_in_probe_and_decode(encode, scene, kind):
    data = encode(scene, kind)
    assert probe(data)[:2] == (96, 64)
    assert probe(data)[3] == kind
    assert code_of(data, limits=Limits(max_pixels=96 * 64 // 10)) == "too_many_pixels"
    with pytest.raises(DecodeError):
        probe(data, limits=Limits(max_side=64))


@pytest.mark.parametrize(
    "data", [b"GIF89a", b"<html>not a photo</html>", b"\x00" * 500, b"%PDF-1.7", b"P6 1 1 255 abc", b"\xff\xd8"]
)
def test_what_is_not_a_photograph(data):
    assert code_of(data) in {"not_an_image", "unreadable", "truncated"}


def test_empty():
    assert code_of(b"") == "empty"


def test_read_file(tmp_path, encode, scene):
    path = tmp_path / "ñandú ☂ 'x'.png"
    path.write_bytes(encode(scene, "PNG"))
    assert decode(read_file(path)).width == 96
    cases = {"missing": tmp_path / "no.png", "empty": tmp_path / "empty.png", "not_an_image": tmp_path}
    cases["empty"].touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for code, bad in [*cases.items(), ("not_an_image", tmp_path / "pipe"), ("unreadable", tmp_path / "loop")]:
        with pytest.raises(DecodeError) as caught:
            read_file(bad)
        assert caught.value.code == code
    with pytest.raises(DecodeError) as caught:
        read_file(path, limits=Limits(max_bytes=10))
    assert caught.value.code == "too_many_bytes"
    with pytest.raises(DecodeError) as caught:
        read_file(path / "below.png")
    assert caught.value.code == "missing"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_read_file_without_permission(tmp_path):
    path = tmp_path / "closed.jpg"
    path.write_bytes(b"x")
    path.chmod(0)
    with pytest.raises(DecodeError) as caught:
        read_file(path)
    assert caught.value.code == "no_permission"


def test_results_and_errors_cross_process_borders(encode, scene):
    decoded = decode(encode(scene, "PNG"))
    copy = pickle.loads(pickle.dumps(decoded))
    assert isinstance(copy, Decoded)
    assert np.array_equal(copy.pixels, decoded.pixels)


def test_importing_changes_nothing_of_pillow():
    """No opener registered, no limit moved, no filter of warnings touched."""
    code = """
import warnings, numpy
from PIL import Image, ImageFile
before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))
import mirada.imaging.decode, mirada.imaging.preprocess, mirada.imaging.thumbnail
assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))
assert "HEIF" not in Image.OPEN, Image.OPEN
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent)
