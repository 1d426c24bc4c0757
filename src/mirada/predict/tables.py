"""Rows of predictions as CSV, JSON lines or Parquet.

CSV is opened in spreadsheets, which run a cell that begins with = + - @ as a formula. There, a path that does so
gets ``./`` before it (the same file), and any other text an apostrophe. JSON lines and Parquet hold every text
letter for letter.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mirada.errors import UsageError
from mirada.messages import msg
from mirada.types import Prediction

if TYPE_CHECKING:
    import pyarrow

Row = dict[str, object]
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_ROW_GROUP = 8192
_DIGITS = 6


def to_row(prediction: Prediction) -> Row:
    """The row of one answer: {"uri", "label", "score", "top_k": [{"label", "score"}], "rejected", "error"}."""
    return {
        "uri": prediction.uri,
        "label": prediction.label,
        "score": None if prediction.label is None else round(prediction.score, _DIGITS),
        "top_k": [{"label": scored.label, "score": round(scored.score, _DIGITS)} for scored in prediction.top_k],
        "rejected": prediction.rejected,
        "error": prediction.error,
    }


def write_rows(out: Path, rows: Iterable[Row], *, top_k: int) -> None:
    """Write `rows` to `out` in the format its extension names: whole, or not at all."""
    write = writer_for(out)
    # One name for all processes: the journal's lock lets in one at a time, and what a killed one left is overwritten.
    temporary = out.with_name(f".{out.name}.tmp")
    try:
        with temporary.open("wb") as handle:
            write(handle, rows, top_k)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)


def writer_for(out: Path) -> Callable[[IO[bytes], Iterable[Row], int], None]:
    """The writer for an output's extension. Raises UsageError for one that is not known."""
    writer = _WRITERS.get(out.suffix.lower())
    if writer is None:
        raise UsageError(
            msg("Mirada does not know the format of {path}.", path=out),
            msg("Name a file that ends in {known}.", known=", ".join(_WRITERS)),
        )
    return writer


def _write_jsonl(handle: IO[bytes], rows: Iterable[Row], _top_k: int) -> None:
    for row in rows:
        handle.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")


def _write_csv(handle: IO[bytes], rows: Iterable[Row], top_k: int) -> None:
    text = io.TextIOWrapper(handle, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\n")
    ranks = [f"{name}_{i}" for i in range(1, top_k + 1) for name in ("label", "score")]
    writer.writerow(["uri", "label", "score", "rejected", "error", *ranks])
    for row in rows:
        writer.writerow(_csv_cells(row, len(ranks)))
    text.detach()


def _csv_cells(row: Mapping[str, Any], n_ranks: int) -> Iterator[object]:
    uri = row["uri"]
    yield f"./{uri}" if uri.startswith(_FORMULA) else uri
    yield _harmless(row["label"])
    yield row["score"]
    yield "true" if row["rejected"] else "false"
    yield row["error"]
    cells = [cell for scored in row["top_k"] for cell in (_harmless(scored["label"]), scored["score"])]
    yield from cells
    yield from [None] * (n_ranks - len(cells))


def _harmless(text: str | None) -> str | None:
    return f"'{text}" if text is not None and text.startswith(_FORMULA) else text


def _write_parquet(handle: IO[bytes], rows: Iterable[Row], _top_k: int) -> None:
    import pyarrow
    import pyarrow.parquet

    schema = _schema()
    remaining = iter(rows)
    with pyarrow.parquet.ParquetWriter(handle, schema, compression="zstd") as writer:
        while group := list(islice(remaining, _ROW_GROUP)):
            writer.write_table(pyarrow.Table.from_pylist(group, schema=schema))


def _schema() -> pyarrow.Schema:
    import pyarrow

    scored = pyarrow.struct([("label", pyarrow.string()), ("score", pyarrow.float64())])
    return pyarrow.schema(
        [
            ("uri", pyarrow.string()),
            ("label", pyarrow.string()),
            ("score", pyarrow.float64()),
            ("top_k", pyarrow.list_(scored)),
            ("rejected", pyarrow.bool_()),
            ("error", pyarrow.string()),
        ]
    )


_WRITERS: dict[str, Callable[[IO[bytes], Iterable[Row], int], None]] = {
    ".csv": _write_csv,
    ".jsonl": _write_jsonl,
    ".parquet": _write_parquet,
}
