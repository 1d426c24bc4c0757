"""Tables of decisions: what spreadsheets make of them, and what cannot be read."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from mirada.catalog.catalog import Catalog
from mirada.errors import InputError, NotFound, StorageError
from mirada.exchange.base import parse_action
from mirada.exchange.tables import COLUMNS, read_csv
from mirada.workflow.deciding import FileFormat, findings, read_file, write_file

HEAD = "id;decision;why\r\n"


@pytest.mark.parametrize(
    "data",
    [
        (HEAD + "1;relabel=Café & té;sí\r\n").encode("utf-8-sig"),
        (HEAD + "1;relabel=Café & té;sí\r\n").encode("cp1252"),
        (HEAD + "1;relabel=Café & té;sí\r\n").encode("utf-16"),
        ("sep=;\r\n" + HEAD + "1,0;relabel=Café & té;sí\r\n").replace("1,0", "1").encode(),
        (HEAD.replace(";", ",") + '1.0,"relabel=Café & té",sí\n\n').encode(),
        (HEAD.replace(";", "\t").upper() + "1\trelabel = Café & té\tsí\n").encode(),
    ],
    ids=["BOM and semicolons", "cp1252", "UTF-16", "sep=", "commas", "tabs"],
)
def test_what_spreadsheets_save(data: bytes) -> None:
    (choice,) = read_csv(data, "x.csv").choices
    assert (choice.issue_id, choice.action, choice.new, choice.why) == (1, "relabel", "Café & té", "sí")
    assert str(choice.where) in ("x.csv, line 2", "x.csv, line 3")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "x.csv is empty"),
        (b"\xef\xbb\xbf \r\n", "x.csv is empty"),
        (b"id,desicion\n1,drop\n", "has no column decision; it has: id, desicion. Is 'desicion' meant to be it?"),
        (b"name,decision\n1,drop\n", "has no column id; it has: name, decision"),
        (b'id,decision\n1,"drop\n', "is not a CSV file"),
    ],
)
def test_what_is_no_table(data: bytes, says: str) -> None:
    with pytest.raises(InputError) as caught:
        read_csv(data, "x.csv")
    assert says in str(caught.value)


def test_rows_that_cannot_be_read_are_told_by_line() -> None:
    data = b"id,sample_id,decision,colour\n1,,burn,\nx,,drop,\n,,drop,\n2,,relabel=,\n3,,,\n4,,drop,red\n"
    handed = read_csv(data, "x.csv")
    assert [one.issue_id for one in handed.choices] == [4]
    assert handed.n_undecided == 1
    assert [str(note) for note in handed.notes] == ["x.csv: columns that mean nothing here are left aside: colour."]
    assert [str(one.message) for one in handed.refused] == [
        "x.csv, line 2: A decision must be one of keep, drop, ambiguous, restore, relabel=CLASS; got 'burn'.",
        "x.csv, line 3: id must be the number of an issue; got 'x'.",
        "x.csv, line 4: The row names no photograph: id and sample_id are empty.",
        "x.csv, line 5: relabel must name the class: relabel=CLASS; got 'relabel='.",
    ]


@pytest.mark.parametrize("name", ["t.csv", "t.json"])
def test_what_goes_out_comes_back(catalog: Catalog, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert write_file(catalog, findings(catalog), path)[0] == 10
    text = path.read_text("utf-8-sig")
    assert all(column in text for column in COLUMNS)
    handed = read_file(path)
    assert (handed.choices, handed.refused, handed.n_undecided, handed.notes) == ((), (), 10, ())


@pytest.mark.parametrize(("name", "fmt"), [("t.csv", "csv"), ("t.json", "json"), ("t.json", "label-studio")])
def test_a_table_of_nothing_decides_nothing(catalog: Catalog, tmp_path: Path, name: str, fmt: FileFormat) -> None:
    assert write_file(catalog, findings(catalog, "bright"), tmp_path / name, fmt)[0] == 0
    handed = read_file(tmp_path / name)
    assert (handed.choices, handed.refused, handed.n_undecided) == ((), (), 0)
    assert [str(note) for note in handed.notes] == [f"{name} has no rows: there is nothing to decide."]


def test_the_table_says_why_and_tables_without_that_are_read(catalog: Catalog, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    write_file(catalog, findings(catalog, "label"), path)
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert (rows[0]["suggested"], rows[0]["evidence"]) == ("Pizza", "looks like Pizza (90 %)")
    old = b"id,check,sample_id,uri,label,score,decision,by,why\n1,label,,,,0,drop,,\n"
    handed = read_csv(old, "old.csv")
    assert ([one.action for one in handed.choices], handed.notes) == (["drop"], ())


def test_json_that_is_no_table(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    for text, says in [
        ("", "x.json is empty"),
        ("[1, 2]", "must be a list of objects"),
        ("{oops", "is not JSON"),
        ('[{"id": 1, "action": "drop"}]', "has no column decision"),
    ]:
        path.write_text(text)
        with pytest.raises(InputError, match=says):
            read_file(path)
    path.write_text(json.dumps([{"id": 1, "decision": "drop"}, {"sample_id": "x", "decision": None}]))
    handed = read_file(path)
    assert [one.action for one in handed.choices] == ["drop"]
    assert handed.n_undecided == 1
    with pytest.raises(NotFound, match="cannot read"):
        read_file(tmp_path / "none.csv")
    with pytest.raises(StorageError, match="cannot write"):
        write_file(None, [], tmp_path / "no" / "t.csv")  # type: ignore[arg-type]


def test_actions() -> None:
    assert parse_action(" Drop ") == ("drop", None)
    assert parse_action("relabel=a=b") == ("relabel", "a=b")
    for text in ("", "drop=x", "relabel", "undo"):
        with pytest.raises(InputError):
            parse_action(text)
