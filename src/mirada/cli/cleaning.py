"""``mirada clean``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mirada.cli.output import Result, Settings, progress, speaks, table
from mirada.errors import UsageError
from mirada.messages import Message, decimal, msg, msg_n

if TYPE_CHECKING:
    from mirada.workflow.cleaning import CleanResult


@click.command(
    help=str(
        msg(
            "Look for what is wrong: unreadable files, copies, leakage, wrong labels, photographs that do not belong, "
            "poor ones. Nothing is changed: `mirada issues` lists what was found, `mirada decide` decides. "
            "With SOURCE, adds it first."
        )
    ),
    epilog=str(msg("Example: mirada clean photos/; then mirada issues --check label")),
)
@click.argument("sources", nargs=-1, metavar="[SOURCE]...")
@click.option(
    "--check", "names", multiple=True, metavar="NAME", help=str(msg("Only this check; may be given several times."))
)
@click.option("--backbone", metavar="NAME", help=str(msg("Backbone: a timm name or an .onnx file.")))
@click.option(
    "--weights", type=click.Path(path_type=Path), metavar="FILE", help=str(msg("Weights of the backbone, from a file."))
)
@click.option(
    "--threshold", "thresholds", multiple=True, metavar="NAME=VALUE",
    help=str(msg("Flag what scores below VALUE (0 to 1) in the check NAME.")),
)  # fmt: skip
@click.option("--seed", type=int, metavar="N", help=str(msg("Seed of the folds.")))
@click.option(
    "--html", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help=str(msg("Write a page with the worst of each check, as pictures.")),
)  # fmt: skip
@click.pass_obj
@speaks
def clean(
    settings: Settings, *, sources: tuple[str, ...], names: tuple[str, ...], backbone: str | None,
    weights: Path | None, thresholds: tuple[str, ...], seed: int | None, html: Path | None,
) -> Result:  # fmt: skip
    """Run the checks and tell how much each found."""
    from mirada.catalog.catalog import Catalog
    from mirada.workflow import cleaning, data

    request = cleaning.CleanRequest(
        checks=names, backbone=backbone, weights=weights, thresholds=parse_thresholds(thresholds), seed=seed
    )
    opened = [data.open_source(source) for source in sources]
    workspace = settings.create() if opened else settings.open()
    if opened:
        with Catalog.open(workspace.catalog_url) as catalog:
            for source in opened:
                data.add(workspace, catalog, source, progress=progress(), look=cleaning.wanted_looks(names))
    result = cleaning.clean(workspace, request, progress=progress())
    lines = clean_lines(result)
    if html is not None:
        from mirada.workflow.issue_page import write_issue_page

        lines.append(msg("Page: {path}", path=write_issue_page(workspace, result, html)))
    return Result({**clean_document(result), "html": None if html is None else str(html)}, lines)


def parse_thresholds(given: Sequence[str]) -> dict[str, float]:
    """NAME=VALUE pairs. Raises UsageError for anything else."""
    found: dict[str, float] = {}
    for text in given:
        name, equals, value = text.partition("=")
        try:
            found[name] = float(value)
        except ValueError as error:
            raise UsageError(
                msg("--threshold takes NAME=VALUE; got {text!r}.", text=text), msg("Example: --threshold label=0.3")
            ) from error
        if not equals:
            raise UsageError(msg("--threshold takes NAME=VALUE; got {text!r}.", text=text))
    return found


def clean_document(result: CleanResult) -> dict[str, object]:
    """What a program is told."""
    checks = {
        name: {
            "n_issues": found.n_issues,
            "seconds": round(found.seconds, 3),
            "threshold": found.threshold,
            "notes": [str(note) for note in found.notes],
        }
        for name, found in result.checks.items()
    }
    return {
        "n_samples": result.n_samples,
        "n_rejected": result.n_rejected,
        "checks": checks,
        "notes": [str(note) for note in result.notes],
        "seconds": {stage: round(value, 3) for stage, value in result.seconds.items()},
    }


def clean_lines(result: CleanResult) -> list[str | Message]:
    """What a person is told."""
    rows = [[name, found.n_issues, str(found.title)] for name, found in result.checks.items()]
    notes = [note for found in result.checks.values() for note in found.notes]
    lines: list[str | Message] = [
        msg_n(
            "{n} photograph looked at, {rejected} unreadable, {seconds} s.",
            "{n} photographs looked at, {rejected} unreadable, {seconds} s.",
            n=result.n_samples, rejected=result.n_rejected, seconds=decimal(result.seconds["total"]),
        ),
        "",
        *table([msg("check"), msg("issues"), msg("what it finds")], rows),
        "",
        *result.notes,
        *notes,
    ]  # fmt: skip
    if not any(found.n_issues for found in result.checks.values()):
        return [*lines, msg("Nothing was found.")]
    return [
        *lines,
        msg("See them: mirada issues --check NAME, or mirada clean --html page.html."),
        msg("Surely wrong ones in one go: mirada decide --auto drop_exact_duplicates --auto drop_corrupt --dry-run"),
    ]
