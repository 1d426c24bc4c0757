"""What ``mirada history`` prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from mirada.cli.output import Result, per_cent, table
from mirada.messages import Message, msg
from mirada.sources.uris import uri_name
from mirada.workflow.deciding import photo
from mirada.workflow.telling import ClassHistory, cleaning_history

if TYPE_CHECKING:
    from mirada.catalog.catalog import Catalog
    from mirada.catalog.records import HistoryRow

MOST_UNDONE = 10


def class_table(catalog: Catalog) -> Result:
    """What became of each class, and which step did how much."""
    told = cleaning_history(catalog)
    document = {
        "classes": [_document(one) for one in told.classes],
        "total": _document(told.total),
        "steps": [{"check": step.check, "action": step.action, "n": step.n} for step in told.steps],
    }
    if not told.classes:
        return Result(document, [msg("There are no photographs yet: `mirada add PHOTOS` adds some.")])
    head = [
        msg("class"), msg("original"), msg("exact copies"), msg("near copies"), msg("irrelevant"),
        msg("other dropped"), msg("relabelled from"), msg("relabelled to"), msg("ambiguous"), msg("unreadable"),
        msg("final"), msg("kept"),
    ]  # fmt: skip
    rows = [_row(one, one.label or str(msg("(no label)"))) for one in told.classes]
    rows.append(_row(told.total, str(msg("total"))))
    lines: list[str | Message] = [*table(head, rows), ""]
    lines.append(
        msg("original + relabelled to − relabelled from − dropped − ambiguous − unreadable = final, in every row.")
    )
    if told.steps:
        steps = [[step.check or str(msg("by hand")), step.action, step.n] for step in told.steps]
        lines += ["", *table([msg("step"), msg("decision"), msg("photographs")], steps)]
    return Result(document, lines)


def _row(one: ClassHistory, name: str) -> list[object]:
    return [
        name, one.original, one.dropped.get("exact_duplicate", 0), one.dropped.get("near_duplicate", 0),
        one.dropped.get("outlier", 0), one.n_other, one.relabelled_from, one.relabelled_to, one.ambiguous,
        one.unreadable, one.final, None if one.kept is None else per_cent(one.kept),
    ]  # fmt: skip


def _document(one: ClassHistory) -> dict[str, object]:
    return {
        "label": one.label,
        "original": one.original,
        "exact_duplicates": one.dropped.get("exact_duplicate", 0),
        "near_duplicates": one.dropped.get("near_duplicate", 0),
        "irrelevant": one.dropped.get("outlier", 0),
        "other_dropped": one.n_other,
        "dropped": one.n_dropped,
        "dropped_by_check": {check or "by hand": n for check, n in sorted(one.dropped.items())},
        "relabelled_from": one.relabelled_from,
        "relabelled_to": one.relabelled_to,
        "ambiguous": one.ambiguous,
        "unreadable": one.unreadable,
        "final": one.final,
        "kept": None if one.kept is None else round(one.kept, 6),
    }


def photo_rows(catalog: Catalog, name: str) -> Result:
    """Every decision on one photograph, undone ones and undos too."""
    sample_id = photo(catalog, name)
    found = list(catalog.history(sample_id))
    if not found:
        return Result([], [msg("Nothing was decided on {name}.", name=name)])
    rows = [
        [str(one.decision_id), one.at[:16].replace("T", " "), one.by or None, _what(one), one.check,
         one.reason or None, None if one.undone_by is None else str(one.undone_by)]
        for one in found
    ]  # fmt: skip
    head = [msg("decision"), msg("when"), msg("who"), msg("what"), msg("check"), msg("why"), msg("undone by")]
    return Result([asdict(one) for one in found], table(head, rows))


def undone_rows(catalog: Catalog, decision_ids: Sequence[int]) -> list[str | Message]:
    """What these decisions, just undone, had decided: a table of at most ten, and how many more."""
    shown = [next(iter(catalog.history(after=key - 1))) for key in decision_ids[:MOST_UNDONE]]
    ids = {row.sample_id for row in shown}
    names = {key: uri_name(one.uri) for key, one in catalog.rejected_by_id(ids).items()}
    names |= {key: uri_name(one.uri) for key, one in catalog.samples_by_id(ids).items()}
    rows = [[str(row.decision_id), _what(row), row.check, names.get(row.sample_id, row.sample_id)] for row in shown]
    lines: list[str | Message] = [*table([msg("decision"), msg("what"), msg("check"), msg("photograph")], rows), ""]
    if len(decision_ids) > MOST_UNDONE:
        lines[-1:] = [msg("and {n} more", n=len(decision_ids) - MOST_UNDONE), ""]
    return lines


def _what(row: HistoryRow) -> str:
    if row.undoes is not None:
        return f"undo {row.undoes}"
    return f"relabel={row.new_label}" if row.action == "relabel" else row.action
