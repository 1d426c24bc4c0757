"""Tables that name photographs: CSV, JSON and JSONL with a path, a label and perhaps a split in each row.

A path is absolute or relative to the table's folder.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from mirada.errors import InputError
from mirada.messages import Message, msg, msg_n
from mirada.sources.base import SourceInfo, refuse_labels
from mirada.sources.columns import Columns, find_columns
from mirada.sources.labels import label_of_cell, refuse_lookalikes, split_of_value
from mirada.sources.records import CSV_SUFFIXES, JSONL_SUFFIXES, read_rows, suffix
from mirada.sources.uris import absolute, file_uri, raw_bytes, shown, some
from mirada.sources.walk import file_stamp
from mirada.types import SPLIT_NAMES, Photo, SplitName

_ROWS_LOOKED_AT = 100
_WEB = ("http://", "https://")
FileOf = Callable[[str], str]  # what the image column says -> absolute path


@dataclass(frozen=True, slots=True)
class Listed:
    """One row: the photograph's absolute path, its label and split."""

    path: str
    label: str | None
    split: SplitName | None


class TableSource:
    """Photographs named by the rows of one table. Rows are read anew for each listing; only names are kept."""

    def __init__(
        self, path: str, format_name: str, file_of: FileOf | None = None, columns: Columns | None = None
    ) -> None:
        self._path = path
        self._format = format_name
        self._file_of = file_of or _relative_to(path.rpartition("/")[0])
        self._columns = columns or _columns_of(path)
        self._info = self._survey()

    @property
    def name(self) -> str:
        """The uri of the table."""
        return file_uri(self._path)

    def photos(self) -> Iterator[Photo]:
        """Every photograph that the table names, in its order; the first row wins where two name one file."""
        seen: set[int] = set()
        for listed in self._rows():
            # 200,000 paths as hashes are 12 MB; as texts they would be ten times that.
            if (key := hash(listed.path)) in seen:
                continue
            seen.add(key)
            stamp = file_stamp(listed.path)
            yield Photo(file_uri(listed.path), self.name, listed.label, listed.split, *stamp)

    def describe(self) -> SourceInfo:
        """Classes and splits as the rows say them."""
        return self._info

    def signature(self) -> str:
        """A hash of the table's size and time of change and of every photograph's."""
        digest = hashlib.sha256(f"{self._format} 1 {file_stamp(self._path)}".encode())
        for listed in self._rows():
            digest.update(raw_bytes(listed.path))
            digest.update(repr(file_stamp(listed.path)).encode())
        return digest.hexdigest()

    def listed_paths(self) -> set[str]:
        """The absolute path of every photograph that the table names."""
        return {listed.path for listed in self._rows()}

    def _rows(self) -> Iterator[Listed]:
        image, label, split = self._columns.image, self._columns.label, self._columns.split
        for row in read_rows(self._path):
            value = row.get(image)
            if value is None or not str(value).strip():
                continue
            yield Listed(
                self._file_of(str(value).strip()),
                label_of_cell(row.get(label)) if label is not None else None,
                split_of_value(row.get(split)) if split is not None else None,
            )

    def _survey(self) -> SourceInfo:
        """One pass over the rows: classes, splits, and what is odd about them."""
        labels: set[str] = set()
        splits: set[SplitName] = set()
        paths: set[int] = set()
        n_rows = 0
        for listed in self._rows():
            n_rows += 1
            paths.add(hash(listed.path))
            labels.update(() if listed.label is None else (listed.label,))
            splits.update(() if listed.split is None else (listed.split,))
        if not n_rows:
            raise InputError(msg("The table {path} names no photograph.", path=shown(self._path)))
        refuse_lookalikes(sorted(labels), self._path)
        notes = tuple(self._notes(n_rows - len(paths)))
        in_order = tuple(split for split in SPLIT_NAMES if split in splits)
        return SourceInfo(self._format, self.name, tuple(sorted(labels)), in_order, notes)

    def _notes(self, n_repeated: int) -> Iterator[Message]:
        yield columns_note(self._columns)
        if n_repeated:
            yield msg_n(
                "{n} row names a photograph that an earlier row names; the first row counts.",
                "{n} rows name a photograph that an earlier row names; the first row counts.",
                n=n_repeated,
            )


class LabelsFile:
    """`--labels FILE`: the label of each photograph by its path from the root, its name, or its name's stem."""

    def __init__(self, path: str) -> None:
        self._path = path
        columns = _columns_of(path)
        if columns.label is None:
            raise InputError(
                msg("{path} has no column of labels.", path=shown(path)),
                msg("Name the column with the classes “label”."),
            )
        self._by_name: dict[str, str] = {}
        for row in read_rows(path):
            name, label = row.get(columns.image), label_of_cell(row.get(columns.label))
            if name is not None and str(name).strip() and label is not None:
                self._by_name.setdefault(_key(str(name).strip()), label)
        refuse_lookalikes(sorted(self.labels), path)

    @property
    def labels(self) -> set[str]:
        """Every label that the file gives."""
        return set(self._by_name.values())

    def label(self, relative_path: str) -> str | None:
        """The label of a photograph by its path from the root of the folder; None where the file is silent."""
        key = self._match(relative_path)
        return None if key is None else self._by_name[key]

    def signature(self) -> str:
        """Changes with the file."""
        return f"{self._path!r} {file_stamp(self._path)}"

    def notes(self, relative_paths: Iterable[str]) -> Iterator[Message]:
        """What the file says of no photograph, and which photographs it says nothing of."""
        matches = [(path, self._match(path)) for path in relative_paths]
        silent = [path for path, key in matches if key is None]
        idle = sorted(set(self._by_name) - {key for _, key in matches if key is not None})
        if silent:
            yield msg_n(
                "{n} photograph is not in the labels file and has no label: {names}.",
                "{n} photographs are not in the labels file and have no label: {names}.",
                n=len(silent),
                names=some(silent),
            )
        if idle:
            yield msg_n(
                "{n} name in the labels file is of no photograph here: {names}.",
                "{n} names in the labels file are of no photograph here: {names}.",
                n=len(idle),
                names=some(idle),
            )

    def _match(self, relative_path: str) -> str | None:
        name = relative_path.rpartition("/")[2]
        candidates = (relative_path, name, name.rpartition(".")[0])
        return next((key for key in candidates if key in self._by_name), None)


def open_csv(path: str, labels: str | None = None) -> TableSource:
    """Open a CSV or TSV table."""
    refuse_labels(labels, "csv")
    return TableSource(path, "csv")


def open_json(path: str, labels: str | None = None) -> TableSource:
    """Open a JSON table: a list of records, or an object of columns."""
    refuse_labels(labels, "json")
    return TableSource(path, "json")


def open_jsonl(path: str, labels: str | None = None) -> TableSource:
    """Open a table with a JSON object in each line."""
    refuse_labels(labels, "jsonl")
    return TableSource(path, "jsonl")


def looks_like_csv(path: str) -> bool:
    """By its name."""
    return suffix(path) in CSV_SUFFIXES and is_file(path)


def looks_like_json(path: str) -> bool:
    """By its name."""
    return suffix(path) == ".json" and is_file(path)


def looks_like_jsonl(path: str) -> bool:
    """By its name."""
    return suffix(path) in JSONL_SUFFIXES and is_file(path)


def is_file(path: str) -> bool:
    """Whether `path` is a file, also where its name is not UTF-8."""
    return os.path.isfile(path)  # noqa: PTH113 - the path is a text


def columns_note(columns: Columns) -> Message:
    """Which columns were taken for what."""
    if columns.label is None:
        return msg("Photographs are in the column {image}; there is no column of labels.", image=shown(columns.image))
    return msg(
        "Photographs are in the column {image}, labels in {label}.",
        image=shown(columns.image),
        label=shown(columns.label),
    )


def _columns_of(path: str) -> Columns:
    first: dict[str, object] = {}
    # JSON leaves out what a row does not have, so that no single row need have every column.
    for row in islice(read_rows(path), _ROWS_LOOKED_AT):
        first.update((name, value) for name, value in row.items() if first.get(name) in (None, ""))
    if not first:
        raise InputError(msg("The table {path} names no photograph.", path=shown(path)))
    columns = find_columns(first, path)
    value = str(first.get(columns.image, ""))
    if value.startswith(_WEB):
        raise InputError(
            msg("The column {name} of {path} holds web addresses.", name=shown(columns.image), path=shown(path)),
            msg("Download the photographs first; Mirada reads files."),
        )
    return columns


def _relative_to(folder: str) -> FileOf:
    def file_of(value: str) -> str:
        path = absolute(f"{folder}/{value}" if not value.startswith("/") else value)
        if "\\" in value and not is_file(path):  # written on Windows
            return absolute(f"{folder}/{value.replace(chr(92), '/')}")
        return path

    return file_of


def _key(name: str) -> str:
    return name.removeprefix("./")
