"""What a run was asked, kept beside it, so that `--resume RUN` needs nothing else."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mirada.catalog.catalog import Catalog
from mirada.errors import Conflict, NotFound
from mirada.messages import msg
from mirada.models.recipes import parse_document, recipe_toml
from mirada.sources.uris import absolute
from mirada.types import Run
from mirada.workspace import Workspace, storage_errors, write_atomic

if TYPE_CHECKING:
    from mirada.workflow.train import TrainRequest

REQUEST_NAME = "request.json"


def save_request(folder: Path, request: TrainRequest) -> None:
    """Keep what a run was asked in its folder; paths are kept absolute, so that it is resumed from anywhere."""
    asked = asdict(request)
    for name, suffix in (("source", ""), ("labels", ""), ("weights", ""), ("recipe", ".toml"), ("backbone", ".onnx")):
        given = str(asked[name] or "")
        if given.endswith(suffix) and given and Path(given).exists():
            asked[name] = absolute(given)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / REQUEST_NAME, json.dumps(asked, default=str, indent=1).encode())


def resumed_request(workspace: Workspace, catalog: Catalog, request: TrainRequest) -> TrainRequest:
    """The request of the run that `request.resume` names. Raises NotFound, or Conflict where nothing is left to do."""
    run = catalog.run(str(request.resume))
    if run.status in ("done", "running"):
        raise Conflict(
            msg("The run {run} cannot be resumed: it is {status}.", run=run.run_id, status=run.status),
            msg("`mirada runs` lists the runs; only interrupted and failed ones can be taken up."),
        )
    try:
        kept = json.loads((workspace.runs_path / run.run_id / REQUEST_NAME).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFound(
            msg("What the run {run} was asked is not in {path}.", run=run.run_id, path=workspace.runs_path),
            msg("Give the same command again: it goes on where the run was interrupted."),
        ) from error
    if str(kept.get("recipe") or "").endswith(".toml") and not Path(kept["recipe"]).is_file():
        kept["recipe"] = _recipe_again(workspace, run)
    paths = {name: Path(kept[name]) for name in ("labels", "weights") if kept.get(name) is not None}
    return replace(request, **{**kept, **paths, "resume": run.run_id})


def _recipe_again(workspace: Workspace, run: Run) -> str:
    """The file of a recipe that was moved since, from what the run was asked."""
    recipe = parse_document(json.loads(run.config.plan))
    path = workspace.runs_path / run.run_id / f"{recipe.name}.toml"
    write_atomic(path, recipe_toml(recipe).encode())
    return str(path)


def check_resumed(request: TrainRequest, run_id: str | None) -> None:
    """Raise Conflict where `--resume` was asked, but the work is no longer that of the run."""
    if request.resume is not None and run_id != request.resume:
        raise Conflict(
            msg(
                "The run {run} cannot be resumed: its photographs, split or recipe have changed since.",
                run=request.resume,
            ),
            msg("Train anew without --resume."),
        )
