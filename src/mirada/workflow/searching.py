"""A search on a workspace: add, split, search, table; the winner's recipe is written for `mirada train`."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

from mirada.catalog.catalog import Catalog
from mirada.embed.backbone import file_sha256
from mirada.engine.base import Progress, Silent
from mirada.models.recipe import Recipe
from mirada.models.recipes import load_recipe, recipe_document, recipe_toml, scaled
from mirada.search.asked import Searched, SearchPlan
from mirada.search.space import Space, read_space
from mirada.training.trained import Device
from mirada.types import Precision
from mirada.workflow.data import Added, add, engine, load_dataset, open_source
from mirada.workflow.extras import by_dotted_name
from mirada.workflow.learning import supply_of
from mirada.workflow.splitting import Divided, divide
from mirada.workspace import Workspace, write_atomic

CONDUCTOR = "mirada.search.conduct:conduct"
WINNER_NAME = "winner.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """What `mirada search` was asked. `space`: a name or a .toml file; `epochs`: instead of the recipe's."""

    space: str
    source: str | None = None
    format: str | None = None
    labels: Path | None = None
    weights: Path | None = None
    epochs: int | None = None
    ratios: str | None = None
    seed: int | None = None
    device: Device = "auto"
    precision: Precision | None = None


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What came of it. `winner_path`: the winner's recipe, for ``mirada train --recipe``."""

    searched: Searched
    winner_path: Path
    added: Added | None


def search(workspace: Workspace, request: SearchRequest, *, progress: Progress | None = None) -> SearchResult:
    """Search, or go on with a search of the same space, recipe and photographs. Raises a MiradaError."""
    display = progress or Silent()
    space, recipe = asked_search(request)
    seed = workspace.config.integer("train.seed") if request.seed is None else request.seed
    with Catalog.open(workspace.catalog_url) as catalog:
        added = None
        if request.source is not None:
            source = open_source(request.source, fmt=request.format, labels=request.labels)
            added = add(workspace, catalog, source, progress=display)
        data = load_dataset(catalog, added.source if added else None)
        ratios = request.ratios or recipe.ratios or workspace.config.text("split.ratios")
        dataset_id = catalog.freeze_dataset().dataset_id
        divided = divide(catalog, data, ratios=ratios, seed=seed, dataset_id=dataset_id)
    folder = workspace.path / "searches" / f"{space.name}-{_mark(request, space, recipe, divided, seed)}"
    plan = SearchPlan(
        space=space, recipe=recipe, groups=data.groups, weights=request.weights, seed=seed,
        device=request.device, precision=request.precision or "auto",
    )  # fmt: skip
    with engine(workspace) as pool:
        supply = supply_of(workspace, data, divided, engine=pool)
        searched: Searched = by_dotted_name(CONDUCTOR)(plan, supply, folder, progress=display)
    searched = replace(searched, notes=(*divided.notes, *searched.notes))
    path = folder / WINNER_NAME
    write_atomic(path, recipe_toml(searched.winner).encode())
    return SearchResult(searched, path, added)


def asked_search(request: SearchRequest) -> tuple[Space, Recipe]:
    """The space and its base recipe. Raises UsageError, before anything is made, for what is wrong with them."""
    space = read_space(request.space)
    recipe = load_recipe(space.recipe)
    return space, scaled(recipe, epochs=request.epochs) if request.epochs is not None else recipe


def _mark(request: SearchRequest, space: Space, recipe: Recipe, divided: Divided, seed: int) -> str:
    """A search of another recipe, split, seed, precision or other weights has a folder of its own."""
    weights = file_sha256(request.weights) if request.weights else ""
    parts = (sorted(divided.split.train), sorted(divided.split.val))
    asked = [space.mark, recipe_document(recipe), *parts, seed, weights, request.precision, request.device]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]
