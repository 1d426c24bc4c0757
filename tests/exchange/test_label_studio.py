"""Tasks out, annotations in, in the shapes that Label Studio's documentation has."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from mirada.catalog.catalog import Catalog
from mirada.errors import InputError
from mirada.exchange.deciding import Rules, decide
from mirada.exchange.label_studio import document_root, labelling_config, read_export, write_tasks
from mirada.workflow.deciding import findings, read_file, write_file


def choices(name: str, *values: str) -> dict[str, object]:
    """A result as Label Studio stores it."""
    return {
        "id": "Dx_aB91ISN",
        "from_name": name,
        "to_name": "photo",
        "type": "choices",
        "origin": "manual",
        "value": {"choices": list(values)},
    }


def annotated(task: dict, *results: dict, task_id: int = 1, **annotation: object) -> dict:
    """A task of ours as it comes out of Label Studio with one annotation."""
    return {
        "id": task_id,
        "data": task["data"],
        "project": 83,
        "created_at": "2021-03-09T21:52:49.513742Z",
        "predictions": [],
        "annotations": [
            {
                "id": 1001,
                "result": list(results),
                "was_cancelled": False,
                "ground_truth": False,
                "completed_by": {"id": 10, "email": "ana@example.org"},
                "lead_time": 4.288,
                "task": task_id,
                **annotation,
            }
        ],
    }


@pytest.fixture
def tasks(catalog: Catalog, tmp_path: Path) -> list[dict]:
    path = tmp_path / "tasks.json"
    n, notes = write_file(catalog, findings(catalog, "label"), path, "label-studio")
    assert n == 6
    assert "DOCUMENT_ROOT=/," in str(notes[1])  # one above /photos
    return json.loads(path.read_text())


def test_tasks_have_the_documented_shape(tasks: list[dict], catalog: Catalog, tmp_path: Path) -> None:
    first = tasks[0]
    assert set(first) == {"data", "predictions"}
    assert first["data"]["image"].startswith("/data/local-files/?d=")
    assert unquote(first["data"]["image"].partition("d=")[2]) == "photos/Café & té/000.jpg"
    (prediction,) = first["predictions"]
    (result,) = prediction["result"]
    assert set(result) == {"from_name", "to_name", "type", "value"}
    assert result["value"] == {"choices": ["Pizza"]}
    root = ElementTree.fromstring((tmp_path / "tasks.json.config.xml").read_text())
    controls = {tag.get("name"): [c.get("value") for c in tag] for tag in root.iter("Choices")}
    assert controls == {"answer": ["Café & té", "Pizza", "Sushi"], "decision": ["keep", "drop", "ambiguous"]}
    (image,) = root.iter("Image")
    assert {tag.get("toName") for tag in root.iter("Choices")} == {image.get("name")} == {result["to_name"]}
    assert image.get("value") == "$image"
    assert result["from_name"] in controls


def test_a_round_trip_changes_exactly_the_labels_it_should(tasks: list[dict], catalog: Catalog, tmp_path: Path) -> None:
    before = {s.sample_id: s.label for s in catalog.samples()}
    answers = [
        [choices("answer", "Sushi")],  # another class
        [choices("answer", "Pizza")],  # the class it has
        [choices("decision", "drop"), choices("answer", "Pizza")],
        [choices("decision", "ambiguous")],
        [choices("decision", "keep")],
        [],
    ]
    export = [
        annotated(task, *answer, task_id=50 + i) for i, (task, answer) in enumerate(zip(tasks, answers, strict=True))
    ]
    path = tmp_path / "export.json"
    path.write_text(json.dumps(export))
    handed = read_file(path)
    assert (len(handed.choices), handed.n_undecided, handed.refused) == (5, 1, ())
    decide(catalog, handed.choices)
    ids = [task["data"]["sample_id"] for task in tasks]
    after = {s.sample_id: s.label for s in catalog.samples(status=None)}
    assert {key for key in before if before[key] != after[key]} == {ids[0]}
    assert after[ids[0]] == "Sushi"
    assert catalog.statuses(ids) == dict(
        zip(ids, ["live", "live", "dropped", "ambiguous", "live", "live"], strict=True)
    )
    assert [row.issue.sample_id for row in catalog.issues("label")] == [ids[5]]
    assert {row.by for row in catalog.history()} == {"label-studio:ana@example.org"}
    assert decide(catalog, read_file(path).choices).n_already == 5  # the same file again changes nothing


def test_json_min(tasks: list[dict], catalog: Catalog) -> None:
    def minimal(task: dict, task_id: int, **answers: object) -> dict:
        own = {"id": task_id, "annotator": 1, "annotation_id": task_id, "created_at": "2021-03-09", "lead_time": 4.2}
        return {**task["data"], **own, "updated_at": "2021-03-09", **answers}

    rows = [
        minimal(tasks[0], 1, answer="Sushi"),
        minimal(tasks[1], 2, decision="drop"),
        minimal(tasks[2], 3),
        minimal(tasks[3], 4, answer="Sushi"),
        minimal(tasks[3], 4, answer="Pizza"),  # a second annotation of the same task
        minimal(tasks[4], 5, answer={"choices": ["Pizza", "Sushi"]}),
    ]
    handed = read_export(rows, "min.json")
    assert [(one.action, one.new) for one in handed.choices] == [("relabel", "Sushi"), ("drop", None)]
    assert handed.n_undecided == 1
    assert [str(one.message) for one in handed.refused] == [
        "min.json, task 4: its annotations disagree: relabel=Pizza / relabel=Sushi.",
        "min.json, task 5: it has more than one answer: Pizza, Sushi.",
    ]


def test_what_is_told(tasks: list[dict], catalog: Catalog) -> None:
    stranger = annotated({"data": {"image": "https://example.com/1.jpg"}}, choices("answer", "Pizza"), task_id=1)
    moved = annotated({"data": {**tasks[0]["data"], "sample_id": "f" * 20}}, choices("answer", "Pizza"), task_id=2)
    gone = annotated({"data": {**tasks[0]["data"], "issue_id": 999}}, choices("answer", "Pizza"), task_id=3)
    cancelled = annotated(tasks[1], choices("answer", "Sushi"), task_id=4, was_cancelled=True)
    unknown = annotated(tasks[2], choices("answer", "Pizzza"), task_id=5)
    two = annotated(tasks[3], choices("answer", "Sushi"), task_id=6)
    two["annotations"] += annotated(tasks[3], choices("decision", "drop"))["annotations"]
    agree = annotated(tasks[4], choices("answer", "Sushi"), task_id=7)
    agree["annotations"] *= 2
    handed = read_export([stranger, moved, gone, cancelled, unknown, two, agree, 7], "x.json")
    assert [str(note) for note in handed.notes] == ["x.json: 1 cancelled annotation is left aside."]
    assert handed.n_undecided == 2  # the cancelled one, and what is no task
    outcome = decide(catalog, handed.choices, Rules(skip_bad=True), refused=handed.refused)
    assert [one.action for one in outcome.decisions] == ["relabel"]
    told = [str(one.message) for one in outcome.refused]
    assert told[0] == "x.json, task 1: it is not a task of Mirada: its data has no sample_id."
    assert told[1] == "x.json, task 6: its annotations disagree: drop / relabel=Sushi."
    assert told[2].startswith("x.json, task 2: Issue 1 is of photograph")
    assert told[3] == "x.json, task 3: There is no issue 999."
    assert told[4] == "x.json, task 5: There is no class 'Pizzza'."
    with pytest.raises(InputError, match=r"Nothing was decided. .*--skip-bad"):
        decide(catalog, handed.choices, refused=handed.refused)
    with pytest.raises(InputError, match="is empty"):
        read_export([], "x.json")


def test_a_configuration_of_somebody_else(tasks: list[dict]) -> None:
    handed = read_export(
        [annotated(tasks[0], choices("choice", "Sushi")), annotated(tasks[1], choices("c", "drop"))], "x"
    )
    assert [(one.action, one.new) for one in handed.choices] == [("relabel", "Sushi"), ("drop", None)]


def test_one_annotation_with_its_task_as_cloud_storages_hold_it(tasks: list[dict]) -> None:
    full = annotated(tasks[0], choices("answer", "Sushi"))
    stored = {**full["annotations"][0], "task": {"id": 9, "data": full["data"]}}
    handed = read_export([stored], "9.json")
    assert [(one.action, one.new) for one in handed.choices] == [("relabel", "Sushi")]


def test_addresses(tmp_path: Path, catalog: Catalog) -> None:
    assert document_root([]) == "/"
    assert document_root(["/a/b/c/1.jpg", "/a/b/d/2.jpg", "hf://x/y.parquet#3"]) == "/a"
    found = list(findings(catalog, "dark"))
    write_tasks(found, tmp_path / "t.json", root="/photos")
    images = [task["data"]["image"] for task in json.loads((tmp_path / "t.json").read_text())]
    assert images[1] == "/data/local-files/?d=Pizza/001.jpg"


def test_class_names_survive_the_configuration() -> None:
    names = ['a "b"', "<c> & d", "ñ'", "x=y"]
    root = ElementTree.fromstring(labelling_config(names))
    assert [tag.get("value") for tag in root.iter("Choice")][:4] == names
