"""The Yelp photo data set: `photos.json` (a JSON object a line: photo_id, label, …) beside `photos/`.

A photograph is the file in `photos/` whose name without its extension is the photo_id.
"""

from __future__ import annotations

import os
from pathlib import Path

from mirada.errors import InputError, NotFound
from mirada.messages import msg, msg_n
from mirada.sources.base import SourceInfo, refuse_labels
from mirada.sources.columns import Columns
from mirada.sources.records import read_rows
from mirada.sources.tables import TableSource, is_file
from mirada.sources.uris import file_uri, shown, some
from mirada.sources.walk import walk

TABLE = "photos.json"
_COLUMNS = Columns("photo_id", "label", None)


class YelpSource(TableSource):
    """A Yelp folder. A listed photograph without a file is listed all the same, and is rejected when it is read."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._tree = walk(f"{folder}/photos")
        by_id = {
            name.rpartition(".")[0]: f"{self._tree.path(parts)}/{name}"
            for parts, names in self._tree.folders.items()
            for name in names
        }

        def file_of(photo_id: str) -> str:
            return by_id.get(photo_id) or f"{folder}/photos/{photo_id}.jpg"

        super().__init__(f"{folder}/{TABLE}", "yelp", file_of, _COLUMNS)

    @property
    def name(self) -> str:
        """The uri of the folder."""
        return file_uri(self._folder)

    def describe(self) -> SourceInfo:
        """As the table says it; and which photographs in the folder the table does not list."""
        tree = self._tree
        listed = self.listed_paths()
        found = (f"{tree.path(parts)}/{name}" for parts, names in tree.folders.items() for name in names)
        unlisted = sorted(path.rpartition("/")[2] for path in found if path not in listed)
        info = super().describe()
        notes = (*info.notes, *tree.notes())
        if unlisted:
            notes += (
                msg_n(
                    "{n} photograph in the folder is not in the table and was left out: {names}.",
                    "{n} photographs in the folder are not in the table and were left out: {names}.",
                    n=len(unlisted),
                    names=some(unlisted),
                ),
            )
        return SourceInfo(info.format, info.root, info.class_names, info.splits, notes)


def open_yelp(path: str, labels: str | None = None) -> YelpSource:
    """Open a Yelp folder, or its photos.json."""
    refuse_labels(labels, "yelp")
    folder = path.rpartition("/")[0] if is_file(path) else path
    if not is_file(f"{folder}/{TABLE}"):
        raise NotFound(
            msg("There is no {table} in {path}.", table=TABLE, path=shown(folder)),
            msg("The Yelp layout is {table} beside a folder photos/.", table=TABLE),
        )
    if not Path(folder, "photos").is_dir():
        raise InputError(
            msg("There is no folder photos/ beside {table} in {path}.", table=TABLE, path=shown(folder)),
            msg("Unpack Yelp's photographs into it."),
        )
    return YelpSource(folder)


def looks_like_yelp(path: str) -> bool:
    """A folder with photos.json and photos/, or that photos.json, with a photo_id in its first row."""
    folder, _, name = path.rpartition("/")
    if not is_file(path):
        folder, name = path, TABLE
    if name != TABLE or not is_file(f"{folder}/{TABLE}") or not os.path.isdir(f"{folder}/photos"):  # noqa: PTH112
        return False
    first = next(iter(read_rows(f"{folder}/{TABLE}")), {})
    return "photo_id" in first
