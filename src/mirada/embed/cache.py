"""Embeddings on disk: two append-only files a key, mapped into memory, safe to kill at any point.

``vectors.f32`` holds rows of `dim` float32; ``keys.bin`` holds for each row the photograph's SHA-256 and a CRC-32 of
the vector. A row counts once both files hold all of it, and vectors are written first, so that the shorter file says
how much is valid whatever was interrupted. Readers in other processes see a prefix and need no lock; writers take
turns by flock and cut off what a killed one left behind. A row whose CRC is wrong is as if it were not there.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mirada.embed.backbone import Backbone
from mirada.errors import InputError
from mirada.messages import msg
from mirada.types import Precision
from mirada.workspace import storage_errors, write_atomic

_KEY = np.dtype([("sha", np.uint8, 32), ("crc", "<u4")])
_FORMAT = 1
log = logging.getLogger("mirada.embed")
Floats = npt.NDArray[np.float32]


def cache_key(backbone: Backbone, precision: Precision, *, view: str = "") -> str:
    """A folder's name that changes with whatever changes an embedding: network, preprocessing, precision, view."""
    spec = json.dumps(asdict(backbone.preprocess), sort_keys=True)
    identity = hashlib.sha256(f"{backbone.sha256}\0{spec}".encode()).hexdigest()[:16]
    name = "".join(char if char.isalnum() or char in "._-" else "_" for char in backbone.name)
    return "-".join(part for part in (name, identity, precision, view) if part)


class EmbeddingCache:
    """Vectors of length `dim` by content SHA-256 (hexadecimal), in the folder `root / key`.

    Any number of processes and threads may hold one and read and write. Opening one that is damaged or of another
    format starts it afresh, with a warning. Raises StorageError where the folder cannot be written.
    """

    def __init__(self, root: Path, key: str, dim: int) -> None:
        self.path = root / key
        self.dim = dim
        self._row_bytes = 4 * dim
        self._n_indexed = -1
        self._hashes = np.empty(0, np.uint64)  # first 8 bytes of each SHA, sorted …
        self._rows = np.empty(0, np.int64)  # … and the row of each
        self._vectors: npt.NDArray[np.float32] = np.empty((0, dim), np.float32)
        self._keys: npt.NDArray[Any] = np.empty(0, _KEY)
        with storage_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            with self._locked():
                if not self._is_sound():
                    self._start_afresh()
                self._cut_excess()

    def __len__(self) -> int:
        """Rows on disk now, those of other processes included."""
        return self._n_valid()

    def get(self, shas: Sequence[str]) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Vectors float32 (n, dim) and a mask (n,) of those that are here; rows of absent ones are NaN."""
        self._refresh()
        wanted = _as_bytes(shas)
        rows = self._find(wanted)
        out = np.full((len(wanted), self.dim), np.nan, np.float32)
        here = np.flatnonzero(rows >= 0)
        out[here] = self._vectors[rows[here]]
        crcs = self._keys["crc"][rows[here]]
        torn = [i for i, crc in zip(here, crcs, strict=True) if zlib.crc32(out[i].data) != crc]
        if torn:
            log.warning("%s: %d damaged embeddings are computed again.", self.path, len(torn))
            out[torn] = np.nan
            rows[torn] = -1
        return out, rows >= 0

    def rows(self, shas: Sequence[str]) -> tuple[Floats, npt.NDArray[np.int64]]:
        """All vectors (m, dim) as they lie on disk, mapped, and where each SHA's is (n,), -1: absent. Unchecked."""
        self._refresh()
        return self._vectors, self._find(_as_bytes(shas))

    def put(self, shas: Sequence[str], vectors: Floats) -> None:
        """Append a block: vectors (n, dim). A SHA that is here already gets the new vector.

        Returns once the block is on disk. Raises StorageError (disk full, …); the cache is then as it was.
        """
        block = np.ascontiguousarray(vectors, np.float32)
        if block.shape != (len(shas), self.dim):
            raise InputError(
                msg("The cache takes {n} × {dim} values; got {shape}.", n=len(shas), dim=self.dim, shape=block.shape)
            )
        keys = np.empty(len(shas), _KEY)
        keys["sha"] = _as_bytes(shas)
        keys["crc"] = [zlib.crc32(row.data) for row in block]
        with storage_errors(self.path), self._locked():
            self._cut_excess()
            try:
                _append(self._vectors_path, block)
                _append(self._keys_path, keys)
            except OSError:
                self._cut_excess()
                raise

    @property
    def _vectors_path(self) -> Path:
        return self.path / "vectors.f32"

    @property
    def _keys_path(self) -> Path:
        return self.path / "keys.bin"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.path / ".lock").open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _n_valid(self) -> int:
        try:
            sizes = self._keys_path.stat().st_size, self._vectors_path.stat().st_size
        except FileNotFoundError:
            return 0
        return min(sizes[0] // _KEY.itemsize, sizes[1] // self._row_bytes)

    def _cut_excess(self) -> None:
        """Under the lock: drop the half-written rows of a writer that was killed."""
        n = self._n_valid()
        for path, row_bytes in ((self._vectors_path, self._row_bytes), (self._keys_path, _KEY.itemsize)):
            if path.stat().st_size != n * row_bytes:
                os.truncate(path, n * row_bytes)

    def _about(self) -> dict[str, int]:
        return {"format": _FORMAT, "dim": self.dim, "key_bytes": _KEY.itemsize}

    def _is_sound(self) -> bool:
        about = self.path / "about.json"
        try:
            known = json.loads(about.read_text(encoding="utf-8")) == self._about()
        except FileNotFoundError:
            known = False
        except ValueError:
            log.warning("%s is damaged.", about)
            known = False
        return known and self._keys_path.is_file() and self._vectors_path.is_file()

    def _start_afresh(self) -> None:
        """Under the lock. The old files are unlinked, not cut: other processes may have them mapped."""
        old = [path for path in (self._keys_path, self._vectors_path) if path.exists()]
        if old:
            log.warning("%s is damaged or of another format; its embeddings are computed again.", self.path)
        for path in old:
            path.unlink()
        self._keys_path.touch()
        self._vectors_path.touch()
        write_atomic(self.path / "about.json", json.dumps(self._about()).encode())

    def _refresh(self) -> None:
        """Map the rows that are valid now and index them by the first 8 bytes of their SHA: 16 bytes a row."""
        n = self._n_valid()
        if n == self._n_indexed:
            return
        if n == 0:
            self._keys, self._vectors = np.empty(0, _KEY), np.empty((0, self.dim), np.float32)
        else:
            self._keys = np.memmap(self._keys_path, _KEY, "r", shape=(n,))
            self._vectors = np.memmap(self._vectors_path, np.float32, "r", shape=(n, self.dim))
        hashes = _prefixes(self._keys["sha"])
        self._rows = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._rows]
        self._n_indexed = n

    def _find(self, wanted: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        """The latest row of each SHA (n, 32), or -1."""
        prefixes = _prefixes(wanted)
        first = np.searchsorted(self._hashes, prefixes, "left")
        candidate = np.searchsorted(self._hashes, prefixes, "right") - 1
        found = np.full(len(wanted), -1, np.int64)
        open_ = np.flatnonzero(candidate >= first)
        # Equal prefixes are repeats, or (hardly ever) two photographs: compare in full, from the latest backwards.
        while len(open_):
            rows = self._rows[candidate[open_]]
            same = (self._keys["sha"][rows] == wanted[open_]).all(axis=1)
            found[open_[same]] = rows[same]
            open_ = open_[~same]
            candidate[open_] -= 1
            open_ = open_[candidate[open_] >= first[open_]]
        return found


def open_cache(root: Path, backbone: Backbone, precision: Precision, *, view: str = "") -> EmbeddingCache:
    """The cache for this backbone at this precision under `root`; view "flip" holds mirrored photographs."""
    return EmbeddingCache(root, cache_key(backbone, precision, view=view), backbone.dim)


def _append(path: Path, rows: npt.NDArray[Any]) -> None:
    """Append and wait for the disk: after a power cut no key may stand for a vector that was not written."""
    with path.open("ab", buffering=0) as handle:
        left = memoryview(rows.tobytes())
        while left:
            left = left[handle.write(left) :]
        os.fsync(handle.fileno())


def _prefixes(shas: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    return np.ascontiguousarray(shas[:, :8]).view(np.uint64).reshape(-1)


def _as_bytes(shas: Sequence[str]) -> npt.NDArray[np.uint8]:
    raw = bytes.fromhex("".join(shas))
    if len(raw) != 32 * len(shas):
        raise InputError(msg("A content hash is 64 hexadecimal digits."))
    return np.frombuffer(raw, np.uint8).reshape(-1, 32)
