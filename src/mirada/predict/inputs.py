"""What `mirada predict` was asked to look at: files, folders, patterns, and `-` for standard input.

Standard input is one encoded photograph where it begins like one, else paths, one a line or ended by NUL (as
``find -print0`` writes them).
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from mirada.errors import InputError, NotFound, UsageError
from mirada.messages import Message, msg
from mirada.sources.uris import absolute, file_uri, shown, uri_path
from mirada.sources.walk import walk

STDIN = "-"
_READ_SIZE = 1 << 16


@dataclass(frozen=True, slots=True)
class Item:
    """One photograph to classify. `stat` is (bytes, mtime_ns) of its file, None where there is no file."""

    uri: str
    source: str | bytes
    stat: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Inputs:
    """The photographs asked for, in a fixed order. `total` is None where standard input does not say."""

    items: Callable[[], Iterator[Item]]
    total: int | None
    notes: tuple[Message, ...] = ()


def expand(inputs: Sequence[str], *, stdin: BufferedReader | None = None) -> Inputs:
    """Find out which photographs `inputs` name.

    Folders are read recursively, sorted, files with a photograph's extension only; a file named directly (or by
    a pattern) is always taken. Raises NotFound for a path that is not there or a pattern without a match,
    InputError for a folder without photographs.
    """
    if STDIN in inputs:
        if list(inputs) != [STDIN] or stdin is None:
            raise UsageError(msg("`-` (standard input) stands alone: no other input beside it."))
        stream = stdin
        return Inputs(lambda: _from_stdin(stream), total=None)
    if not inputs:
        raise UsageError(msg("There is nothing to classify."), msg("Name photographs, folders or patterns, or `-`."))
    paths: list[str] = []
    notes: list[Message] = []
    for given in inputs:
        for path in _matches(given):
            if os.path.isdir(path):  # noqa: PTH112 - paths stay text: they may hold bytes that are not UTF-8
                found, left_out = _photos_below(path)
                paths += found
                notes += left_out
            else:
                paths.append(path)
    return Inputs(lambda: map(file_item, paths), total=len(paths), notes=tuple(notes))


def file_item(path: str) -> Item:
    """The item of a file; a missing one is an item too, and gets an error when it is read."""
    try:
        stat = os.stat(path)  # noqa: PTH116 - one call a photograph, no Path needed
    except (OSError, ValueError):
        return Item(_row_uri(path), path, None)
    return Item(_row_uri(path), path, (stat.st_size, stat.st_mtime_ns))


def looks_like_a_photo(head: bytes) -> bool:
    """Whether data begins like an encoded photograph: JPEG, PNG, GIF, WebP, TIFF, AVIF / HEIC or BMP."""
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")):
        return True
    if head[4:8] == b"ftyp" or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return True
    # "BM" alone could begin a path; a bitmap has four reserved zero bytes after its size.
    return head[:2] == b"BM" and head[6:10] == b"\0\0\0\0"


def _matches(given: str) -> list[str]:
    if os.path.lexists(given):
        return [given]
    if not glob.has_magic(given):
        raise NotFound(
            msg("There is no file or folder {path}.", path=shown(given)),
            msg("Check the path; patterns may hold * and ?."),
        )
    found = sorted(glob.glob(given, recursive=True))  # noqa: PTH207 - Path.glob knows no absolute patterns
    if not found:
        raise NotFound(msg("No file matches {pattern}.", pattern=shown(given)))
    return found


def _photos_below(folder: str) -> tuple[list[str], tuple[Message, ...]]:
    tree = walk(absolute(folder))
    base = folder.rstrip("/") or "/"
    paths = [
        os.path.join(base, *parts, name)  # noqa: PTH118 - see expand
        for parts, names in sorted(tree.folders.items())
        for name in names
    ]
    if not paths:
        raise InputError(
            msg("There is no photograph in {path}.", path=shown(folder)),
            msg("Photographs are known by their extension: .jpg, .png, .webp and so on."),
        )
    return paths, tree.notes()


def _row_uri(path: str) -> str:
    """The path as it was given; one that is no UTF-8 as a file:// uri, which any text format can hold."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return file_uri(absolute(path))
    return path


def _from_stdin(stream: BufferedReader) -> Iterator[Item]:
    head = stream.peek(16)
    if not head:
        raise InputError(msg("Standard input is empty."), msg("Pipe a photograph into it, or a list of paths."))
    if looks_like_a_photo(head):
        yield Item(STDIN, stream.read(), None)
        return
    separator = b"\0" if b"\0" in head else b"\n"
    rest = b""
    while block := stream.read1(_READ_SIZE):
        *lines, rest = (rest + block).split(separator)
        yield from _listed(lines)
    yield from _listed([rest])


def _listed(lines: list[bytes]) -> Iterator[Item]:
    for line in lines:
        text = os.fsdecode(line.removesuffix(b"\r"))
        if text:
            yield file_item(str(Path(uri_path(text))))
