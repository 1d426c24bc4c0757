"""``mirada models``, ``promote``, ``rollback`` and ``track``."""

from __future__ import annotations

import getpass
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from mirada.cli.output import Result, Settings, per_cent, speaks, table
from mirada.errors import StorageError
from mirada.messages import msg
from mirada.workspace import Workspace

if TYPE_CHECKING:
    from mirada.catalog.catalog import Catalog
    from mirada.release.registry import Registry


@contextmanager
def open_registry(workspace: Workspace) -> Iterator[tuple[Catalog, Registry]]:
    """The workspace's catalogue and registry."""
    from mirada.catalog.catalog import Catalog
    from mirada.release.registry import Registry

    with Catalog.open(workspace.catalog_url) as catalog:
        yield catalog, Registry(workspace, catalog)


@click.command(help=str(msg("List the model versions.")), epilog=str(msg("Example: mirada models --json")))
@click.pass_obj
@speaks
def models(settings: Settings) -> Result:
    """Every version with its aliases and test accuracy."""
    workspace = settings.open()
    with open_registry(workspace) as (_, registry):
        versions = registry.versions()
        answering = registry.resolve().resolve() if any("champion" in v.aliases for v in versions) else None
    document = [
        {
            "name": v.name,
            "version": v.version,
            "aliases": list(v.aliases),
            "answers": (workspace.path / v.path).resolve() == answering,
            "run_id": v.run_id,
            "path": str(workspace.path / v.path),
            "metrics": dict(v.metrics),
            "made_at": v.made_at,
        }
        for v in versions
    ]
    rows = [
        [
            f"{v.name}@{v.version}",
            _aliases(v.aliases, answers=(workspace.path / v.path).resolve() == answering),
            _accuracy(v.metrics.get("accuracy")),
            v.made_at[:16],
            v.run_id,
        ]
        for v in versions
    ]
    head = [msg("model"), msg("aliases"), msg("test accuracy"), msg("made"), msg("run")]
    return Result(document, table(head, rows) if rows else [msg("No model yet: `mirada train PHOTOS` makes one.")])


def _aliases(aliases: Sequence[str], *, answers: bool) -> str:
    """The aliases; of several champions, one answers to `predict` and `serve`."""
    return ", ".join([*aliases, *([str(msg("answers"))] if answers else [])])


def _accuracy(value: object) -> str:
    return per_cent(value) if isinstance(value, float | int) else "–"


@click.command(
    help=str(msg("Give a model version an alias: champion (served by default), challenger or shadow.")),
    epilog=str(msg("Example: mirada promote 2 --as champion")),
)
@click.argument("version")
@click.option("--as", "alias", default="champion", show_default=True, help=str(msg("champion, challenger or shadow.")))
@click.option("--reason", default="", help=str(msg("Why, for the record.")))
@click.pass_obj
@speaks
def promote(settings: Settings, *, version: str, alias: str, reason: str) -> Result:
    """Point an alias at a version."""
    workspace = settings.open()
    with open_registry(workspace) as (catalog, registry):
        bundle = registry.promote(version, alias, by=getpass.getuser(), reason=reason)
        _mirror_alias(workspace, catalog, bundle.name, alias, bundle.version)
    done = {"name": bundle.name, "version": bundle.version, "alias": alias, "path": bundle.path}
    return Result(
        done, [msg("{name}@{version} is now {alias}.", name=bundle.name, version=bundle.version, alias=alias)]
    )


@click.command(
    help=str(msg("Take back the last promotion: the alias returns to the version it had before.")),
    epilog=str(msg("Example: mirada rollback")),
)
@click.option("--as", "alias", default="champion", show_default=True, help=str(msg("champion, challenger or shadow.")))
@click.option("--reason", default="", help=str(msg("Why, for the record.")))
@click.pass_obj
@speaks
def rollback(settings: Settings, *, alias: str, reason: str) -> Result:
    """Return an alias to where it was."""
    workspace = settings.open()
    with open_registry(workspace) as (catalog, registry):
        bundle = registry.rollback(alias, by=getpass.getuser(), reason=reason)
        _mirror_alias(workspace, catalog, bundle.name, alias, bundle.version)
    done = {"name": bundle.name, "version": bundle.version, "alias": alias, "path": bundle.path}
    return Result(
        done, [msg("{name}@{version} is {alias} again.", name=bundle.name, version=bundle.version, alias=alias)]
    )


def _mirror_alias(workspace: Workspace, catalog: Catalog, name: str, alias: str, version: int) -> None:
    from mirada.track import queue as mirror

    if workspace.config.flag("track.enabled"):
        mirror.enqueue_alias(catalog, mirror.AliasMirror(name, alias, version))
        mirror.start_mirror(workspace)


@click.command(
    help=str(msg("Bring the MLflow mirror up to date, and say how to look at it.")),
    epilog=str(msg("Example: mirada track")),
)
@click.pass_obj
@speaks
def track(settings: Settings) -> Result:
    """Run the mirror in a process of its own and wait for it."""
    from mirada.track import queue as mirror

    workspace = settings.open()
    report = mirror.run_mirror(workspace)
    document = {"uri": report.uri, "n_done": report.n_done, "errors": list(report.errors)}
    if report.errors:
        raise StorageError(
            msg("MLflow at {uri} took {n} entries and refused {m}: {error}", uri=report.uri, n=report.n_done,
                m=len(report.errors), error=report.errors[0]),
            msg("No result is lost. Run `mirada track` again when it is reachable."),
        )  # fmt: skip
    return Result(
        document,
        [
            msg("The mirror is up to date ({n} new entries).", n=report.n_done),
            msg("Look at it with: mlflow ui --backend-store-uri {uri}", uri=report.uri),
        ],
    )
