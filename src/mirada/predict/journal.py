"""The journal of a batch: what was answered already, so that a killed run goes on where it was.

``.OUT.partial.jsonl`` beside the output: a header line that names the model, then a line a photograph, appended.
A torn last line is dropped. On opening, the lines are compared in step with the inputs, which come in a fixed
order; from the first photograph that is another one, or has changed on disk, everything is done again.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import IO

from mirada.errors import Conflict
from mirada.messages import msg
from mirada.predict.inputs import Item

Row = dict[str, object]


class Journal:
    """An open journal, held by a lock against a second run with the same output. A context manager."""

    def __init__(self, path: Path, handle: IO[bytes]) -> None:
        self.path = path
        self.is_restarted = False
        self._handle = handle

    @classmethod
    def open(cls, out: Path, header: Mapping[str, object]) -> Journal:
        """Open the journal of the output `out`, empty unless it was begun with the same `header`.

        Raises Conflict where another process is writing it.
        """
        path = out.with_name(f".{out.name}.partial.jsonl")
        handle = path.open("a+b")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            handle.close()
            raise Conflict(
                msg("Another process is writing {path}.", path=out), msg("Wait for it to end, or name another output.")
            ) from error
        journal = cls(path, handle)
        journal._check_header(_line(header))
        return journal

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.close()

    def resume(self, items: Iterator[Item]) -> tuple[int, Iterator[Item]]:
        """(how many of `items` are answered already, those that are not); later lines are cut off."""
        self._handle.seek(0)
        end = len(self._handle.readline())
        n_done = 0
        while (line := self._handle.readline()).endswith(b"\n"):
            item = next(items, None)
            if item is None:
                break
            if not _answers(line, item):
                items = chain([item], items)
                break
            end += len(line)
            n_done += 1
        self._handle.truncate(end)
        return n_done, items

    def append(self, rows: Sequence[tuple[Item, Row]]) -> None:
        """Add answered photographs; they survive a kill from here on."""
        self._handle.write(b"".join(_line({"row": row, "stat": item.stat}) for item, row in rows))
        self._handle.flush()

    def rows(self) -> Iterator[Row]:
        """Every row, from the first."""
        with self.path.open("rb") as handle:
            handle.readline()
            for line in handle:
                row: Row = json.loads(line)["row"]
                yield row

    def remove(self) -> None:
        """The output is written: the journal has done its work."""
        self.path.unlink(missing_ok=True)

    def _check_header(self, header: bytes) -> None:
        self._handle.seek(0)
        found = self._handle.readline()
        if found != header:
            self.is_restarted = found.endswith(b"\n")
            self._handle.truncate(0)
            self._handle.write(header)
            self._handle.flush()


def _answers(line: bytes, item: Item) -> bool:
    try:
        document = json.loads(line)
        stat = None if document["stat"] is None else tuple(document["stat"])
        return bool(document["row"]["uri"] == item.uri) and stat == item.stat
    except (ValueError, KeyError, TypeError):
        return False  # not a line of ours, or damaged: answer it again


def _line(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode() + b"\n"
