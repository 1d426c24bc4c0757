"""A real server on a free port, in a thread, over a tiny real bundle."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from mirada.catalog.catalog import Catalog
from mirada.config import Config
from mirada.release.registry import Registry
from mirada.serve.app import create_app
from mirada.serve.run import listen
from mirada.testing.models import colour_photo, tiny_bundle
from mirada.workspace import Workspace


@contextmanager
def running(app: FastAPI) -> Iterator[httpx.Client]:
    """`app` behind uvicorn, and a client of it."""
    bound = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started and thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        with httpx.Client(base_url=f"http://127.0.0.1:{bound.getsockname()[1]}", timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(20)
        bound.close()
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def run_app() -> Callable[[FastAPI], object]:
    return running


@pytest.fixture(scope="session")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "m"
    tiny_bundle(path)
    return path


@pytest.fixture(scope="session")
def image_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    outside = tmp_path_factory.mktemp("files")
    root = outside / "root"
    (root / "deep").mkdir(parents=True)
    (root / "truck.jpg").write_bytes(colour_photo("red"))
    (root / "deep" / "ñ 2.jpg").write_bytes(colour_photo("blue"))
    (root / "notes.txt").write_text("no photograph")
    (outside / "secret.jpg").write_bytes(colour_photo("green"))
    (root / "way-out.jpg").symlink_to(outside / "secret.jpg")
    (root / "way-out").symlink_to(outside)
    (root / "same.jpg").symlink_to(root / "truck.jpg")
    (root / "loop").symlink_to(root / "loop")
    return root


@pytest.fixture(scope="session")
def client(bundle_path: Path, image_root: Path) -> Iterator[httpx.Client]:
    """A server of one bundle, with small limits."""
    config = Config.load(env={}, serve__image_root=str(image_root), serve__max_body_mb=2, serve__max_files=8)
    with running(create_app(bundle_path, config=config)) as client:
        yield client


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace.create(tmp_path_factory.mktemp("workspace") / "w")
    with Catalog.open(workspace.catalog_url) as catalog:
        Registry(workspace, catalog).add("colours", lambda path, version: tiny_bundle(path, version=version))
    return workspace


@pytest.fixture(scope="session")
def workspace_client(workspace: Workspace) -> Iterator[httpx.Client]:
    """A server of a workspace's champion."""
    with running(create_app(workspace)) as client:
        yield client
