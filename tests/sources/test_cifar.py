from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mirada.errors import InputError
from mirada.sources.base import detect
from mirada.sources.cifar import SIDE, png
from mirada.sources.pickled import load_batch
from mirada.sources.reader import PhotoReader

N = 20


def pixels(seed: int, n: int = N) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 3072), dtype=np.uint8)


def python2_pickle(batch: dict[bytes, object]) -> bytes:
    """The instructions that Python 2.7's cPickle wrote with protocol 2, as in the official files."""
    out = io.BytesIO()
    memo = iter(range(1, 10_000))

    def put() -> None:
        number = next(memo)
        out.write(b"q" + bytes([number]) if number < 256 else b"r" + struct.pack("<I", number))

    def string(value: bytes) -> None:
        out.write(b"U" + bytes([len(value)]) if len(value) < 256 else b"T" + struct.pack("<i", len(value)))
        out.write(value)
        put()

    def integer(value: int) -> None:
        out.write(b"K" + bytes([value]) if 0 <= value < 256 else b"J" + struct.pack("<i", value))

    def array(value: np.ndarray) -> None:
        out.write(b"cnumpy.core.multiarray\n_reconstruct\n")
        put()
        out.write(b"cnumpy\nndarray\n")
        put()
        out.write(b"K\x00\x85")
        put()
        string(b"b")
        out.write(b"\x87")
        put()
        out.write(b"R")
        put()
        out.write(b"(K\x01")
        for side in value.shape:
            integer(side)
        out.write(b"\x86")
        put()
        out.write(b"cnumpy\ndtype\n")
        put()
        string(b"u1")
        out.write(b"K\x00K\x01\x87")
        put()
        out.write(b"R")
        put()
        out.write(b"(K\x03")
        string(b"|")
        out.write(b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t")
        put()
        out.write(b"b\x89")
        string(value.tobytes())
        out.write(b"t")
        put()
        out.write(b"b")

    out.write(b"\x80\x02}")
    put()
    out.write(b"(")
    for key, value in batch.items():
        string(key)
        if isinstance(value, np.ndarray):
            array(value)
        elif isinstance(value, bytes):
            string(value)
        elif isinstance(value, int):
            integer(value)
        else:
            out.write(b"]")
            put()
            out.write(b"(")
            for item in value:
                string(item) if isinstance(item, bytes) else integer(item)
            out.write(b"e")
    out.write(b"u.")
    return out.getvalue()


def names(seed: int, n: int = N) -> list[bytes]:
    return [b"alca_torda_s_%06d.png" % (seed * 1000 + i) for i in range(n)]


def write_cifar10(folder: Path, dump: Callable[[dict[bytes, object]], bytes] = python2_pickle) -> Path:
    folder.mkdir()
    for i, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        batch = {
            b"data": pixels(i),
            b"labels": [k % 10 for k in range(N)],
            b"batch_label": b"training batch",
            b"filenames": names(i),
        }
        (folder / name).write_bytes(dump(batch))
    words = [b"airplane", b"automobile", b"bird", b"cat", b"deer", b"dog", b"frog", b"horse", b"ship", b"truck"]
    meta = {b"num_cases_per_batch": 10_000, b"label_names": words, b"num_vis": 3072}
    (folder / "batches.meta").write_bytes(dump(meta))
    (folder / "readme.html").write_text("<meta>")
    return folder


def python3_pickle(protocol: int) -> Callable[[dict[bytes, object]], bytes]:
    return lambda batch: pickle.dumps(batch, protocol=protocol)


@pytest.mark.parametrize("dump", [python2_pickle, python3_pickle(2), python3_pickle(3), python3_pickle(4)])
def test_cifar10(tmp_path: Path, dump: Callable[[dict[bytes, object]], bytes]) -> None:
    folder = write_cifar10(tmp_path / "cifar-10-batches-py", dump)
    source = detect(folder)
    info = source.describe()
    assert (info.format, info.splits, len(info.class_names)) == ("cifar", ("train", "test"), 10)
    photos = list(source.photos())
    assert [photo.split for photo in photos] == ["train"] * 5 * N + ["test"] * N
    assert [photo.label for photo in photos[:3]] == ["airplane", "automobile", "bird"]
    assert photos[N + 2].uri == f"{folder}/data_batch_2#2/alca_torda_s_001002.png"
    shown = np.asarray(Image.open(io.BytesIO(PhotoReader().read(photos[N + 2].uri))))
    np.testing.assert_array_equal(shown, pixels(1)[2].reshape(3, 32, 32).transpose(1, 2, 0))


def test_what_we_write_is_what_python_reads() -> None:
    batch = {b"data": pixels(0), b"labels": [1] * N, b"batch_label": b"x", b"filenames": names(0)}
    loaded = pickle.loads(python2_pickle(batch), encoding="bytes")
    np.testing.assert_array_equal(loaded.pop(b"data"), batch.pop(b"data"))
    assert loaded == batch


def test_cifar100(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for i, name in enumerate(["train", "test"]):
        fine, coarse = [k % 100 for k in range(N)], [k % 20 for k in range(N)]
        batch = {b"filenames": names(i), b"batch_label": b"", b"fine_labels": fine, b"coarse_labels": coarse}
        (folder / name).write_bytes(python2_pickle({**batch, b"data": pixels(i)}))
    fine_names = [b"class %d" % i for i in range(100)]
    (folder / "meta").write_bytes(python2_pickle({b"fine_label_names": fine_names, b"coarse_label_names": [b"x"]}))
    source = detect(folder)
    assert len(source.describe().class_names) == 100
    assert "fine labels are used" in str(source.describe().notes[0])
    photos = list(source.photos())
    assert (photos[3].label, photos[3].split, photos[N].split) == ("class 3", "train", "test")


def test_missing_batches_and_names_are_told(tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path / "cifar")
    (folder / "batches.meta").unlink()
    (folder / "data_batch_4").unlink()
    source = detect(folder)
    assert {photo.label for photo in source.photos()} == {str(i) for i in range(10)}
    told = " ".join(str(note) for note in source.describe().notes)
    assert "batches.meta is not there; classes bear their numbers." in told
    assert "not there: data_batch_4." in told


class Malicious:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch executed",)


class Sneaky:
    """Hides behind a name that is allowed."""

    def __reduce__(self) -> tuple[object, ...]:
        return np.dtype, ("O",)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("payload", [Malicious(), {b"data": Malicious()}, {b"data": [Malicious()]}, {b"data": eval}])
def test_a_malicious_pickle_is_refused_and_not_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int, payload: object
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write_cifar10(tmp_path / "cifar")
    (folder / "data_batch_1").write_bytes(pickle.dumps(payload, protocol=protocol))
    with pytest.raises(InputError, match="not a CIFAR file that can be read safely") as caught:
        list(detect(folder, format="cifar").photos())
    assert "does not execute pickles" in str(caught.value)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\x80", b"\x80\x02.", b"\x80\x02}q\x01", b"\x80\x02]q\x01.", b"not a pickle at all", b"\x80\x02(u.",
        b"\x80\x02}K\x01K\x02s.", b"\x80\x02h\x05.", b"\x80\x02}q\x00(U\x01ah\x00u.", b"\x80\x02]q\x00h\x00a.",
        b"\x80\x02}U\x01a]q\x00h\x00as.", b"\x80\x02}U\x04data" + pickle.dumps(Sneaky(), 2)[2:-1] + b"s.",
        b"\x80\x02c__builtin__\neval\nU\x011\x85R.", b"\x80\x02cnumpy\nndarray\n)\x81.",
        b"\x80\x02}U\x04data" + pickle.dumps(np.arange(6.0), 2)[2:-1] + b"s.",
        b"\x80\x02}U\x04data" + pickle.dumps(np.asfortranarray(np.ones((2, 3), np.uint8)), 2)[2:-1] + b"s.",
        b"\x80\x02}U\x04data" + pickle.dumps(np.ones((2, 3), np.uint8), 2)[2:-1].replace(b"K\x03", b"K\x09") + b"s.",
    ],
)  # fmt: skip
def test_other_content_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "data_batch_1"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot be read|can be read safely"):
        load_batch(str(path))


def test_cut_and_changed_files_are_sentences(tmp_path: Path) -> None:
    whole = python2_pickle({b"data": pixels(0, 2), b"labels": [1, 2], b"filenames": names(0, 2)})
    path = tmp_path / "data_batch_1"
    rng = np.random.default_rng(0)
    for _ in range(300):
        spoilt = bytearray(whole)
        for place in rng.integers(0, 200, 3):
            spoilt[place] = rng.integers(0, 256)
        path.write_bytes(spoilt[: rng.integers(1, len(spoilt))] if rng.random() < 0.3 else spoilt)
        with contextlib.suppress(InputError):
            load_batch(str(path))


def test_batches_that_do_not_add_up_are_sentences(tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path / "cifar")
    (folder / "data_batch_1").write_bytes(python2_pickle({b"data": pixels(0), b"labels": [1]}))
    with pytest.raises(InputError, match="not as many labels"):
        list(detect(folder).photos())
    (folder / "data_batch_1").write_bytes(python2_pickle({b"labels": [1]}))
    with pytest.raises(InputError, match="no photographs of 32 × 32"):
        list(detect(folder).photos())
    (tmp_path / "bare").mkdir()
    with pytest.raises(InputError, match="no CIFAR batches"):
        detect(tmp_path / "bare", format="cifar")


def test_the_png_is_exact_and_the_same_everywhere() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    data = png(rgb.tobytes(), SIDE)
    picture = Image.open(io.BytesIO(data))
    picture.load()
    assert picture.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(picture), rgb)
    assert len(data) == 8 + 25 + 12 + 12 + 11 + SIDE * (3 * SIDE + 1)
