"""The folder a project lives in: open, create, lock, paths.

Layout: ``mirada.toml`` (settings; marks the folder), ``format.json`` (layout version), ``catalog.sqlite``,
``embeddings/``, ``looks/``, ``checks/``, ``thumbnails/``, ``runs/<run_id>/``, ``models/<name>/<version>/``,
``mlflow.db``.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mirada.config import Config
from mirada.errors import NotFound, StorageError, WorkspaceError, WorkspaceTooNew
from mirada.messages import Message, msg

FORMAT_VERSION = 1
_TOML = "# Settings of this Mirada project; `mirada doctor --settings` lists them all.\n"


class Workspace:
    """A project folder. Photographs stay where they are; everything Mirada makes is in here."""

    def __init__(self, path: Path, config: Config) -> None:
        self.path = path
        self.config = config

    @classmethod
    def open(cls, path: str | os.PathLike[str] | None = None) -> Workspace:
        """Open an existing workspace: `path`, else the nearest parent with mirada.toml, else ./mirada.

        Raises NotFound where there is none, WorkspaceTooNew for one of a later version.
        """
        root = Path(path).absolute() if path is not None else find_workspace()
        if not (root / "mirada.toml").is_file():
            raise NotFound(
                msg("There is no Mirada workspace in {path}.", path=root),
                msg("`mirada add PHOTOS` or `mirada train PHOTOS` makes one."),
            )
        _check_format(root)
        return cls(root, Config.load(root / "mirada.toml"))

    @classmethod
    def create(cls, path: str | os.PathLike[str] | None = None) -> Workspace:
        """Open the workspace, making it first where it is missing. Raises StorageError where it cannot be made."""
        root = Path(path).absolute() if path is not None else find_workspace()
        if not (root / "mirada.toml").is_file():
            with storage_errors(root):
                root.mkdir(parents=True, exist_ok=True)
                write_atomic(root / "format.json", json.dumps({"version": FORMAT_VERSION}).encode())
                write_atomic(root / "mirada.toml", _TOML.encode())
        workspace = cls.open(root)
        if not os.access(root, os.W_OK):
            raise StorageError(
                _cannot_write(root), msg("Give yourself the right to write there, or use --workspace DIR.")
            )
        return workspace

    @property
    def catalog_url(self) -> str:
        """SQLAlchemy address of the catalogue."""
        return self.config.text("catalog.url") or f"sqlite:///{self.path / 'catalog.sqlite'}"

    @property
    def embeddings_path(self) -> Path:
        """Cached embeddings, one folder a backbone."""
        return self.path / "embeddings"

    @property
    def looks_path(self) -> Path:
        """Cached statistics and descriptions of photographs."""
        return self.path / "looks"

    @property
    def checks_path(self) -> Path:
        """Scores of every sample, one file a check."""
        return self.path / "checks"

    @property
    def thumbnails_path(self) -> Path:
        """Thumbnails, made on demand."""
        return self.path / "thumbnails"

    @property
    def runs_path(self) -> Path:
        """One folder a run: its report and figures."""
        return self.path / "runs"

    @property
    def models_path(self) -> Path:
        """One folder a model version: its bundle."""
        return self.path / "models"

    @contextmanager
    def lock(self, name: str, *, wait: bool = True) -> Iterator[None]:
        """Hold the workspace's lock `name` against other processes; the system frees it if we are killed.

        Raises WorkspaceError when `wait` is false and another process holds it.
        """
        with storage_errors(self.path), (self.path / f".{name}.lock").open("a") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError as error:
                raise WorkspaceError(
                    msg("Another process is at work in {path} ({name}).", path=self.path, name=name),
                    msg("Wait for it to end, or use another workspace."),
                ) from error
            yield


def find_workspace(start: Path | None = None) -> Path:
    """The nearest folder with mirada.toml, from `start` (default: here) upwards; else ./mirada."""
    here = (start or Path.cwd()).absolute()
    for folder in (here, *here.parents):
        if (folder / "mirada.toml").is_file():
            return folder
    return here / "mirada"


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: a temporary sibling, flushed to disk, then renamed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the system's refusals to write under `path` into a StorageError with a sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StorageError(
                msg("The disk that holds {path} is full.", path=path),
                msg("Free some room and run the same command again: it goes on where it was."),
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
            hint = msg("Give yourself the right to write there, or use --workspace DIR.")
            raise StorageError(_cannot_write(path), hint) from error
        raise


def _cannot_write(path: Path) -> Message:
    return msg("Mirada cannot write in {path}.", path=path)


def _check_format(root: Path) -> None:
    try:
        version = int(json.loads((root / "format.json").read_text())["version"])
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError) as error:
        raise WorkspaceError(
            msg("{path} is damaged: it does not say the version of the workspace.", path=root / "format.json"),
            msg('Write {{"version": 1}} into it if this workspace is yours.'),
        ) from error
    if version > FORMAT_VERSION:
        raise WorkspaceTooNew(
            msg(
                "The workspace {path} has format {version}; this Mirada knows formats up to {known}.",
                path=root,
                version=version,
                known=FORMAT_VERSION,
            ),
            msg("Install a later Mirada, or use another workspace with --workspace DIR."),
        )
