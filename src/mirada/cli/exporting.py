"""``mirada export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from mirada.cli.output import Result, Settings, per_cent, progress, speaks
from mirada.errors import UsageError
from mirada.messages import Message, decimal, msg

if TYPE_CHECKING:
    from mirada.workflow.exporting import Exported


@click.command(
    help=str(
        msg(
            "Write a model for use elsewhere. MODEL: champion, NAME, NAME@VERSION or a bundle's folder; default: the "
            "champion. With --int8: register a smaller, faster version of it, unless that costs accuracy."
        )
    ),
    epilog=str(msg("Example: mirada export --format openvino -o shop/")),
)
@click.argument("model", default="champion", metavar="[MODEL]")
@click.option(
    "--format", "fmt", type=click.Choice(["onnx", "openvino"]), default="onnx", show_default=True,
    help=str(msg("onnx: the bundle as it is; openvino: model.xml and model.bin.")),
)  # fmt: skip
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FOLDER",
    help=str(msg("Folder to make; default: NAME-VERSION-FORMAT here, and none with --int8.")),
)  # fmt: skip
@click.option("--int8", is_flag=True, help=str(msg("Quantise: calibrated on train, judged on val.")))
@click.option(
    "--tolerance", type=click.FloatRange(0, 100), default=0.5, show_default=True, metavar="POINTS",
    help=str(msg("By how many points the accuracy on val may fall in int8.")),
)  # fmt: skip
@click.pass_context
@speaks
def export(
    ctx: click.Context,
    *,
    model: str,
    fmt: Literal["onnx", "openvino"],
    output: Path | None,
    int8: bool,
    tolerance: float,
) -> Result:
    """Copy, convert or quantise."""
    from mirada.workflow.exporting import ExportRequest
    from mirada.workflow.exporting import export as run

    given = ctx.get_parameter_source
    if given("tolerance") is not click.core.ParameterSource.DEFAULT and not int8:
        raise UsageError(msg("--tolerance goes with --int8."), msg("Add --int8, or leave out --tolerance."))
    if int8 and output is None and given("fmt") is not click.core.ParameterSource.DEFAULT:
        raise UsageError(
            msg("--int8 registers a version; --format needs a folder beside it."), msg("Name one with -o FOLDER.")
        )
    settings: Settings = ctx.obj
    request = ExportRequest(model=model, format=fmt, int8=int8, out=output, tolerance=tolerance / 100)
    done = run(settings.workspace_path, request, progress=progress())
    return Result(_document(done), _lines(done))


def _document(done: Exported) -> dict[str, object]:
    made = done.quantized
    return {
        "model": done.model,
        "path": None if done.path is None else str(done.path),
        "format": done.format,
        "compared_on": done.compared_on or None,
        "n_compared": done.n_compared,
        "max_abs_diff": done.max_abs_diff,
        "int8": None
        if made is None
        else {
            "path": made.path,
            "accuracy_before": made.accuracy_before,
            "accuracy_after": made.accuracy_after,
            "same_top_label": made.same_top_label,
            "n": made.n,
            "n_calibration": made.n_calibration,
            "bytes_before": made.n_bytes_before,
            "bytes_after": made.n_bytes_after,
            "speed": made.speed,
        },
        "notes": [str(note) for note in done.notes],
    }


def _lines(done: Exported) -> list[str | Message]:
    lines: list[str | Message] = []
    if (made := done.quantized) is not None:
        lines.append(
            msg(
                "{model} is in int8: {after} of val instead of {before} ({n} photographs), {share} of the size, "
                "{speed} times as fast here.",
                model=done.model, before=per_cent(made.accuracy_before), after=per_cent(made.accuracy_after),
                n=made.n, share=per_cent(made.n_bytes_after / made.n_bytes_before), speed=decimal(made.speed),
            )
        )  # fmt: skip
        lines.append(msg("It has no alias yet: `mirada promote {model}` makes it the champion.", model=done.model))
    if done.path is not None:
        lines.append(msg("{model} is in {path}.", model=done.model, path=done.path))
    if done.n_compared:
        lines.append(
            msg(
                "It answers as the original does: on {n} photographs ({which}), scores differ by at most "
                "{difference:.1g}.",
                n=done.n_compared, which=done.compared_on, difference=done.max_abs_diff,
            )
        )  # fmt: skip
    return [*lines, *done.notes]
