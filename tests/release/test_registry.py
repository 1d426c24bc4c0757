"""The registry: versions in folders, aliases in the catalogue, links in step with both."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from mirada.catalog.catalog import Catalog
from mirada.errors import BundleError, NotFound, UsageError
from mirada.messages import msg
from mirada.predict.manifest import load_manifest
from mirada.predict.runtime import Predictor
from mirada.release.registry import Registry, safe_name
from mirada.testing.models import tiny_bundle
from mirada.types import Bundle
from mirada.workspace import Workspace


def write(path: Path, version: int, *, name: str = "colours") -> Bundle:
    return tiny_bundle(path, name=name, version=version)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.create(tmp_path / "w")


@pytest.fixture
def registry(workspace: Workspace) -> Iterator[Registry]:
    with Catalog.open(workspace.catalog_url) as catalog:
        yield Registry(workspace, catalog)


def test_first_is_champion_later_only_when_better(registry: Registry, workspace: Workspace) -> None:
    assert registry.add("colours", write).version == 1
    link = workspace.models_path / "champion"
    assert link.readlink() == Path("colours/1")
    assert registry.add("colours", write).version == 2
    assert load_manifest(link).version == 1
    assert registry.add("colours", write, is_better=True).version == 3
    assert load_manifest(link).version == 3
    assert Predictor.open(link).bundle.version == 3
    assert [model.aliases for model in registry.versions("colours")] == [(), (), ("champion",)]
    champion = registry.champion("colours")
    assert champion is not None
    assert champion.version == 3


def test_resolve(registry: Registry, workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no champion"):
        registry.resolve()
    registry.add("colours", write)
    registry.add("colours", write)
    models = workspace.models_path
    assert registry.resolve() == models / "colours" / "1"
    assert registry.resolve("colours") == models / "colours" / "1"
    assert registry.resolve("colours@2") == models / "colours" / "2"
    assert registry.resolve("2") == models / "colours" / "2"
    assert registry.resolve(str(models / "colours" / "2")) == models / "colours" / "2"
    for unknown in ("colours@9", "none", "9", "../etc", ""):
        with pytest.raises(NotFound):
            registry.resolve(unknown)
    registry.add("other", partial(write, name="other"))
    with pytest.raises(UsageError, match="several models"):
        registry.resolve("2")
    assert registry.resolve("other") == models / "other" / "1"
    # The name that became champion last is the workspace's champion.
    assert registry.resolve() == models / "other" / "1"


def test_promote_and_roll_back(registry: Registry, workspace: Workspace) -> None:
    for _ in range(3):
        registry.add("colours", write)
    link = workspace.models_path / "champion"
    assert registry.promote("2", by="ana").version == 2
    assert registry.promote("colours@3").version == 3
    assert load_manifest(link).version == 3
    assert registry.rollback().version == 2
    assert registry.rollback().version == 1
    assert load_manifest(link).version == 1
    with pytest.raises(NotFound):
        registry.rollback()
    registry.promote("3", "shadow")
    assert load_manifest(workspace.models_path / "shadow").version == 3
    with pytest.raises(UsageError, match="champion, challenger, shadow"):
        registry.promote("3", "best")
    shutil.rmtree(workspace.models_path / "colours" / "3")
    with pytest.raises(NotFound):
        registry.promote("3")
    assert load_manifest(link).version == 1


def test_workspace_may_move(registry: Registry, workspace: Workspace, tmp_path: Path) -> None:
    registry.add("colours", write)
    workspace.path.rename(tmp_path / "elsewhere")
    moved = Workspace.open(tmp_path / "elsewhere")
    with Catalog.open(moved.catalog_url) as catalog:
        assert load_manifest(Registry(moved, catalog).resolve()).version == 1
    assert load_manifest(moved.models_path / "champion").version == 1


def test_failed_writing_takes_no_number(registry: Registry) -> None:
    def fails(path: Path, version: int) -> Bundle:
        path.mkdir()
        raise BundleError(msg("version {version} disagrees", version=version))

    with pytest.raises(BundleError, match="disagrees"):
        registry.add("colours", fails)
    assert registry.add("colours", write).version == 1


def test_unknown_folders_are_kept(registry: Registry, workspace: Workspace) -> None:
    stray = workspace.models_path / "colours" / "1"
    stray.mkdir(parents=True)
    (stray / "mine.txt").write_text("keep")
    assert registry.add("colours", write).version == 1
    kept = list((workspace.models_path / "colours").glob("1.unregistered-*/mine.txt"))
    assert [file.read_text() for file in kept] == ["keep"]


_KILLED = """
import os, signal, sys
from mirada.catalog.catalog import Catalog
from mirada.release.registry import Registry
from mirada.testing.models import tiny_bundle
from mirada.workspace import Workspace
def stop(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)
workspace = Workspace.open(sys.argv[1])
catalog = Catalog.open(workspace.catalog_url)
setattr(Catalog, sys.argv[2], stop)
Registry(workspace, catalog).add("colours", lambda path, version: tiny_bundle(path, version=version))
"""


@pytest.mark.parametrize(("step", "version"), [("add_model", 1), ("set_alias", 2)])
def test_killed_registration(registry: Registry, workspace: Workspace, step: str, version: int) -> None:
    done = subprocess.run([sys.executable, "-c", _KILLED, str(workspace.path), step], check=False)
    assert done.returncode == -signal.SIGKILL
    assert registry.add("colours", write).version == version
    assert load_manifest(registry.resolve()).version == version
    left = {path.name for path in (workspace.models_path / "colours").iterdir()}
    assert left == {str(i + 1) for i in range(version)} | {"colours.onnx"}


def test_names() -> None:
    assert safe_name("sports15") == "sports15"
    assert safe_name("Mis fotos/2024 ☕") == "Mis-fotos-2024"
    assert safe_name("niños") == "niños"
    assert safe_name("champion") == "champion-model"
    assert safe_name("12") == "12-model"
    assert safe_name("../..") == "model"
    for bad in ("../x", "a/b", "", "champion", ".hidden"):
        assert safe_name(bad) != bad
