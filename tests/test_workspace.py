"""The project folder: found, made, locked; refused with a sentence where it cannot be used."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mirada.errors import NotFound, StorageError, WorkspaceError, WorkspaceTooNew
from mirada.workspace import FORMAT_VERSION, Workspace, find_workspace, storage_errors, write_atomic


def test_create_then_open(tmp_path: Path) -> None:
    made = Workspace.create(tmp_path / "w")
    assert Workspace.open(made.path).path == made.path
    assert json.loads((made.path / "format.json").read_text()) == {"version": FORMAT_VERSION}


def test_the_nearest_parent_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Workspace.create(tmp_path)
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert find_workspace() == tmp_path


def test_no_workspace_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no Mirada workspace"):
        Workspace.open(tmp_path)


def test_a_later_version_is_refused_untouched(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path)
    later = json.dumps({"version": FORMAT_VERSION + 1})
    (workspace.path / "format.json").write_text(later)
    with pytest.raises(WorkspaceTooNew, match="Install a later Mirada"):
        Workspace.create(tmp_path)
    assert (workspace.path / "format.json").read_text() == later


def test_a_damaged_version_is_told(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path)
    (workspace.path / "format.json").write_text("{")
    with pytest.raises(WorkspaceError, match="damaged"):
        Workspace.open(tmp_path)


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "w").write_text("")
    with pytest.raises((StorageError, WorkspaceError, FileExistsError)):
        Workspace.create(tmp_path / "w" / "inner")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES])
def test_the_systems_refusals_become_sentences(tmp_path: Path, code: int) -> None:
    with pytest.raises(StorageError, match=str(tmp_path)), storage_errors(tmp_path):
        raise OSError(code, os.strerror(code))


_HOLD = """
import sys
from mirada.workspace import Workspace
with Workspace.open(sys.argv[1]).lock("add"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_held_elsewhere_is_told(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path)
    command = [sys.executable, "-c", _HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(WorkspaceError, match="Another process"), workspace.lock("add", wait=False):
            pass
        other.communicate("")
    with workspace.lock("add", wait=False):
        pass


def test_write_atomic_leaves_no_half_file(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a", b"one")
    write_atomic(tmp_path / "a", b"two")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"two"
