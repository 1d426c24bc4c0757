"""Photographs decoded once, as prediction sees them, through repeats, copies, kills, damage and full disks."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mirada.engine.base import Silent
from mirada.engine.local import LocalEngine
from mirada.imaging.preprocess import load_input
from mirada.sources.reader import PhotoReader
from mirada.training import pixels as module
from mirada.training.pixels import MappedRows, PixelCache, Pixels, prepare_pixels, with_margin
from mirada.types import PreprocessSpec, Sample

SPEC = PreprocessSpec(input_size=24, resize=28)
N = 60

# Prepares all photographs of a folder; what happens on the way is the third argument.
RUN = """
import hashlib, os, resource, signal, sys
from pathlib import Path
from mirada.engine.local import LocalEngine
from mirada.errors import StorageError
from mirada.sources.reader import PhotoReader
from mirada.training import pixels
from mirada.types import PreprocessSpec, Sample
photos, cache, fate = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
class Reader(PhotoReader):
    n = 0
    def read(self, uri):
        Reader.n += 1
        if fate == "killed" and Reader.n == 40:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(uri)
pixels.BLOCK_S, pixels.TASK_ROWS = 0.0, 5
if fate == "full":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
paths = sorted(photos.iterdir())
samples = [
    Sample(path.name, hashlib.sha256(path.read_bytes()).hexdigest(), str(path), "", 40, 30, "RGB", "JPEG", 1)
    for path in paths
]
spec = PreprocessSpec(input_size=24, resize=28)
try:
    with LocalEngine(1) as engine:
        pixels.prepare_pixels(samples, [0] * len(samples), spec, reader=Reader(), engine=engine, folder=cache)
except StorageError as error:
    print("full" in str(error))
"""


class CountingReader(PhotoReader):
    """Counts what is read."""

    n_read = 0

    def read(self, uri: str) -> bytes:
        self.n_read += 1
        return super().read(uri)


class Counted(Silent):
    """Adds up what it is told."""

    total, done = 0, 0

    def start(self, label: object, total: int | None = None) -> None:
        self.total = total or 0

    def advance(self, n: int = 1) -> None:
        self.done += n


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(3)
    for i in range(N):
        small = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
        small.resize((40, 30), Image.Resampling.BICUBIC).save(folder / f"{i:03d}.jpg", quality=90)
    return folder


@pytest.fixture(scope="module")
def engine() -> Iterator[LocalEngine]:
    with LocalEngine(2) as engine:
        yield engine


def sample_of(path: Path, name: str = "") -> Sample:
    data = path.read_bytes()
    sha = hashlib.sha256(data).hexdigest()
    return Sample(name or path.name, sha, str(path), "", 40, 30, "RGB", "JPEG", len(data))


def samples_of(folder: Path) -> list[Sample]:
    return [sample_of(path) for path in sorted(folder.iterdir())]


def expected(samples: Sequence[Sample], spec: PreprocessSpec = SPEC) -> np.ndarray:
    return np.stack([load_input(Path(sample.uri).read_bytes(), spec) for sample in samples])


def test_the_pixels_are_those_of_prediction(photos: Path, tmp_path: Path, engine: LocalEngine) -> None:
    samples, progress = samples_of(photos), Counted()
    labels = np.arange(N) % 7
    made, failures = prepare_pixels(
        samples, labels, SPEC, reader=PhotoReader(), engine=engine, folder=tmp_path, progress=progress
    )
    assert failures == ()
    assert (len(made), made.side, made.images.shape) == (N, 24, (N, 24, 24, 3))
    np.testing.assert_array_equal(made.images, expected(samples))
    np.testing.assert_array_equal(made.labels, labels)
    assert made.labels.dtype == np.int64
    assert (progress.total, progress.done) == (N, N)


@pytest.mark.parametrize("in_memory", [0, 1 << 30])
def test_a_second_call_decodes_nothing(photos: Path, tmp_path: Path, engine: LocalEngine, in_memory: int) -> None:
    samples = samples_of(photos)
    reader = CountingReader()
    half, _ = prepare_pixels(samples[:30], [0] * 30, SPEC, reader=reader, engine=engine, folder=tmp_path)
    assert reader.n_read == 30
    whole, _ = prepare_pixels(
        samples, [0] * N, SPEC, reader=reader, engine=engine, folder=tmp_path, in_memory=in_memory
    )
    assert reader.n_read == N
    backwards, _ = prepare_pixels(
        samples[::-1], [0] * N, SPEC, reader=reader, engine=engine, folder=tmp_path, in_memory=in_memory
    )
    assert reader.n_read == N
    assert isinstance(whole.images, MappedRows) == (in_memory == 0)
    np.testing.assert_array_equal(half.images, expected(samples[:30]))
    np.testing.assert_array_equal(whole.images[:], expected(samples))
    np.testing.assert_array_equal(backwards.images[:], expected(samples)[::-1])


def test_mapped_rows_are_taken_as_an_arrays_are(photos: Path, tmp_path: Path, engine: LocalEngine) -> None:
    samples, labels = samples_of(photos), np.arange(N)
    common = {"reader": PhotoReader(), "engine": engine, "folder": tmp_path}
    held, _ = prepare_pixels(samples, labels, SPEC, **common)  # type: ignore[arg-type]
    mapped, _ = prepare_pixels(samples, labels, SPEC, in_memory=0, **common)  # type: ignore[arg-type]
    rows = np.random.default_rng(0).permutation(N)[:20]
    assert len(mapped.images) == N
    np.testing.assert_array_equal(np.asarray(mapped.images), held.images)
    for few in (rows, slice(3, 9), labels < 7, 5):
        got = mapped.images[few]
        np.testing.assert_array_equal(got, held.images[few])
        assert type(got) is np.ndarray
        assert got.flags.writeable
    for part in (held.take(rows), mapped.take(rows)):
        np.testing.assert_array_equal(part.images[np.array([4, 2])], expected(samples)[rows[[4, 2]]])
        np.testing.assert_array_equal(part.labels, rows)
    assert isinstance(mapped.take(rows).images, MappedRows)


def test_copies_share_a_row_and_stand_in_for_each_other(photos: Path, tmp_path: Path, engine: LocalEngine) -> None:
    """Three samples of one content; the first two files are gone."""
    one, other = sorted(photos.iterdir())[:2]
    samples = [
        replace(sample_of(one, "gone"), uri=str(tmp_path / "gone.jpg")),
        sample_of(other),
        replace(sample_of(one, "gone too"), uri=str(tmp_path / "gone too.jpg")),
        sample_of(one, "here"),
    ]
    progress = Counted()
    for in_memory in (1 << 30, 0):
        made, failures = prepare_pixels(
            samples, [5, 6, 5, 5], SPEC, reader=PhotoReader(), engine=engine, folder=tmp_path / str(in_memory),
            in_memory=in_memory, progress=progress,
        )  # fmt: skip
        assert failures == ()
        np.testing.assert_array_equal(made.images[:], expected([samples[i] for i in (3, 1, 3, 3)]))
        assert len(PixelCache(tmp_path / str(in_memory), SPEC)) == 2
        assert (progress.total, progress.done) == (2, 2)
        progress.done = 0


@pytest.mark.parametrize("in_memory", [0, 1 << 30])
def test_what_cannot_be_read_is_told(photos: Path, tmp_path: Path, engine: LocalEngine, in_memory: int) -> None:
    good = samples_of(photos)[:4]
    text, cut, other = tmp_path / "text.jpg", tmp_path / "cut.jpg", tmp_path / "changed.jpg"
    text.write_text("no photograph")
    cut.write_bytes(Path(good[0].uri).read_bytes()[:400])
    other.write_bytes(Path(good[0].uri).read_bytes())
    changed = sample_of(other)
    other.write_bytes(Path(good[1].uri).read_bytes())
    gone = replace(good[0], sample_id="gone", content_sha256="0" * 64, uri=str(tmp_path / "gone.jpg"))
    lone = replace(changed, content_sha256="1" * 64)
    samples = [good[0], sample_of(text), good[1], gone, sample_of(cut), good[2], lone, good[3]]
    made, failures = prepare_pixels(
        samples, range(8), SPEC, reader=PhotoReader(), engine=engine, folder=tmp_path / "cache", in_memory=in_memory
    )
    np.testing.assert_array_equal(made.images[:], expected(good))
    assert made.labels.tolist() == [0, 2, 5, 7]
    assert [failure.reason for failure in failures] == ["not_an_image", "missing", "truncated", "changed"]
    assert [failure.sample for failure in failures] == [samples[i] for i in (1, 3, 4, 6)]


def test_nothing_but_failures_and_nothing_at_all(tmp_path: Path, engine: LocalEngine, photos: Path) -> None:
    gone = replace(samples_of(photos)[0], uri=str(tmp_path / "gone.jpg"))
    for in_memory in (0, 1 << 30):
        for samples in ([], [gone]):
            made, failures = prepare_pixels(
                samples, [0] * len(samples), SPEC, reader=PhotoReader(), engine=engine, folder=tmp_path / "cache",
                in_memory=in_memory,
            )  # fmt: skip
            assert made.images.shape == (0, 24, 24, 3)
            assert len(made) == 0
            assert len(failures) == len(samples)


def test_another_size_is_another_file_and_another_normalisation_the_same(
    photos: Path, tmp_path: Path, engine: LocalEngine
) -> None:
    samples = samples_of(photos)[:6]
    specs = [
        SPEC,
        replace(SPEC, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2)),
        replace(SPEC, input_size=15, resize=15),  # an odd number of bytes
        replace(SPEC, resize=24),
        replace(SPEC, channels="grey"),
        replace(SPEC, interpolation="bilinear"),
    ]
    for n_files, spec in zip((1, 1, 2, 3, 4, 5), specs, strict=True):
        for in_memory in (1 << 30, 0):
            made, _ = prepare_pixels(
                samples, [0] * 6, spec, reader=PhotoReader(), engine=engine, folder=tmp_path, in_memory=in_memory
            )
            np.testing.assert_array_equal(made.images[:], expected(samples, spec))
        assert len(list(tmp_path.iterdir())) == n_files


def test_a_margin_is_the_same_cut_with_more_pixels(photos: Path, tmp_path: Path, engine: LocalEngine) -> None:
    spec = with_margin(SPEC, 1.25)
    assert (spec.input_size, spec.resize) == (30, 35)
    assert with_margin(SPEC, 1.0) == SPEC
    samples = samples_of(photos)[:5]
    made, _ = prepare_pixels(samples, [0] * 5, SPEC, reader=PhotoReader(), engine=engine, folder=tmp_path, margin=1.25)
    np.testing.assert_array_equal(made.images, expected(samples, spec))


def run(photos: Path, cache: Path, fate: str) -> subprocess.CompletedProcess[str]:
    code = [sys.executable, "-c", RUN, str(photos), str(cache), fate]
    return subprocess.run(code, capture_output=True, text=True, check=False)


def test_a_killed_run_is_gone_on_with(photos: Path, tmp_path: Path, engine: LocalEngine) -> None:
    samples = samples_of(photos)
    assert run(photos, tmp_path, "killed").returncode == -9
    (folder,) = tmp_path.iterdir()
    with (folder / "vectors.f32").open("ab") as file:  # and the row it was writing
        file.write(b"half a row")
    n_kept = len(PixelCache(tmp_path, SPEC))
    assert 0 < n_kept < 40
    reader = CountingReader()
    made, failures = prepare_pixels(samples, [0] * N, SPEC, reader=reader, engine=engine, folder=tmp_path)
    assert reader.n_read == N - n_kept
    assert failures == ()
    np.testing.assert_array_equal(made.images, expected(samples))


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on file size")
def test_a_full_disk_is_told_and_gone_on_from(photos: Path, tmp_path: Path, engine: LocalEngine) -> None:
    """A limit on file size stands for the full disk."""
    done = run(photos, tmp_path, "full")
    assert done.stdout.split() == ["True"], done.stderr
    assert os.stat(next(tmp_path.iterdir()) / "vectors.f32").st_size <= 40_000  # noqa: PTH116
    samples, reader = samples_of(photos), CountingReader()
    made, _ = prepare_pixels(samples, [0] * N, SPEC, reader=reader, engine=engine, folder=tmp_path)
    assert 0 < reader.n_read < N
    np.testing.assert_array_equal(made.images, expected(samples))


@pytest.mark.parametrize("in_memory", [0, 1 << 30])
def test_a_damaged_row_is_decoded_again(photos: Path, tmp_path: Path, engine: LocalEngine, in_memory: int) -> None:
    samples, reader = samples_of(photos), CountingReader()
    prepare_pixels(samples, [0] * N, SPEC, reader=reader, engine=engine, folder=tmp_path)
    (folder,) = tmp_path.iterdir()
    with (folder / "vectors.f32").open("r+b") as file:
        file.seek(3 * 24 * 24 * 7 + 100)
        file.write(b"\x01\x02\x03\x04\x05\x06\x07\x08")
    made, _ = prepare_pixels(samples, [0] * N, SPEC, reader=reader, engine=engine, folder=tmp_path, in_memory=in_memory)
    assert reader.n_read == N + 1
    np.testing.assert_array_equal(made.images[:], expected(samples))


def test_blocks_and_tasks_of_any_size_give_the_same(
    photos: Path, tmp_path: Path, engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = samples_of(photos)
    monkeypatch.setattr(module, "BLOCK_BYTES", 7 * 3 * 24 * 24)
    monkeypatch.setattr(module, "TASK_ROWS", 4)
    for in_memory in (0, 1 << 30, 1 << 30):
        made, _ = prepare_pixels(
            samples, [0] * N, SPEC, reader=PhotoReader(), engine=engine, folder=tmp_path / str(in_memory),
            in_memory=in_memory,
        )  # fmt: skip
        np.testing.assert_array_equal(made.images[:], expected(samples))


def test_the_cifar_photographs(shared, tmp_path: Path, engine: LocalEngine) -> None:  # type: ignore[no-untyped-def]
    """Rows of a Parquet file, at their own size: no resampling, every byte as decoded."""
    import pyarrow.parquet as parquet

    from mirada.sources.uris import file_uri, row_uri

    path = shared("data/cifar10_jpeg/test.parquet")
    table = next(parquet.ParquetFile(path).iter_batches(600, columns=["image", "label"]))
    data = [row["bytes"] for row in table["image"].to_pylist()]
    samples = [
        Sample(
            str(i),
            hashlib.sha256(one).hexdigest(),
            row_uri(file_uri(str(path)), i),
            "",
            32,
            32,
            "RGB",
            "JPEG",
            len(one),
        )
        for i, one in enumerate(data)
    ]
    spec = PreprocessSpec(input_size=32, resize=32)
    made, failures = prepare_pixels(
        samples, table["label"].to_numpy(), spec, reader=PhotoReader(), engine=engine, folder=tmp_path
    )
    assert isinstance(made, Pixels)
    assert failures == ()
    np.testing.assert_array_equal(made.images, np.stack([load_input(one, spec) for one in data]))
