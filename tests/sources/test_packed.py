from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mirada.errors import DecodeError, InputError
from mirada.sources.base import detect
from mirada.sources.reader import PhotoReader

Encode = Callable[..., bytes]
Make = Callable[..., Path]
NAMES = ["cat", "dog"]


def hugging_face(labels: list[int | None], names: list[str] | dict[str, str] | None = NAMES) -> dict[str, str]:
    label = {"names": names, "_type": "ClassLabel"} if names else {"dtype": "int64", "_type": "Value"}
    return {"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}, "label": label}}})}


def table(
    photos: list[bytes | None], labels: list[int | None], paths: list[str | None] | None = None, **meta: str
) -> pa.Table:
    images = [{"bytes": data, "path": path} for data, path in zip(photos, paths or [None] * len(photos), strict=True)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {"image": pa.array(images, kind), "label": pa.array(labels, pa.int64())}
    return pa.table(columns).replace_schema_metadata(meta or None)


def test_hugging_face_layout_in_shards(tmp_path: Path, encoded: Encode) -> None:
    data = [encoded(i) for i in range(6)]
    folder = tmp_path / "set" / "data"
    folder.mkdir(parents=True)
    meta = hugging_face([])
    pq.write_table(table(data[:2], [0, 1], ["a.jpg", "x/b.jpg"], **meta), folder / "train-00000-of-00002.parquet")
    pq.write_table(table(data[2:4], [1, 0], **meta), folder / "train-00001-of-00002.parquet")
    pq.write_table(table(data[4:], [0, -1], ["e.jpg", "f.jpg"], **meta), folder / "test-00000-of-00001.parquet")
    source = detect(tmp_path / "set")
    info = source.describe()
    assert (info.format, info.class_names, info.splits) == ("parquet", ("cat", "dog"), ("train", "test"))
    photos = list(source.photos())
    assert [(photo.label, photo.split) for photo in photos] == [
        ("cat", "test"), (None, "test"), ("cat", "train"), ("dog", "train"), ("dog", "train"), ("cat", "train"),
    ]  # fmt: skip
    assert photos[3].uri == f"{folder}/train-00000-of-00002.parquet#1/b.jpg"
    assert photos[4].uri == f"{folder}/train-00001-of-00002.parquet#0"
    reader = PhotoReader()
    assert [reader.read(photo.uri) for photo in photos] == [*data[4:], *data[:4]]


def test_split_by_the_name_of_a_file_or_its_folder(tmp_path: Path, encoded: Encode) -> None:
    for name in ("train.parquet", "validation.parquet", "test/0000.parquet"):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table([encoded(0)], [0]), path)
    source = detect(tmp_path / "set")
    assert {photo.uri.rpartition("set/")[2]: photo.split for photo in source.photos()} == {
        "test/0000.parquet#0": "test",
        "train.parquet#0": "train",
        "validation.parquet#0": "val",
    }


def test_a_lone_file_has_no_split_by_its_name(tmp_path: Path, encoded: Encode) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    pq.write_table(table([encoded(0)], [0]), folder / "train.parquet")
    assert [photo.split for photo in detect(folder / "train.parquet").photos()] == [None]
    source = detect(folder)
    assert [photo.split for photo in source.photos()] == [None]
    assert "All rows are of the split train" in str(source.describe().notes[-1])


def test_plain_bytes_text_labels_and_a_split_column(tmp_path: Path, encoded: Encode) -> None:
    columns = {"content": [encoded(0), encoded(1)], "class": ["cat", "dog"], "split": ["train", "valid"]}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    source = detect(tmp_path / "t.parquet")
    assert [(photo.label, photo.split) for photo in source.photos()] == [("cat", "train"), ("dog", "val")]
    assert source.describe().splits == ("train", "val")
    reader = PhotoReader()
    assert [reader.read(photo.uri) for photo in source.photos()] == columns["content"]


def test_paths_instead_of_bytes(make_tree: Make, encoded: Encode) -> None:
    root = make_tree("img/1.jpg", "img/2.jpg")
    pq.write_table(pa.table({"path": ["img/1.jpg", "img/gone.jpg"], "label": [7, 8]}), root / "paths.parquet")
    source = detect(root / "paths.parquet")
    found = [(photo.uri, photo.label, photo.n_bytes is None) for photo in source.photos()]
    assert found == [(f"{root}/img/1.jpg", "7", False), (f"{root}/img/gone.jpg", "8", True)]
    assert source.describe().class_names == ("7", "8")
    first = source.signature()
    (root / "img" / "1.jpg").write_bytes(b"other")
    assert detect(root / "paths.parquet").signature() != first
    pq.write_table(table([None, encoded(5)], [0, 1], ["img/2.jpg", "b.jpg"]), root / "mixed.parquet")
    mixed = [photo.uri for photo in detect(root / "mixed.parquet").photos()]
    assert mixed == [f"{root}/img/2.jpg", f"{root}/mixed.parquet#1/b.jpg"]


def test_class_names_in_the_old_form(tmp_path: Path, encoded: Encode) -> None:
    meta = hugging_face([], {"1": "dog", "0": "cat"})
    pq.write_table(table([encoded(0)], [1], **meta), tmp_path / "t.parquet")
    assert [photo.label for photo in detect(tmp_path / "t.parquet").photos()] == ["dog"]


def test_row_groups_are_read_one_at_a_time(tmp_path: Path, encoded: Encode) -> None:
    data = [encoded(i) for i in range(40)]
    pq.write_table(table(data, [i % 2 for i in range(40)]), tmp_path / "t.parquet", row_group_size=7)
    uris = [photo.uri for photo in detect(tmp_path / "t.parquet").photos()]
    reader = PhotoReader(cache_bytes=1)
    assert [reader.read(uri) for uri in uris] == data
    assert [reader.read(uri) for uri in reversed(uris)] == data[::-1]
    assert len(reader._blocks) == 1


def test_a_row_that_is_not_there_or_holds_nothing(tmp_path: Path, encoded: Encode) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(table([encoded(0), None, b""], [0, 1, 1]), path)
    reader = PhotoReader()
    for uri, code in (
        (f"{path}#1", "missing"),
        (f"{path}#2", "empty"),
        (f"{path}#3", "missing"),
        ("/no.parquet#0", "missing"),
    ):
        with pytest.raises(DecodeError) as caught:
            reader.read(uri)
        assert caught.value.code == code


def test_a_changed_file_is_opened_again(tmp_path: Path, encoded: Encode) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(table([encoded(0)], [0]), path)
    reader = PhotoReader()
    assert reader.read(f"{path}#0") == encoded(0)
    pq.write_table(table([encoded(1)], [0]), tmp_path / "new.parquet")
    os.utime(tmp_path / "new.parquet", ns=(1, 1))
    (tmp_path / "new.parquet").replace(path)
    assert reader.read(f"{path}#0") == encoded(1)


def test_a_name_that_is_not_utf8(tmp_path: Path, encoded: Encode) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9.parquet")
    pq.write_table(table([encoded(3)], [0], ["\n.jpg"]), tmp_path / "t.parquet")
    (tmp_path / "t.parquet").rename(odd)
    photo = next(detect(odd).photos())
    assert photo.uri == f"file://{tmp_path}/caf%E9.parquet#0/%0A.jpg"
    assert PhotoReader().read(photo.uri) == encoded(3)


@pytest.mark.parametrize("kind", ["stream", "file"])
def test_arrow_files(tmp_path: Path, encoded: Encode, kind: str) -> None:
    data = [encoded(i) for i in range(5)]
    rows = table(data, [0, 1, 0, 1, 0], **hugging_face([]))
    make = pa.ipc.new_stream if kind == "stream" else pa.ipc.new_file
    with make(str(tmp_path / "t.arrow"), rows.schema) as writer:
        writer.write_table(rows, max_chunksize=2)
    source = detect(tmp_path / "t.arrow")
    assert source.describe().format == "arrow"
    assert [photo.label for photo in source.photos()] == ["cat", "dog", "cat", "dog", "cat"]
    reader = PhotoReader()
    assert [reader.read(photo.uri) for photo in source.photos()] == data


def test_saved_by_hugging_face_datasets(tmp_path: Path, encoded: Encode) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)})

    def part(seeds: range) -> object:
        images = [{"bytes": encoded(i), "path": f"{i}.jpg"} for i in seeds]
        return datasets.Dataset.from_dict({"image": images, "label": [i % 2 for i in seeds]}, features=features)

    both = datasets.DatasetDict({"train": part(range(4)), "test": part(range(4, 6))})
    both.save_to_disk(str(tmp_path / "dict"))
    part(range(3)).save_to_disk(str(tmp_path / "one"))
    source = detect(tmp_path / "dict")
    assert source.describe().class_names == ("cat", "dog")
    assert [(photo.label, photo.split) for photo in source.photos()] == [
        ("cat", "test"), ("dog", "test"), ("cat", "train"), ("dog", "train"), ("cat", "train"), ("dog", "train"),
    ]  # fmt: skip
    assert next(source.photos()).uri.endswith(".arrow#0/4.jpg")
    assert PhotoReader().read(next(source.photos()).uri) == encoded(4)
    assert {photo.split for photo in detect(tmp_path / "one").photos()} == {None}
    both["train"].to_parquet(str(tmp_path / "t.parquet"))
    assert detect(tmp_path / "t.parquet").describe().class_names == ("cat", "dog")


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow"])
def test_damaged_files_are_sentences(tmp_path: Path, encoded: Encode, name: str) -> None:
    path = tmp_path / name
    for content in (b"", b"PAR1 this is no parquet", b"ARROW1", b"\xff" * 100):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"is damaged or not of its format|holds no photograph") as caught:
            list(detect(path).photos())
        assert str(path) in str(caught.value)
    whole = tmp_path / "whole.parquet"
    pq.write_table(table([encoded(i) for i in range(50)], [0] * 50), whole)
    (tmp_path / "cut.parquet").write_bytes(whole.read_bytes()[:-20])
    with pytest.raises(InputError, match="is damaged"):
        detect(tmp_path / "cut.parquet")


def test_bad_columns_and_no_rows_are_sentences(tmp_path: Path) -> None:
    pq.write_table(pa.table({"width": [1], "height": [2]}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match="its columns are: width, height"):
        detect(tmp_path / "t.parquet")
    pq.write_table(table([], []), tmp_path / "empty.parquet")
    with pytest.raises(InputError, match="it has no rows"):
        detect(tmp_path / "empty.parquet")
    (tmp_path / "bare").mkdir()
    with pytest.raises(InputError, match="no Parquet file"):
        detect(tmp_path / "bare", format="parquet")


def test_a_parquet_file_beside_photographs_is_not_the_source(make_tree: Make) -> None:
    root = make_tree("cat/1.jpg", "dog/2.jpg")
    pq.write_table(pa.table({"feature": [1.0]}), root / "features.parquet")
    assert detect(root).describe().format == "folders"


@pytest.mark.shared
def test_cifar10_jpeg(shared: Callable[[str], Path]) -> None:
    source = detect(shared("data/cifar10_jpeg"))
    info = source.describe()
    assert len(info.class_names) == 10
    assert info.splits == ("train", "test")
    splits = [photo.split for photo in source.photos()]
    assert (splits.count("train"), splits.count("test")) == (50_000, 10_000)
