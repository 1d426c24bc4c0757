"""Classify many photographs into one file, in constant memory; killed and run again, it goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from io import BufferedReader
from itertools import islice
from pathlib import Path

from mirada.engine.base import Engine, Progress, Silent
from mirada.errors import NotFound, UsageError
from mirada.messages import msg, msg_n
from mirada.predict.inputs import Inputs, Item, expand
from mirada.predict.journal import Journal
from mirada.predict.runtime import CHUNK, TOP_K, Predictor
from mirada.predict.tables import Row, to_row, write_rows, writer_for
from mirada.types import Prediction
from mirada.workspace import storage_errors


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What became of a batch. `errors` counts by reason, `labels` by predicted class; n_resumed were done before."""

    path: str
    n: int
    n_resumed: int
    n_rejected: int
    errors: Mapping[str, int]
    labels: Mapping[str, int]


def predict_rows(
    inputs: Sequence[str],
    predictor: Predictor,
    *,
    top_k: int = TOP_K,
    engine: Engine | None = None,
    progress: Progress | None = None,
    stdin: BufferedReader | None = None,
) -> Iterator[Row]:
    """Rows for the terminal, as they are answered: see `mirada.predict.tables.to_row`. Nothing is kept."""
    found = _expand(inputs, stdin, progress or Silent())
    for _, prediction in _answers(found.items(), predictor, top_k=top_k, engine=engine):
        yield to_row(prediction)


def predict_to_file(
    inputs: Sequence[str],
    out: Path,
    predictor: Predictor,
    *,
    top_k: int = TOP_K,
    engine: Engine | None = None,
    progress: Progress | None = None,
    stdin: BufferedReader | None = None,
) -> BatchReport:
    """Classify everything that `inputs` name (see `inputs.expand`) into `out`, a .csv, .jsonl or .parquet file.

    An unreadable photograph becomes a row with its reason in `error`. After a kill, the same call does only what
    is missing, and the file equals that of an undisturbed run. With another model it starts afresh, and says so.
    """
    display = progress or Silent()
    _check_output(out)
    found = _expand(inputs, stdin, display)
    with storage_errors(out.parent), Journal.open(out, _header(predictor, top_k)) as journal:
        n_done, items = journal.resume(found.items())
        _tell(journal, n_done, display)
        display.start(msg("Classifying"), found.total)
        display.advance(n_done)
        answers = _answers(items, predictor, top_k=top_k, engine=engine)
        while chunk := list(islice(answers, CHUNK)):
            journal.append([(item, to_row(prediction)) for item, prediction in chunk])
            display.advance(len(chunk))
        display.finish()
        tally = _Tally()
        write_rows(out, tally.count(journal.rows()), top_k=min(top_k, len(predictor.class_names)))
        journal.remove()
    return BatchReport(str(out), tally.n, n_done, tally.n_rejected, tally.errors, tally.labels)


class _Tally:
    """Counts rows on their way to the file."""

    def __init__(self) -> None:
        self.n = 0
        self.n_rejected = 0
        self.errors: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()

    def count(self, rows: Iterator[Row]) -> Iterator[Row]:
        for row in rows:
            self.n += 1
            self.n_rejected += bool(row["rejected"])
            if row["error"] is not None:
                self.errors[str(row["error"])] += 1
            else:
                self.labels[str(row["label"])] += 1
            yield row


def _answers(
    items: Iterator[Item], predictor: Predictor, *, top_k: int, engine: Engine | None
) -> Iterator[tuple[Item, Prediction]]:
    # The stream draws items ahead of its answers, in order: remember those on their way.
    under_way: deque[Item] = deque()

    def feed() -> Iterator[tuple[str, str | bytes]]:
        for item in items:
            under_way.append(item)
            yield item.uri, item.source

    for prediction in predictor.stream(feed(), top_k=top_k, engine=engine):
        yield under_way.popleft(), prediction


def _expand(inputs: Sequence[str], stdin: BufferedReader | None, display: Progress) -> Inputs:
    found = expand(inputs, stdin=stdin)
    for note in found.notes:
        display.note(note)
    return found


def _header(predictor: Predictor, top_k: int) -> dict[str, object]:
    """Everything that an answer depends on beside the photograph."""
    bundle = predictor.bundle
    facts = [
        bundle.onnx_sha256,
        bundle.class_names,
        bundle.reject_threshold,
        asdict(bundle.preprocess),
        predictor.precision,
        asdict(predictor.limits),
    ]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    return {"mirada_predictions": 1, "model": f"{bundle.name}@{bundle.version}", "facts": digest, "top_k": top_k}


def _tell(journal: Journal, n_done: int, display: Progress) -> None:
    if journal.is_restarted:
        display.note(msg("The model or the options changed since this output was begun: starting afresh."))
    elif n_done:
        display.note(
            msg_n(
                "{n} photograph was classified before the run was stopped; going on after it.",
                "{n} photographs were classified before the run was stopped; going on after them.",
                n=n_done,
            )
        )


def _check_output(out: Path) -> None:
    writer_for(out)
    if out.is_dir():
        raise UsageError(msg("{path} is a folder; name a file to write.", path=out))
    if not out.parent.is_dir():
        raise NotFound(msg("There is no folder {path} to write into.", path=out.parent), msg("Make it first."))
