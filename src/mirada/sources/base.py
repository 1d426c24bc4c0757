"""What a source of photographs is, the register of formats, and finding the format of a path."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mirada.errors import InputError, NotFound, UsageError
from mirada.messages import Message, msg
from mirada.sources.uris import HUB_SCHEME, absolute, shown
from mirada.types import Photo, SplitName


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What was understood of a source before any photograph is read. `notes` say what was left out, and why."""

    format: str
    root: str
    class_names: tuple[str, ...]
    splits: tuple[SplitName, ...]
    notes: tuple[Message, ...] = ()


class Source(Protocol):
    """Photographs in one place. Listing is cheap and may be repeated; the bytes are read by `PhotoReader`."""

    @property
    def name(self) -> str:
        """What samples carry as `source`: the absolute path of the root, or the hub's address."""
        ...

    def photos(self) -> Iterator[Photo]:
        """Every photograph once, always in the same order, also those whose file turns out to be missing."""
        ...

    def describe(self) -> SourceInfo:
        """Format, classes, splits and notes."""
        ...

    def signature(self) -> str:
        """Changes when a photograph, a label or a file of the source may have changed."""
        ...


Opener = Callable[[str, str | None], Source]  # (absolute path or address, labels file) -> Source
Accepts = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of source. `accepts` looks at a path without reading photographs; None: only when named."""

    name: str
    open: Opener
    accepts: Accepts | None = None


_FORMATS: dict[str, Format] = {}


def register(fmt: Format) -> None:
    """Make a format known; formats are asked in the order of registration. Raises ValueError on a second of a name."""
    if fmt.name in _FORMATS:
        raise ValueError(f"a source format named {fmt.name!r} is registered already")
    _FORMATS[fmt.name] = fmt


def unregister(name: str) -> None:
    """Forget a format; for tests and notebooks."""
    del _FORMATS[name]


def formats() -> tuple[str, ...]:
    """The names that `--format` takes."""
    return tuple(_FORMATS)


def detect(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,  # noqa: A002 - the flag's own name
    labels: str | os.PathLike[str] | None = None,
) -> Source:
    """Open the source at `path`, in `format` or in the first one that recognises it.

    `labels` names a CSV or JSON file of file name → label, for a folder of photographs.
    Raises UsageError for an unknown format, NotFound where there is nothing, InputError where there is
    nothing to use.
    """
    address = os.fspath(path)
    if format is not None and format not in _FORMATS:
        raise _unknown_format(format)
    if not address.startswith(HUB_SCHEME):
        address = _existing(absolute(address))
    labels_path = None if labels is None else _existing(absolute(os.fspath(labels)))
    try:
        chosen = _FORMATS[format] if format is not None else _recognised(address)
        return chosen.open(address, labels_path)
    except PermissionError as error:
        raise no_permission(address) from error


def refuse_labels(labels: str | None, name: str) -> None:
    """Raise UsageError where `--labels` is given to a format that brings its own labels."""
    if labels is not None:
        raise UsageError(
            msg("A source of format {format} brings its own labels; --labels does not go with it.", format=name),
            msg("--labels FILE goes with a folder of photographs."),
        )


def _recognised(address: str) -> Format:
    for fmt in _FORMATS.values():
        if fmt.accepts is not None and fmt.accepts(address):
            return fmt
    raise InputError(
        msg("Mirada does not recognise {path} as photographs.", path=shown(address)),
        msg("Give a folder or a table, or name its format: --format {formats}.", formats="|".join(_FORMATS)),
    )


def _existing(path: str) -> str:
    try:
        found = Path(path).exists()
    except PermissionError as error:
        raise no_permission(path) from error
    if not found:
        raise NotFound(
            msg("There is nothing at {path}.", path=shown(path)),
            msg("Check the spelling; the path is read from the folder you are in."),
        )
    return path


def no_permission(path: str) -> InputError:
    """The error for a file or folder that the system does not let us read."""
    return InputError(
        msg("Mirada may not read {path}.", path=shown(path)),
        msg("Give yourself the right to read it, and to open the folders above it."),
    )


def _unknown_format(given: str) -> UsageError:
    near = difflib.get_close_matches(given.lower(), _FORMATS, n=1, cutoff=0.5)
    hint = msg("Did you mean {name}?", name=near[0]) if near else None
    allowed = ", ".join(_FORMATS)
    return UsageError(msg("There is no format {given!r}; there are: {allowed}.", given=given, allowed=allowed), hint)
