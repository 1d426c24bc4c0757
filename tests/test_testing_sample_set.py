from __future__ import annotations

import csv
import hashlib
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from mirada.testing import SHARES, SampleTruth, render_sample_set
from mirada.testing.sample_set import DIRT, encode, plan_sample_set


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> SampleTruth:
    return render_sample_set(tmp_path_factory.mktemp("sample"), n=100, seed=5)


def _files(truth: SampleTruth) -> dict[str, Path]:
    return {p.photo_id: truth.photos_path / p.name for p in truth.photos}


def _load(file: io.BytesIO) -> None:
    with Image.open(file) as image:
        image.load()


def _small(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image).convert("L").resize((24, 24), Image.Resampling.BOX)
    values = np.asarray(upright, np.float64)
    return (values - values.mean()) / (values.std() + 1e-9)


def test_every_planned_file_is_there_and_no_other(truth: SampleTruth) -> None:
    found = {str(p.relative_to(truth.photos_path)) for p in truth.photos_path.rglob("*") if p.is_file()}
    assert found == {p.name for p in truth.photos}
    assert len(found) == 100
    assert set(truth.counts()) == set(SHARES)


def test_truth_csv_has_the_three_columns_and_all_the_dirt(truth: SampleTruth) -> None:
    with truth.truth_path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["photo_id", "kind", "detail"]
    assert {(r["photo_id"], r["kind"], r["detail"]) for r in rows} == {
        (p.photo_id, p.kind, p.detail) for p in truth.photos if p.kind
    }
    assert {r["kind"] for r in rows} == set(DIRT)


def test_names_say_nothing_about_class_or_dirt(truth: SampleTruth) -> None:
    assert all(p.photo_id[:4] == "IMG_" and p.photo_id[4:].isdigit() for p in truth.photos)


def test_exact_duplicates_are_the_only_equal_files(truth: SampleTruth) -> None:
    files = _files(truth)
    duplicates = truth.of("exact_duplicate")
    for copy, original in duplicates.items():
        assert files[copy].read_bytes() == files[original].read_bytes()
    whole = [
        path for photo_id, path in files.items() if photo_id not in duplicates and photo_id not in truth.of("corrupt")
    ]
    assert len({hashlib.sha256(path.read_bytes()).digest() for path in whole}) == len(whole)


def test_near_duplicates_differ_in_bytes_and_resemble_their_original(truth: SampleTruth) -> None:
    files = _files(truth)
    for copy, original in truth.of("near_duplicate").items():
        assert files[copy].read_bytes() != files[original].read_bytes()
        a, b = _small(files[copy]), _small(files[original])
        likeness = max(float((a * b).mean()), float((a[:, ::-1] * b).mean()))
        assert likeness > 0.97, (copy, original, likeness)


def test_wrong_labels_lie_in_another_folder_than_the_right_one(truth: SampleTruth) -> None:
    folder = {p.photo_id: p.folder for p in truth.photos}
    for photo_id, right in truth.of("label").items():
        assert right in SHARES
        assert folder[photo_id] != right


def test_corrupt_files_do_not_decode_and_all_others_do(truth: SampleTruth) -> None:
    corrupt = truth.of("corrupt")
    for photo_id, path in _files(truth).items():
        if photo_id in corrupt:
            data = io.BytesIO(path.read_bytes())
            with pytest.raises(OSError, match=r"truncated|cannot identify"):
                _load(data)
        else:
            with Image.open(path) as image:
                image.load()
                assert max(image.size) <= 640


def test_every_file_is_a_function_of_seed_and_plan_alone() -> None:
    plans = plan_sample_set(600, seed=3)
    assert plan_sample_set(600, seed=3) == plans
    assert plan_sample_set(600, seed=4) != plans
    chosen = [next(p for p in plans if p.scene == scene) for scene in SHARES]
    forwards = [encode(p, seed=3) for p in chosen]
    backwards = [encode(p, seed=3) for p in reversed(chosen)][::-1]
    assert forwards == backwards
    assert encode(chosen[0], seed=4) != forwards[0]


def test_the_whole_set_has_the_shares_of_real_collections() -> None:
    plans = plan_sample_set(600, seed=0)
    assert len(plans) == 600
    counts = {name: sum(p.folder == name for p in plans) for name in SHARES}
    assert min(counts.values()) >= 25
    assert 0.45 < counts["food"] / 600 < 0.6
    assert {kind: sum(p.kind == kind for p in plans) for kind in DIRT} == {k: round(600 * v) for k, v in DIRT.items()}


def test_a_whole_set_is_left_as_it_is_and_a_broken_one_is_mended(truth: SampleTruth) -> None:
    root = truth.photos_path.parent
    kept, gone = truth.photos_path / truth.photos[0].name, truth.photos_path / truth.photos[1].name
    data = gone.read_bytes()
    os.utime(kept, (1, 1))
    render_sample_set(root, n=100, seed=5)
    assert kept.stat().st_mtime == 1
    gone.unlink()
    render_sample_set(root, n=100, seed=5)
    assert gone.read_bytes() == data


def test_photographs_stored_turned_are_upright_by_their_tag() -> None:
    plan = next(p for p in plan_sample_set(600, seed=0) if p.variant == "exif_rotated")
    with Image.open(io.BytesIO(encode(plan, seed=0))) as image:
        assert image.getexif()[0x0112] == 6
        assert ImageOps.exif_transpose(image).size == image.size[::-1]


def test_too_few_photographs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 100, got 20"):
        render_sample_set(tmp_path, n=20)
