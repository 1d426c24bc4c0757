"""A CSV of what is in a subset and where it lies: path, label, split, sample_id, content_sha256.

Spreadsheets run a cell that begins with = + - @ as a formula: a label that does so gets an apostrophe before it,
and that is told. Paths are absolute, or addresses, and never begin so.
"""

from __future__ import annotations

import csv

from mirada.messages import Message, msg
from mirada.sources.uris import HUB_SCHEME, split_row, uri_path
from mirada.subsets.export import Loaded, Plan

COLUMNS = ("path", "label", "split", "sample_id", "content_sha256")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class CsvWriter:
    """One line a photograph, in the order of the ids."""

    def __init__(self, plan: Plan) -> None:
        self.notes: list[Message] = []
        if plan.request.grey:
            self.notes.append(
                msg("The CSV lists the photographs where they lie, in colour; --format folder writes grey ones.")
            )
        if odd := [name for name in plan.class_names if name.startswith(_FORMULA)]:
            self.notes.append(
                msg("A spreadsheet would run {name} as a formula: it has an apostrophe before it.", name=odd[0])
            )
        self._handle = plan.build.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._handle, lineterminator="\n")
        self._writer.writerow(COLUMNS)

    def add(self, loaded: Loaded) -> None:
        """One photograph more."""
        sample = loaded.sample
        label = str(sample.label)
        cell = f"'{label}" if label.startswith(_FORMULA) else label
        self._writer.writerow([_path(sample.uri), cell, sample.split, sample.sample_id, sample.content_sha256])

    def finish(self) -> None:
        """Nothing comes last."""

    def close(self) -> None:
        """Close the file."""
        self._handle.close()


def _path(uri: str) -> str:
    """A file's path as the system has it; the address of what is no file of its own, or is not UTF-8."""
    if split_row(uri) is not None or uri.startswith(HUB_SCHEME):
        return uri
    path = uri_path(uri)
    return path if path.isascii() or not any("\ud800" <= char <= "\udfff" for char in path) else uri
