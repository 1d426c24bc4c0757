"""Folders of photographs: a folder a class, with or without train / val / test above; or a flat folder.

photos/cat/1.jpg            the class is the first folder; deeper folders belong to it
photos/train/cat/1.jpg      the split is the first folder, the class the second
photos/1.jpg                no class, unless a labels file says it
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from mirada.errors import InputError
from mirada.messages import Message, msg, msg_n
from mirada.sources.base import SourceInfo
from mirada.sources.labels import clean_label, refuse_lookalikes, split_of_folder
from mirada.sources.tables import LabelsFile
from mirada.sources.uris import file_uri, shown, some
from mirada.sources.walk import Parts, Tree, file_stamp, walk
from mirada.types import SPLIT_NAMES, Photo, SplitName

# Where tools write their results, beside the classes.
_RESULT_FOLDERS = frozenset(["runs"])


@dataclass(frozen=True, slots=True)
class _Layout:
    """What each first folder is. `flat`: the photographs lie in the root itself."""

    splits: dict[str, SplitName]
    with_classes: frozenset[str]  # split folders that hold class folders
    flat: bool


class FolderSource:
    """Photographs in a tree of folders, listed once when opened."""

    def __init__(self, root: str, labels_path: str | None = None) -> None:
        self._tree = walk(root)
        if not self._tree.n_photos:
            raise _no_photographs(self._tree)
        self._layout = _layout(self._tree)
        self._labels = LabelsFile(labels_path) if labels_path is not None else None
        self._places, self._left_out = _places(self._tree, self._layout, labelled=self._labels is not None)
        refuse_lookalikes(_class_folders(self._places, self._layout), root)
        if not self._places:
            raise _no_photographs(self._tree)

    @property
    def name(self) -> str:
        """The uri of the root folder."""
        return file_uri(self._tree.root)

    def photos(self) -> Iterator[Photo]:
        """Every photograph, folder by folder, in the order of their names."""
        for path, name, parts in self._files():
            label, split = self._places[parts]
            if self._labels is not None:
                label = self._labels.label("/".join((*parts, name)))
            n_bytes, mtime_ns = file_stamp(path)
            yield Photo(file_uri(path), self.name, label, split, n_bytes, mtime_ns)

    def describe(self) -> SourceInfo:
        """Classes are the folders' names (and the labels file's), in alphabetical order."""
        labels = {label for label, _ in self._places.values() if label is not None}
        splits = {split for _, split in self._places.values() if split is not None}
        if self._labels is not None:
            labels |= self._labels.labels
        return SourceInfo(
            "folders",
            self.name,
            tuple(sorted(labels)),
            tuple(split for split in SPLIT_NAMES if split in splits),
            (*self._tree.notes(), *self._notes()),
        )

    def signature(self) -> str:
        """A hash of every photograph's path, size and time of change, and of the labels file."""
        digest = hashlib.sha256(b"folders 1\0")
        if self._labels is not None:
            digest.update(self._labels.signature().encode())
        for path, _, _ in self._files():
            digest.update(os.fsencode(path))
            digest.update(repr(file_stamp(path)).encode())
        return digest.hexdigest()

    def _files(self) -> Iterator[tuple[str, str, Parts]]:
        for parts in self._places:
            folder = self._tree.path(parts)
            for name in self._tree.folders[parts]:
                yield f"{folder}/{name}", name, parts

    def _notes(self) -> Iterator[Message]:
        yield from (_stray_note(kind, names) for kind, names in sorted(self._left_out.items()))
        without = sorted(set(self._layout.splits) - self._layout.with_classes)
        if without and self._labels is None:
            yield msg("Photographs in {names} lie in no class folder; they have no label.", names=some(without))
        if self._labels is not None:
            yield from self._labels.notes("/".join((*parts, name)) for _, name, parts in self._files())


def open_folders(path: str, labels: str | None = None) -> FolderSource:
    """Open a folder of photographs."""
    return FolderSource(path, labels)


def looks_like_folders(path: str) -> bool:
    """Any folder may hold photographs."""
    return os.path.isdir(path)  # noqa: PTH112 - the path is a text that may not be UTF-8


def _layout(tree: Tree) -> _Layout:
    """Decide what the first folders are. A split's name counts only where the layout as a whole says split.

    Two or more split folders make a split layout when one of them holds class folders, or nothing else holds
    photographs. One alone does only when nothing else holds photographs: `train` beside `car` and `plane` is a class.
    """
    n_below: Counter[str] = Counter()
    with_classes: set[str] = set()
    for parts, names in tree.folders.items():
        if parts and names:
            n_below[parts[0]] += len(names)
            if len(parts) > 1:
                with_classes.add(parts[0])
    splits = {name: split for name in sorted(n_below) if (split := split_of_folder(name)) is not None}
    others = set(n_below) - set(splits) - _RESULT_FOLDERS
    several = len(set(splits.values())) > 1
    if splits and (not others or (several and with_classes & set(splits))):
        return _Layout(splits, frozenset(with_classes & set(splits)), flat=False)
    return _Layout({}, frozenset(), flat=not others)


def _places(
    tree: Tree, layout: _Layout, *, labelled: bool
) -> tuple[dict[Parts, tuple[str | None, SplitName | None]], dict[str, list[str]]]:
    """(label, split) of each folder that is used, in order; and the names of what is left out, by kind."""
    places: dict[Parts, tuple[str | None, SplitName | None]] = {}
    left_out: dict[str, list[str]] = {}
    holding = {parts[:depth] for parts, names in tree.folders.items() if names for depth in (1, 2)}
    for parts in sorted(tree.folders):
        names = tree.folders[parts]
        kind, label, split = _place(parts, layout, labelled=labelled)
        at_class_level = len(parts) == 1 or (len(parts) == 2 and parts[0] in layout.splits)
        if not names and at_class_level and parts not in holding:
            left_out.setdefault("empty", []).append("/".join(parts))
        elif names and kind is None:
            places[parts] = (None if labelled else label), split
        elif names and kind is not None:
            left_out.setdefault(kind, []).extend(names if kind == "file" else ["/".join(parts)])
    return places, left_out


def _place(parts: Parts, layout: _Layout, *, labelled: bool) -> tuple[str | None, str | None, SplitName | None]:
    """(why it is left out or None, label, split) of the folder at `parts`."""
    if layout.flat:
        return ("result" if parts and parts[0] in _RESULT_FOLDERS else None), None, None
    split = layout.splits.get(parts[0]) if parts else None
    if layout.splits and parts and split is None:
        return ("result" if parts[0] in _RESULT_FOLDERS else "beside_splits"), None, None
    inner = parts[1:] if layout.splits else parts
    if inner:
        return ("result", None, None) if inner[0] in _RESULT_FOLDERS else (None, clean_label(inner[0]), split)
    loose = not parts or parts[0] in layout.with_classes
    return ("file" if loose and not labelled else None), None, split


def _class_folders(places: dict[Parts, tuple[str | None, SplitName | None]], layout: _Layout) -> list[str]:
    depth = 1 if layout.splits else 0
    return sorted({parts[depth] for parts, (label, _) in places.items() if label is not None})


def _stray_note(kind: str, names: list[str]) -> Message:
    listed = some(sorted(names))
    if kind == "file":
        return msg_n(
            "{n} photograph beside the class folders has no class and was left out: {names}.",
            "{n} photographs beside the class folders have no class and were left out: {names}.",
            n=len(names),
            names=listed,
        )
    if kind == "empty":
        return msg("Folders without photographs are no classes: {names}.", names=listed)
    if kind == "result":
        return msg("Folders in which tools write their results are no classes: {names}.", names=listed)
    return msg("Folders beside train / val / test are left out: {names}.", names=listed)


def _no_photographs(tree: Tree) -> InputError:
    hint = msg("Photographs are files that end in .jpg, .png, .webp, .avif, .heic, .gif, .bmp or .tiff.")
    if not tree.other_files and not tree.left_out and len(tree.folders) == 1:
        return InputError(msg("The folder {path} is empty.", path=shown(tree.root)), hint)
    found = " ".join(str(note) for note in tree.notes())
    return InputError(msg("There is no photograph in {path}. {found}", path=shown(tree.root), found=found), hint)
