"""Walk a tree of folders once, quickly, and remember what was left out.

Real folders are walked before links to folders, so that a photograph keeps the place it really lies in; a link
to a folder that was walked already (a loop, or a second name) is told and not followed.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field

from mirada.errors import InputError, NotFound
from mirada.messages import Message, msg, msg_n
from mirada.sources.base import no_permission
from mirada.sources.uris import shown, some

PHOTO_EXTENSIONS = frozenset(
    ["jpg", "jpeg", "jfif", "png", "webp", "avif", "heic", "heif", "gif", "bmp", "tif", "tiff"],
)
# Folders that systems and tools leave behind, never photographs of their own.
SYSTEM_FOLDERS = frozenset(
    ["__macosx", "@eadir", "__pycache__", "lost+found", "$recycle.bin", "system volume information"]
)
_WORKSPACE_MARK = "mirada.toml"
_WORKSPACE_FOLDERS = frozenset(["embeddings", "thumbnails", "runs", "models"])

Parts = tuple[str, ...]


@dataclass(slots=True)
class Tree:
    """The folders below `root`: their photographs' names, sorted, by their path from the root."""

    root: str
    folders: dict[Parts, list[str]] = field(default_factory=dict)
    left_out: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    other_files: Counter[str] = field(default_factory=Counter)

    @property
    def n_photos(self) -> int:
        """How many photographs the tree holds."""
        return sum(len(names) for names in self.folders.values())

    def path(self, parts: Parts) -> str:
        """The absolute path of a folder."""
        return "/".join((self.root.rstrip("/"), *parts)) if parts else self.root

    def notes(self) -> tuple[Message, ...]:
        """What was left out, one sentence a kind."""
        notes = [_left_out_note(kind, sorted(names)) for kind, names in sorted(self.left_out.items())]
        if self.other_files:
            kinds = ", ".join(f"{shown(kind)} ({n})" for kind, n in self.other_files.most_common(8))
            n = self.other_files.total()
            notes.append(
                msg_n(
                    "{n} file that is no photograph was left out: {kinds}.",
                    "{n} files that are no photographs were left out: {kinds}.",
                    n=n,
                    kinds=kinds,
                )
            )
        return tuple(notes)


def is_photo_name(name: str) -> bool:
    """Whether the extension says photograph, in any case."""
    return name.rpartition(".")[2].lower() in PHOTO_EXTENSIONS and "." in name[1:]


def walk(root: str) -> Tree:
    """Walk the folder `root`. Raises NotFound or InputError where the root itself cannot be listed."""
    tree = Tree(root)
    seen = {_identity(root)}
    folders: deque[Parts] = deque([()])
    links: deque[Parts] = deque()
    while folders or links:
        if not folders:
            parts = links.popleft()
            if (identity := _identity(tree.path(parts))) in seen:
                tree.left_out["loop"].append("/".join(parts))
                continue
            seen.add(identity)
            folders.append(parts)
        _list_folder(tree, folders.popleft(), folders, links, seen)
    return tree


def file_stamp(path: str) -> tuple[int | None, int | None]:
    """(bytes, time of change in ns) of a file; (None, None) where it cannot be asked."""
    try:
        stat = os.stat(path)  # noqa: PTH116 - once a photograph: a Path would double the time
    except (OSError, ValueError):  # ValueError: a name from a table that can be no name of a file
        return None, None
    return stat.st_size, stat.st_mtime_ns


def _list_folder(
    tree: Tree, parts: Parts, folders: deque[Parts], links: deque[Parts], seen: set[tuple[int, int]]
) -> None:
    path = tree.path(parts)
    try:
        with os.scandir(path) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except PermissionError as error:
        if not parts:
            raise no_permission(path) from error
        tree.left_out["no_permission"].append("/".join(parts))
        return
    except (FileNotFoundError, NotADirectoryError) as error:
        if not parts:
            raise NotFound(msg("There is no folder {path}.", path=shown(path))) from error
        return  # gone since its parent was listed
    is_workspace = any(entry.name == _WORKSPACE_MARK for entry in entries)
    if parts and is_workspace:
        tree.left_out["workspace"].append("/".join(parts))
        return
    names = tree.folders[parts] = []
    for entry in entries:
        name = entry.name
        if not _is_folder(entry):
            if is_photo_name(name) and not name.startswith("."):
                names.append(name)
            else:
                tree.other_files[_kind_of_file(name)] += 1
        elif name.startswith("."):
            tree.left_out["hidden"].append("/".join((*parts, name)))
        elif is_workspace and name in _WORKSPACE_FOLDERS:
            tree.left_out["workspace"].append(name)
        elif name.lower() in SYSTEM_FOLDERS:
            tree.left_out["system"].append("/".join((*parts, name)))
        elif entry.is_symlink():
            links.append((*parts, name))
        elif (identity := _identity(entry.path)) in seen:  # the root again, below a link to one of its parents
            tree.left_out["loop"].append("/".join((*parts, name)))
        else:
            seen.add(identity)
            folders.append((*parts, name))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads nowhere or in a circle: listed as a file, rejected when read
        return False


def _kind_of_file(name: str) -> str:
    if name.startswith("."):
        return ".…"
    return f".{name.rpartition('.')[2].lower()[:12]}" if "." in name else name[:24]


def _identity(path: str) -> tuple[int, int]:
    try:
        stat = os.stat(path)  # noqa: PTH116 - one call a folder, no Path needed
    except PermissionError as error:
        raise no_permission(path) from error
    except OSError as error:
        raise InputError(
            msg("{path} cannot be opened: {error}.", path=shown(path), error=error.strerror or "")
        ) from error
    return stat.st_dev, stat.st_ino


def _left_out_note(kind: str, names: list[str]) -> Message:
    listed = some(names)
    if kind == "hidden":
        return msg("Hidden folders are left out: {names}.", names=listed)
    if kind == "system":
        return msg("Folders that a system or a tool left behind are left out: {names}.", names=listed)
    if kind == "workspace":
        return msg("Folders of a Mirada workspace are left out: {names}.", names=listed)
    if kind == "loop":
        return msg("Links to folders that are read already are not followed a second time: {names}.", names=listed)
    return msg("Folders that may not be opened are left out: {names}.", names=listed)
