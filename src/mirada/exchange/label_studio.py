"""Label Studio, both ways: issues out as tasks, annotations in as decisions.

A task holds the photograph and what Mirada says of it in `data`, and the suggested class as a prediction
(https://labelstud.io/guide/predictions). An export is read in both of Label Studio's own shapes, JSON and JSON_MIN
(https://labelstud.io/guide/export). The labelling configuration asks two things: the class (`answer`), and what
becomes of the photograph (`decision`); the second one is needed only where it is not kept.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from mirada.errors import InputError, MiradaError
from mirada.exchange.base import Choice, Finding, Handed, Refusal, parse_action, suggestion, told
from mirada.exchange.tables import writing
from mirada.messages import Message, msg, msg_n
from mirada.sources.uris import split_row, uri_path
from mirada.types import Action

ANSWER, DECISION, PHOTO = "answer", "decision", "photo"
DECISIONS = ("keep", "drop", "ambiguous")
_TASK_FIELDS = ("image", "issue_id", "sample_id", "check", "score", "current_label", "question", "uri")
_OWN_FIELDS = ("id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement")
_NO_ANSWERS = frozenset((*_TASK_FIELDS, *_OWN_FIELDS))
_LOCAL = "/data/local-files/?d="


def labelling_config(class_names: Sequence[str]) -> str:
    """The labelling configuration (XML) that tasks of `write_tasks` are answered with."""
    classes = "\n".join(f"    <Choice value={quoteattr(name)}/>" for name in class_names)
    decisions = "\n".join(f"    <Choice value={quoteattr(name)}/>" for name in DECISIONS)
    return (
        "<View>\n"
        '  <Header value="$question"/>\n'
        f'  <Image name="{PHOTO}" value="$image" zoom="true"/>\n'
        f'  <Choices name="{ANSWER}" toName="{PHOTO}" choice="single" showInline="true">\n{classes}\n  </Choices>\n'
        f'  <Choices name="{DECISION}" toName="{PHOTO}" choice="single" showInline="true">\n{decisions}\n  </Choices>\n'
        "</View>\n"
    )


def document_root(uris: Iterable[str]) -> str:
    """The folder that Label Studio has to serve: one above what holds all photographs ("/" where there is none)."""
    folders = {os.path.dirname(uri_path(uri)) for uri in uris if _is_file(uri)}  # noqa: PTH120
    return os.path.dirname(os.path.commonpath(folders)) or "/" if folders else "/"  # noqa: PTH120


def write_tasks(findings: Sequence[Finding], path: Path, *, root: str | None = None) -> int:
    """Write one task an issue, to import into Label Studio; returns how many.

    `root`: the folder that Label Studio serves (LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT), None: `document_root`.
    """
    root = document_root(found.uri for found in findings) if root is None else root
    with writing(path) as file:
        for n, found in enumerate(findings):
            file.write(("[\n" if not n else ",\n") + json.dumps(task(found, root), ensure_ascii=False, allow_nan=False))
        file.write("\n]\n" if findings else "[]\n")
    return len(findings)


def task(found: Finding, root: str = "/") -> dict[str, object]:
    """One issue as a task."""
    data = {
        "image": _address(found.uri, root),
        "issue_id": found.issue_id,
        "sample_id": found.sample_id,
        "check": found.check,
        "score": round(found.score, 6),
        "current_label": found.label,
        "question": f"{found.check}: {found.label or '?'}",
        "uri": found.uri,
    }
    suggested = suggestion(found.evidence)[0] or found.label
    made: dict[str, object] = {"data": data}
    if isinstance(suggested, str):
        result = {"from_name": ANSWER, "to_name": PHOTO, "type": "choices", "value": {"choices": [suggested]}}
        made["predictions"] = [{"model_version": "mirada", "score": round(1 - found.score, 6), "result": [result]}]
    return made


def is_export(rows: Sequence[object]) -> bool:
    """Whether a list of JSON values is an export of Label Studio (either shape), and not a table of ours."""
    first = next((row for row in rows if isinstance(row, Mapping)), {})
    return "annotations" in first or "completions" in first or "data" in first or "annotation_id" in first


def read_export(rows: Sequence[object], name: str) -> Handed:
    """Decisions of an export, JSON or JSON_MIN, decided for the issue (or the sample) that each task names.

    Told and left out: cancelled annotations, empty ones, several of one task that disagree, tasks that are not
    ours. Raises InputError for an empty file.
    """
    if not rows:
        raise InputError(msg("{name} is empty.", name=name))
    choices: list[Choice] = []
    refused: list[Refusal] = []
    n_undecided = n_cancelled = 0
    for one in _tasks(rows):
        n_cancelled += one.n_cancelled
        where = msg("{name}, task {task}", name=name, task=one.task_id)
        try:
            answers = sorted({told(answer) for answer in map(_answer, one.results) if answer is not None})
            if len(answers) > 1:
                raise InputError(msg("its annotations disagree: {answers}.", answers=" / ".join(answers)))
            if answers:
                choices.append(_choice(one, answers[0], where))
            else:
                n_undecided += 1
        except MiradaError as error:
            refused.append(Refusal(error, where))
    notes = (_cancelled(name, n_cancelled),) if n_cancelled else ()
    return Handed(tuple(choices), tuple(refused), n_undecided, notes)


def _cancelled(name: str, n: int) -> Message:
    return msg_n(
        "{name}: {n} cancelled annotation is left aside.",
        "{name}: {n} cancelled annotations are left aside.",
        n=n,
        name=name,
    )


@dataclass(slots=True)
class _Task:
    """A task and what its annotations answer: control name → choices, one mapping an annotation."""

    task_id: object
    data: Mapping[str, object]
    results: list[dict[str, list[str]]]
    n_cancelled: int = 0
    by: str = ""


def _tasks(rows: Sequence[object]) -> list[_Task]:
    found: list[_Task] = []
    of_minimal: dict[object, _Task] = {}
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            found.append(_Task(number, {}, [{}]))
        elif isinstance(row.get("data"), Mapping):
            found.append(_full(row, number))
        elif isinstance(row.get("task"), Mapping):  # one annotation with its task, as the cloud storages hold it
            found.append(_full({**row["task"], "annotations": [row]}, number))
        else:
            key = row.get("id", number)
            if key not in of_minimal:
                of_minimal[key] = _Task(key, row, [])
                found.append(of_minimal[key])
            of_minimal[key].results.append(_minimal(row))
            of_minimal[key].by = _person(row.get("annotator"))
    return found


def _full(row: Mapping[str, object], number: int) -> _Task:
    made = _Task(row.get("id", number), _mapping(row["data"]), [])
    annotations = row.get("annotations", row.get("completions"))
    for annotation in annotations if isinstance(annotations, list) else []:
        if _mapping(annotation).get("was_cancelled") or _mapping(annotation).get("skipped"):
            made.n_cancelled += 1
            continue
        results = _mapping(annotation).get("result")
        found: dict[str, list[str]] = {}
        for result in results if isinstance(results, list) else []:
            value = _mapping(_mapping(result).get("value"))
            if "choices" in value:
                found.setdefault(str(_mapping(result).get("from_name")), []).extend(_texts(value))
        made.results.append(found)
        made.by = _person(_mapping(annotation).get("completed_by"))
    return made


def _minimal(row: Mapping[str, object]) -> dict[str, list[str]]:
    """The answers of a record of JSON_MIN, where they stand between the fields of the task."""
    return {name: _texts(value) for name, value in row.items() if name not in _NO_ANSWERS and _texts(value)}


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value] if value.strip() else []
    if isinstance(value, Mapping):
        return _texts(value.get("choices"))
    return [text for item in value for text in _texts(item)] if isinstance(value, list) else []


def _answer(result: Mapping[str, Sequence[str]]) -> tuple[Action, str | None] | None:
    """What an annotation answers: the decision where it takes the photograph out, else the class; None: nothing.

    In a configuration that is not ours any list of choices is read as the class, or as the decision where it says
    one in so many words.
    """
    decisions, classes = list(result.get(DECISION, ())), list(result.get(ANSWER, ()))
    for name, texts in result.items():
        if name not in (ANSWER, DECISION):
            decisions += [text for text in texts if text in DECISIONS]
            classes += [text for text in texts if text not in DECISIONS]
    for kind in (decisions, classes):
        if len(set(kind)) > 1:
            raise InputError(
                msg("it has more than one answer: {answers}.", answers=", ".join(kind)),
                msg("For a photograph of two classes answer `ambiguous`."),
            )
    if decisions and decisions[0] != "keep":
        return parse_action(decisions[0])
    if classes:
        return "relabel", classes[0]  # where it is that class already, a keep
    return parse_action("keep") if decisions else None


def _choice(one: _Task, answer: str, where: Message) -> Choice:
    issue_id, sample_id = one.data.get("issue_id"), one.data.get("sample_id")
    if not isinstance(sample_id, str) or not sample_id:
        raise InputError(
            msg("it is not a task of Mirada: its data has no sample_id."),
            msg("`mirada issues -o FILE.json --format label-studio` writes tasks that can be read back."),
        )
    if issue_id is not None and not (isinstance(issue_id, int | str) and str(issue_id).isdecimal()):
        raise InputError(msg("id must be the number of an issue; got {given!r}.", given=issue_id))
    key = None if issue_id is None else int(issue_id)
    return Choice(*parse_action(answer), key, sample_id, by=one.by, why="Label Studio", where=where)


def _person(value: object) -> str:
    name = value.get("email") or value.get("id") if isinstance(value, Mapping) else value
    return "label-studio" if name is None else f"label-studio:{name}"


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _is_file(uri: str) -> bool:
    return split_row(uri) is None and "://" not in uri.removeprefix("file://")


def _address(uri: str, root: str) -> str:
    """Where Label Studio finds the photograph: a file below the folder it serves, or an address as it is."""
    if not _is_file(uri):
        return uri
    return _LOCAL + quote(os.path.relpath(uri_path(uri), root))
