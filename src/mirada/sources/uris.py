"""The address of a photograph: a text that any database can hold, and that leads back to the bytes.

/photos/cats/1.jpg                  a file: its absolute path, links not resolved
file:///photos/caf%E9/1.jpg         a file whose path is not UTF-8, or reads like a row: percent-encoded bytes
/data/train.parquet#17/0001.png     row 17 of a container, with the name the row gives its photograph
/data/train.parquet#17              the same, where the row gives no name
hf://owner/name/train.parquet#17    a row of a file on the Hugging Face hub
"""

from __future__ import annotations

import os
import re
from urllib.parse import quote, unquote_to_bytes

FILE_SCHEME = "file://"
HUB_SCHEME = "hf://"
_ROW = re.compile(r"(?P<container>.+?)#(?P<row>\d{1,18})(?:/(?P<name>[^/]*))?", re.DOTALL)
# A row's name must stay one text component: separators, our own escape sign, controls and lone surrogates are encoded.
_ODD_IN_NAME = re.compile("[\x00-\x1f\x7f-\x9f/\\\\%\ud800-\udfff]")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def absolute(path: str | os.PathLike[str]) -> str:
    """`path` from the root of the disk, without dots, links kept as they are."""
    return os.path.abspath(os.fspath(path))  # noqa: PTH100 - Path.absolute keeps "..", one file would get two names


def file_uri(path: str) -> str:
    """The uri of the file at an absolute `path`."""
    if _is_utf8(path) and "\0" not in path and not ("#" in path and _ROW.fullmatch(path)):
        return path
    return FILE_SCHEME + quote(raw_bytes(path))


def row_uri(container: str, row: int, name: str | None = None) -> str:
    """The uri of row `row` (from 0) in the container with the uri `container`."""
    tail = f"/{_safe_name(name)}" if name else ""
    return f"{container}#{row}{tail}"


def split_row(uri: str) -> tuple[str, int] | None:
    """(container uri, row) of a row's uri; None where `uri` is a file of its own."""
    if "#" not in uri:
        return None
    match = _ROW.fullmatch(uri)
    return (match["container"], int(match["row"])) if match else None


def uri_path(uri: str) -> str:
    """The path on disk of a file's (or container's) uri, as the system wants it."""
    if uri.startswith(FILE_SCHEME):
        return os.fsdecode(unquote_to_bytes(uri[len(FILE_SCHEME) :]))
    return uri


def uri_name(uri: str) -> str:
    """The photograph's own name, for people: the last component, safe to print."""
    row = split_row(uri)
    if row is None:
        return shown(uri_path(uri).rstrip("/").rpartition("/")[2])
    name = uri[len(row[0]) :].partition("/")[2]
    return shown(name or str(row[1]))


def shown(name: str | os.PathLike[str]) -> str:
    """A name or path for a sentence: control characters, direction marks and bytes that are not UTF-8 are escaped."""
    text = raw_bytes(os.fspath(name)).decode("utf-8", "backslashreplace")
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def some(names: list[str], most: int = 5) -> str:
    """The first few names for a sentence: "a, b, c, …"."""
    return ", ".join(shown(name) for name in names[:most]) + (", …" if len(names) > most else "")


def storable(name: str) -> str:
    """A name as a database can hold it: bytes that are not UTF-8 become the replacement character."""
    return name if _is_utf8(name) else raw_bytes(name).decode("utf-8", "replace")


def raw_bytes(text: str) -> bytes:
    """A path as the system's bytes; also for text that can be no path, as JSON's lone surrogates."""
    try:
        return os.fsencode(text)
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _safe_name(name: str) -> str:
    last = name.rstrip("/").rpartition("/")[2]
    return _ODD_IN_NAME.sub(lambda match: quote(match[0].encode("utf-8", "surrogateescape"), safe=""), last)


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
