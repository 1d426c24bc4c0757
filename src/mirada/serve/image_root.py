"""The one folder whose photographs a request may name by key; nothing that leaves it is ever opened."""

from __future__ import annotations

from pathlib import Path

from mirada.errors import NotFound, UsageError
from mirada.imaging.decode import Limits, read_file
from mirada.messages import msg

_MAX_KEY = 4096


class ImageRoot:
    """A folder, with links resolved once. Raises UsageError where it is not a folder."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise UsageError(
                msg("serve.image_root is not a folder: {path}.", path=folder),
                msg("Name the folder of the photographs that may be asked for by key."),
            )
        self.folder = folder.resolve()

    def read(self, key: str, *, limits: Limits) -> bytes:
        """The bytes of the file `key` (a path relative to the folder). Raises NotFound, or DecodeError.

        The answer is the same for what does not exist and for what lies outside: nobody learns which it was.
        """
        return read_file(self._inside(key), limits=limits)

    def _inside(self, key: str) -> Path:
        # A key is a plain relative path: no encoding is undone, so "%2e%2e" is a name and not a way up.
        if not key or len(key) > _MAX_KEY or "\0" in key or key.startswith("/"):
            raise _not_found(key)
        try:
            path = (self.folder / key).resolve(strict=True)
        except (OSError, RuntimeError, UnicodeEncodeError) as error:  # missing, a loop of links, no file name
            raise _not_found(key) from error
        if not path.is_relative_to(self.folder) or not path.is_file():
            raise _not_found(key)
        return path


def _not_found(key: str) -> NotFound:
    shown = key[:80].encode("utf-8", "backslashreplace").decode()
    return NotFound(
        msg("There is no photograph {key}.", key=repr(shown)), msg("A key is a path relative to the image root.")
    )
