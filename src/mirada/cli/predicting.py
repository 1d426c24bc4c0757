"""``mirada predict``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from mirada.cli.output import Result, Settings, json_option, per_cent, print_json, printable, progress
from mirada.errors import UsageError
from mirada.messages import msg

if TYPE_CHECKING:
    from mirada.predict.runtime import Predictor
    from mirada.predict.tables import Row

PRECISIONS = click.Choice(["auto", "bf16", "f32"])


def model_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--model``: which model a command means."""
    text = msg("champion, NAME, NAME@VERSION or the folder of a bundle; default: the champion.")
    return click.option("--model", "model", default="champion", metavar="MODEL", help=str(text))(function)


@click.command(
    help=str(
        msg(
            "Classify photographs: files, folders, globs, or - for a list on standard input. "
            "With -o, an interrupted call goes on where it was when it is run again."
        )
    ),
    epilog=str(msg("Example: mirada predict new/ -o answers.csv")),
)
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help=str(msg("Write to FILE: .csv, .jsonl or .parquet.")),
)  # fmt: skip
@click.option(
    "--top-k",
    default=3,
    show_default=True,
    type=click.IntRange(min=1),
    metavar="N",
    help=str(msg("How many classes to name.")),
)
@click.option("--precision", type=PRECISIONS, default="auto", show_default=True, help=str(msg("Number format.")))
@model_option
@click.option(
    "--imagenet", is_flag=True,
    help=str(msg("Instead of a model: a pretrained network's own 1,000 classes; name it with --backbone.")),
)  # fmt: skip
@click.option("--backbone", metavar="NAME", help=str(msg("With --imagenet: a timm classifier, or an .onnx file.")))
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=str(msg("Weights of that network (.safetensors).")),
)
@click.option(
    "--heatmap", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER",
    help=str(msg("Also draw into FOLDER what spoke for each answer; for a network trained here.")),
)  # fmt: skip
@click.pass_context
@json_option
def predict(
    ctx: click.Context,
    *,
    inputs: tuple[str, ...],
    output: Path | None,
    top_k: int,
    precision: str,
    model: str,
    imagenet: bool,
    backbone: str | None,
    weights: Path | None,
    heatmap: Path | None,
    as_json: bool,
) -> None:
    """Answer on the terminal, or into a file."""
    from mirada.predict.batch import predict_rows, predict_to_file

    if heatmap is not None and (imagenet or output is not None):
        raise UsageError(msg("--heatmap goes with a model and without -o: it is for a few photographs."))
    predictor = _predictor(ctx, model, precision, network=(backbone, weights) if imagenet else None)
    stdin = cast(BufferedReader, sys.stdin.buffer)
    if output is None:
        rows = predict_rows(inputs, predictor, top_k=top_k, progress=progress(), stdin=stdin)
        if heatmap is not None:
            rows = iter(_drawn(ctx.obj, predictor, rows, heatmap))
        if as_json:
            print_json(list(rows))
        else:
            for row in rows:
                click.echo(printable(_line(row)))
        return
    report = predict_to_file(inputs, output, predictor, top_k=top_k, progress=progress(), stdin=stdin)
    document = {
        "path": report.path,
        "n": report.n,
        "n_resumed": report.n_resumed,
        "n_rejected": report.n_rejected,
        "errors": dict(report.errors),
        "labels": dict(report.labels),
    }
    told = msg(
        "{n} photographs in {path}, {resumed} of them done before: {rejected} unsure, {errors} unreadable "
        "(columns rejected and error).",
        resumed=report.n_resumed,
        n=report.n,
        path=report.path,
        rejected=report.n_rejected,
        errors=sum(report.errors.values()),
    )
    Result(document, [told]).show(as_json=as_json)


def _predictor(
    ctx: click.Context, model: str, precision: str, *, network: tuple[str | None, Path | None] | None
) -> Predictor:
    """What answers: a model, or with --imagenet a pretrained `network` (name, weights)."""
    from mirada.predict.runtime import Predictor

    def is_given(name: str) -> bool:
        return ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT

    settings: Settings = ctx.obj
    if network is None:
        for name in ("backbone", "weights"):
            if is_given(name):
                raise UsageError(
                    msg("{option} goes with --imagenet here.", option=f"--{name}"),
                    msg("A model brings its own backbone: leave it out, or add --imagenet."),
                )
        return Predictor.open(bundle_path(settings, model), precision)
    if is_given("model") or network[0] is None:
        raise UsageError(
            msg("--imagenet asks a pretrained network instead of a model; name it with --backbone, without --model."),
            msg("For example: mirada predict photos/ --backbone mobilenetv2_100 --imagenet"),
        )
    from mirada.workflow.zero_shot import zero_shot

    return zero_shot(*network, precision=precision, progress=progress())


def _drawn(settings: Settings, predictor: Predictor, rows: Iterator[Row], folder: Path) -> list[Row]:
    """The rows, once a picture of each answer is in `folder`."""
    from mirada.workflow.heatmaps import write_heatmaps

    kept = list(rows)
    answered = [(str(row["uri"]), str(row["label"])) for row in kept if row["label"] is not None]
    written = write_heatmaps(settings.open(), predictor.bundle, answered, folder)
    progress().note(msg("{n} heatmaps are in {path}.", n=len(written), path=folder))
    return kept


def bundle_path(settings: Settings, model: str) -> Path:
    """The bundle folder that `model` means: a folder as it is, anything else by the workspace's registry."""
    from mirada.cli.models import open_registry
    from mirada.predict.manifest import MANIFEST_NAME

    if (Path(model) / MANIFEST_NAME).is_file():
        return Path(model)
    with open_registry(settings.open()) as (_, registry):
        return registry.resolve(model)


def _line(row: dict[str, Any]) -> str:
    from mirada.imaging.base import REASONS

    name = json.dumps(row["uri"], ensure_ascii=False) if "\n" in row["uri"] else row["uri"]
    if row["error"] is not None:
        told = msg("unreadable. {reason}", reason=REASONS.get(row["error"], row["error"]))
        return f"{name}: {told}"
    answers = ", ".join(f"{scored['label']} {per_cent(scored['score'])}" for scored in row["top_k"])
    unsure = msg("unsure: ask a person")
    return f"{name}: {answers}" + (f"  ({unsure})" if row["rejected"] else "")
