"""A summary as plain data for `json.dumps`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from mirada.explore.columns import Columns
from mirada.explore.findings import findings
from mirada.explore.oddness import Extremes
from mirada.explore.summary import Portrait, Summary

SCHEMA = "mirada.explore/1"


def document(summary: Summary, columns: Columns, extremes: Sequence[Extremes] = ()) -> dict[str, object]:
    """The numbers of the page.

    {"schema", "n": {"photographs", "unlabelled", "rejected", "bytes"}, "class_names", "by_split",
    "all": PORTRAIT, "classes": [PORTRAIT], "balance": {"level", "n_classes", "largest", "smallest", "ratio",
    "effective_classes", "guess", "few", "messages"} or null,
    "copies": {"exact": COUNTS, "near": COUNTS or null, "leakage": {"n_groups", "n_test", "n_val"} or null},
    "rejected": {REASON: n}, "bars": {QUANTITY: {"edges", "counts"}},
    "sizes": [{"label", "width", "height", "n"}],
    "extremes": [{"label", "oddest": [{"uri", "oddness"}], "plainest": […]}], "findings": [{"weight", "message"}]}

    PORTRAIT: {"label", "n", "share", "by_split", "commonest_size": {"width", "height", "n"} or null, "n_sizes",
    "shapes": {"landscape", "square", "portrait"}, "width": SPREAD, "height", "aspect", "n_bytes", "formats",
    "channels", "n_grey", "n_measured", "statistics": {NAME: SPREAD}}; "label" is null without one. SPREAD: {"n",
    "mean", "minimum", "p5", "p25", "median", "p75", "p95", "maximum"} or null. COUNTS: {"n_groups", "n_photos",
    "n_extra", "n_conflicts"}.
    """

    def label(y: int) -> str | None:
        return None if y < 0 else columns.class_names[y]

    def listed(rows: Sequence[tuple[int, float]]) -> list[dict[str, object]]:
        return [{"uri": columns.uris[row], "oddness": round(score, 4)} for row, score in rows]

    balance = summary.balance
    messages = [] if balance is None else [str(message) for message in balance.messages()]
    return {
        "schema": SCHEMA,
        "n": {
            "photographs": summary.n,
            "unlabelled": summary.n_unlabelled,
            "rejected": summary.n_rejected,
            "bytes": summary.all.total_bytes,
        },
        "class_names": list(summary.class_names),
        "by_split": dict(summary.by_split),
        "all": _portrait(summary.all),
        "classes": [_portrait(portrait) for portrait in summary.classes],
        "balance": None if balance is None else {**asdict(balance), "messages": messages},
        "copies": asdict(summary.copies),
        "rejected": dict(summary.rejected),
        "bars": {name: asdict(bars) for name, bars in summary.bars.items()},
        "sizes": [
            {"label": label(d.y), "width": round(d.width), "height": round(d.height), "n": d.n} for d in summary.sizes
        ],
        "extremes": [
            {"label": label(e.y), "oddest": listed(e.oddest), "plainest": listed(e.plainest)} for e in extremes
        ],
        "findings": [{"weight": f.weight, "message": str(f.message)} for f in findings(summary)],
    }


def _portrait(portrait: Portrait) -> dict[str, object]:
    made = asdict(portrait)
    size = portrait.commonest_size
    for name in ("name", "is_all", "n_landscape", "n_square", "n_portrait"):
        del made[name]
    return {
        "label": portrait.name,
        **made,
        "commonest_size": None if size is None else dict(zip(("width", "height", "n"), size, strict=True)),
        "shapes": {"landscape": portrait.n_landscape, "square": portrait.n_square, "portrait": portrait.n_portrait},
    }
