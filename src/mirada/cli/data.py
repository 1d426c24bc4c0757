"""``mirada add`` and ``mirada split``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mirada.cli.output import Result, Settings, progress, speaks, table
from mirada.messages import Message, msg, msg_n

if TYPE_CHECKING:
    from mirada.ingest import AddReport
    from mirada.types import SplitName

MOST_SHOWN = 20


@click.command(
    help=str(msg("Add photographs to the catalogue; the files stay where they are.")),
    epilog=str(msg("Example: mirada add photos/ more/labels.csv")),
)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--format", "fmt", metavar="F", help=str(msg("Format of the source, where it is not recognised.")))
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=str(msg("CSV or JSON that gives each file its label.")),
)
@click.pass_obj
@speaks
def add(settings: Settings, *, sources: tuple[str, ...], fmt: str | None, labels: Path | None) -> Result:
    """Add each source in turn."""
    from mirada.catalog.catalog import Catalog
    from mirada.workflow import data

    opened = [data.open_source(source, fmt=fmt, labels=labels) for source in sources]
    workspace = settings.create()
    reports: list[AddReport] = []
    with Catalog.open(workspace.catalog_url) as catalog:
        for source in opened:
            reports.append(data.add(workspace, catalog, source, progress=progress()).report)
    lines: list[str | Message] = []
    for report in reports:
        lines += [*add_lines(report), ""]
    documents = [add_document(report) for report in reports]
    return Result(documents[0] if len(documents) == 1 else documents, lines[:-1])


def add_document(report: AddReport) -> dict[str, object]:
    """What a program is told of an addition."""
    return {
        "source": report.info.root,
        "format": report.info.format,
        "class_names": list(report.info.class_names),
        "splits": list(report.info.splits),
        "notes": [str(note) for note in report.info.notes],
        "n": {
            "listed": report.n_listed,
            "added": report.n_added,
            "known": report.n_known,
            "changed": report.n_changed,
            "rejected": report.n_rejected,
            "unreadable": report.n_unreadable,
            "exact_duplicates": report.n_duplicates,
        },
        "rejected": [{"uri": r.uri, "reason": r.reason, "detail": r.detail} for r in report.rejected],
        "rejected_by_reason": dict(report.rejected_by_reason),
        "by_class": {label or "": _totals(splits) for label, splits in report.by_class.items()},
        "seconds": round(report.seconds, 3),
    }


def add_lines(report: AddReport) -> list[str | Message]:
    """What a person is told of an addition."""
    from mirada.imaging.base import REASONS

    info = report.info
    lines: list[str | Message] = [
        msg("{root}: {format}, {n} classes.", root=info.root, format=info.format, n=len(info.class_names)),
        *info.notes,
        "",
    ]
    splits = [name for name in ("train", "val", "test") if name in info.splits]
    head = [msg("class"), msg("photographs"), *splits]
    rows = [
        [label or str(msg("(no label)")), sum(by_split.values()), *(by_split.get(s, 0) for s in splits)]
        for label, by_split in sorted(report.by_class.items(), key=lambda item: item[0] or "")
    ]
    lines += [*table(head, rows), ""]
    lines.append(
        msg(
            "Added {added}, already had {known}, changed {changed}, rejected {rejected}; "
            "{duplicates} exact duplicates; {seconds:.1f} s.",
            added=report.n_added,
            known=report.n_known,
            changed=report.n_changed,
            rejected=report.n_rejected,
            duplicates=report.n_duplicates,
            seconds=report.seconds,
        )
    )
    if report.n_unreadable > report.n_rejected:
        lines.append(
            msg_n(
                "{n} file that was rejected before still cannot be read.",
                "{n} files that were rejected before still cannot be read.",
                n=report.n_unreadable - report.n_rejected,
            )
        )
    listed = report.rejected[:MOST_SHOWN]
    if listed:
        rejected = [[_within(r.uri, info.root), str(REASONS.get(r.reason, r.reason))] for r in listed]
        lines += ["", *table([msg("rejected"), msg("because")], rejected)]
        if len(report.rejected) > MOST_SHOWN:
            lines.append(msg("… and {n} more; --json lists them.", n=report.n_rejected - MOST_SHOWN))
    return lines


def _within(uri: str, root: str) -> str:
    """`uri` as seen from the folder `root`."""
    return uri.removeprefix(root).lstrip("/") or uri


def _totals(by_split: Mapping[SplitName | None, int]) -> dict[str, int]:
    counts = Counter({split or "": n for split, n in by_split.items()})
    return {"total": counts.total(), **{name: n for name, n in counts.items() if name}}


@click.command(
    help=str(msg("Divide the labelled photographs into train, val and test; test photographs stay test for good.")),
    epilog=str(msg("Example: mirada split --ratios 63/27/10")),
)
@click.option("--ratios", metavar="A/B/C", help=str(msg("Shares of train, val and test; default 70/15/15.")))
@click.option("--seed", type=int, metavar="N", help=str(msg("Seed of the draw.")))
@click.option(
    "--new-test",
    is_flag=True,
    help=str(msg("Draw a new test set: figures from before can then not be compared.")),
)
@click.pass_obj
@speaks
def split(settings: Settings, *, ratios: str | None, seed: int | None, new_test: bool) -> Result:
    """Draw or extend the split of the workspace."""
    from mirada.catalog.catalog import Catalog
    from mirada.workflow.data import load_dataset
    from mirada.workflow.splitting import divide

    workspace = settings.open()
    with Catalog.open(workspace.catalog_url) as catalog:
        dataset = load_dataset(catalog, None)
        made = divide(
            catalog,
            dataset,
            ratios=ratios or workspace.config.text("split.ratios"),
            seed=workspace.config.integer("train.seed") if seed is None else seed,
            dataset_id=catalog.freeze_dataset().dataset_id,
            new_test=new_test,
        )
        by_split = {name: catalog.counts_by_class(split=name) for name in ("train", "val", "test")}
    rows = [[label, *(by_split[name].get(label, 0) for name in by_split)] for label in dataset.class_names]
    document = {
        "split_id": made.split.split_id,
        "strategy": made.split.strategy,
        "seed": made.split.seed,
        "n": made.counts(),
        "by_class": {str(row[0]): dict(zip(by_split, row[1:], strict=True)) for row in rows},
        "left_out": dict(made.left_out),
        "notes": [str(note) for note in made.notes],
    }
    lines: list[str | Message] = [*table([msg("class"), "train", "val", "test"], rows), "", *made.notes]
    if made.is_kept and ratios is not None:
        lines.append(
            msg("The split stands: ratios only place photographs that came later. --new-test draws everything anew.")
        )
    return Result(document, lines)
