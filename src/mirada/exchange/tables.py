"""Issues as a table that a person fills in: CSV for spreadsheets, JSON for programs; both ways.

    id, check, sample_id, uri, label, score, suggested, evidence, decision, by, why

A row is decided by what stands in `decision`: keep, drop, ambiguous, or relabel=CLASS. A row without it is left
open. `id` or `sample_id` says which photograph; the other columns are for the reader.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from mirada.errors import InputError, MiradaError, StorageError
from mirada.exchange.base import Choice, Finding, Handed, Refusal, parse_action, suggestion
from mirada.exchange.evidence import because
from mirada.messages import Message, msg

COLUMNS = (
    "id", "check", "sample_id", "uri", "label", "score", "suggested", "evidence", "decision", "by", "why",
)  # fmt: skip
_SIGNS = (",", ";", "\t")

Row = Mapping[str, object]


def document(finding: Finding) -> dict[str, object]:
    """An issue for programs: plain JSON values."""
    return {
        "id": finding.issue_id,
        "check": finding.check,
        "sample_id": finding.sample_id,
        "uri": finding.uri,
        "label": finding.label,
        "score": finding.score,
        "evidence": dict(finding.evidence),
    }


def write_csv(findings: Iterable[Finding], path: Path) -> int:
    """Write a table with empty columns for the decisions, UTF-8 with the mark that Excel looks for; counts rows."""
    n = 0
    with writing(path, encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for found in findings:
            told = [found.issue_id, found.check, found.sample_id, found.uri, found.label or "", f"{found.score:.6g}"]
            writer.writerow([*told, suggestion(found.evidence)[0] or "", because(found) or "", "", "", ""])
            n += 1
    return n


def write_json(findings: Iterable[Finding], path: Path) -> int:
    """Write a list of issues, each with empty `decision`, `by` and `why`; returns how many."""
    n = 0
    with writing(path) as file:
        for n, found in enumerate(findings, start=1):
            suggested = suggestion(found.evidence)[0] or ""
            row = {**document(found), "suggested": suggested, "decision": "", "by": "", "why": ""}
            file.write(("[\n" if n == 1 else ",\n") + json.dumps(row, ensure_ascii=False, allow_nan=False))
        file.write("\n]\n" if n else "[]\n")
    return n


def writing(path: Path, encoding: str = "utf-8") -> TextIO:
    """A text file to write, lines as given. Raises StorageError."""
    try:
        return path.open("w", encoding=encoding, newline="")
    except OSError as error:
        raise StorageError(msg("Mirada cannot write {path}: {error}.", path=path, error=error.strerror)) from error


def read_csv(data: bytes, name: str) -> Handed:
    """Decisions of a CSV file: commas, semicolons or tabs; UTF-8 or what spreadsheets save instead.

    A head without rows decides nothing. Raises InputError where the file is empty or lacks the columns it needs.
    """
    text = _decoded(data)
    if text.lower().startswith("sep="):  # Excel's own first line
        text = text.partition("\n")[2]
    lines = text.lstrip("\r\n \t")
    if not lines:
        raise InputError(msg("{name} is empty.", name=name), _columns_hint())
    sign = max(_SIGNS, key=lines.splitlines()[0].count)
    try:
        reader = csv.reader(io.StringIO(lines), delimiter=sign, strict=True)
        head = [_header(cell) for cell in next(reader)]
        table = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise InputError(msg("{name} is not a CSV file: {error}.", name=name, error=error)) from error
    rows = ((line, dict(zip(head, cells, strict=False))) for line, cells in table)
    return read_rows(rows, head, name, lambda line: msg("{name}, line {line}", name=name, line=line))


def read_rows(
    rows: Iterable[tuple[int, Row]], columns: Sequence[str], name: str, where: Callable[[int], Message]
) -> Handed:
    """Decisions of rows with the columns of this module; `where` names a row in sentences."""
    notes = _check_columns(columns, name)
    choices: list[Choice] = []
    refused: list[Refusal] = []
    n_undecided = n_rows = 0
    for number, row in rows:
        n_rows += 1
        place = where(number)
        if not _text(row, "decision"):
            n_undecided += 1
            continue
        try:
            choices.append(_choice(row, place))
        except MiradaError as error:
            refused.append(Refusal(error, place))
    if not n_rows:
        return nothing(name)
    return Handed(tuple(choices), tuple(refused), n_undecided, tuple(notes))


def nothing(name: str) -> Handed:
    """What a table without rows says: a check that found nothing writes one."""
    return Handed((), notes=(msg("{name} has no rows: there is nothing to decide.", name=name),))


def _choice(row: Row, where: Message | None) -> Choice:
    action, new = parse_action(_text(row, "decision"))
    sample_id, key = _text(row, "sample_id"), _text(row, "id")
    if not sample_id and not key:
        raise InputError(msg("The row names no photograph: id and sample_id are empty."))
    try:
        issue_id = int(float(key)) if key else None  # a spreadsheet may have made 7 into 7.0
    except (ValueError, OverflowError):
        raise InputError(msg("id must be the number of an issue; got {given!r}.", given=key)) from None
    check = None if issue_id is not None else _text(row, "check") or None
    by, why = _text(row, "by"), _text(row, "why")
    return Choice(action, new, issue_id, sample_id or None, check, by=by, why=why, where=where)


def _check_columns(columns: Sequence[str], name: str) -> list[Message]:
    known = [column for column in columns if column in COLUMNS]
    if "decision" not in known or not {"id", "sample_id"} & set(known):
        missing = "decision" if "decision" not in known else "id"
        near = difflib.get_close_matches(missing, columns, n=1, cutoff=0.7)
        raise InputError(
            msg(
                "{name} has no column {missing}; it has: {columns}.",
                name=name,
                missing=missing,
                columns=", ".join(columns) or "–",
            ),
            msg("Is {near!r} meant to be it?", near=near[0]) if near else _columns_hint(),
        )
    other = [column for column in columns if column and column not in COLUMNS]
    if not other:
        return []
    return [msg("{name}: columns that mean nothing here are left aside: {columns}.", name=name,
                columns=", ".join(other))]  # fmt: skip


def _columns_hint() -> Message:
    return msg("`mirada issues -o FILE.csv` writes a table to fill in: its columns are {columns}.",
               columns=", ".join(COLUMNS))  # fmt: skip


def _header(cell: str) -> str:
    return cell.strip().strip("\ufeff").lower()


def _text(row: Row, name: str) -> str:
    value = row.get(name)
    return "" if value is None else str(value).strip()


def _decoded(data: bytes) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):  # Excel's "Unicode text"
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")  # Excel's "CSV" in western Europe
