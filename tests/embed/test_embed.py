"""From samples to vectors: cache, copies, failures, interruption."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mirada.embed.backbone import Backbone
from mirada.embed.cache import EmbeddingCache, open_cache
from mirada.embed.embed import embed_samples
from mirada.embed.network import Network
from mirada.engine.local import LocalEngine
from mirada.errors import BackboneError
from mirada.imaging.decode import Limits
from mirada.imaging.preprocess import load_input
from mirada.messages import Message
from mirada.sources.reader import PhotoReader
from mirada.types import Sample


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
def cache(tmp_path: Path, backbone: Backbone) -> EmbeddingCache:
    return open_cache(tmp_path / "cache", backbone, "f32")


def test_every_sample_gets_its_vector(
    make_samples: Callable[[int], list[Sample]], backbone: Backbone, cache: EmbeddingCache
) -> None:
    samples = make_samples(23)
    counter = Counter()
    with LocalEngine(2) as engine:
        first = embed_samples(
            samples, backbone, reader=PhotoReader(), cache=cache, engine=engine, precision="f32", progress=counter
        )
        again = embed_samples(samples, backbone, reader=PhotoReader(), cache=cache, engine=engine, precision="f32")
        without = embed_samples(samples, backbone, reader=PhotoReader(), cache=None, engine=engine, precision="f32")
    assert (counter.total, counter.done, counter.finished) == (23, 23, 1)
    assert (first.n_computed, first.n_cached, first.failures) == (23, 0, ())
    assert (again.n_computed, again.n_cached) == (0, 23)
    network = Network(backbone.onnx_path, precision="f32")
    for sample, vector in zip(samples, first.vectors, strict=True):
        pixels = load_input(Path(sample.uri).read_bytes(), backbone.preprocess, limits=Limits())
        np.testing.assert_array_equal(network.run_batch(pixels[None])[0], vector)
    np.testing.assert_array_equal(again.vectors, first.vectors)
    np.testing.assert_array_equal(without.vectors, first.vectors)


def test_mirrored_view_is_another_vector(
    make_samples: Callable[[int], list[Sample]], backbone: Backbone, tmp_path: Path
) -> None:
    samples = make_samples(3)
    flipped = open_cache(tmp_path, backbone, "f32", view="flip")
    with LocalEngine(1) as engine:
        out = embed_samples(
            samples, backbone, reader=PhotoReader(), cache=flipped, engine=engine, precision="f32", view="flip"
        )
    network = Network(backbone.onnx_path, precision="f32")
    pixels = load_input(Path(samples[0].uri).read_bytes(), backbone.preprocess, limits=Limits())
    np.testing.assert_array_equal(out.vectors[0], network.run_batch(pixels[None, :, ::-1])[0])
    assert np.abs(out.vectors[0] - network.run_batch(pixels[None])[0]).max() > 1e-4


def test_copies_are_computed_once_and_stand_in_for_each_other(
    make_samples: Callable[[int], list[Sample]], backbone: Backbone, cache: EmbeddingCache
) -> None:
    samples = make_samples(2)
    copy = Path(samples[0].uri).with_name("copy.jpg")
    copy.write_bytes(Path(samples[0].uri).read_bytes())
    twin = replace(samples[0], sample_id="twin", uri=str(copy))
    Path(samples[0].uri).unlink()
    with LocalEngine(2) as engine:
        out = embed_samples(
            [samples[0], samples[1], twin], backbone, reader=PhotoReader(), cache=cache, engine=engine, precision="f32"
        )
    # The first copy is gone; the second one has the same content, which is what counts.
    assert out.ok.all()
    assert (out.n_computed, out.failures) == (2, ())
    np.testing.assert_array_equal(out.vectors[0], out.vectors[2])


def test_failures_are_told_one_by_one(
    make_samples: Callable[[int], list[Sample]], backbone: Backbone, cache: EmbeddingCache
) -> None:
    samples = make_samples(6)
    Path(samples[1].uri).unlink()
    Path(samples[3].uri).write_bytes(Path(samples[4].uri).read_bytes())
    broken = Path(samples[5].uri)
    broken.write_bytes(broken.read_bytes()[:300])
    counter = Counter()
    with LocalEngine(2) as engine:
        out = embed_samples(
            samples, backbone, reader=PhotoReader(), cache=cache, engine=engine, precision="f32", progress=counter
        )
    assert out.ok.tolist() == [True, False, True, False, True, False]
    assert [(failure.sample.sample_id, failure.reason) for failure in out.failures] == [
        ("s1", "missing"),
        ("s3", "changed"),
        ("s5", "changed"),
    ]
    assert np.isnan(out.vectors[~out.ok]).all()
    assert np.isfinite(out.vectors[out.ok]).all()
    assert (counter.total, counter.done) == (6, 6)
    assert len(cache) == 3


def test_nothing_to_do(backbone: Backbone, cache: EmbeddingCache) -> None:
    with LocalEngine(1) as engine:
        out = embed_samples([], backbone, reader=PhotoReader(), cache=cache, engine=engine)
    assert out.vectors.shape == (0, 24)


def test_a_cache_of_another_width(backbone: Backbone, tmp_path: Path) -> None:
    with LocalEngine(1) as engine, pytest.raises(BackboneError, match="vectors of length 7, but tiny makes 24"):
        embed_samples([], backbone, reader=PhotoReader(), cache=EmbeddingCache(tmp_path, "x", 7), engine=engine)


class Interrupting:
    """A reader during whose sixth photograph somebody presses Ctrl-C."""

    def __init__(self) -> None:
        self.n = 0
        self.reader = PhotoReader()

    def read(self, uri: str) -> bytes:
        self.n += 1
        if self.n == 40:
            raise KeyboardInterrupt
        return self.reader.read(uri)


def test_interrupted_work_is_kept(
    make_samples: Callable[[int], list[Sample]], backbone: Backbone, cache: EmbeddingCache
) -> None:
    samples = make_samples(60)

    class Inline:
        n_workers = 1

        def map(self, fn, items):  # type: ignore[no-untyped-def]
            return map(fn, items)

        def close(self) -> None: ...

    network = Network(backbone.onnx_path, precision="f32", batch_size=2, n_streams=1)
    with pytest.raises(KeyboardInterrupt):
        embed_samples(
            samples, backbone, reader=Interrupting(), cache=cache, engine=Inline(), precision="f32", network=network
        )
    assert 20 <= len(cache) < 40
    with LocalEngine(2) as engine:
        out = embed_samples(samples, backbone, reader=PhotoReader(), cache=cache, engine=engine, precision="f32")
    assert out.ok.all()
    assert out.n_cached == len(cache) - out.n_computed


KILLED = """
import sys, pickle, time, json
from pathlib import Path
from mirada.embed import embed
from mirada.embed.backbone import load_backbone
from mirada.embed.cache import open_cache
from mirada.engine.local import LocalEngine
from mirada.sources.reader import PhotoReader
from mirada.types import Sample

class Slow(PhotoReader):
    def read(self, uri):
        time.sleep(0.01)
        return super().read(uri)

embed.BLOCK_S = 0.05
backbone = load_backbone(Path(sys.argv[1]))
samples = [Sample(**row) for row in json.loads(Path(sys.argv[3]).read_text())]
cache = open_cache(Path(sys.argv[2]), backbone, "f32")
print("ready", flush=True)
with LocalEngine(2) as engine:
    embed.embed_samples(samples, backbone, reader=Slow(), cache=cache, engine=engine, precision="f32")
"""


def test_killed_and_run_again(
    make_samples: Callable[[int], list[Sample]], backbone: Backbone, tmp_path: Path, long_run: bool
) -> None:
    import json
    from dataclasses import asdict

    samples = make_samples(120)
    listed = tmp_path / "samples.json"
    listed.write_text(json.dumps([asdict(sample) for sample in samples]))
    with LocalEngine(2) as engine:
        expected = embed_samples(samples, backbone, reader=PhotoReader(), cache=None, engine=engine, precision="f32")
    partial = 0
    for turn in range(20 if long_run else 3):
        root = tmp_path / f"cache{turn}"
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(backbone.onnx_path), str(root), str(listed)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.25 + 0.15 * (turn % 5))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        cache = open_cache(root, backbone, "f32")
        partial += 0 < len(cache) < 120
        with LocalEngine(2) as engine:
            out = embed_samples(samples, backbone, reader=PhotoReader(), cache=cache, engine=engine, precision="f32")
        np.testing.assert_array_equal(out.vectors, expected.vectors)
    assert partial
