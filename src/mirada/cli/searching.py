"""``mirada search``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mirada.cli.data import add_lines
from mirada.cli.output import Result, Settings, progress, speaks, table
from mirada.messages import Message, msg


@click.command(
    help=str(
        msg(
            "Train every network of a space of choices, or those that a search draws, and say which is best. "
            "SPACE is a .toml file or the name of a space that comes with Mirada. Without SOURCE: on what the "
            "workspace holds. A search that was killed goes on; the same command in a second terminal helps it."
        )
    ),
    epilog=str(msg("Example: mirada search government-fast photos/")),
)
@click.argument("space")
@click.argument("source", required=False)
@click.option(
    "--weights", type=click.Path(path_type=Path), metavar="FILE", help=str(msg("Weights of a pretrained network."))
)
@click.option(
    "--epochs", type=click.IntRange(1), metavar="N", help=str(msg("Epochs of a trial, instead of the recipe's."))
)
@click.option("--format", "format", metavar="F", help=str(msg("Format of the source, where it is not recognised.")))
@click.option("--labels", type=click.Path(path_type=Path), metavar="FILE", help=str(msg("Labels of a flat folder.")))
@click.option("--ratios", metavar="A/B/C", help=str(msg("Shares of train, val and test; default 70/15/15.")))
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True,
    help=str(msg("Where a network trains; auto: on a GPU if there is one.")),
)  # fmt: skip
@click.option("--precision", type=click.Choice(["auto", "bf16", "f32"]), help=str(msg("Number format of training.")))
@click.option("--seed", type=int, metavar="N", help=str(msg("Seed of the split and of the networks; default 0.")))
@click.pass_obj
@speaks
def search(settings: Settings, **options: Any) -> Result:
    """Search, and print the table."""
    from mirada.workflow.data import open_source
    from mirada.workflow.searching import SearchRequest, asked_search
    from mirada.workflow.searching import search as run

    request = SearchRequest(**options)
    asked_search(request)  # a slip should leave no folder behind
    if request.source is None:
        workspace = settings.open()
    else:
        open_source(request.source, fmt=request.format, labels=request.labels)
        workspace = settings.create()
    made = run(workspace, request, progress=progress())
    searched = made.searched
    document = {
        **searched.document,
        "winner_recipe": str(made.winner_path),
        "notes": [str(note) for note in searched.notes],
    }
    lines: list[str | Message] = [
        *(add_lines(made.added.report) if made.added else []),
        *table(searched.head, searched.cells),
        "",
        *(msg("· {note}", note=note) for note in searched.notes),
        msg("Judged on val, and the best of many looks better than it is: test figures come from training it."),
        msg("Train it: mirada train --recipe {path}", path=made.winner_path),
    ]
    return Result(document, lines)
