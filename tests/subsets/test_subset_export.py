"""Exports load in the tools they are for, are whole or not there, and tell what is not in them."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mirada.engine.base import Silent
from mirada.engine.local import LocalEngine
from mirada.errors import Conflict, DecodeError, InputError, NotEnoughData, UsageError
from mirada.imaging.decode import probe
from mirada.sources.reader import PhotoReader
from mirada.sources.uris import file_uri
from mirada.subsets.export import Exported, ExportRequest, export, to_grey
from mirada.subsets.names import file_names, safe_name, safe_names
from mirada.testing import class_folders, photo
from mirada.types import Sample

ODD_CLASSES = ["tea/coffee", "tea_coffee", "..", "=sum", "🍕 pizza", "Menu", "menu"]


def _sample(path: Path, label: str, split: str | None = None) -> Sample:
    data = path.read_bytes()
    width, height, mode, kind = probe(data)
    uri = file_uri(str(path))
    key = hashlib.sha256(f"{path.parent}\0{uri}".encode()).hexdigest()[:20]
    sha = hashlib.sha256(data).hexdigest()
    made = Sample(key, sha, uri, str(path.parent), width, height, mode, kind, len(data), label)
    return replace(made, split=split)  # type: ignore[arg-type]


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """Three classes of twelve, in train, val and test."""
    written = class_folders(tmp_path / "photos", 3, 12, size=24)
    places = ["train"] * 8 + ["val"] * 2 + ["test"] * 2
    return [_sample(p, label, place) for label, ps in written.items() for p, place in zip(ps, places, strict=True)]


def _export(samples: list[Sample], out: Path, fmt: str = "folder", **options: object) -> Exported:
    request = ExportRequest(out=out, format=fmt, **options)  # type: ignore[arg-type]
    with LocalEngine(2) as engine:
        return export(samples, request, reader=PhotoReader(), engine=engine, progress=Silent())


def _first_row(path: Path) -> dict[str, str]:
    return next(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def _tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_folder_tree_loads_in_torchvision_and_datasets(samples: list[Sample], tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    vision = pytest.importorskip("torchvision.datasets")
    made = _export(samples, tmp_path / "out")
    assert made.n == {"train": 24, "val": 6, "test": 6}
    folder = vision.ImageFolder(str(tmp_path / "out" / "train"))
    assert (len(folder), folder.classes) == (24, ["class0", "class1", "class2"])
    loaded = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "out"), cache_dir=str(tmp_path / "hf"))
    assert {name: part.num_rows for name, part in loaded.items()} == {"train": 24, "validation": 6, "test": 6}
    assert loaded["train"].features["label"].names == ["class0", "class1", "class2"]
    content = {hashlib.sha256((tmp_path / "out" / p).read_bytes()).hexdigest() for p in _tree(tmp_path / "out")}
    assert content == {sample.content_sha256 for sample in samples}


def test_without_a_split_classes_stand_at_the_top(samples: list[Sample], tmp_path: Path) -> None:
    _export([replace(s, split=None) for s in samples], tmp_path / "out")
    assert {path.split("/")[0] for path in _tree(tmp_path / "out")} == {"class0", "class1", "class2"}


def test_those_without_a_place_are_left_out_and_told(samples: list[Sample], tmp_path: Path) -> None:
    loose = [replace(samples[0], split=None), *samples[1:]]
    made = _export(loose, tmp_path / "out")
    assert sum(made.n.values()) == 35
    assert "1 photograph is in none of train, val and test" in str(made.notes[0])
    assert _export(loose, tmp_path / "all.csv", "csv").n == {"": 1, "train": 23, "val": 6, "test": 6}


def test_a_csv_loads_in_pandas(samples: list[Sample], tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    odd = [replace(samples[0], label="=cmd"), *samples[1:]]
    made = _export(odd, tmp_path / "a.csv", "csv")
    frame = pandas.read_csv(tmp_path / "a.csv")
    assert list(frame.columns) == ["path", "label", "split", "sample_id", "content_sha256"]
    assert len(frame) == 36
    for row in frame.itertuples():
        assert hashlib.sha256(Path(row.path).read_bytes()).hexdigest() == row.content_sha256
    assert list(frame.label[frame.label.str.contains("cmd")]) == ["'=cmd"]
    assert "=cmd" in str(made.notes[0])
    assert frame.split.value_counts().to_dict() == {"train": 24, "val": 6, "test": 6}


def test_a_data_set_loads_in_datasets_with_pictures_and_class_names(samples: list[Sample], tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    odd = [replace(s, label={"class0": "🍕 'pizza': \"x\"\n\x85"}.get(str(s.label), s.label)) for s in samples]
    made = _export(odd, tmp_path / "out", "huggingface")
    assert made.n == {"train": 24, "val": 6, "test": 6}
    assert _tree(tmp_path / "out") == [
        "README.md",
        *(f"data/{name}-00000-of-00001.parquet" for name in ("test", "train", "validation")),
    ]
    by_sha = {sample.content_sha256: sample for sample in odd}
    where = {"path": str(tmp_path / "out")}, {"path": "parquet", "data_dir": str(tmp_path / "out" / "data")}
    for i, how in enumerate(where):
        loaded = datasets.load_dataset(**how, cache_dir=str(tmp_path / f"hf{i}"))
        assert {name: part.num_rows for name, part in loaded.items()} == {"train": 24, "validation": 6, "test": 6}
        assert isinstance(loaded["train"].features["image"], datasets.Image)
        names = loaded["train"].features["label"].names
        assert names == sorted({str(sample.label) for sample in odd})
        assert loaded["test"][0]["image"].size == (24, 24)
        for row in loaded["train"].cast_column("image", datasets.Image(decode=False)):
            sample = by_sha[hashlib.sha256(row["image"]["bytes"]).hexdigest()]
            assert (sample.label, sample.sample_id) == (names[row["label"]], row["sample_id"])
            assert "/" not in row["image"]["path"]


def test_large_data_sets_are_cut_into_files(
    samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr("mirada.subsets.huggingface.GROUP_ROWS", 5)
    monkeypatch.setattr("mirada.subsets.huggingface.FILE_BYTES", 6_000)
    _export([replace(s, split=None) for s in samples], tmp_path / "out", "huggingface")
    files = sorted(path.name for path in (tmp_path / "out" / "data").iterdir())
    assert len(files) > 2
    assert files[0] == f"train-00000-of-{len(files):05d}.parquet"
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "hf"))
    assert sorted(loaded["train"]["sample_id"]) == sorted(sample.sample_id for sample in samples)


@pytest.mark.parametrize("fmt", ["folder", "huggingface"])
def test_grey_photographs_are_written_anew(tmp_path: Path, fmt: str) -> None:
    kinds = {"a.jpg": "jpeg", "b.png": "png_alpha", "turned.jpg": "jpeg_exif", "w.webp": "webp"}
    for name, kind in kinds.items():
        (tmp_path / name).write_bytes(photo(3, (40, 30), kind))
    made = _export([_sample(tmp_path / name, "x") for name in kinds], tmp_path / "out", fmt, grey=True)
    assert "without colour" in str(made.notes[0])
    if fmt == "huggingface":
        return
    assert _tree(tmp_path / "out") == ["x/a.jpg", "x/b.png", "x/turned.jpg", "x/w.png"]
    for path in (tmp_path / "out").rglob("*.*g"):
        with Image.open(path) as image:
            assert (image.mode, image.size, image.getexif().get(0x0112)) == ("L", (40, 30), None)


def test_grey_is_luma() -> None:
    data = photo(1, (32, 32), "png")
    wanted = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(to_grey(data, "PNG")))), wanted)


def test_links_instead_of_copies(samples: list[Sample], tmp_path: Path) -> None:
    _export(samples, tmp_path / "hard", link="hard")
    _export(samples, tmp_path / "soft", link="symbolic")
    originals = {Path(sample.uri).stat().st_ino for sample in samples}
    assert {(tmp_path / "hard" / p).stat().st_ino for p in _tree(tmp_path / "hard")} == originals
    links = [path for path in (tmp_path / "soft").rglob("*") if path.is_symlink()]
    assert {str(path.readlink()) for path in links} == {sample.uri for sample in samples}


def test_what_cannot_be_linked(samples: list[Sample], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be linked"):
        ExportRequest(out=tmp_path, format="folder", grey=True, link="hard")
    with pytest.raises(UsageError, match="a csv export has no files to link"):
        ExportRequest(out=tmp_path, format="csv", link="hard")
    if not Path("/dev/shm").is_dir() or Path("/dev/shm").stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second disk here")
    out = Path("/dev/shm") / f"mirada-test-{os.getpid()}"
    with pytest.raises(InputError, match="cannot be given a second name there") as caught:
        _export(samples, out, link="hard")
    assert "--link symbolic" in str(caught.value.hint)
    assert not out.exists()


def test_rows_of_a_table_are_exported_and_never_linked(samples: list[Sample], tmp_path: Path) -> None:
    _export([replace(s, split=None) for s in samples], tmp_path / "hf", "huggingface")
    container = tmp_path / "hf" / "data" / "train-00000-of-00001.parquet"
    rows = sorted(samples, key=lambda sample: sample.sample_id)
    of_table = [replace(s, uri=f"{container}#{i}", split=None) for i, s in enumerate(rows)]
    made = _export(of_table, tmp_path / "out", link="symbolic")
    assert made.n == {"": 36}
    assert "36 photographs lie in tables" in str(made.notes[0])
    _export(of_table, tmp_path / "out.csv", "csv")
    assert _first_row(tmp_path / "out.csv")["path"] == f"{container}#0"


def test_odd_class_names_have_safe_folders_of_their_own(tmp_path: Path) -> None:
    folders = safe_names(ODD_CLASSES)
    assert len({folder.casefold() for folder in folders.values()}) == len(ODD_CLASSES)
    assert folders["tea_coffee"] == "tea_coffee"
    assert folders["tea/coffee"] == "tea_coffee-2"
    assert folders["🍕 pizza"] == "🍕 pizza"
    assert not any(folder.startswith(".") or "/" in folder for folder in folders.values())
    for i in range(len(ODD_CLASSES)):
        (tmp_path / f"{i}.jpg").write_bytes(photo(i))
    odd = [_sample(tmp_path / f"{i}.jpg", name) for i, name in enumerate(ODD_CLASSES)]
    made = _export(odd, tmp_path / "out")
    assert {path.split("/")[0] for path in _tree(tmp_path / "out")} == set(folders.values())
    assert "The class tea/coffee is in the folder tea_coffee-2." in [str(note) for note in made.notes]


def test_file_names_are_safe_unique_and_end_in_what_they_are(tmp_path: Path) -> None:
    names = ["a.jpg", "A.JPG", "b.png", "c", ".hidden.jpg", "x" * 200 + ".jpg", "two:words?.jpg", "noext.d"]
    made = []
    for i, name in enumerate(names):
        (tmp_path / str(i)).mkdir()
        (tmp_path / str(i) / name).write_bytes(photo(i))
        made.append(_sample(tmp_path / str(i) / name, "x"))
    given = file_names(made)
    assert len({name.casefold() for name in given}) == len(names)
    assert given[0] == f"a-{made[0].sample_id}.jpg"
    assert given[2] == "b.jpg"  # it is a JPEG
    assert given[3] == "c.jpg"
    assert given[4] == "_hidden.jpg"
    assert given[6] == "two_words_.jpg"
    assert given[7] == "noext.d.jpg"
    assert all(len(name.encode()) < 200 and name.lower().endswith(".jpg") for name in given)
    assert safe_name("..") == "_"
    assert safe_name(" / ") == "_"


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg"))
    path.write_bytes(photo(1))
    _export([_sample(path, "x")], tmp_path / "out")
    assert len(_tree(tmp_path / "out")) == 1
    _export([_sample(path, "x")], tmp_path / "o.csv", "csv")
    assert _first_row(tmp_path / "o.csv")["path"].startswith("file:///")


@pytest.mark.parametrize("fmt", ["folder", "csv", "huggingface"])
def test_what_vanished_or_changed_is_left_out_and_told(samples: list[Sample], tmp_path: Path, fmt: str) -> None:
    Path(samples[0].uri).unlink()
    Path(samples[1].uri).write_bytes(photo(99))
    made = _export(samples, tmp_path / "out", fmt)
    assert sum(made.n.values()) == 34
    assert {(one.sample.sample_id, one.reason) for one in made.left_out} == {
        (samples[0].sample_id, "missing"),
        (samples[1].sample_id, "changed"),
    }
    assert any("2 photographs were left out" in str(note) for note in made.notes)


def test_nothing_readable_leaves_nothing(samples: list[Sample], tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "photos")
    with pytest.raises(NotEnoughData, match="cannot be read"):
        _export(samples, tmp_path / "out")
    with pytest.raises(NotEnoughData, match="no photograph to export"):
        _export([], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(samples: list[Sample], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    _export(samples, tmp_path / "out")  # an empty folder is taken
    before = _tree(tmp_path / "out")
    for fmt in ("folder", "huggingface", "csv"):
        with pytest.raises(Conflict, match="overwrites nothing"):
            _export(samples[:3], tmp_path / "out", fmt)
    assert _tree(tmp_path / "out") == before
    (tmp_path / "a.csv").write_text("mine")
    with pytest.raises(Conflict):
        _export(samples, tmp_path / "a.csv", "csv")
    assert (tmp_path / "a.csv").read_text() == "mine"


class _Stops:
    """A reader whose fifth photograph never comes."""

    def __init__(self) -> None:
        self.n = 0

    def read(self, uri: str) -> bytes:
        self.n += 1
        if self.n == 5:
            raise KeyboardInterrupt
        return Path(uri).read_bytes()


@pytest.mark.parametrize("fmt", ["folder", "csv", "huggingface"])
def test_an_interrupted_export_leaves_nothing(samples: list[Sample], tmp_path: Path, fmt: str) -> None:
    request = ExportRequest(out=tmp_path / "out", format=fmt)  # type: ignore[arg-type]
    with LocalEngine(1) as engine, pytest.raises(KeyboardInterrupt):
        export(samples, request, reader=_Stops(), engine=engine, progress=Silent())
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


KILLED = """
import sys, time
from pathlib import Path
from mirada.engine.base import Silent
from mirada.engine.local import LocalEngine
from mirada.subsets.export import ExportRequest, export
from mirada.types import Sample
import hashlib

class Slow:
    def read(self, uri):
        if uri.endswith("0009.jpg"):
            print("half", flush=True)
            time.sleep(60)
        return Path(uri).read_bytes()

folder, out, fmt = sys.argv[1:]
samples = []
for i, path in enumerate(sorted(Path(folder).glob("*.jpg"))):
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    samples.append(Sample(f"{i:04d}", sha, str(path), folder, 24, 24, "RGB", "JPEG", 9, "x"))
with LocalEngine(1) as engine:
    export(samples, ExportRequest(out=Path(out), format=fmt), reader=Slow(), engine=engine, progress=Silent())
"""


@pytest.mark.parametrize("fmt", ["folder", "csv", "huggingface"])
def test_a_killed_export_is_not_there_and_the_next_one_sweeps_up(
    samples: list[Sample], tmp_path: Path, fmt: str
) -> None:
    argv = [sys.executable, "-c", KILLED, str(tmp_path / "photos" / "class0"), str(tmp_path / "out"), fmt]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "out").exists()
    assert len(list(tmp_path.glob(".out.*"))) == 1
    _export(samples, tmp_path / "out", fmt)
    assert list(tmp_path.glob(".out.*")) == []
    assert (tmp_path / "out").exists()


def test_an_unreadable_photograph_has_its_reason(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(photo(1))
    good = _sample(tmp_path / "a.jpg", "x")
    with pytest.raises(DecodeError):
        to_grey(b"no photograph", "JPEG")
    broken = replace(good, sample_id="z", content_sha256=hashlib.sha256(b"text").hexdigest(), uri=str(tmp_path / "b"))
    (tmp_path / "b").write_bytes(b"text")
    made = _export([good, broken], tmp_path / "out", grey=True)
    assert [(one.sample.sample_id, one.reason) for one in made.left_out] == [("z", "not_an_image")]
