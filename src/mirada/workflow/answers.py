"""Questions as a table to fill in, and answers read back from it as decisions."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mirada.catalog.catalog import Catalog
from mirada.errors import InputError, NotFound
from mirada.messages import Message, msg, msg_n
from mirada.sources.labels import clean_label
from mirada.workflow.suggesting import REASON, Question, answer
from mirada.workspace import storage_errors, write_atomic

COLUMNS = ("sample_id", "uri", "cluster", "why", "proposed", "probability", "label")
NEAR = 0.8


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of answers. `near`: (new class, existing class of nearly the same name). `gone`: not live."""

    n: int
    n_same: int
    n_empty: int
    unknown: tuple[str, ...]
    gone: tuple[str, ...]
    new_classes: tuple[str, ...]
    near: tuple[tuple[str, str], ...]

    def notes(self) -> list[Message]:
        """What a person is told."""
        notes = [msg_n("{n} label recorded.", "{n} labels recorded.", n=self.n)]
        if self.n_same:
            notes.append(
                msg_n("{n} was decided that way already.", "{n} were decided that way already.", n=self.n_same)
            )
        if self.n_empty:
            notes.append(msg_n("{n} row has no label yet.", "{n} rows have no label yet.", n=self.n_empty))
        if self.unknown:
            notes.append(
                msg_n(
                    "{n} row names a photograph that is not in the catalogue: {first}.",
                    "{n} rows name photographs that are not in the catalogue, such as {first}.",
                    n=len(self.unknown),
                    first=self.unknown[0],
                )
            )
        if self.gone:
            notes.append(
                msg_n(
                    "{n} photograph was dropped in the meantime and stays so: {first}.",
                    "{n} photographs were dropped in the meantime and stay so, such as {first}.",
                    n=len(self.gone),
                    first=self.gone[0],
                )
            )
        if self.new_classes:
            notes.append(msg("New classes: {names}.", names=", ".join(self.new_classes)))
        notes += [
            msg("{a!r} is new: did you mean {b!r}? `mirada undo {n}` takes all of it back.", a=a, b=b, n=self.n)
            for a, b in self.near
        ]
        return notes


def write_questions(path: Path, questions: Sequence[Question]) -> None:
    """The questions as CSV with an empty column `label`. Raises StorageError."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for q in questions:
        probability = "" if q.probability is None else f"{q.probability:.4f}"
        writer.writerow([q.sample_id, q.uri, q.cluster, q.why, q.label or "", probability, ""])
    # With a mark, so that spreadsheets read it as UTF-8.
    with storage_errors(path):
        write_atomic(path, text.getvalue().encode("utf-8-sig", "backslashreplace"))


def read_answers(path: Path) -> dict[str, str]:
    """Labels by sample id, "" where the column is empty. Separators: comma, semicolon, tab.

    Raises NotFound, InputError where it is no such table or labels one photograph twice.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise NotFound(msg("There is no file {path}.", path=path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            msg("{path} cannot be read: {reason}", path=path, reason=error),
            msg("Save it as CSV in UTF-8."),
        ) from error
    first = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text), delimiter=max(",;\t", key=first.count))
    missing = [name for name in ("sample_id", "label") if name not in (reader.fieldnames or ())]
    if missing:
        raise InputError(
            msg("{path} has no column {name}.", path=path, name=missing[0]),
            msg("`mirada suggest -o FILE.csv` writes the table to fill in."),
        )
    found: dict[str, str] = {}
    for row in _rows(reader, path):
        sample_id, label = (row["sample_id"] or "").strip(), (row["label"] or "").strip()
        if found.setdefault(sample_id, label) != label:
            raise InputError(
                msg("{path} gives {sample_id} two labels: {a!r} and {b!r}.", path=path, sample_id=sample_id,
                    a=found[sample_id], b=label),
                msg("Leave one row for each photograph. Nothing was recorded."),
            )  # fmt: skip
    return found


def record(catalog: Catalog, answers: Mapping[str, str], *, by: str = "", reason: str = REASON) -> Recorded:
    """Decide what `answers` (label by sample id) say, all or none; what cannot be is told, not raised.

    Raises InputError for a new class whose name differs from a known one only by case or blanks.
    """
    known = [name for name in catalog.counts_by_class() if name]
    given = {sample_id: clean_label(label) for sample_id, label in answers.items() if label.strip()}
    there, statuses = catalog.samples_by_id(given), catalog.statuses(given)
    live = {i: label for i, label in given.items() if statuses.get(i) == "live"}
    new = {i: label for i, label in live.items() if there[i].label != label}
    classes = tuple(sorted(set(new.values()) - set(known)))
    _refuse_lookalikes(classes, known)
    near = tuple((name, match[0]) for name in classes if (match := difflib.get_close_matches(name, known, 1, NEAR)))
    answer(catalog, new, by=by, reason=reason)
    return Recorded(
        n=len(new),
        n_same=len(live) - len(new),
        n_empty=len(answers) - len(given),
        unknown=tuple(i for i in given if i not in there),
        gone=tuple(there[i].uri for i in given if i in there and i not in live),
        new_classes=classes,
        near=near,
    )


def _rows(reader: csv.DictReader[str], path: Path) -> list[dict[str, str]]:
    try:
        return [row for row in reader if any(row.values())]
    except csv.Error as error:
        raise InputError(msg("{path} cannot be read: {reason}", path=path, reason=error)) from error


def _refuse_lookalikes(new: Sequence[str], known: Sequence[str]) -> None:
    seen = {name.casefold(): name for name in known}
    for name in new:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            raise InputError(
                msg(
                    "{new!r} differs from the class {known!r} only in case. Nothing was recorded.",
                    new=name,
                    known=other,
                ),
                msg("Did you mean {name}?", name=other),
            )
