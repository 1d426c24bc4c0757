"""``mirada demo``: the main job on a sample set that is rendered here, with dirt in known places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mirada.cli.data import add_lines
from mirada.cli.output import Result, Settings, progress, speaks, table
from mirada.cli.training import train_document, train_lines
from mirada.messages import Message, msg

if TYPE_CHECKING:
    from mirada.engine.base import Progress
    from mirada.testing.sample_set import SampleTruth
    from mirada.types import Rejected
    from mirada.workflow.doubts import Doubt
    from mirada.workflow.train import TrainResult
    from mirada.workspace import Workspace


@click.command(
    help=str(
        msg(
            "Render a sample set of restaurant scenes (with duplicates, wrong labels and corrupt files in known "
            "places), run the main job on it, and say what was found and how to serve the result."
        )
    ),
    epilog=str(msg("Example: mirada demo --folder mirada-demo")),
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("mirada-demo"),
    metavar="DIR",
    show_default=True,
    help=str(msg("Where photographs and workspace go.")),
)
@click.option(
    "--n",
    default=600,
    show_default=True,
    type=click.IntRange(100, 20_000),
    metavar="N",
    help=str(msg("How many photographs.")),
)
@click.option("--backbone", metavar="NAME", help=str(msg("An .onnx file, or any timm model.")))
@click.option("--weights", type=click.Path(path_type=Path), metavar="FILE", help=str(msg("Weights of that model.")))
@click.pass_obj
@speaks
def demo(settings: Settings, *, folder: Path, n: int, backbone: str | None, weights: Path | None) -> Result:
    """Render, train, compare what was found with what is known."""
    from mirada.engine.local import LocalEngine
    from mirada.testing.sample_set import render_sample_set
    from mirada.workflow.train import TrainRequest, train
    from mirada.workspace import Workspace

    display = progress()
    with LocalEngine(kind="processes") as pool:
        truth = render_sample_set(folder, n=n, engine=pool, progress=display)
    workspace = Workspace.create(settings.workspace_path or folder / "mirada")
    request = TrainRequest(source=str(truth.photos_path), backbone=backbone, weights=weights, name="restaurant")
    result = train(workspace, request, progress=display)
    found = _found(workspace, result, truth, display)
    lines: list[str | Message] = [
        msg("{n} photographs, rendered here from a seed (no camera took them): {path}", n=n, path=truth.photos_path),
        "",
        *(add_lines(result.added.report) if result.added else ()),
        "",
        *table([msg("planted"), msg("there are"), msg("found"), msg("how")], _rows(found)),
        *train_lines(result, settings.workspace_path or folder / "mirada"),
    ]
    return Result({**train_document(result), "found": found, "photos": str(truth.photos_path)}, lines)


def _found(
    workspace: Workspace, result: TrainResult, truth: SampleTruth, display: Progress
) -> dict[str, dict[str, int]]:
    """What Mirada found of the dirt that was planted."""
    from mirada.catalog.catalog import Catalog
    from mirada.workflow.doubts import label_doubts

    source = result.added.source if result.added else None
    with Catalog.open(workspace.catalog_url) as catalog:
        rejected = list(catalog.rejected(source))
        copies = list(catalog.duplicates_by_content())
        names = {s.sample_id: Path(s.uri).stem for s in catalog.samples(source=source)}
        doubts = label_doubts(workspace, catalog, result.bundle, source=source, progress=display)
    return {
        "corrupt": _corrupt(truth.of("corrupt"), rejected),
        "exact_duplicate": _duplicates(truth.of("exact_duplicate"), copies, names),
        "label": _labels(truth.of("label"), doubts),
    }


def _corrupt(planted: Mapping[str, str], rejected: Sequence[Rejected]) -> dict[str, int]:
    told = {Path(r.uri).stem for r in rejected}
    return {"planted": len(planted), "found": len(told & set(planted)), "told": len(told)}


def _duplicates(
    planted: Mapping[str, str], copies: Sequence[Sequence[str]], names: Mapping[str, str]
) -> dict[str, int]:
    groups = [{names[i] for i in ids if i in names} for ids in copies]
    found = sum(any({copy, original} <= group for group in groups) for copy, original in planted.items())
    return {"planted": len(planted), "found": found, "told": sum(len(group) - 1 for group in groups)}


def _labels(planted: Mapping[str, str], doubts: Sequence[Doubt]) -> dict[str, int]:
    first = {Path(doubt.sample.uri).stem for doubt in doubts[: 2 * len(planted)]}
    return {"planted": len(planted), "found": len(first & set(planted)), "told": len(first)}


def _rows(found: Mapping[str, Mapping[str, int]]) -> list[list[object]]:
    kinds = {
        "corrupt": (msg("corrupt files"), msg("rejected with a reason, {told} in all")),
        "exact_duplicate": (msg("byte-identical copies"), msg("kept together by the split, {told} in all")),
        "label": (msg("wrong labels"), msg("among the {told} labels the model doubts most")),
    }
    rows: list[list[object]] = []
    for kind, (name, how) in kinds.items():
        counts = found[kind]
        text = Message(how.template, {"told": counts["told"]})
        rows.append([str(name), counts["planted"], counts["found"], str(text)])
    return rows
