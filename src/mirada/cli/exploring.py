"""``mirada explore``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mirada.cli.output import Result, Settings, per_cent, progress, speaks, table
from mirada.errors import UsageError
from mirada.messages import Message, decimal, msg

if TYPE_CHECKING:
    from mirada.explore.summary import Portrait
    from mirada.workflow.exploring import Explored

MOST_CLASSES = 40
_MARKS = {"warning": "!", "note": "·", "good": "✓"}


@click.command(
    help=str(
        msg(
            "See what you have: classes and their balance, sizes, light and sharpness, files, copies, the oddest "
            "photographs; with --html, a page that stands alone, with a map of the photographs."
        )
    ),
    epilog=str(msg("Example: mirada explore --html photos.html")),
)
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help=str(msg("Write the page to FILE.")))
@click.option(
    "--backbone",
    metavar="NAME",
    help=str(msg("An .onnx file, or any timm model; default: the one that Mirada ships.")),
)
@click.option(
    "--weights", type=click.Path(path_type=Path), metavar="FILE", help=str(msg("Weights of that model (.safetensors)."))
)
@click.option("--no-map", is_flag=True, help=str(msg("Embed nothing: no map, and no oddest photographs.")))
@click.pass_obj
@speaks
def explore(
    settings: Settings, *, html: Path | None, backbone: str | None, weights: Path | None, no_map: bool
) -> Result:
    """Count, measure, place."""
    from mirada.workflow.exploring import ExploreRequest
    from mirada.workflow.exploring import explore as run

    if no_map and (backbone or weights):
        raise UsageError(
            msg("--no-map embeds nothing, so --backbone and --weights have no use with it."), msg("Leave one out.")
        )
    if html is not None and html.is_dir():
        raise UsageError(msg("{path} is a folder; --html wants the name of a file.", path=html))
    request = ExploreRequest(html=html, backbone=backbone, weights=weights, map=not no_map)
    made = run(settings.open(), request, progress=progress())
    return Result(explore_document(made), explore_lines(made))


def explore_document(made: Explored) -> dict[str, object]:
    """What a program is told: `mirada.explore.document.document`, and {"notes", "seconds": {STAGE: s}, "html"}."""
    from mirada.explore.document import document

    return {
        **document(made.summary, made.columns, made.extremes),
        "notes": [str(note) for note in made.notes],
        "seconds": dict(made.seconds),
        "html": str(made.html) if made.html else None,
    }


def explore_lines(made: Explored) -> list[str | Message]:
    """What a person is told."""
    from mirada.explore.findings import findings
    from mirada.explore.words import QUANTITIES

    summary = made.summary
    shown = [name for name in ("brightness", "sharpness") if name in summary.all.statistics]
    head = [
        msg("class"), msg("photographs"), msg("share"), msg("commonest size"), msg("of that size"), msg("grey"),
        *(QUANTITIES[name][0] for name in shown),
    ]  # fmt: skip
    portraits = summary.classes[:MOST_CLASSES]
    rows = [_row(portrait, shown) for portrait in (*portraits, summary.all)]
    lines: list[str | Message] = [*table(head, rows), ""]
    if len(summary.classes) > MOST_CLASSES:
        lines += [msg("… and {n} more classes; --json lists them.", n=len(summary.classes) - MOST_CLASSES), ""]
    found = findings(summary)
    lines += [f"{_MARKS[finding.weight]} {finding.message}" for finding in found]
    told = [finding.message for finding in found]
    if summary.balance is not None:
        lines += ["", *(message for message in summary.balance.messages() if message not in told)]
    lines += _rejected(made)
    lines += [msg("· {note}", note=note) for note in made.notes]
    seconds = made.seconds["total"]
    if made.html is not None:
        return [*lines, "", msg("Page:  {path}  ({seconds:.1f} s)", path=made.html, seconds=seconds)]
    return [*lines, "", msg("{seconds:.1f} s. Next: mirada explore --html photos.html", seconds=seconds)]


def _row(portrait: Portrait, shown: list[str]) -> list[object]:
    name = portrait.name or str(msg("(all)") if portrait.is_all else msg("(no label)"))
    size = portrait.commonest_size
    return [
        name,
        portrait.n,
        per_cent(portrait.share),
        "–" if size is None else f"{size[0]} × {size[1]}",
        None if size is None else size[2],
        portrait.n_grey if portrait.n_measured else None,
        *(decimal(portrait.statistics[s].median, 2) if s in portrait.statistics else "–" for s in shown),
    ]


def _rejected(made: Explored) -> list[str | Message]:
    from mirada.imaging.base import REASONS

    if not made.summary.rejected:
        return []
    rows = [[str(REASONS.get(reason, reason)), n] for reason, n in made.summary.rejected.items()]
    return ["", *table([msg("rejected"), msg("files")], rows)]
