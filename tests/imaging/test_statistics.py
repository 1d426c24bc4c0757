"""Statistics of pictures whose light, focus, colour and frame are known."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from mirada.imaging.statistics import STATISTICS, column, measure
from mirada.testing import pixels

Pixels = NDArray[np.uint8]


def stats(image: Pixels) -> dict[str, float]:
    values = measure(image)
    assert values.dtype == np.float32
    assert values.shape == (len(STATISTICS),)
    assert np.isfinite(values).all()
    return dict(zip(STATISTICS, values.tolist(), strict=True))


def scene(seed: int = 3, size: tuple[int, int] = (224, 224)) -> Pixels:
    """Discs with hard edges and many tones."""
    rng = np.random.default_rng(seed)
    w, h = size
    y, x = np.mgrid[0:h, 0:w] / min(w, h)
    image = np.zeros((h, w, 3)) + rng.uniform(60, 200, 3) + 40 * np.sin(7 * x + 4 * y)[..., None]
    for _ in range(40):
        inside = (x - rng.uniform(0, w / min(w, h))) ** 2 + (y - rng.uniform(0, h / min(w, h))) ** 2 < 0.1**2
        image[inside] = rng.uniform(0, 255, 3)
    return np.clip(image, 0, 255).astype(np.uint8)


def blurred(image: Pixels, sigma: float) -> Pixels:
    return np.array(Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma)))


def jpeg(image: Pixels, quality: int = 85) -> Pixels:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "JPEG", quality=quality)
    return np.asarray(Image.open(io.BytesIO(out.getvalue())).convert("RGB"))


def framed(image: Pixels, top: int, right: int, bottom: int, left: int, colour: int = 0) -> Pixels:
    out = image.copy()
    out[:top] = colour
    out[len(out) - bottom :] = colour
    out[:, :left] = colour
    out[:, out.shape[1] - right :] = colour
    return out


def test_tones_of_a_known_picture() -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    image[:, 50:] = 255
    found = stats(image)
    assert found["brightness"] == pytest.approx(0.5)
    assert found["contrast"] == pytest.approx(0.5)
    assert found["entropy"] == pytest.approx(1.0)
    assert (found["brightness_p1"], found["brightness_p95"]) == (0, 1)
    assert found["chroma"] == found["colourfulness"] == 0
    assert found["sharpness"] == 1


@pytest.mark.parametrize("sigma", [1.2, 1.5, 2.0])
def test_sharpness_tells_the_blur_whatever_the_size_and_the_contrast(sigma: float) -> None:
    small, large = scene(size=(224, 224)), scene(size=(896, 896))
    pale = (100 + small // 4).astype(np.uint8)
    expected = pytest.approx(0.4 / sigma, rel=0.3)
    assert stats(blurred(small, sigma))["sharpness"] == expected
    assert stats(blurred(pale, sigma))["sharpness"] == expected
    assert stats(blurred(large, 4 * sigma))["sharpness"] == expected
    assert stats(jpeg(blurred(small, sigma)))["sharpness"] == pytest.approx(0.4 / sigma, rel=0.3)
    assert stats(small)["sharpness"] > 0.8


def test_a_sharp_subject_before_a_blurred_ground_is_sharp() -> None:
    image = blurred(scene(), 5)
    image[60:160, 60:160] = scene()[60:160, 60:160]
    assert stats(image)["sharpness"] > 0.7


def test_a_thumbnail_and_a_large_photograph_agree() -> None:
    large = scene(size=(1500, 1000))
    thumbnail = np.asarray(Image.fromarray(large).resize((48, 32), Image.Resampling.BOX))
    one, other = stats(large), stats(thumbnail)
    for name in ("brightness", "contrast", "brightness_p50"):
        assert one[name] == pytest.approx(other[name], abs=0.05)
    assert one["entropy"] == pytest.approx(other["entropy"], abs=0.7)
    assert other["sharpness"] > 0.5


def test_darker_and_lighter() -> None:
    image = scene()
    dark, light = stats((image * 0.2).astype(np.uint8)), stats(255 - ((255 - image) * 0.2).astype(np.uint8))
    assert dark["brightness_p95"] < 0.25 < light["brightness_p5"]
    assert dark["sharpness"] > 0.6  # dark is not blurred


def test_grey_is_grey_however_it_is_stored() -> None:
    image = scene()
    grey = np.repeat(np.asarray(Image.fromarray(image).convert("L"))[..., None], 3, axis=2)
    assert stats(grey)["chroma"] == 0
    assert stats(jpeg(grey))["chroma"] < 0.02
    sepia = np.clip(grey * np.array([1.0, 0.9, 0.75]), 0, 255).astype(np.uint8)
    assert stats(sepia)["chroma"] > 0.05
    assert stats(image)["chroma"] > 0.3
    assert stats(image)["colourfulness"] > 30


@pytest.mark.parametrize("colour", [0, 200, 255])
@pytest.mark.parametrize(
    "sides", [(28, 0, 28, 0), (0, 40, 0, 40), (20, 20, 20, 20), (12, 24, 36, 48), (50, 0, 0, 0)], ids=str
)
def test_frames_by_side(sides: tuple[int, int, int, int], colour: int) -> None:
    image = jpeg(framed(scene(), *sides, colour=colour))
    found = stats(image)
    measured = [found[f"border_{side}"] * 224 for side in ("top", "right", "bottom", "left")]
    np.testing.assert_allclose(measured, sides, atol=2)
    top, right, bottom, left = sides
    area = 1 - (224 - top - bottom) * (224 - right - left) / 224**2
    assert found["border"] == pytest.approx(area, abs=0.03)


def test_a_blurred_filling_is_a_frame() -> None:
    image = blurred(scene(seed=5), 18)
    image[:, 50:174] = np.asarray(Image.fromarray(scene()).resize((124, 224)))
    found = stats(jpeg(image))
    assert found["border_left"] * 224 == pytest.approx(50, abs=2)
    assert found["border_right"] * 224 == pytest.approx(50, abs=2)
    assert found["border_top"] == found["border_bottom"] == 0


def test_plain_grounds_and_skies_are_no_frames() -> None:
    white = np.full((224, 224, 3), 255, np.uint8)
    y, x = np.mgrid[0:224, 0:224]
    white[(x - 112) ** 2 + (y - 112) ** 2 < 70**2] = 40  # a thing on white ground
    sky = scene()
    sky[:100] = (np.linspace(120, 220, 100)[:, None, None] * np.array([0.7, 0.8, 1])).astype(np.uint8)
    for image in (white, jpeg(white), sky, jpeg(sky), np.full((224, 224, 3), 9, np.uint8), scene()):
        assert stats(image)["border"] == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (2, 3), (15, 17), (16, 16), (300, 257), (40, 30_000)])
def test_any_shape_has_statistics(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    stats(rng.integers(0, 256, (*shape, 3), dtype=np.uint8))
    flat = stats(np.full((*shape, 3), 77, np.uint8))
    assert flat["sharpness"] == flat["detail"] == flat["entropy"] == flat["contrast"] == flat["border"] == 0


def test_one_picture_one_answer_and_the_input_is_left_alone() -> None:
    image = pixels(1, (300, 400))
    before = image.copy()
    one = measure(image)
    np.testing.assert_array_equal(one, measure(np.asfortranarray(image)))
    np.testing.assert_array_equal(one, measure(image))
    np.testing.assert_array_equal(image, before)
    image.setflags(write=False)
    np.testing.assert_array_equal(one, measure(image))


def test_column() -> None:
    table = np.stack([measure(scene(seed)) for seed in range(3)])
    np.testing.assert_array_equal(column(table, "entropy"), table[:, STATISTICS.index("entropy")])
    with pytest.raises(ValueError):
        column(table, "beauty")


def test_cost_is_bounded() -> None:
    """A huge picture costs little more than reading its pixels once: no statistic is taken at full size."""
    image = np.tile(scene(), (14, 18, 1))
    measure(image)
    begun = time.process_time()
    measure(image)
    assert time.process_time() - begun < 0.5
