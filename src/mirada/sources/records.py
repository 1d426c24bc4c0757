"""Read the rows of CSV, JSON and JSONL files, whatever their delimiter and encoding."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from mirada.errors import InputError
from mirada.messages import Message, msg
from mirada.sources.base import no_permission
from mirada.sources.uris import shown
from mirada.sources.walk import is_photo_name

Row = Mapping[str, object]
CSV_SUFFIXES = (".csv", ".tsv")
JSONL_SUFFIXES = (".jsonl", ".ndjson")
_DELIMITERS = ",;\t|"
_LONGEST_FIELD = 10_000_000


def suffix(path: str) -> str:
    """The extension of a path, in lower case, with its dot."""
    return "." + path.rpartition("/")[2].rpartition(".")[2].lower()


def read_rows(path: str) -> Iterator[Row]:
    """The rows of the table at `path`, by column name, in the format that its name (or, for JSON, content) says.

    Raises InputError with the line where the file is not what it says.
    """
    try:
        encoding = _encoding(path)
        if suffix(path) in CSV_SUFFIXES:
            yield from _read_csv(path, encoding)
        elif suffix(path) in JSONL_SUFFIXES:
            yield from _read_json_lines(path, encoding)
        else:
            yield from _read_json(path, encoding)
    except PermissionError as error:
        raise no_permission(path) from error
    except IsADirectoryError as error:
        raise _unreadable(path, msg("it is a folder")) from error
    except UnicodeDecodeError as error:
        raise _unreadable(path, msg("byte {n} is not {encoding}", n=error.start, encoding=error.encoding)) from error


def _encoding(path: str) -> str:
    """UTF-8 with or without mark, UTF-16 with a mark; else what spreadsheets on Windows write."""
    with Path(path).open("rb") as handle:
        if handle.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            return "utf-16"
    try:
        with Path(path).open(encoding="utf-8-sig") as text:
            while text.read(1 << 20):
                pass
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8-sig"


def _read_csv(path: str, encoding: str) -> Iterator[Row]:
    csv.field_size_limit(_LONGEST_FIELD)
    with Path(path).open(encoding=encoding, newline="") as handle:
        delimiter = _delimiter(handle.read(1 << 16))
        handle.seek(0)
        reader = csv.reader(handle, delimiter=delimiter, strict=True)
        try:
            header = next(reader, None)
            if header is None:
                raise _unreadable(path, msg("it is empty"))
            columns, first = _columns(header)
            if first is not None:
                yield first
            for cells in reader:
                if any(cells):
                    yield dict(zip(columns, cells, strict=False))
        except csv.Error as error:
            raise _unreadable(path, msg("line {n}: {error}", n=reader.line_num, error=error)) from error


def _columns(header: list[str]) -> tuple[list[str], Row | None]:
    """Column names; and the first line as a row where it names a photograph, so that the table has no header."""
    if not any(is_photo_name(cell.strip()) for cell in header):
        return [cell.strip() for cell in header], None
    names = ["image", "label"] if len(header) == 2 else [f"column {i + 1}" for i in range(len(header))]
    return names, dict(zip(names, header, strict=True))


def _delimiter(sample: str) -> str:
    """The delimiter that cuts the first lines into the most columns, the same number in each."""
    best, most = ",", 1
    for delimiter in _DELIMITERS:
        try:
            widths = [
                len(cells) for cells in csv.reader(sample.splitlines(keepends=True), delimiter=delimiter) if cells
            ]
        except csv.Error:
            continue
        # The sample may end within a row, so its last one does not vote.
        agreed = widths[:-1] if len(widths) > 2 else widths
        if agreed and min(agreed) == max(agreed) > most:
            best, most = delimiter, agreed[0]
    if most > 1:
        return best
    first_line = sample.partition("\n")[0]
    return max(_DELIMITERS, key=first_line.count)


def _read_json_lines(path: str, encoding: str) -> Iterator[Row]:
    with Path(path).open(encoding=encoding) as handle:
        for number, line in enumerate(handle, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                raise _unreadable(path, msg("line {n}: {error}", n=number, error=error)) from error
            if not isinstance(row, dict):
                raise _unreadable(path, msg("line {n} is not an object", n=number))
            yield row


def _read_json(path: str, encoding: str) -> Iterator[Row]:
    """A list of records, an object of columns, an object of name → label; or lines of JSON under a .json name."""
    try:
        data = json.loads(Path(path).read_text(encoding=encoding))
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            yield from _read_json_lines(path, encoding)
            return
        raise _unreadable(path, error) from error
    except RecursionError as error:
        raise _unreadable(path, msg("it is nested too deeply")) from error
    if isinstance(data, dict) and data and all(isinstance(column, list) for column in data.values()):
        lengths = {len(column) for column in data.values()}
        if len(lengths) > 1:
            raise _unreadable(path, msg("its columns are of different lengths"))
        yield from (dict(zip(data, cells, strict=True)) for cells in zip(*data.values(), strict=True))
    elif isinstance(data, dict) and data and any(is_photo_name(str(key)) for key in data):
        yield from ({"image": name, "label": label} for name, label in data.items())
    elif isinstance(data, dict):
        yield data
    elif isinstance(data, list) and all(isinstance(row, dict) for row in data):
        yield from data
    else:
        raise _unreadable(path, msg("it is neither a list of objects nor an object of columns"))


def _unreadable(path: str, why: Message | Exception) -> InputError:
    return InputError(
        msg("{path} cannot be read as a table: {why}.", path=shown(path), why=why),
        msg("A table is CSV, JSON, JSONL or Parquet, with a row for each photograph."),
    )
