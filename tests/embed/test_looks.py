"""One decoding for all: the same figures as each alone, caches, copies, failures, interruption, processes."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from mirada.embed import looks as looks_module
from mirada.embed.backbone import Backbone, load_backbone
from mirada.embed.cache import open_cache
from mirada.embed.embed import embed_samples
from mirada.embed.looks import Looks, look
from mirada.engine.local import LocalEngine
from mirada.errors import BackboneError
from mirada.imaging.decode import decode
from mirada.imaging.lookalike import LOOKALIKE_DIM, describe
from mirada.imaging.statistics import LOOK_SIDE, STATISTICS, measure
from mirada.messages import Message
from mirada.sources.reader import PhotoReader
from mirada.testing import photo
from mirada.types import PreprocessSpec, Sample


class Counting(PhotoReader):
    """A reader that remembers what was read."""

    def __init__(self) -> None:
        super().__init__()
        self.uris: list[str] = []

    def read(self, uri: str) -> bytes:
        self.uris.append(uri)
        return super().read(uri)


class Counter:
    """A Progress that remembers."""

    def __init__(self) -> None:
        self.total: int | None = None
        self.done = 0
        self.finished = 0

    def start(self, label: Message, total: int | None = None) -> None:
        self.total = total

    def advance(self, n: int = 1) -> None:
        self.done += n

    def finish(self) -> None:
        self.finished += 1

    def note(self, message: Message) -> None:
        raise AssertionError(str(message))


@pytest.fixture
def backbone(make_backbone: Callable[..., Backbone]) -> Backbone:
    return make_backbone()


@pytest.fixture
def engine() -> Iterator[LocalEngine]:
    with LocalEngine(2) as pool:
        yield pool


@pytest.fixture
def mixed(tmp_path: Path) -> list[Sample]:
    """Photographs of several formats, larger and smaller than any scale that is decoded to."""
    shapes = [((64, 48), "jpeg"), ((700, 500), "jpeg"), ((224, 300), "jpeg"), ((900, 2000), "jpeg_progressive")]
    shapes += [((500, 400), "png"), ((450, 600), "jpeg_exif"), ((20, 300), "jpeg"), ((300, 300), "jpeg_grey")]
    samples = []
    for number, (size, kind) in enumerate(shapes):
        path = tmp_path / f"{number}.{kind}"
        path.write_bytes(photo(number, size, kind, look=number))
        samples.append(sample_of(path, *size))
    return samples


def sample_of(path: Path, width: int = 64, height: int = 48) -> Sample:
    data = path.read_bytes()
    sha = hashlib.sha256(data).hexdigest()
    return Sample(path.name, sha, str(path), "test", width, height, "RGB", "JPEG", len(data))


def see(samples: list[Sample], engine: LocalEngine, root: Path | None, **more: object) -> Looks:
    options = {"reader": PhotoReader(), "engine": engine, "cache_root": root, "precision": "f32"} | more
    return look(samples, **options)  # type: ignore[arg-type]


def test_figures_are_those_of_each_alone(mixed: list[Sample], engine: LocalEngine, tmp_path: Path) -> None:
    counter = Counter()
    reader = Counting()
    found = see(mixed, engine, tmp_path / "cache", reader=reader, progress=counter)
    assert found.stats is not None and found.lookalike is not None and found.vectors is None  # noqa: PT018
    assert found.stats.shape == (8, len(STATISTICS))
    assert found.lookalike.shape == (8, LOOKALIKE_DIM)
    assert (counter.total, counter.done, counter.finished) == (8, 8, 1)
    assert sorted(reader.uris) == sorted(sample.uri for sample in mixed)
    for row, sample in enumerate(mixed):
        pixels = decode(Path(sample.uri).read_bytes(), min_side=LOOK_SIDE).pixels
        np.testing.assert_array_equal(found.stats[row], measure(pixels))
        np.testing.assert_array_equal(found.lookalike[row], describe(pixels))
    again = see(mixed, engine, tmp_path / "cache", reader=None)
    assert (again.n_computed, again.n_cached, again.ok.all()) == (0, 8, True)
    np.testing.assert_array_equal(again.stats, found.stats)
    np.testing.assert_array_equal(again.lookalike, found.lookalike)
    without = see(mixed, engine, None)
    np.testing.assert_array_equal(without.stats, found.stats)


@pytest.mark.parametrize("side", [32, 160, 224, 384])
def test_embeddings_are_bit_equal_to_those_of_embed_samples(
    side: int, mixed: list[Sample], backbone: Backbone, engine: LocalEngine, tmp_path: Path
) -> None:
    if side != 32:
        backbone = resized(backbone, side)
    expected = embed_samples(mixed, backbone, reader=PhotoReader(), cache=None, engine=engine, precision="f32")
    plain = see(mixed, engine, None)
    cache = open_cache(tmp_path / "embeddings", backbone, "f32")
    found = see(mixed, engine, tmp_path / "cache", backbone=backbone, embedding_cache=cache)
    np.testing.assert_array_equal(found.vectors, expected.vectors)
    # … and the statistics do not depend on whether a network looked too.
    np.testing.assert_array_equal(found.stats, plain.stats)
    np.testing.assert_array_equal(found.lookalike, plain.lookalike)
    assert len(cache) == 8
    after = embed_samples(mixed, backbone, reader=PhotoReader(), cache=cache, engine=engine, precision="f32")
    assert after.n_computed == 0


def resized(backbone: Backbone, side: int) -> Backbone:
    """The same network for inputs of `side` pixels, cut from a little more."""
    model = onnx.load(backbone.onnx_path)
    for axis in (1, 2):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = side
    spec = PreprocessSpec(input_size=side, resize=side + side // 8 if side != 224 else side)
    for entry in model.metadata_props:
        if entry.key == "mirada.preprocess":
            entry.value = json.dumps(asdict(spec))
    path = backbone.onnx_path.with_name(f"at{side}.onnx")
    onnx.save(model, path)
    return load_backbone(path)


def test_one_decoding_serves_all(
    mixed: list[Sample], backbone: Backbone, engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted at the door of the network's own decoding, which is to stay shut."""
    n_own: list[int] = []

    def load_input(data: bytes, spec: PreprocessSpec, **options: object) -> np.ndarray:
        n_own.append(1)
        return np.zeros((spec.input_size, spec.input_size, 3), np.uint8)

    monkeypatch.setattr(looks_module, "load_input", load_input)
    see(mixed, engine, None, backbone=resized(backbone, 224))
    assert len(n_own) == 0
    see(mixed, engine, None, backbone=backbone)
    assert len(n_own) == 6  # all but the PNG and one that is smaller than 32 px: JPEGs that come at a smaller scale


def test_only_what_is_lacking_is_computed(
    mixed: list[Sample], backbone: Backbone, engine: LocalEngine, tmp_path: Path
) -> None:
    root = tmp_path / "cache"
    first = see(mixed[:3], engine, root, want=("stats",))
    assert first.lookalike is None
    second = see(mixed, engine, root)
    assert (second.n_cached, second.n_computed) == (0, 8)
    np.testing.assert_array_equal(second.stats[:3], first.stats)  # type: ignore[index]
    statistics = next(path for path in root.iterdir() if path.name.startswith("statistics"))
    assert (statistics / "vectors.f32").stat().st_size == 8 * 4 * len(STATISTICS)  # nothing twice
    cache = open_cache(tmp_path / "embeddings", backbone, "f32")
    third = see(mixed, engine, root, backbone=backbone, embedding_cache=cache)
    assert third.ok.all()
    expected = embed_samples(mixed, backbone, reader=PhotoReader(), cache=None, engine=engine, precision="f32")
    np.testing.assert_array_equal(third.vectors, expected.vectors)
    np.testing.assert_array_equal(third.stats, second.stats)
    fourth = see(mixed, engine, root, backbone=backbone, embedding_cache=cache, reader=None)
    assert (fourth.n_cached, fourth.n_computed) == (8, 0)
    only_vectors = see(mixed, engine, None, backbone=backbone, want=())
    assert only_vectors.stats is only_vectors.lookalike is None
    np.testing.assert_array_equal(only_vectors.vectors, expected.vectors)


def test_copies_are_looked_at_once_and_stand_in_for_each_other(
    make_samples: Callable[[int], list[Sample]], backbone: Backbone, engine: LocalEngine, tmp_path: Path
) -> None:
    samples = make_samples(2)
    copy = Path(samples[0].uri).with_name("copy.jpg")
    copy.write_bytes(Path(samples[0].uri).read_bytes())
    twin = replace(samples[0], sample_id="twin", uri=str(copy))
    reader, counter = Counting(), Counter()
    found = see([samples[0], samples[1], twin], engine, None, reader=reader, backbone=backbone)
    assert len(reader.uris) == 2
    Path(samples[0].uri).unlink()
    found = see([samples[0], samples[1], twin], engine, tmp_path, backbone=backbone, progress=counter)
    assert found.ok.all()
    assert (found.failures, found.n_computed, counter.total, counter.done) == ((), 2, 2, 2)
    for values in (found.stats, found.lookalike, found.vectors):
        np.testing.assert_array_equal(values[0], values[2])  # type: ignore[index]


@pytest.mark.parametrize("with_backbone", [False, True])
def test_failures_are_told_one_by_one(
    with_backbone: bool,
    make_samples: Callable[[int], list[Sample]],
    backbone: Backbone,
    engine: LocalEngine,
    tmp_path: Path,
) -> None:
    samples = make_samples(7)
    Path(samples[1].uri).unlink()
    Path(samples[3].uri).write_bytes(Path(samples[4].uri).read_bytes())
    cut = Path(samples[5].uri)
    cut.write_bytes(cut.read_bytes()[:600])
    samples[5] = replace(sample_of(cut), sample_id="s5")  # added by a Mirada that was less strict
    lost = replace(samples[1], sample_id="s1 again")
    counter = Counter()
    more = {"backbone": backbone} if with_backbone else {}
    found = see([*samples, lost], engine, tmp_path, progress=counter, **more)
    assert found.ok.tolist() == [True, False, True, False, True, False, True, False]
    assert [(failure.sample.sample_id, failure.reason) for failure in found.failures] == [
        ("s1", "missing"),
        ("s3", "changed"),
        ("s5", "truncated"),
        ("s1 again", "missing"),
    ]
    for values in (found.stats, found.lookalike, *([found.vectors] if with_backbone else [])):
        assert values is not None
        assert np.isnan(values[~found.ok]).all()
        assert np.isfinite(values[found.ok]).all()
    assert (counter.total, counter.done, counter.finished) == (7, 7, 1)
    assert found.n_computed == 4


def test_nothing_to_look_at(backbone: Backbone, engine: LocalEngine, tmp_path: Path) -> None:
    found = see([], engine, tmp_path, backbone=backbone)
    assert found.stats is not None
    assert found.stats.shape == (0, len(STATISTICS))
    assert (found.ok.shape, found.failures) == ((0,), ())


def test_a_cache_of_another_width(backbone: Backbone, engine: LocalEngine, tmp_path: Path) -> None:
    wrong = looks_module.EmbeddingCache(tmp_path, "x", 7)
    with pytest.raises(BackboneError, match="vectors of length 7, but tiny makes 24"):
        see([], engine, tmp_path, backbone=backbone, embedding_cache=wrong)


class Interrupting(PhotoReader):
    """A reader during whose fortieth photograph somebody presses Ctrl-C."""

    n = 0

    def read(self, uri: str) -> bytes:
        self.n += 1
        if self.n == 40:
            raise KeyboardInterrupt
        return super().read(uri)


class Inline:
    n_workers = 1

    def map(self, fn, items):  # type: ignore[no-untyped-def]
        return map(fn, items)

    def close(self) -> None: ...


def test_interrupted_work_is_kept(
    make_samples: Callable[[int], list[Sample]], backbone: Backbone, engine: LocalEngine, tmp_path: Path
) -> None:
    samples = make_samples(60)
    cache = open_cache(tmp_path / "embeddings", backbone, "f32")
    more = {"backbone": backbone, "embedding_cache": cache}
    counter = Counter()
    with pytest.raises(KeyboardInterrupt):
        see(samples, Inline(), tmp_path / "c", reader=Interrupting(), progress=counter, **more)  # type: ignore[arg-type]
    assert counter.finished == 1
    assert 20 <= len(cache) < 40
    found = see(samples, engine, tmp_path / "c", **more)
    assert found.ok.all()
    assert 20 <= found.n_cached < 40
    np.testing.assert_array_equal(found.stats, see(samples, engine, None).stats)


KILLED = """
import sys, time, json
from pathlib import Path
from mirada.embed import embed
from mirada.embed.looks import look
from mirada.engine.local import LocalEngine
from mirada.sources.reader import PhotoReader
from mirada.types import Sample

class Slow(PhotoReader):
    def read(self, uri):
        time.sleep(0.01)
        return super().read(uri)

embed.BLOCK_S = 0.05
samples = [Sample(**row) for row in json.loads(Path(sys.argv[2]).read_text())]
print("ready", flush=True)
with LocalEngine(2) as engine:
    look(samples, reader=Slow(), engine=engine, cache_root=Path(sys.argv[1]))
"""


def test_killed_and_run_again(
    make_samples: Callable[[int], list[Sample]], engine: LocalEngine, tmp_path: Path, long_run: bool
) -> None:
    samples = make_samples(120)
    listed = tmp_path / "samples.json"
    listed.write_text(json.dumps([asdict(sample) for sample in samples]))
    expected = see(samples, engine, None)
    partial = 0
    for turn in range(12 if long_run else 3):
        root = tmp_path / f"cache{turn}"
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(root), str(listed)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.2 + 0.1 * (turn % 5))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        found = see(samples, engine, root)
        partial += 0 < found.n_cached < 120
        np.testing.assert_array_equal(found.stats, expected.stats)
        np.testing.assert_array_equal(found.lookalike, expected.lookalike)
    assert partial
