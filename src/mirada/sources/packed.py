"""Packed data sets: Parquet (a file, or a folder of shards) and Arrow folders saved by Hugging Face `datasets`.

Splits come from the files' names as the hub writes them: `train.parquet`, `train-00000-of-00003.parquet`,
`data/validation-….parquet`, `train/0000.parquet`; or from the folders of a saved `DatasetDict`.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from mirada.errors import InputError
from mirada.messages import Message, msg
from mirada.sources.base import SourceInfo, refuse_labels
from mirada.sources.columns import Columns
from mirada.sources.containers import Row, open_rows
from mirada.sources.labels import label_of_cell, refuse_lookalikes, split_of_value
from mirada.sources.tables import columns_note, is_file
from mirada.sources.uris import absolute, file_uri, row_uri, shown
from mirada.sources.walk import file_stamp, is_photo_name
from mirada.types import SPLIT_NAMES, Photo, SplitName

_SHARD = re.compile(r"(?P<split>[A-Za-z]+)(?:[-_.]?\d+(?:-of-\d+)?(?:-[0-9a-f]+)?)?")


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of a packed data set: where it lies, how its rows are addressed, and its split."""

    path: str
    uri: str
    split: SplitName | None


class PackedSource:
    """Photographs in the rows of Parquet or Arrow files. Listing reads labels and names, never the photographs."""

    def __init__(self, name: str, shards: tuple[Shard, ...], format_name: str) -> None:
        self._name = name
        self._format = format_name
        self._shards, self._lone = _given_splits(shards)
        self._columns: Columns | None = None
        self._info = self._survey()

    @property
    def name(self) -> str:
        """The uri of the file or folder, or the address on the hub."""
        return self._name

    def photos(self) -> Iterator[Photo]:
        """Every row, file by file. A row that holds a path and no bytes is the file at that path."""
        for shard in self._shards:
            rows = open_rows(shard.path)
            folder = shard.path.rpartition("/")[0]
            _, mtime_ns = file_stamp(shard.path)
            for row in rows.rows():
                label = label_of_cell(row.label, rows.class_names)
                split = split_of_value(row.split) or shard.split
                if row.has_bytes or not row.path:
                    # The size of a row is known once it is read; the container's time of change stands for it.
                    uri = row_uri(shard.uri, row.index, row.path)
                    yield Photo(uri, self._name, label, split, None, mtime_ns)
                else:
                    path = _file_of(row, folder)
                    yield Photo(file_uri(path), self._name, label, split, *file_stamp(path))

    def describe(self) -> SourceInfo:
        """Classes as the features or the rows name them."""
        return self._info

    def signature(self) -> str:
        """A hash of the size and time of change of each file, and of the photographs that rows name by path."""
        digest = hashlib.sha256(f"{self._format} 1".encode())
        for shard in self._shards:
            digest.update(os.fsencode(shard.path))
            digest.update(repr((file_stamp(shard.path), shard.split)).encode())
            rows = open_rows(shard.path)
            if not rows.has_bytes:
                folder = shard.path.rpartition("/")[0]
                for row in rows.rows():
                    digest.update(repr(file_stamp(_file_of(row, folder))).encode())
        return digest.hexdigest()

    def _survey(self) -> SourceInfo:
        """One pass over the labels of all files."""
        labels: set[str] = set()
        splits: set[SplitName] = {shard.split for shard in self._shards if shard.split is not None}
        n_rows = 0
        notes: list[Message] = []
        for shard in self._shards:
            rows = open_rows(shard.path)
            if rows.columns != self._columns:
                self._columns = rows.columns
                notes.append(columns_note(rows.columns))
            names = rows.class_names
            n_rows += rows.starts[-1]
            if rows.columns.label is None and rows.columns.split is None:
                continue
            if names is not None and rows.columns.split is None:
                labels.update(names)
                continue
            for row in rows.rows():
                labels.update([label] if (label := label_of_cell(row.label, names)) is not None else [])
                splits.update([split] if (split := split_of_value(row.split)) is not None else [])
        if not n_rows:
            raise InputError(msg("{path} holds no photograph: it has no rows.", path=shown(self._name)))
        refuse_lookalikes(sorted(labels), self._name)
        if self._lone is not None:
            notes.append(msg("All rows are of the split {split}; it is not taken as given.", split=self._lone))
        in_order = tuple(split for split in SPLIT_NAMES if split in splits)
        return SourceInfo(self._format, self._name, tuple(sorted(labels)), in_order, tuple(notes))


def open_parquet(path: str, labels: str | None = None) -> PackedSource:
    """Open a Parquet file, or a folder of them."""
    refuse_labels(labels, "parquet")
    files = [path] if is_file(path) else parquet_files(path)
    if not files:
        raise InputError(msg("There is no Parquet file in {path}.", path=shown(path)))
    shards = tuple(Shard(file, file_uri(file), _split_of_file(file, path)) for file in files)
    return PackedSource(file_uri(path), shards, "parquet")


def open_arrow(path: str, labels: str | None = None) -> PackedSource:
    """Open an Arrow file, or what `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote."""
    refuse_labels(labels, "arrow")
    if is_file(path):
        found: list[tuple[str, str | None]] = [(path, None)]
    elif (Path(path) / "dataset_dict.json").is_file():
        folders = sorted(folder for folder in Path(path).iterdir() if (folder / "state.json").is_file())
        found = [(str(file), folder.name) for folder in folders for file in sorted(folder.glob("*.arrow"))]
    else:
        found = [(str(file), None) for file in sorted(Path(path).glob("*.arrow"))]
    if not found:
        raise InputError(msg("There is no Arrow file in {path}.", path=shown(path)))
    shards = tuple(Shard(file, file_uri(file), split_of_value(split)) for file, split in found)
    return PackedSource(file_uri(path), shards, "arrow")


def looks_like_parquet(path: str) -> bool:
    """A .parquet file, or a folder with some at the places the hub puts them and no photographs beside them."""
    if is_file(path):
        return path.endswith(".parquet")
    return bool(parquet_files(path)) and not _holds_photographs(path)


def looks_like_arrow(path: str) -> bool:
    """An .arrow file or a folder saved by `datasets`."""
    if is_file(path):
        return path.endswith(".arrow")
    return any(is_file(f"{path}/{name}") for name in ("dataset_dict.json", "state.json"))


def parquet_files(folder: str) -> list[str]:
    """The Parquet files in `folder`, in its `data` and in its folders named like splits, sorted."""
    places = [entry.path for entry in _entries(folder) if entry.name == "data" or split_of_value(entry.name)]
    found = [entry.path for place in (folder, *places) for entry in _entries(place) if entry.is_file()]
    return sorted(path for path in found if path.endswith(".parquet"))


def split_of_shard(relative_path: str) -> SplitName | None:
    """The split that a shard's name, else its folder's, says as the hub writes them."""
    folder, _, name = relative_path.rpartition("/")
    match = _SHARD.fullmatch(name.rpartition(".")[0])
    said = split_of_value(match["split"]) if match else None
    return said or split_of_value(folder.rpartition("/")[2])


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """What lies in a folder, hidden entries apart; nothing where it is none or may not be listed."""
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except (NotADirectoryError, PermissionError, FileNotFoundError):
        return []


def _holds_photographs(folder: str) -> bool:
    entries = _entries(folder)
    if any(is_photo_name(entry.name) and entry.is_file() for entry in entries):
        return True
    return any(is_photo_name(inner.name) for entry in entries if entry.is_dir() for inner in _entries(entry.path))


def _split_of_file(file: str, root: str) -> SplitName | None:
    # A word in the name of a single file means nothing.
    return None if file == root else split_of_shard(file[len(root) :].lstrip("/"))


def _given_splits(shards: tuple[Shard, ...]) -> tuple[tuple[Shard, ...], SplitName | None]:
    """The shards, and the split they all share, which is then no split: the hub calls all it has `train`."""
    splits = {shard.split for shard in shards}
    if len(splits) == 1 and (lone := splits.pop()) is not None:
        return tuple(replace(shard, split=None) for shard in shards), lone
    return shards, None


def _file_of(row: Row, folder: str) -> str:
    path = row.path or ""
    return absolute(path if path.startswith("/") else f"{folder}/{path}")
