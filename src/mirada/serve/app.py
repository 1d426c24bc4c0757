"""`create_app`: the server as an ASGI application. `mirada.serve.run` is the process that listens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI

from mirada import __version__
from mirada.catalog.catalog import Catalog
from mirada.config import Config
from mirada.errors import UsageError
from mirada.imaging.decode import Limits
from mirada.messages import msg
from mirada.predict.runtime import Predictor
from mirada.release.registry import Registry
from mirada.serve import errors
from mirada.serve.api import api_router
from mirada.serve.edge import Edge
from mirada.serve.service import CHAMPION, Service
from mirada.web.pages import add_pages
from mirada.workspace import Workspace

_BYTES_PER_MB = 1_000_000


def create_app(
    source: Workspace | Path | str | Sequence[Path | str], *, config: Config | None = None, precision: str = "auto"
) -> FastAPI:
    """The server for a workspace (its champion; feedback is kept) or for bundle folders (the first is champion).

    The models are loaded here: raises NotFound or BundleError before anything listens. `config` defaults to the
    workspace's own.
    """
    if isinstance(source, Workspace):
        settings = config or source.config
        catalog = Catalog.open(source.catalog_url)
        try:
            path = Registry(source, catalog).resolve(CHAMPION)
            return _build(_open([path], settings, precision), catalog, settings)
        except BaseException:
            catalog.close()
            raise
    settings = config or Config.load()
    paths = [source] if isinstance(source, Path | str) else list(source)
    return _build(_open(paths, settings, precision), None, settings)


def _open(paths: Sequence[Path | str], config: Config, precision: str) -> dict[str, Predictor]:
    limits = Limits(
        max_pixels=config.integer("decode.max_pixels"),
        max_bytes=config.integer("decode.max_bytes"),
        max_side=config.integer("decode.max_side"),
    )
    predictors: dict[str, Predictor] = {}
    for path in paths:
        predictor = Predictor.open(path, precision, limits=limits)
        predictors.setdefault(CHAMPION, predictor)
        if predictors.setdefault(predictor.bundle.name, predictor) is not predictor:
            raise UsageError(
                msg("Two of the bundles are called {name}.", name=predictor.bundle.name),
                msg("Serve one of them, or train one under another name."),
            )
    if not predictors:
        raise UsageError(msg("There is no bundle to serve."), msg("Name a bundle folder, or serve a workspace."))
    return predictors


def _build(predictors: Mapping[str, Predictor], catalog: Catalog | None, config: Config) -> FastAPI:
    root = config.text("serve.image_root")
    service = Service(
        predictors,
        catalog=catalog,
        image_root=Path(root) if root else None,
        max_inside=config.integer("serve.max_queue"),
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service:
            yield

    app = FastAPI(
        title="Mirada",
        version=__version__,
        summary="Classify photographs.",
        description='Every error is {"error": {"code", "message", "hint"}} with the right status.',
        lifespan=lifespan,
        # The documentation pages load scripts from elsewhere; /openapi.json stands.
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    errors.install(app)
    app.add_middleware(Edge, max_body=config.integer("serve.max_body_mb") * _BYTES_PER_MB)
    max_files = config.integer("serve.max_files")
    app.include_router(api_router(service, max_files=max_files))
    add_pages(app, service, max_files=max_files)
    return app
