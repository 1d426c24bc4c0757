"""The registry: versions of models in ``models/NAME/VERSION``, and the aliases that point at them.

The catalogue is the truth. ``models/champion`` (and challenger, shadow) is a link kept in step with it, so that a
model can be opened by path, without the catalogue: ``mirada.load("mirada/models/champion")``.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from mirada.catalog.catalog import Catalog
from mirada.catalog.records import ModelVersion
from mirada.errors import NotFound, StorageError, UsageError
from mirada.messages import msg
from mirada.predict.manifest import MANIFEST_NAME, load_manifest
from mirada.types import Bundle
from mirada.workspace import Workspace, storage_errors

CHAMPION = "champion"
ALIASES = (CHAMPION, "challenger", "shadow")
_NOT_IN_NAMES = re.compile(r"[^\w.-]+")
_MAX_NAME = 64


class Registry:
    """Model versions of one workspace."""

    def __init__(self, workspace: Workspace, catalog: Catalog) -> None:
        self._workspace = workspace
        self._catalog = catalog

    def add(self, name: str, write: Callable[[Path, int], Bundle], *, is_better: bool = False) -> Bundle:
        """Register the next version of `name`: ``write(folder, version)`` writes its bundle.

        It becomes champion where `name` has none, or where `is_better` (than the champion, by a paired test) says
        so. Killed at any point, the next call takes the same version again.
        """
        root = self._workspace.models_path / checked_name(name)
        with self._workspace.lock("registry"), storage_errors(root):
            root.mkdir(parents=True, exist_ok=True)
            version = max((model.version for model in self._catalog.models(name)), default=0) + 1
            pending = root / f".{version}.pending"
            _clear(root, version, was_ours=pending.exists())
            pending.touch()
            bundle = write(root / str(version), version)
            metrics = {key: metric.value for key, metric in bundle.metrics.items()}
            path = str(Path(bundle.path).relative_to(self._workspace.path.resolve()))
            self._catalog.add_model(name, path, run_id=bundle.run_id, metrics=metrics)
            pending.unlink(missing_ok=True)
            if is_better or self._catalog.alias(name, CHAMPION) is None:
                self._catalog.set_alias(name, CHAMPION, version, reason="better" if is_better else "first")
            self._link(CHAMPION)
        return bundle

    def versions(self, name: str | None = None) -> list[ModelVersion]:
        """Every version, by name and number, with its aliases."""
        return self._catalog.models(name)

    def champion(self, name: str) -> Bundle | None:
        """The champion among the versions of `name`, or None."""
        version = self._catalog.alias(name, CHAMPION)
        return None if version is None else load_manifest(self._path(self._catalog.model(name, version)))

    def resolve(self, reference: str = CHAMPION) -> Path:
        """The bundle folder that `reference` means.

        champion, challenger or shadow; NAME (its champion, else its newest); NAME@VERSION; VERSION alone where
        there is one model; or the path of a bundle. Raises NotFound.
        """
        if reference in ALIASES:
            model = self._pointed(reference)
            if model is None:
                raise NotFound(
                    msg("There is no {alias} yet.", alias=reference),
                    msg("`mirada train PHOTOS` makes the first model."),
                )
            return self._path(model)
        if (Path(reference) / MANIFEST_NAME).is_file():
            return Path(reference)
        return self._path(self._named(reference))

    def promote(self, reference: str, alias: str = CHAMPION, *, by: str = "", reason: str = "") -> Bundle:
        """Point `alias` at a version (VERSION, NAME@VERSION). Its bundle is checked first: raises BundleError."""
        _check_alias(alias)
        model = self._named(reference)
        bundle = load_manifest(self._path(model))
        with self._workspace.lock("registry"):
            self._catalog.set_alias(model.name, alias, model.version, by, reason=reason)
            self._link(alias)
        return bundle

    def rollback(self, alias: str = CHAMPION, *, by: str = "", reason: str = "") -> Bundle:
        """Return `alias` to the version it had before. Raises NotFound where there is none."""
        _check_alias(alias)
        model = self._pointed(alias)
        if model is None:
            raise NotFound(msg("There is no {alias} yet.", alias=alias))
        with self._workspace.lock("registry"):
            version = self._catalog.rollback(model.name, alias, by, reason=reason)
            self._link(alias)
        return load_manifest(self._path(self._catalog.model(model.name, version)))

    def _pointed(self, alias: str) -> ModelVersion | None:
        """What `alias` points at: of several models that have it, the one that got it last."""
        held = [model for model in self._catalog.models() if alias in model.aliases]
        return max(held, key=lambda m: self._catalog.alias_history(m.name, alias)[-1].at, default=None)

    def _named(self, reference: str) -> ModelVersion:
        name, _, number = reference.rpartition("@") if "@" in reference else (reference, "", "")
        models = self._catalog.models()
        if reference.isdecimal() and reference not in {model.name for model in models}:
            name, number = self._only_name(models), reference
        of_it = [model for model in models if model.name == name]
        if number:
            of_it = [model for model in of_it if str(model.version) == number]
        else:
            of_it = [model for model in of_it if CHAMPION in model.aliases] or of_it[-1:]
        if not of_it:
            known = ", ".join(f"{model.name}@{model.version}" for model in models[-8:]) or "–"
            raise NotFound(
                msg("There is no model {reference}.", reference=reference),
                msg("Known: {known}; or give the path of a bundle folder.", known=known),
            )
        return of_it[0]

    def _only_name(self, models: list[ModelVersion]) -> str:
        names = {model.name for model in models}
        if len(names) > 1:
            raise UsageError(
                msg("There are several models: {names}.", names=", ".join(sorted(names))),
                msg("Say which one: NAME@VERSION."),
            )
        return next(iter(names), "")

    def _path(self, model: ModelVersion) -> Path:
        # Stored relative to the workspace, which may be moved.
        return self._workspace.path / model.path

    def _link(self, alias: str) -> None:
        """Bring ``models/ALIAS`` in step with the catalogue, in one step for whoever opens it meanwhile."""
        model = self._pointed(alias)
        link = self._workspace.models_path / alias
        if model is None:
            return
        target = os.path.relpath(self._path(model), self._workspace.models_path)
        if link.is_symlink() and os.readlink(link) == target:  # noqa: PTH115 - compared as text
            return
        if link.exists() and not link.is_symlink():
            raise StorageError(
                msg("{path} is not Mirada's link to a model.", path=link), msg("Move it away, and promote again.")
            )
        temporary = link.with_name(f".{alias}.{os.getpid()}.tmp")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        temporary.replace(link)


def safe_name(text: str) -> str:
    """A model's name made from any text, such as the folder of its photographs: letters, digits, ``_ . -``."""
    name = _NOT_IN_NAMES.sub("-", text).strip("-.")[:_MAX_NAME] or "model"
    return f"{name}-model" if name in ALIASES or name.isdecimal() else name


def checked_name(name: str) -> str:
    """`name` where it can name a model. Raises UsageError."""
    if name != safe_name(name):
        raise UsageError(
            msg("{name} cannot name a model: letters, digits, _ . - only, and no alias.", name=repr(name)),
            msg("For example: {example}.", example=safe_name(name)),
        )
    return name


def _check_alias(alias: str) -> None:
    if alias not in ALIASES:
        raise UsageError(
            msg("An alias is one of {known}; got {alias}.", known=", ".join(ALIASES), alias=alias),
            msg("For example: mirada promote 2 --as champion"),
        )


def _clear(root: Path, version: int, *, was_ours: bool) -> None:
    """Make room for a version the catalogue does not know: drop what a killed call left, keep anything else."""
    for build in root.glob(f".{version}.*.tmp"):
        shutil.rmtree(build, ignore_errors=True)
    for done in root.glob(".*.pending"):
        if done.name != f".{version}.pending":
            done.unlink(missing_ok=True)
    folder = root / str(version)
    if folder.exists() and was_ours:
        shutil.rmtree(folder)
    elif folder.exists():
        # Somebody's own copy, or a catalogue made anew beside old models: never deleted.
        folder.rename(root / f"{version}.unregistered-{time.strftime('%Y%m%dT%H%M%S')}")
