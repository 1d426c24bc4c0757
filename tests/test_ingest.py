from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mirada.catalog.catalog import Catalog
from mirada.engine.local import LocalEngine
from mirada.errors import DecodeError, NotEnoughData
from mirada.imaging.decode import Limits
from mirada.ingest import AddReport, ingest
from mirada.intake import ingest_photo, sample_id
from mirada.messages import msg
from mirada.sources.base import detect
from mirada.types import Photo, Rejected, Sample


def photograph(seed: int, size: tuple[int, int] = (96, 72)) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for i, name in enumerate(("cat/1.jpg", "cat/2.jpg", "dog/3.jpg", "dog/4.jpg")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(photograph(i))
    return root


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(f"sqlite:///{tmp_path / 'catalog.sqlite'}") as opened:
        yield opened


def add(catalog: Catalog, path: Path, limits: Limits | None = None, **how: object) -> AddReport:
    with LocalEngine(2) as engine:
        report = ingest(catalog, detect(path, **how), engine=engine, limits=limits)
    assert report.n_listed == report.n_added + report.n_known + report.n_changed + report.n_rejected
    assert report.n_listed == sum(n for splits in report.by_class.values() for n in splits.values())
    assert sum(report.rejected_by_reason.values()) == report.n_rejected
    return report


def state(catalog: Catalog) -> tuple[list[Sample], list[Rejected]]:
    return [replace(s, added_at="") for s in catalog.samples(status=None)], sorted(
        catalog.rejected(), key=lambda r: r.uri
    )


def test_one_photograph() -> None:
    data = photograph(0, (200, 100))
    sample = ingest_photo(Photo("/p/1.jpg", "/p", "cat", "val", len(data), 5), data)
    assert isinstance(sample, Sample)
    assert (sample.width, sample.height, sample.format, sample.n_bytes) == (200, 100, "JPEG", len(data))
    assert (sample.label, sample.label_source, sample.split, sample.mtime_ns) == ("cat", "source", "val", 5)
    assert sample.sample_id == sample_id("/p", "/p/1.jpg")
    assert len(sample.sample_id) == 20
    again = ingest_photo(Photo("/p/2.jpg", "/p"), data)
    assert isinstance(again, Sample)
    assert (again.content_sha256, again.phash) == (sample.content_sha256, sample.phash)
    assert again.label_source is None


def test_one_photograph_that_cannot_be_read() -> None:
    photo = Photo("/p/1.jpg", "/p", "cat", None, 3, 5)
    cut = ingest_photo(photo, photograph(0)[:-300])
    assert isinstance(cut, Rejected)
    assert (cut.reason, cut.uri, cut.mtime_ns) == ("truncated", "/p/1.jpg", 5)
    gone = ingest_photo(photo, DecodeError(msg("The file is not there."), code="missing"))
    assert gone == Rejected("/p/1.jpg", "/p", "missing", "The file is not there.", 3, 5)


def test_adding_twice_is_a_no_op(catalog: Catalog, photos: Path) -> None:
    (photos / "dog" / "5.jpg").write_bytes(b"no photograph")
    first = add(catalog, photos)
    assert (first.n_added, first.n_known, first.n_changed, first.n_rejected) == (4, 0, 0, 1)
    assert dict(first.rejected_by_reason) == {"not_an_image": 1}
    assert [rejected.uri for rejected in first.rejected] == [f"{photos}/dog/5.jpg"]
    assert {label: dict(splits) for label, splits in first.by_class.items()} == {"cat": {None: 2}, "dog": {None: 3}}
    before = state(catalog)
    second = add(catalog, photos)
    assert (second.n_added, second.n_known, second.n_changed, second.n_rejected) == (0, 5, 0, 0)
    (photos / "notes.txt").write_text("the signature does not see it")
    os.utime(photos / "cat" / "1.jpg", ns=(1, 1))
    third = add(catalog, photos)
    assert (third.n_added, third.n_known, third.n_changed, third.n_rejected) == (0, 5, 0, 0)
    assert [replace(s, mtime_ns=0) for s in state(catalog)[0]] == [replace(s, mtime_ns=0) for s in before[0]]


def test_what_changed_since(catalog: Catalog, photos: Path) -> None:
    add(catalog, photos)
    (photos / "cat" / "1.jpg").write_bytes(photograph(77))
    (photos / "cat" / "new.jpg").write_bytes(photograph(78))
    (photos / "cat" / "2.jpg").write_bytes(b"spoilt")
    report = add(catalog, photos)
    assert (report.n_added, report.n_known, report.n_changed, report.n_rejected) == (1, 2, 1, 1)
    assert catalog.counts()["samples"] == 4
    (photos / "cat" / "2.jpg").write_bytes(photograph(79))
    assert add(catalog, photos).n_added == 1
    assert catalog.counts()["rejected"] == 0


def test_a_label_that_changed_at_the_source(catalog: Catalog, photos: Path) -> None:
    table = photos / "t.csv"
    table.write_text("image,label\ncat/1.jpg,cat\ndog/3.jpg,dog\n")
    add(catalog, table)
    table.write_text("image,label,split\ncat/1.jpg,bird,\ndog/3.jpg,dog,\n")
    report = add(catalog, table)
    assert (report.n_known, report.n_changed) == (1, 1)
    assert catalog.counts_by_class() == {"bird": 1, "dog": 1}
    table.write_text("image,label,split\ncat/1.jpg,bird,test\ndog/3.jpg,dog,train\n")
    assert add(catalog, table).n_changed == 2
    assert {sample.split for sample in catalog.samples()} == {"test", "train"}


def test_a_decision_outlives_adding_again(catalog: Catalog, photos: Path) -> None:
    from mirada.types import Decision

    add(catalog, photos)
    key = sample_id(str(photos), f"{photos}/cat/1.jpg")
    catalog.decide([Decision(key, "relabel", old="cat", new="dog", by="me")])
    (photos / "cat" / "new.jpg").write_bytes(photograph(78))
    report = add(catalog, photos)
    assert (report.n_added, report.n_known, report.n_changed) == (1, 4, 0)
    assert catalog.sample(key).label == "dog"


def test_copies_are_counted(catalog: Catalog, photos: Path) -> None:
    shutil.copy(photos / "cat" / "1.jpg", photos / "cat" / "1 copy.jpg")
    shutil.copy(photos / "cat" / "1.jpg", photos / "dog" / "1 again.jpg")
    assert add(catalog, photos).n_duplicates == 2


def test_a_file_that_vanishes_after_listing_is_rejected(catalog: Catalog, photos: Path) -> None:
    source = detect(photos)
    (photos / "cat" / "1.jpg").unlink()
    (photos / "cat" / "2.jpg").unlink()
    (photos / "cat" / "2.jpg").symlink_to("2.jpg")
    with LocalEngine(1) as engine:
        report = ingest(catalog, source, engine=engine)
    assert report.n_added == 2
    assert set(report.rejected_by_reason) == {"missing", "unreadable"}


def test_raised_limits_are_tried_again(catalog: Catalog, photos: Path) -> None:
    (photos / "cat" / "big.jpg").write_bytes(photograph(5, (640, 480)))
    small = Limits(max_pixels=100_000)
    assert dict(add(catalog, photos, small).rejected_by_reason) == {"too_many_pixels": 1}
    assert add(catalog, photos, small).n_known == 5
    assert add(catalog, photos).n_added == 1
    assert add(catalog, photos).n_known == 5


def test_nothing_readable_is_a_sentence_and_stays_one(catalog: Catalog, tmp_path: Path) -> None:
    for name in ("cat/1.jpg", "dog/2.jpg"):
        (tmp_path / "bad" / name).parent.mkdir(parents=True)
        (tmp_path / "bad" / name).write_bytes(b"no photograph")
    for _ in range(2):
        with pytest.raises(NotEnoughData, match=r"None of the 2 photographs in .*\(2\)"):
            add(catalog, tmp_path / "bad")
    assert catalog.counts()["rejected"] == 2


@pytest.mark.long
def test_processes_give_the_same(tmp_path: Path, photos: Path) -> None:
    (photos / "dog" / "5.jpg").write_bytes(b"no photograph")
    states = []
    for kind in ("threads", "processes"):
        with Catalog.open(f"sqlite:///{tmp_path / kind}.sqlite") as catalog, LocalEngine(2, kind) as engine:  # type: ignore[arg-type]
            ingest(catalog, detect(photos), engine=engine)
            states.append(state(catalog))
    assert states[0] == states[1]
    assert len(states[0][0]) == 4


def test_a_file_without_permission_is_rejected_and_tried_again(photos: Path) -> None:
    # Permissions do not bind root, so a child process becomes nobody; pytest's own folders are closed to it.
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        root = Path(shutil.copytree(photos, f"{name}/photos"))
        (root / "cat" / "1.jpg").chmod(0)
        (root / "warm").mkdir()
        shutil.copy(photos / "cat" / "2.jpg", root / "warm" / "1.jpg")
        script = f"""
import os, sys
from mirada.catalog.catalog import Catalog
from mirada.engine.local import LocalEngine
from mirada.ingest import ingest
from mirada.sources.base import detect

def add(path, catalog):
    with Catalog.open("sqlite:///" + catalog) as opened, LocalEngine(1) as engine:
        report = ingest(opened, detect(path), engine=engine)
        print(report.n_added, report.n_known, dict(report.rejected_by_reason))

add({str(root / "warm")!r}, {name!r} + "/warm.sqlite")  # loads what nobody may not load
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
for _ in range(2):
    add({str(root)!r}, {name!r} + "/catalog.sqlite")
"""
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[1:] == ["4 0 {'no_permission': 1}", "0 5 {}"]
        (root / "cat" / "1.jpg").chmod(0o644)
        with Catalog.open(f"sqlite:///{name}/catalog.sqlite") as catalog:
            assert add(catalog, root).n_added == 1


KILLED = """
import sys
from mirada.catalog.catalog import Catalog
from mirada.engine.local import LocalEngine
from mirada.ingest import ingest
from mirada.sources.base import detect
with Catalog.open(sys.argv[2]) as catalog, LocalEngine(1) as engine:
    print("ready", flush=True)
    ingest(catalog, detect(sys.argv[1]), engine=engine)
print("done", flush=True)
"""


def test_killed_at_random_moments_and_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long_run: bool) -> None:
    root = tmp_path / "many"
    few = [photograph(i, (64, 48)) for i in range(50)]
    for i in range(1100):
        path = root / f"class {i % 3}" / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(few[i % 50])
    (root / "class 0" / "bad.jpg").write_bytes(b"bad")
    with Catalog.open(f"sqlite:///{tmp_path / 'whole.sqlite'}") as catalog:
        begun = time.perf_counter()
        add(catalog, root)
        whole_s = time.perf_counter() - begun
        expected = state(catalog)
    rng = np.random.default_rng(0)
    for turn in range(20 if long_run else 3):
        url = f"sqlite:///{tmp_path / f'killed {turn}.sqlite'}"
        child = subprocess.Popen([sys.executable, "-c", KILLED, str(root), url], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(rng.uniform(0.1, 1) * whole_s)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        with Catalog.open(url) as catalog:
            add(catalog, root)
            assert state(catalog) == expected
            assert add(catalog, root).n_known == 1101


@pytest.mark.shared
def test_restaurant_dirty(catalog: Catalog, shared: Callable[[str], Path]) -> None:
    import csv

    root = shared("data/restaurant_dirty")
    with (root / "truth.csv").open(newline="") as handle:
        truth = list(csv.DictReader(handle))
    report = add(catalog, root)
    assert report.n_rejected == 11
    missing = [rejected for rejected in report.rejected if rejected.reason == "missing"]
    assert len(missing) == 1
    kinds = {row["photo_id"]: row for row in truth}
    rejected = {Path(item.uri).stem for item in report.rejected} - {Path(missing[0].uri).stem}
    assert rejected == {key for key, row in kinds.items() if "corrupt" in row.values()} - {Path(missing[0].uri).stem}
    samples = {Path(sample.uri).stem: sample for sample in catalog.samples()}
    assert {key for key, row in kinds.items() if "awkward" in row.values()} <= set(samples)
    assert add(catalog, root).n_known == report.n_listed
