"""The embedding cache under repeats, other processes, kills, damage and a full disk."""

from __future__ import annotations

import hashlib
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from mirada.embed.backbone import Backbone
from mirada.embed.cache import EmbeddingCache, cache_key, open_cache
from mirada.errors import InputError, StorageError

DIM = 16

# Writes rows 0, 1, 2, … in blocks of random size until it is killed; row i is filled with float(i).
WRITER = """
import hashlib, random, sys
from pathlib import Path
import numpy as np
from mirada.embed.cache import EmbeddingCache
root, start, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
cache, rng, i = EmbeddingCache(root, "key", 16), random.Random(seed), start
print("ready", flush=True)
while i < start + 50_000:
    n = rng.randint(1, 40)
    shas = [hashlib.sha256(str(j).encode()).hexdigest() for j in range(i, i + n)]
    cache.put(shas, np.repeat(np.arange(i, i + n, dtype=np.float32)[:, None], 16, axis=1))
    i += n
"""


def sha(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def rows(*numbers: int) -> npt.NDArray[np.float32]:
    return np.repeat(np.float32(numbers)[:, None], DIM, axis=1)


@pytest.fixture
def cache(tmp_path: Path) -> EmbeddingCache:
    return EmbeddingCache(tmp_path, "key", DIM)


def test_what_was_put_comes_back(cache: EmbeddingCache, tmp_path: Path) -> None:
    cache.put([sha(1), sha(2), sha(3)], rows(1, 2, 3))
    for one in (cache, EmbeddingCache(tmp_path, "key", DIM)):
        vectors, here = one.get([sha(3), sha(9), sha(1), sha(3)])
        assert here.tolist() == [True, False, True, True]
        np.testing.assert_array_equal(vectors[here], rows(3, 1, 3))
        assert np.isnan(vectors[1]).all()
    assert len(cache) == 3


def test_empty(cache: EmbeddingCache) -> None:
    vectors, here = cache.get([sha(1)])
    assert vectors.shape == (1, DIM)
    assert not here.any()
    assert cache.get([])[0].shape == (0, DIM)
    cache.put([], np.empty((0, DIM), np.float32))
    assert len(cache) == 0


def test_the_latest_row_counts(cache: EmbeddingCache) -> None:
    cache.put([sha(1), sha(1)], rows(1, 2))
    cache.put([sha(2)], rows(5))
    cache.put([sha(1)], rows(7))
    np.testing.assert_array_equal(cache.get([sha(1)])[0], rows(7))


def test_equal_prefixes_are_told_apart(cache: EmbeddingCache) -> None:
    twins = [("ab" * 8) + f"{number:048x}" for number in range(50)]
    cache.put(twins[:40], rows(*range(40)))
    vectors, here = cache.get(twins)
    assert here.tolist() == [True] * 40 + [False] * 10
    np.testing.assert_array_equal(vectors[:40], rows(*range(40)))


def test_wrong_shapes_and_hashes(cache: EmbeddingCache) -> None:
    with pytest.raises(InputError, match="takes 1 × 16 values"):
        cache.put([sha(1)], np.zeros((1, 8), np.float32))
    with pytest.raises(InputError, match="64 hexadecimal digits"):
        cache.get(["abcd"])


@pytest.mark.parametrize(("vectors_extra", "keys_extra"), [(7, 0), (0, 11), (4 * DIM + 3, 0), (0, 36 * 2 + 5)])
def test_half_written_rows_are_cut_off(tmp_path: Path, vectors_extra: int, keys_extra: int) -> None:
    first = EmbeddingCache(tmp_path, "key", DIM)
    first.put([sha(1), sha(2)], rows(1, 2))
    with (first.path / "vectors.f32").open("ab") as handle:
        handle.write(b"\1" * vectors_extra)
    with (first.path / "keys.bin").open("ab") as handle:
        handle.write(b"\1" * keys_extra)
    assert first.get([sha(2)])[1].all()
    second = EmbeddingCache(tmp_path, "key", DIM)
    second.put([sha(3)], rows(3))
    for one in (first, second):
        np.testing.assert_array_equal(one.get([sha(1), sha(2), sha(3)])[0], rows(1, 2, 3))
    assert (first.path / "vectors.f32").stat().st_size == 3 * 4 * DIM


def test_a_damaged_row_is_missing_and_can_be_put_again(cache: EmbeddingCache, caplog: pytest.LogCaptureFixture) -> None:
    cache.put([sha(1), sha(2), sha(3)], rows(1, 2, 3))
    with (cache.path / "vectors.f32").open("r+b") as handle:
        handle.seek(4 * DIM + 9)
        handle.write(b"\xff")
    vectors, here = cache.get([sha(1), sha(2), sha(3)])
    assert here.tolist() == [True, False, True]
    assert np.isnan(vectors[1]).all()
    assert "1 damaged embeddings" in caplog.text
    cache.put([sha(2)], rows(2))
    np.testing.assert_array_equal(cache.get([sha(1), sha(2), sha(3)])[0], rows(1, 2, 3))


@pytest.mark.parametrize("content", [b"", b"not json", b'{"format": 1, "dim": 8, "key_bytes": 36}', b"[1]"])
def test_a_foreign_folder_starts_afresh_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    old = EmbeddingCache(tmp_path, "key", DIM)
    old.put([sha(1)], rows(1))
    other = EmbeddingCache(tmp_path, "other", DIM)
    other.put([sha(1)], rows(4))
    (old.path / "about.json").write_bytes(content)
    held = old.get([sha(1)])
    new = EmbeddingCache(tmp_path, "key", DIM)
    assert "computed again" in caplog.text
    assert not new.get([sha(1)])[1].any()
    new.put([sha(2)], rows(2))
    np.testing.assert_array_equal(new.get([sha(2)])[0], rows(2))
    # Who had the old one open is not disturbed, and no other key lost anything.
    np.testing.assert_array_equal(held[0], rows(1))
    assert other.get([sha(1)])[1].all()


def test_threads_write_at_once(cache: EmbeddingCache) -> None:
    def write(number: int) -> None:
        cache.put([sha(number), sha(number + 1000)], rows(number, number + 1000))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(30)))
    numbers = [*range(30), *range(1000, 1030)]
    np.testing.assert_array_equal(cache.get([sha(number) for number in numbers])[0], rows(*numbers))


def test_killed_writers_leave_a_sound_cache(tmp_path: Path, long_run: bool) -> None:
    """Two writers at once, both killed at a random moment; what is there is right, and writing goes on."""
    rng = random.Random(5)
    n_before = 0
    for turn in range(20 if long_run else 3):
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, str(tmp_path), str(start), str(turn)], stdout=subprocess.PIPE, text=True
            )
            for start in (0, 100_000)
        ]
        try:
            for writer in writers:
                assert writer.stdout is not None
                assert writer.stdout.readline() == "ready\n"
            reader = EmbeddingCache(tmp_path, "key", DIM)
            deadline = time.monotonic() + rng.uniform(0.05, 0.4)
            while time.monotonic() < deadline:
                check_all(reader)
        finally:
            for writer in writers:
                os.kill(writer.pid, signal.SIGKILL)
                writer.wait()
                assert writer.stdout is not None
                writer.stdout.close()
        after = EmbeddingCache(tmp_path, "key", DIM)
        assert len(after) >= n_before
        n_before = check_all(after)
        after.put([sha(-1)], rows(-1))
        assert after.get([sha(-1)])[1].all()
    assert n_before > 0


def check_all(cache: EmbeddingCache) -> int:
    numbers = [*range(3000), *range(100_000, 103_000)]
    vectors, here = cache.get([sha(number) for number in numbers])
    np.testing.assert_array_equal(vectors[here], rows(*numbers)[here])
    return int(here.sum())


def test_a_full_disk_is_told_and_costs_nothing(tmp_path: Path) -> None:
    """A limit on file size stands for the full disk: the write stops in the middle of the block."""
    code = (
        "import resource, signal, sys, hashlib\nfrom pathlib import Path\nimport numpy as np\n"
        "from mirada.embed.cache import EmbeddingCache\nfrom mirada.errors import StorageError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "cache = EmbeddingCache(Path(sys.argv[1]), 'key', 16)\n"
        "shas = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(100)]\n"
        "cache.put(shas[:3], np.ones((3, 16), np.float32))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n    cache.put(shas[3:], np.ones((97, 16), np.float32))\n"
        "except StorageError as error:\n    print('full' in str(error))\n"
    )
    out = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["True"]
    cache = EmbeddingCache(tmp_path, "key", DIM)
    assert len(cache) == 3
    assert cache.get([sha(0), sha(1), sha(2)])[1].all()
    assert (cache.path / "vectors.f32").stat().st_size == 3 * 4 * DIM
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_no_room_left(cache: EmbeddingCache) -> None:
    cache.put([sha(1)], rows(1))
    (cache.path / "vectors.f32").rename(cache.path / "kept")
    (cache.path / "vectors.f32").symlink_to("/dev/full")
    with pytest.raises(StorageError, match=r"The disk that holds .* is full"):
        cache.put([sha(2)], rows(2))
    (cache.path / "vectors.f32").unlink()
    (cache.path / "kept").rename(cache.path / "vectors.f32")


def test_the_key_names_all_that_matters(make_backbone: Callable[..., Backbone], tmp_path: Path) -> None:
    backbone = make_backbone("tiny")
    keys = {
        cache_key(backbone, "f32"),
        cache_key(backbone, "bf16"),
        cache_key(backbone, "f32", view="flip"),
        cache_key(make_backbone("tiny", seed=1), "f32"),
        cache_key(replace(backbone, preprocess=replace(backbone.preprocess, resize=40)), "f32"),
    }
    assert len(keys) == 5
    assert cache_key(replace(backbone, name="a/b c"), "f32").startswith("a_b_c-")
    assert open_cache(tmp_path / "root", backbone, "f32").dim == 24


def test_a_million_keys(tmp_path: Path, long_run: bool) -> None:
    """Look-ups in a big cache take a moment, and memory stays near 16 bytes a row."""
    n = 1_000_000 if long_run else 200_000
    cache = EmbeddingCache(tmp_path, "key", 4)
    raw = np.random.default_rng(0).integers(0, 256, (n, 32), dtype=np.uint8)
    shas = [row.tobytes().hex() for row in raw]
    vectors = np.arange(4 * n, dtype=np.float32).reshape(n, 4)
    for start in range(0, n, 100_000):
        cache.put(shas[start : start + 100_000], vectors[start : start + 100_000])
    cache.get(shas[:1])
    begun = time.process_time()
    got, here = cache.get(shas[: n : n // 1000])
    assert time.process_time() - begun < 0.5
    assert here.all()
    np.testing.assert_array_equal(got, vectors[: n : n // 1000])
