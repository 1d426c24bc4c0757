"""A student is refused where it fails its check; the one that ships passes its own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mirada.embed.backbone import SHIPPED_PATH, Backbone, default_backbone
from mirada.errors import BackboneError
from mirada.testing import render_sample_set

torch = pytest.importorskip("torch")

from mirada.training.distill_check import SLACK, check_student  # noqa: E402
from mirada.training.distill_export import export_student  # noqa: E402
from mirada.training.students import STUDENTS, build_student  # noqa: E402

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], list[str]]:
    """Red and blue pictures with noise: any network that answers at all tells them apart."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    paths = []
    for i in range(30):
        pixels = rng.integers(0, 120, (70, 70, 3))
        pixels[..., 0 if i % 2 else 2] += 120
        paths.append(folder / f"{i:02}.png")
        Image.fromarray(pixels.astype(np.uint8)).save(paths[-1])
    return paths, ["red" if i % 2 else "blue" for i in range(30)]


def exported(folder: Path, *, constant: bool) -> Backbone:
    student = build_student(STUDENTS["mirada-nano"], seed=0)
    with torch.no_grad():
        student(torch.randn(8, 3, 64, 64))
        if constant:
            student.body[-1][1].weight.zero_()
            student.body[-1][1].bias.fill_(1.0)
    return export_student(student, folder / "student.onnx", licence="", about={})


def test_a_sound_student_passes(photos: tuple[list[Path], list[str]], tmp_path: Path) -> None:
    found = check_student(exported(tmp_path, constant=False), *photos, recorded=0.9)
    assert found >= 0.9


def test_a_student_that_is_worse_than_the_record_is_refused(
    photos: tuple[list[Path], list[str]], tmp_path: Path
) -> None:
    with pytest.raises(BackboneError, match="on record"):
        check_student(exported(tmp_path, constant=False), *photos, recorded=1.5)


def test_a_student_that_says_the_same_of_everything_is_refused(
    photos: tuple[list[Path], list[str]], tmp_path: Path
) -> None:
    with pytest.raises(BackboneError, match="the same embedding"):
        check_student(exported(tmp_path, constant=True), *photos)


def test_a_student_of_another_width_is_refused(photos: tuple[list[Path], list[str]], tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="64 numbers a photograph, not 65"):
        check_student(replace(exported(tmp_path, constant=False), dim=65), *photos)


@pytest.mark.skipif(not SHIPPED_PATH.is_file(), reason="this build ships no backbone")
def test_the_shipped_backbone_keeps_what_its_manifest_records(tmp_path: Path) -> None:
    about = json.loads(SHIPPED_PATH.with_suffix(".json").read_text())
    truth = render_sample_set(tmp_path / "sample", seed=about["sample"]["seed"], n=about["sample"]["n"])
    clean = [photo for photo in truth.photos if not photo.kind]
    paths, labels = [truth.photos_path / photo.name for photo in clean], [photo.folder for photo in clean]
    found = check_student(default_backbone(), paths, labels, recorded=about["sample_accuracy"])
    assert found >= about["sample_accuracy"] - SLACK
    assert SHIPPED_PATH.stat().st_size <= 6_000_000
    assert about["macs"] <= 300_000_000
