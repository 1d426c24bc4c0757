"""``mirada distill``."""

from __future__ import annotations

from pathlib import Path

import click

from mirada.cli.output import Result, progress, speaks
from mirada.errors import UsageError
from mirada.messages import msg

LIBRARY = "mirada.training.distill:distill"
CONFIG = "mirada.training.distill:DistillConfig"
PHOTO_SET = "mirada.training.distill:PhotoSet"


@click.command(
    help=str(
        msg(
            "Make a small backbone from big ones: it learns, from photographs without labels, what they see. "
            "Needs the train extra. An interrupted run goes on where it was when the same call is made again."
        )
    ),
    epilog=str(
        msg(
            "Example: mirada distill photos/ -o small.onnx --teacher deit_tiny_patch16_224 --weights deit.safetensors; "
            "then mirada train photos/ --backbone small.onnx"
        )
    ),
)
@click.argument("photos", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FOLDER...")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="FILE.onnx",
    help=str(msg("The backbone to write.")),
)  # fmt: skip
@click.option(
    "--teacher", "teachers", multiple=True, required=True, metavar="NAME",
    help=str(msg("A timm model or an .onnx backbone; may be given several times.")),
)  # fmt: skip
@click.option(
    "--weights", "weights", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
    help=str(msg("Weights of the teachers, in their order.")),
)  # fmt: skip
@click.option(
    "--views", default=300_000, show_default=True, type=click.IntRange(min=1), metavar="N",
    help=str(msg("How many views of photographs the student sees in all.")),
)  # fmt: skip
@click.option(
    "--views-per-photo", default=2, show_default=True, type=click.IntRange(1, 64), metavar="N",
    help=str(msg("Crops made of each photograph, whose teacher features are computed once.")),
)  # fmt: skip
@click.option("--student", default="mirada-small", show_default=True, help=str(msg("Name of the student network.")))
@click.option(
    "--batch", default=256, show_default=True, type=click.IntRange(2, 4096), metavar="N", help=str(msg("Batch size."))
)
@click.option(
    "--held-out", multiple=True, type=click.Path(path_type=Path), metavar="FOLDER",
    help=str(msg("Photographs to leave out, byte for byte, because they are for testing.")),
)  # fmt: skip
@click.option(
    "--evaluate", "evaluate_on", multiple=True, type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="FOLDER",
    help=str(msg("Folder per class to judge the student on as it learns; left out of learning.")),
)  # fmt: skip
@click.option(
    "--evaluate-every", default=1000, show_default=True, type=click.IntRange(min=1), metavar="STEPS",
    help=str(msg("Steps between two judgements.")),
)  # fmt: skip
@click.option(
    "--init", type=click.Path(path_type=Path), metavar="FILE.onnx",
    help=str(msg("A backbone of the same student, or of a wider one, to start from.")),
)  # fmt: skip
@click.option("--licence", default="not stated", help=str(msg("Licence note to write into the backbone.")))
@click.option("--seed", default=0, show_default=True, metavar="N", help=str(msg("Seed of crops, order and weights.")))
@click.option("--afresh", is_flag=True, help=str(msg("Do not take up an earlier run; begin again.")))
@speaks
def distill(
    *, photos: tuple[Path, ...], output: Path, teachers: tuple[str, ...], weights: tuple[Path, ...], views: int,
    views_per_photo: int, student: str, batch: int, held_out: tuple[Path, ...], evaluate_on: tuple[Path, ...],
    evaluate_every: int, init: Path | None, licence: str, seed: int, afresh: bool,
) -> Result:  # fmt: skip
    """Distil, and say how to use the result."""
    from mirada.workflow.extras import by_dotted_name

    if len(weights) > len(teachers):
        raise UsageError(
            msg("There are {n} weights files for {m} teachers.", n=len(weights), m=len(teachers)),
            msg("Give at most one --weights for each --teacher, in the same order."),
        )
    photo_set = by_dotted_name(PHOTO_SET)
    backbone = by_dotted_name(LIBRARY)(
        by_dotted_name(CONFIG)(student=student, views=views, batch=batch, seed=seed),
        [photo_set(folder, n_views=views_per_photo) for folder in photos],
        [(name, weights[i] if i < len(weights) else None) for i, name in enumerate(teachers)],
        output,
        held_out=held_out,
        evaluate_on=evaluate_on,
        evaluate_every=evaluate_every,
        init=init,
        licence=licence,
        resume=not afresh,
        progress=progress(),
    )
    document = {"path": str(backbone.onnx_path), "name": backbone.name, "dim": backbone.dim, "sha256": backbone.sha256}
    return Result(
        document,
        [
            msg("{path}: {n} numbers a photograph.", path=backbone.onnx_path, n=backbone.dim),
            msg("Use it: mirada train PHOTOS --backbone {path}", path=backbone.onnx_path),
        ],
    )
