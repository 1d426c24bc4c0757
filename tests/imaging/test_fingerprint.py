"""The perceptual hash hardly moves when a photograph is re-encoded, and differs between photographs."""

from __future__ import annotations

import hashlib

import numpy as np
from PIL import Image

from mirada.imaging.decode import decode
from mirada.imaging.fingerprint import content_sha256, perceptual_hash


def photo(seed: int) -> Image.Image:
    """A smooth random scene with detail on it."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (7, 9, 3), np.uint8)).resize((450, 350), Image.Resampling.BICUBIC)
    return Image.blend(coarse, Image.fromarray(rng.integers(0, 256, (350, 450, 3), np.uint8)), 0.08)


def distance(a: int, b: int) -> int:
    return ((a ^ b) & (2**64 - 1)).bit_count()


def test_content_hash_is_sha256():
    assert content_sha256(b"abc") == hashlib.sha256(b"abc").hexdigest()


def test_hash_fits_a_signed_64_bit_integer():
    hashes = [perceptual_hash(np.asarray(photo(seed))) for seed in range(30)]
    assert all(-(2**63) <= value < 2**63 for value in hashes)
    assert min(hashes) < 0 < max(hashes)


def test_near_copies_are_near_and_others_far(encode):
    originals = [photo(seed) for seed in range(25)]
    hashes = [perceptual_hash(np.asarray(image)) for image in originals]
    copies = [encode(image.resize((300, 233), Image.Resampling.LANCZOS), "JPEG", quality=40) for image in originals]
    for image, value, copy in zip(originals, hashes, copies, strict=True):
        assert distance(value, perceptual_hash(decode(copy).pixels)) <= 10
        reduced = decode(encode(image, "JPEG", quality=90), min_side=64)
        assert reduced.pixels.shape[0] < 100
        assert distance(value, perceptual_hash(reduced.pixels)) <= 10
    far = [distance(a, b) for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(far) >= 12
    assert 28 < np.mean(far) < 36


def test_flat_and_tiny_pictures_have_a_stable_hash():
    for grey in (0, 128, 255):
        assert perceptual_hash(np.full((50, 80, 3), grey, np.uint8)) == 0
    assert perceptual_hash(np.full((1, 1, 3), 9, np.uint8)) == 0


def test_mirror_image_is_another_picture():
    pixels = np.asarray(photo(3))
    assert distance(perceptual_hash(pixels), perceptual_hash(np.ascontiguousarray(pixels[:, ::-1]))) > 16
