"""CIFAR-10 and CIFAR-100 in their official layout, as unpacked from cs.toronto.edu/~kriz/cifar.html.

    cifar-10-batches-py/    data_batch_1 … data_batch_5, test_batch, batches.meta
    cifar-100-python/       train, test, meta

A row of `data` is a photograph of 32 × 32: 1,024 red values, then green, then blue. As files are what Mirada
deals in, a row is handed out as the bytes of a PNG, made without a compressor, so that its hash is the same
everywhere.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mirada.errors import InputError
from mirada.messages import Message, msg
from mirada.sources.base import SourceInfo, refuse_labels
from mirada.sources.labels import label_of_cell
from mirada.sources.pickled import load_batch
from mirada.sources.tables import is_file
from mirada.sources.uris import file_uri, row_uri, shown
from mirada.sources.walk import file_stamp
from mirada.types import SPLIT_NAMES, Photo, SplitName

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SIDE = 32
_ROW_BYTES = 3 * SIDE * SIDE


@dataclass(frozen=True, slots=True)
class _Kind:
    files: tuple[tuple[str, SplitName], ...]
    meta: str
    names_key: str
    labels_key: str


_CIFAR10 = _Kind(
    (*((f"data_batch_{i}", "train") for i in range(1, 6)), ("test_batch", "test")),
    "batches.meta",
    "label_names",
    "labels",
)
_CIFAR100 = _Kind((("train", "train"), ("test", "test")), "meta", "fine_label_names", "fine_labels")


class CifarSource:
    """The batches of a CIFAR folder. Only names and labels are kept; `PhotoReader` reads the pixels."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._kind = _kind_of(folder)
        self._files = [(f"{folder}/{name}", split) for name, split in self._kind.files if is_file(f"{folder}/{name}")]
        self._names = self._class_names()

    @property
    def name(self) -> str:
        """The uri of the folder."""
        return file_uri(self._folder)

    def photos(self) -> Iterator[Photo]:
        """Every row, batch by batch."""
        for path, split in self._files:
            batch = load_batch(path)
            n = len(_pixels(batch, path))
            labels = _column(batch, self._kind.labels_key, n, path)
            names = _column(batch, "filenames", n, path)
            _, mtime_ns = file_stamp(path)
            for i in range(n):
                name = None if names[i] is None else str(names[i])
                label = label_of_cell(labels[i], self._names)
                yield Photo(row_uri(file_uri(path), i, name), self.name, label, split, None, mtime_ns)

    def describe(self) -> SourceInfo:
        """Classes as batches.meta (or meta) names them; CIFAR-100's fine ones."""
        present = {split for _, split in self._files}
        splits = tuple(split for split in SPLIT_NAMES if split in present)
        return SourceInfo("cifar", self.name, tuple(sorted(self._names or ())), splits, tuple(self._notes()))

    def signature(self) -> str:
        """A hash of each file's size and time of change."""
        files = [self._kind.meta, *(name for name, _ in self._kind.files)]
        stamps = [(name, file_stamp(f"{self._folder}/{name}")) for name in files]
        return hashlib.sha256(f"cifar 1 {stamps}".encode()).hexdigest()

    def _class_names(self) -> tuple[str, ...] | None:
        path = f"{self._folder}/{self._kind.meta}"
        if not is_file(path):
            return None
        names = load_batch(path).get(self._kind.names_key)
        return tuple(str(name) for name in names) if isinstance(names, list) else None

    def _notes(self) -> Iterator[Message]:
        if self._kind is _CIFAR100:
            yield msg("The 100 fine labels are used, not the 20 coarse ones.")
        if self._names is None:
            yield msg("{name} is not there; classes bear their numbers.", name=self._kind.meta)
        missing = [name for name, _ in self._kind.files if not is_file(f"{self._folder}/{name}")]
        if missing:
            yield msg("Batches of the data set are not there: {names}.", names=", ".join(missing))


class CifarRows:
    """The pixels of one batch as a container of a single block; see `containers.Container`."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._pixels = _pixels(load_batch(path), path)

    @property
    def starts(self) -> Sequence[int]:
        """One block with every row."""
        return [0, len(self._pixels)]

    @property
    def n_bytes(self) -> int:
        """Size of the pixels in memory."""
        return int(self._pixels.nbytes)

    def load(self, block: int) -> CifarRows:  # noqa: ARG002 - there is but one
        """The batch is in memory already."""
        return self

    def photo(self, index: int) -> bytes | None:
        """Row `index` as a PNG."""
        return png(self._pixels[index].reshape(3, SIDE, SIDE).transpose(1, 2, 0).tobytes(), SIDE)


def png(rgb: bytes, side: int) -> bytes:
    """A square RGB picture (side × side × 3 bytes, by row) as a PNG with one stored block.

    Stored, not compressed: compressors differ between machines, and the hash of the bytes must not.
    Needs side × (3 × side + 1) < 65,536, the size of a stored block (RFC 1951).
    """
    raw = b"".join(b"\0" + rgb[start : start + 3 * side] for start in range(0, len(rgb), 3 * side))
    stored = b"\x78\x01\x01" + struct.pack("<HH", len(raw), len(raw) ^ 0xFFFF) + raw
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", stored + struct.pack(">I", zlib.adler32(raw))), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def open_cifar(path: str, labels: str | None = None) -> CifarSource:
    """Open a CIFAR folder."""
    refuse_labels(labels, "cifar")
    return CifarSource(path)


def looks_like_cifar(path: str) -> bool:
    """By the names of its files, and that they begin like pickles."""
    return any(
        all(_begins_like_pickle(f"{path}/{name}") for name in names)
        for names in (("data_batch_1",), ("test_batch", "batches.meta"), ("train", "meta"), ("test", "meta"))
    )


def _kind_of(folder: str) -> _Kind:
    for kind in (_CIFAR10, _CIFAR100):
        if any(is_file(f"{folder}/{name}") for name, _ in kind.files):
            return kind
    raise InputError(
        msg("There are no CIFAR batches in {path}.", path=shown(folder)),
        msg("Unpack the official .tar.gz and give the folder with data_batch_1 or train in it."),
    )


def _begins_like_pickle(path: str) -> bool:
    if not is_file(path):
        return False
    with open(path, "rb") as handle:  # noqa: PTH123 - the path is a text
        return handle.read(1) == b"\x80"


def _pixels(batch: dict[str, object], path: str) -> NDArray[np.uint8]:
    import numpy as np

    data = batch.get("data")
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != _ROW_BYTES:
        raise InputError(
            msg("{path} holds no photographs of {side} × {side} in RGB.", path=shown(path), side=SIDE),
            msg("Download the official “python version” again."),
        )
    return data


def _column(batch: dict[str, object], key: str, n: int, path: str) -> Sequence[object]:
    values = batch.get(key)
    if values is None:
        return [None] * n
    if not isinstance(values, list) or len(values) != n:
        raise InputError(msg("{path} holds {n} photographs but not as many {key}.", path=shown(path), n=n, key=key))
    return values
