"""Names that every disk and tool takes, made from classes and files that may be called anything."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from mirada.sources.uris import uri_name
from mirada.types import Sample

# Separators, what Windows refuses, controls, and halves of characters that no file system can hold.
_UNSAFE = re.compile('[/\\\\:*?"<>|\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]')
_MAX_BYTES = 120
# The endings each format goes by; the first is the one it is given.
_ENDINGS: Mapping[str, tuple[str, ...]] = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "AVIF": (".avif",),
    "HEIF": (".heic", ".heif"),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
}


def safe_names(names: Iterable[str]) -> dict[str, str]:
    """A folder for each class name: safe, and no two the same, whatever the disk thinks of capitals."""
    folders: dict[str, str] = {}
    taken: set[str] = set()
    # Names that can stay as they are come first, so that none of them gives way to one that cannot.
    for name in sorted(set(names), key=lambda name: (safe_name(name) != name, name)):
        folder, n = safe_name(name), 1
        while folder.casefold() in taken:
            n += 1
            folder = f"{safe_name(name)}-{n}"
        taken.add(folder.casefold())
        folders[name] = folder
    return folders


def safe_name(text: str) -> str:
    """`text` as one component of a path: never hidden, never empty, at most 120 bytes."""
    name = _UNSAFE.sub("_", text).strip().rstrip(".")
    name = f"_{name[1:]}" if name.startswith(".") else name
    return name.encode()[:_MAX_BYTES].decode(errors="ignore") or "_"


def file_names(samples: Sequence[Sample], *, grey: bool = False) -> list[str]:
    """A file name for each sample of one folder: its own where it is safe and unique, else with the sample's id."""
    plain = [_file_name(sample, grey=grey) for sample in samples]
    often = Counter(name.casefold() for name in plain)
    return [
        name if often[name.casefold()] == 1 else f"{_stem(name)}-{sample.sample_id}{PurePosixPath(name).suffix}"
        for sample, name in zip(samples, plain, strict=True)
    ]


def _file_name(sample: Sample, *, grey: bool) -> str:
    """The photograph's own name, with the ending of what is in it: tools go by the ending."""
    name = safe_name(uri_name(sample.uri))
    kind = grey_format(sample.format) if grey else sample.format
    endings = _ENDINGS.get(kind, (f".{kind.lower()}",))
    known = {ending for group in _ENDINGS.values() for ending in group}
    suffix = PurePosixPath(name).suffix
    if suffix.lower() in endings:
        return name
    return (_stem(name) if suffix.lower() in known else name) + endings[0]


def _stem(name: str) -> str:
    return name.removesuffix(PurePosixPath(name).suffix)


def grey_format(kind: str) -> str:
    """What a grey photograph is written as: JPEG where it was one, else PNG, which loses nothing."""
    return "JPEG" if kind == "JPEG" else "PNG"
