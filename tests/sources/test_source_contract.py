"""One suite that each registered format must pass; a format without an example here fails it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mirada.errors import DecodeError, MiradaError
from mirada.sources.base import Format, Source, detect, formats, register, unregister
from mirada.sources.folders import open_folders
from mirada.sources.pickled import load_batch
from mirada.sources.reader import PhotoReader
from mirada.sources.uris import uri_name
from mirada.testing import check_source

Encode = Callable[..., bytes]
Example = Callable[[Path, Encode], Path]


def _photos(root: Path, encoded: Encode) -> None:
    for i, name in enumerate(("cat/1.jpg", "cat/2.jpg", "dog/3.jpg")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encoded(i))


def _table(name: str, content: str) -> Example:
    def make(root: Path, encoded: Encode) -> Path:
        _photos(root, encoded)
        (root / name).write_text(content)
        return root / name

    return make


def _folders(root: Path, encoded: Encode) -> Path:
    _photos(root, encoded)
    return root


def _yelp(root: Path, encoded: Encode) -> Path:
    (root / "photos").mkdir()
    (root / "photos" / "a.jpg").write_bytes(encoded(0))
    (root / "photos.json").write_text('{"photo_id": "a", "label": "food"}\n{"photo_id": "gone", "label": "menu"}\n')
    return root


def _rows(encoded: Encode) -> pa.Table:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = pa.array([{"bytes": encoded(i), "path": f"{i}.jpg"} for i in range(3)], kind)
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
    meta = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.table({"image": images, "label": [0, 1, 0]}).replace_schema_metadata(meta)


def _parquet(root: Path, encoded: Encode) -> Path:
    for name in ("train", "test"):
        pq.write_table(_rows(encoded), root / f"{name}.parquet")
    return root


def _arrow(root: Path, encoded: Encode) -> Path:
    rows = _rows(encoded)
    with pa.ipc.new_stream(str(root / "data-00000-of-00001.arrow"), rows.schema) as writer:
        writer.write_table(rows)
    (root / "state.json").write_text("{}")
    return root


def _cifar(root: Path, encoded: Encode) -> Path:
    import pickle

    import numpy as np

    data = np.random.default_rng(0).integers(0, 256, (4, 3072), dtype=np.uint8)
    batch = {b"data": data, b"labels": [0, 1, 0, 1], b"filenames": [b"%d.png" % i for i in range(4)]}
    (root / "data_batch_1").write_bytes(pickle.dumps(batch, 2))
    (root / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"cat", b"dog"]}, 2))
    assert load_batch(str(root / "data_batch_1"))["labels"] == [0, 1, 0, 1]
    return root


EXAMPLES: dict[str, Example] = {
    "folders": _folders,
    "csv": _table("t.csv", "image,label\ncat/1.jpg,cat\ndog/3.jpg,dog\ngone.jpg,dog\n"),
    "json": _table("t.json", '[{"image": "cat/1.jpg", "label": "cat"}, {"image": "dog/3.jpg", "label": 3}]'),
    "jsonl": _table("t.jsonl", '{"image": "cat/1.jpg", "label": "cat", "split": "val"}\n{"image": "dog/3.jpg"}\n'),
    "yelp": _yelp,
    "parquet": _parquet,
    "arrow": _arrow,
    "cifar": _cifar,
}


def check(source: Source, reader: PhotoReader) -> None:
    """What holds for every source, beyond `mirada.testing.check_source`: its uris can be stored, and lead to bytes."""
    check_source(source)
    n_read = 0
    for photo in source.photos():
        photo.uri.encode("utf-8")
        photo.source.encode("utf-8")
        assert uri_name(photo.uri)
        if photo.mtime_ns is None:
            with pytest.raises(DecodeError) as caught:
                reader.read(photo.uri)
            assert caught.value.code == "missing"
        else:
            n_read += bool(reader.read(photo.uri))
    assert n_read > 0


def test_every_format_has_an_example() -> None:
    assert set(formats()) == {*EXAMPLES, "hub"}  # the hub's needs a server: test_hub.py


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_contract(name: str, tmp_path: Path, encoded: Encode) -> None:
    path = EXAMPLES[name](tmp_path, encoded)
    found = detect(path)
    assert found.describe().format == name
    check(found, PhotoReader())
    again = detect(path, format=name)
    assert list(again.photos()) == list(found.photos())
    assert again.signature() == found.signature()


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_format_that_is_named_and_does_not_fit_is_a_sentence(name: str, tmp_path: Path, encoded: Encode) -> None:
    for example, make in EXAMPLES.items():
        folder = tmp_path / example
        folder.mkdir()
        path = make(folder, encoded)
        for given in (path, folder, folder / "empty", folder / "noise"):
            (folder / "empty").write_bytes(b"")
            (folder / "noise").write_bytes(bytes(range(256)))
            try:
                list(detect(given, format=name).photos())
            except MiradaError as error:
                assert error.exit_status in (1, 2), str(error)  # noqa: PT017 - most pairs fit


def test_registering_twice_raises() -> None:
    with pytest.raises(ValueError, match="'folders' is registered already"):
        register(Format("folders", open_folders))


def test_a_format_of_ones_own(tmp_path: Path, encoded: Encode) -> None:
    register(Format("mine", open_folders))
    try:
        check(detect(_folders(tmp_path, encoded), format="mine"), PhotoReader())
    finally:
        unregister("mine")
    assert "mine" not in formats()
