"""What a search found, as a table: every trial with its interval, and whether the winner is really better than it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from mirada.evaluate.compare import Comparison, Verdict, compare
from mirada.evaluate.intervals import wilson
from mirada.messages import Message, msg
from mirada.search.journal import Entry
from mirada.search.space import Value
from mirada.search.study import LABELS, SearchResult
from mirada.search.trial import ANSWERS
from mirada.types import Metric

N_BOOT = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A trial. `accuracy`: on val, with Wilson's interval, by the weights that are kept.

    `complete`: trained to the end, not left behind on the way. `p_value`, `verdict`: of McNemar's exact test against
    the winner, on the same photographs ("tie": no evidence that it is worse); None for the winner itself.
    """

    number: int
    params: dict[str, Value]
    accuracy: Metric
    value: float
    epochs: int
    best_epoch: int
    seconds: float
    n_parameters: int
    complete: bool
    diverged: bool
    p_value: float | None
    verdict: Verdict | None


def table_rows(result: SearchResult) -> list[Row]:
    """The winner first, then the others that were trained to the end by their rank, then those left behind."""
    labels = np.load(result.folder / LABELS)
    rank = {number: place for place, number in enumerate(result.ranking)}
    entries = [entry for entry in result.entries if entry.latest is not None]
    sign = -1.0 if result.space.metric == "val_accuracy" else 1.0
    entries.sort(key=lambda e: (rank.get(e.number, len(rank)), sign * (e.latest.value if e.latest else 0.0), e.number))
    best = _answers(result, result.winner.number)
    return [_row(result, entry, best, labels, complete=entry.number in rank) for entry in entries]


def table_document(result: SearchResult) -> dict[str, object]:
    """The table for programs."""
    rows = table_rows(result)
    return {
        "space": result.space.name,
        "recipe": result.space.recipe,
        "metric": result.space.metric,
        "folds": result.space.folds,
        "n_trials": len(result.entries),
        "n_epochs": result.n_epochs,
        "seconds": round(result.seconds, 2),
        "winner": result.winner.number,
        "tied": [row.number for row in rows if row.verdict == "tie"],
        "trials": [{**asdict(row), "value": None if row.diverged else row.value} for row in rows],
    }


def table_head(result: SearchResult) -> list[Message | str]:
    """Names of the columns of `table_cells`."""
    fixed = [
        msg("val accuracy"), msg("95 %"), msg("epochs"), msg("best epoch"), msg("seconds"), msg("parameters"),
        msg("against the best"),
    ]  # fmt: skip
    return ["#", *(_short(path, result.space.axes) for path in result.space.axes), *fixed]


def table_cells(rows: Sequence[Row]) -> list[list[object]]:
    """The table for people, for `cli.output.table`."""
    return [_cells(row) for row in rows]


def _cells(row: Row) -> list[object]:
    chosen = [plain(_first(path, value)) for path, value in row.params.items()]
    accuracy, interval = round(row.accuracy.value, 4), f"{row.accuracy.low:.4f}–{row.accuracy.high:.4f}"
    figures = [row.epochs, row.best_epoch, round(row.seconds, 1), row.n_parameters]
    return [row.number, *chosen, accuracy, interval, *figures, str(against(row))]


def against(row: Row) -> Message:
    """What the paired test says, in a word."""
    if row.diverged:
        return msg("diverged")
    if row.verdict is None:
        return msg("the best")
    if row.verdict == "tie":
        return msg("tie (p = {p:.2g})", p=row.p_value)
    if row.verdict == "b better":  # a trial left behind may still be ahead of the winner, or the metric is the loss
        return msg("better (p = {p:.2g})", p=row.p_value)
    return msg("worse (p = {p:.2g})", p=row.p_value)


def _first(path: str, value: Value) -> Value:
    """Of paths that go together, the first one's value tells them apart."""
    return value[0] if "+" in path and isinstance(value, tuple) else value


def plain(value: Value) -> str:
    """A choice as a table shows it: 512-256, adam, 0.001."""
    if isinstance(value, tuple):
        return "-".join(str(part) for part in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _row(
    result: SearchResult, entry: Entry, best: NDArray[np.float32], labels: NDArray[np.int64], *, complete: bool
) -> Row:
    latest = entry.latest
    assert latest is not None  # noqa: S101  # chosen so by table_rows
    probs = _answers(result, entry.number)
    against_best: Comparison | None = None
    if entry.number != result.winner.number:
        against_best = compare(best, probs, labels, n_boot=N_BOOT)
    return Row(
        number=entry.number,
        params=dict(entry.params),
        accuracy=wilson(int((probs.argmax(1) == labels).sum()), len(labels)),
        value=latest.value,
        epochs=latest.epochs,
        best_epoch=latest.best_epoch,
        seconds=round(latest.seconds, 2),
        n_parameters=latest.n_parameters,
        complete=complete,
        diverged=latest.diverged,
        p_value=against_best.p_value if against_best else None,
        verdict=against_best.verdict if against_best else None,
    )


def _answers(result: SearchResult, number: int) -> NDArray[np.float32]:
    answers: NDArray[np.float32] = np.load(result.folder / "trials" / f"{number:04d}" / ANSWERS)
    return answers


def _short(path: str, axes: object) -> str:
    """The last part of a path (of the first, where several go together), where no other axis ends so."""
    path = path.split("+")[0]
    name = path.rsplit(".", 1)[-1]
    others = [other for other in list(axes) if other.split("+")[0] != path]  # type: ignore[call-overload]
    return path if any(str(other).rsplit(".", 1)[-1] == name for other in others) else name


def to_json(result: SearchResult) -> str:
    """The document as text."""
    return json.dumps(table_document(result), ensure_ascii=False, indent=2, allow_nan=False)
