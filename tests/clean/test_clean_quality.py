"""Checks of quality: photographs with a known fault are found, sound ones are left alone, bad input is survived."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from mirada.clean import base
from mirada.clean.base import Material, Scores
from mirada.clean.corrupt import Corrupt, register_corrupt
from mirada.clean.quality import quality_checks, register_quality
from mirada.imaging.decode import decode
from mirada.imaging.statistics import LOOK_SIDE, STATISTICS, column, measure
from mirada.intake import sample_id
from mirada.testing import photo
from mirada.types import Rejected, Sample

NAMES = ("dark", "bright", "blurry", "odd_size", "odd_aspect", "low_information", "greyscale", "border")
CHECKS = {check.name: check for check in quality_checks()}


def a_sample(number: int, width: int = 640, height: int = 480) -> Sample:
    return Sample(f"s{number}", "0" * 64, f"/p/{number}.jpg", "p", width, height, "RGB", "JPEG", 1000)


def material(stats: np.ndarray | None = None, samples: Sequence[Sample] = (), **more: object) -> Material:
    samples = samples or [a_sample(i) for i in range(len(stats) if stats is not None else 0)]
    return Material(samples, (), np.full(len(samples), -1, np.int64), stats=stats, **more)  # type: ignore[arg-type]


def picture(seed: int) -> Image.Image:
    """A street of tones and edges, 320 × 240."""
    rng = np.random.default_rng(seed)
    small = rng.uniform(0, 255, (24, 32, 3))
    image = Image.fromarray(small.astype(np.uint8)).resize((320, 240), Image.Resampling.BICUBIC)
    for _ in range(30):
        x, y = int(rng.integers(0, 300)), int(rng.integers(0, 220))
        image.paste(tuple(rng.integers(0, 256, 3).tolist()), (x, y, x + 30, y + 25))
    return image


def dark(image: Image.Image) -> Image.Image:
    return image.point(lambda value: int(value * 0.15))


def bright(image: Image.Image) -> Image.Image:
    return image.point(lambda value: int(255 - (255 - value) * 0.12))


def blurry(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(4))


def greyscale(image: Image.Image) -> Image.Image:
    return image.convert("L").convert("RGB")


def border(image: Image.Image) -> Image.Image:
    framed = Image.new("RGB", image.size)
    framed.paste(image.resize((320, 180)), (0, 30))
    return framed


def low_information(image: Image.Image) -> Image.Image:
    return Image.new("RGB", image.size, (90, 140, 120))


FAULTS: dict[str, Callable[[Image.Image], Image.Image]] = {
    fault.__name__: fault for fault in (dark, bright, blurry, greyscale, border, low_information)
}


def seen(image: Image.Image) -> np.ndarray:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=88)
    return measure(decode(out.getvalue(), min_side=LOOK_SIDE).pixels)


@pytest.fixture(scope="module")
def table() -> np.ndarray:
    """Statistics of 20 sound photographs, then 10 of each fault in the order of FAULTS."""
    rows = [seen(picture(seed)) for seed in range(20)]
    rows += [seen(fault(picture(seed))) for fault in FAULTS.values() for seed in range(100, 110)]
    return np.stack(rows)


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_found_and_sound_photographs_are_left_alone(name: str, table: np.ndarray) -> None:
    check = CHECKS[name]
    found = check.run(material(table))
    assert found.values.dtype == np.float32
    assert ((found.values >= 0) & (found.values <= 1)).all()
    issues = found.values < check.threshold
    start = 20 + 10 * list(FAULTS).index(name)
    assert issues[start : start + 10].all()
    assert not issues[:20].any()
    also = {"greyscale": {"low_information"}}.get(name, set())
    others = [i for i in np.flatnonzero(issues) if not start <= i < start + 10]
    assert {list(FAULTS)[(i - 20) // 10] for i in others} <= also, name


def test_more_of_a_fault_scores_lower() -> None:
    image = picture(5)
    rows = [seen(image.filter(ImageFilter.GaussianBlur(radius))) for radius in (0, 1, 2, 4, 8)]
    assert (np.diff(CHECKS["blurry"].run(material(np.stack(rows))).values) < 0).all()
    rows = [seen(image.point(lambda value, by=by: int(value * by))) for by in (1.0, 0.6, 0.3, 0.1)]  # type: ignore[misc]
    assert (np.diff(CHECKS["dark"].run(material(np.stack(rows))).values) < 0).all()


def sizes(*pairs: tuple[int, int]) -> Material:
    return material(samples=[a_sample(i, *pair) for i, pair in enumerate(pairs)])


def test_odd_is_what_is_rare_here() -> None:
    usual = [(640, 480), (480, 640), (600, 450), (800, 600)] * 25
    found = CHECKS["odd_size"].run(sizes(*usual, (64, 48), (6400, 4800), (700, 520)))
    assert (found.values < 0.5).tolist() == [False] * 100 + [True, True, False]
    found = CHECKS["odd_aspect"].run(sizes(*usual, (2000, 400), (500, 500), (400, 1800)))
    assert (found.values < 0.5).tolist() == [False] * 100 + [True, False, True]
    assert json.loads(json.dumps(found.evidence(100)))["measured"]["long_by_short"] == 5


def test_where_all_are_of_one_size_none_is_odd() -> None:
    for check in (CHECKS["odd_size"], CHECKS["odd_aspect"]):
        assert (check.run(sizes(*[(224, 224)] * 50)).values == 1).all()
        assert (check.run(sizes((31, 7))).values == 1).all()
        # Two kinds of photographs, one in four: neither is odd.
        assert (check.run(sizes(*[(224, 224)] * 75, *[(1000, 200)] * 25)).values > 0.5).all()


@pytest.mark.parametrize("name", NAMES)
def test_bad_input(name: str, table: np.ndarray) -> None:
    check = CHECKS[name]
    empty = check.run(material(np.empty((0, len(STATISTICS)), np.float32)))
    assert empty.values.shape == (0,)
    same = check.run(material(np.repeat(table[:1], 9, axis=0)))
    assert len(set(same.values.tolist())) == 1
    assert same.values[0] > 0.5
    holes = table[:20].copy()
    holes[[0, 7]] = np.nan
    found = check.run(material(holes))
    if "stats" in check.needs:
        assert np.flatnonzero(np.isnan(found.values)).tolist() == [0, 7]
        whole = check.run(material(table[:20]))
        np.testing.assert_array_equal(np.delete(found.values, [0, 7]), np.delete(whole.values, [0, 7]))
    none = check.run(material(np.full((3, len(STATISTICS)), np.nan, np.float32)))
    for scores in (found, none, same):
        json.dumps([dict(scores.evidence(row)) for row in range(len(scores.values))], allow_nan=False)


def test_blackness_is_not_called_blurred() -> None:
    black = measure(np.zeros((224, 224, 3), np.uint8))[None]
    assert CHECKS["blurry"].run(material(black)).values[0] == 1
    assert CHECKS["low_information"].run(material(black)).values[0] < 0.1
    assert CHECKS["dark"].run(material(black)).values[0] < 0.1


def test_evidence_tells_the_value_and_what_is_usual(table: np.ndarray) -> None:
    evidence = json.loads(json.dumps(CHECKS["dark"].run(material(table)).evidence(20)))
    value = float(column(table, "brightness_p95")[20])
    assert evidence["measured"]["brightness_p95"] == pytest.approx(value, rel=1e-3)
    usual = evidence["usual"]["brightness_p95"]
    assert value <= usual["median"] <= usual["high"]


def test_stats_are_asked_for() -> None:
    with pytest.raises(ValueError, match="stats"):
        CHECKS["dark"].run(sizes((10, 10)))


def refusal(uri: str, reason: str) -> Rejected:
    return Rejected(uri, "folder", reason, "what the decoder said")


def test_corrupt_is_what_is_there_and_cannot_be_read() -> None:
    rejected = [
        refusal("a.jpg", "truncated"),
        refusal("b.jpg", "missing"),
        refusal("c.jpg", "not_an_image"),
        refusal("d.jpg", "no_permission"),
    ]
    found: Scores = Corrupt().run(material(samples=[a_sample(0), a_sample(1)], rejected=rejected))
    assert found.values.tolist() == [1, 1]
    assert [(one.sample_id, one.score) for one in found.refused] == [
        (sample_id("folder", "a.jpg"), 0),
        (sample_id("folder", "c.jpg"), 0),
    ]
    assert found.refused[0].evidence == {"reason": "truncated", "detail": "what the decoder said", "uri": "a.jpg"}
    (note,) = found.notes
    assert "2 photographs" in note.render("en")
    assert "b.jpg" in note.render("en")
    assert dict(found.evidence(0)) == {}


def test_nothing_corrupt_nothing_told() -> None:
    found = Corrupt().run(material())
    assert (len(found.values), found.refused, found.notes) == (0, (), ())


@pytest.fixture
def no_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "_CHECKS", {})


@pytest.mark.usefixtures("no_checks")
def test_registered_by_name() -> None:
    assert base.checks() == ()
    register_corrupt()
    register_quality()
    assert tuple(check.name for check in base.checks()) == ("corrupt", *NAMES)
    assert len({str(check.title) for check in base.checks()}) == 9
    with pytest.raises(ValueError, match="registered already"):
        register_quality()


def test_real_files_of_every_kind_are_sound() -> None:
    kinds = ("jpeg", "png", "webp", "gif", "jpeg_cmyk", "png_palette")
    rows = [
        measure(decode(photo(seed, (400, 300), kind), min_side=LOOK_SIDE).pixels) for seed, kind in enumerate(kinds)
    ]
    samples = [replace(a_sample(i), width=400, height=300) for i in range(len(kinds))]
    for check in quality_checks():
        found = check.run(material(np.stack(rows), samples)).values
        assert (found > 0.5).all(), check.name
