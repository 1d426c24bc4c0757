"""``mirada issues``, ``decide``, ``undo`` and ``history`` as people call them."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mirada.catalog.catalog import Catalog
from mirada.intake import sample_id
from mirada.testing import class_folders
from mirada.types import Issue, Sample

Mirada = Callable[..., Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of eight photographs, one copied byte by byte, one that cannot be read."""
    root = tmp_path_factory.mktemp("data") / "photos"
    class_folders(root, 3, 8, size=48)
    first = sorted(root.iterdir())[0]
    photo = sorted(first.iterdir())[0]
    shutil.copy(photo, photo.with_name("zz_copy" + photo.suffix))
    (first / "broken.jpg").write_bytes(b"no photograph")
    return root


@pytest.fixture
def catalog(mirada: Mirada, folder: Path) -> Catalog:
    """The workspace's catalogue with issues of four checks."""
    assert mirada("add", folder).status == 0
    opened = Catalog.open("sqlite:///mirada/catalog.sqlite")
    samples = list(opened.samples())
    names = opened.class_names()
    other = {name: names[(i + 1) % len(names)] for i, name in enumerate(names)}
    flag(opened, "label", [s for s in samples if s.label == names[1]], other)
    flag(opened, "blurry", samples[:6], {})
    flag(opened, "exact_duplicate", [s for group in opened.duplicates_by_content() for s in by_id(opened, group)], {})
    (broken,) = opened.rejected()
    key = sample_id(broken.source, broken.uri)
    opened.replace_issues("corrupt", [Issue(key, "corrupt", 0.0, True, 0.5, {"reason": broken.reason})])
    yield opened
    opened.close()


def by_id(catalog: Catalog, ids: list[str]) -> list[Sample]:
    return [catalog.sample(key) for key in ids]


def test_the_queues_say_what_speaks_for_an_issue(mirada: Mirada, catalog: Catalog) -> None:
    one, two = by_id(catalog, next(iter(catalog.duplicates_by_content())))
    evidence = {"copy_of": one.sample_id, "uri": one.uri, "kinds": ["bytes"], "members": [one.sample_id, two.sample_id]}
    catalog.replace_issues("near_duplicate", [Issue(two.sample_id, "near_duplicate", 0.1, True, 0.5, evidence)])
    copies = mirada("issues", "--check", "near_duplicate").out
    assert f"copy of {Path(one.uri).name} (the same bytes)" in copies
    assert copies.split("\n")[0].split() == ["issue", "score", "label", "photograph", "why"]  # no split, none said
    assert "looks like" in mirada("issues", "--check", "label").out
    assert mirada("issues", "--check", "blurry").out.split("\n")[0].split() == ["issue", "score", "label", "photograph"]
    assert mirada("issues", "--check", "corrupt").out.split("\n")[0].split() == ["issue", "score", "photograph", "why"]


def test_ids_are_shown_as_they_are_typed(mirada: Mirada, catalog: Catalog) -> None:
    samples = list(catalog.samples())
    for name in (*(f"check{i}" for i in range(1000 // len(samples))), "dark"):
        catalog.replace_issues(name, [Issue(one.sample_id, name, 0.1, True, 0.5) for one in samples])
    (issue,) = mirada("issues", "--check", "dark", "--limit", "1", "--json").document
    assert mirada("issues", "--check", "dark").out.splitlines()[2].split()[0] == str(issue["id"])
    assert issue["id"] >= 1000


def test_a_check_that_found_nothing_leaves_nothing_to_decide(mirada: Mirada, catalog: Catalog) -> None:
    for name in ("none.csv", "none.json"):
        assert mirada("issues", "--check", "dark", "-o", name).status == 0
        done = mirada("decide", "--from", name)
        assert (done.status, done.err) == (0, "")
        assert done.out == f"{name} has no rows: there is nothing to decide.\n"


def test_undo_tells_what_it_undid(mirada: Mirada, catalog: Catalog) -> None:
    found = mirada("issues", "--json").document
    ids = [one["id"] for one in found if one["check"] in ("label", "blurry", "corrupt")]
    assert mirada("decide", *ids, "drop").status == 0
    many = mirada("undo", "12").out
    assert "and 2 more\n\n12 decisions undone." in many
    assert len([line for line in many.splitlines() if " drop " in line]) == 10
    mirada("decide", ids[-1], "keep", "--why", "fine")
    line = mirada("undo").out.splitlines()[2].split()
    assert line[1:] == ["keep", "label", Path(found[-1]["uri"]).name]


def flag(catalog: Catalog, check: str, samples: list[Sample], other: dict[str, str]) -> None:
    found = []
    for i, sample in enumerate(samples):
        evidence = {"suggested": other[sample.label], "p_suggested": 0.9} if other else {}
        found.append(Issue(sample.sample_id, check, (i + 1) / 100, True, 0.5, evidence))
    catalog.replace_issues(check, found)


def test_issues_as_json_and_as_a_table(mirada: Mirada, catalog: Catalog) -> None:
    found = mirada("issues", "--json", "--check", "label").document
    assert len(found) == 8
    assert set(found[0]) == {"id", "check", "sample_id", "uri", "label", "score", "evidence"}
    assert [one["score"] for one in found] == sorted(one["score"] for one in found)
    assert all(Path(one["uri"]).is_file() for one in found)
    everything = mirada("issues", "--json").document
    assert {one["check"] for one in everything} == {"label", "blurry", "exact_duplicate", "corrupt"}
    (corrupt,) = (one for one in everything if one["check"] == "corrupt")
    assert corrupt["uri"].endswith("/broken.jpg")
    assert corrupt["label"] is None
    listed = mirada("issues")
    assert "blurry" in listed.out
    page = mirada("issues", "--check", "label", "--limit", "3")
    assert f"--after {found[2]['id']}" in page.out
    rest = mirada("issues", "--json", "--check", "label", "--after", found[2]["id"]).document
    assert [one["id"] for one in rest] == [one["id"] for one in found[3:]]


def test_deciding_closes_the_issue_and_undo_opens_it(mirada: Mirada, catalog: Catalog) -> None:
    ids = [one["id"] for one in mirada("issues", "--json", "--check", "label").document]
    done = mirada("decide", f"{ids[0]}-{ids[2]}", "keep", "--by", "ana", "--why", "seen", "--json").document
    assert done["n_decided"] == 3
    assert {(one["check"], one["by"], one["why"]) for one in done["decisions"]} == {("label", "ana", "seen")}
    assert [one["id"] for one in mirada("issues", "--json", "--check", "label").document] == ids[3:]
    assert len(mirada("issues", "--json", "--check", "label", "--all").document) == 8
    assert catalog.issue_counts()["label"].n_decided == 3
    assert mirada("undo", "2").status == 0
    assert [one["id"] for one in mirada("issues", "--json", "--check", "label").document] == [ids[1], ids[2], *ids[3:]]


def test_relabel_and_its_bad_inputs(mirada: Mirada, catalog: Catalog) -> None:
    first, second, *_ = mirada("issues", "--json", "--check", "label").document
    name = catalog.class_names()[0]
    wrong = mirada("decide", first["id"], f"relabel={name.upper()}x", "--json")
    assert wrong.status == 1
    assert wrong.document["error"]["code"] == "bad_input"
    assert f"Did you mean {name}?" in wrong.document["error"]["hint"]
    assert mirada("decide", first["id"], f"relabel={name}").status == 0
    assert catalog.sample(first["sample_id"]).label == name
    assert mirada("decide", second["id"], "relabel=brand new", "--new-class").status == 0
    assert catalog.sample(second["sample_id"]).label == "brand new"
    again = mirada("decide", first["id"], "drop")
    assert again.status == 1
    assert f"Issue {first['id']} is settled already: relabel={name}" in again.err
    same = mirada("decide", first["id"], f"relabel={name}", "--json").document
    assert (same["n_decided"], same["n_already"]) == (0, 1)


@pytest.mark.parametrize(
    ("call", "status", "says"),
    [
        (["9999", "drop"], 1, "There is no issue 9999."),
        (["1", "dorp"], 2, "Did you mean drop?"),
        (["1-x", "drop"], 2, "a range such as 3-9; got '1-x'"),
        (["9-3", "drop"], 2, "from the lower number"),
        (["1"], 2, "keep, drop, ambiguous"),
        ([], 2, "Say what to decide"),
        (["drop"], 2, "Say both what and how"),
        (["1", "relabel="], 2, "must name the class"),
        (["--auto", "drop_all"], 2, "There is no rule 'drop_all'"),
        (["--auto", "accept_labels=2"], 2, "takes a probability"),
        (["--sample", "nowhere.jpg", "drop"], 1, "There is no photograph nowhere.jpg"),
        (["--group", "1"], 1, "has no group of copies"),
        (["--from", "missing.csv"], 1, "cannot read missing.csv"),
    ],
)
def test_what_cannot_be_decided(mirada: Mirada, catalog: Catalog, call: list[str], status: int, says: str) -> None:
    done = mirada("decide", *call)
    assert (done.status, done.out) == (status, "")
    assert says in done.err
    assert list(catalog.history()) == []


def test_one_bad_issue_stops_all_and_skip_bad_does_the_rest(mirada: Mirada, catalog: Catalog) -> None:
    ids = [one["id"] for one in mirada("issues", "--json", "--check", "blurry").document]
    done = mirada("decide", *ids[:2], "9999", "drop")
    assert done.status == 1
    assert "There is no issue 9999. Nothing was decided." in done.err
    assert list(catalog.history()) == []
    rest = mirada("decide", *ids[:2], "9999", "drop", "--skip-bad", "--json").document
    assert (rest["n_decided"], rest["n_refused"]) == (2, 1)
    assert rest["refused"][0]["message"] == "There is no issue 9999."


def test_a_whole_group_and_the_rules(mirada: Mirada, catalog: Catalog, folder: Path) -> None:
    one, two = (row["id"] for row in mirada("issues", "--json", "--check", "exact_duplicate").document)
    dry = mirada("decide", "--auto", "drop_exact_duplicates", "--auto", "drop_corrupt", "--dry-run", "--json").document
    assert [row["action"] for row in dry["decisions"]] == ["drop", "drop"]
    assert list(catalog.history()) == []
    grouped = mirada("decide", "--group", one, "--json").document
    assert sorted(row["action"] for row in grouped["decisions"]) == ["drop", "keep"]
    assert mirada("issues", "--json", "--check", "exact_duplicate").document == []
    assert mirada("decide", "--group", two).status == 1
    again = mirada("decide", "--auto", "drop_exact_duplicates", "--auto", "drop_corrupt", "--json").document
    assert [(row["check"], row["by"]) for row in again["decisions"]] == [("corrupt", "rule:drop_corrupt")]
    assert catalog.counts()["by_status"] == {"dropped": 1, "live": 24}
    assert len(list(folder.rglob("*.*"))) == 26  # no file is touched


def test_history_adds_up_also_after_undo(mirada: Mirada, catalog: Catalog, folder: Path) -> None:
    names = catalog.class_names()
    labels = mirada("issues", "--json", "--check", "label").document
    blurry = mirada("issues", "--json", "--check", "blurry").document
    calls = [
        ("decide", "--auto", "drop_exact_duplicates"),
        ("decide", labels[0]["id"], labels[1]["id"], f"relabel={names[2]}"),
        ("decide", labels[2]["id"], "drop"),
        (
            "decide",
            "--sample",
            folder / names[2] / sorted(p.name for p in (folder / names[2]).iterdir())[0],
            "ambiguous",
        ),
        ("decide", blurry[-1]["id"], "drop", "--skip-bad"),
        ("undo", "1"),
    ]
    given = {s.sample_id: s.label for s in catalog.samples(status=None)}
    for call in calls:
        assert mirada(*call).status == 0
        told = mirada("history", "--json").document
        for row in [*told["classes"], told["total"]]:
            taken = row["relabelled_from"] + row["dropped"] + row["ambiguous"] + row["unreadable"]
            assert row["original"] + row["relabelled_to"] - taken == row["final"]
            named = row["exact_duplicates"] + row["near_duplicates"] + row["irrelevant"] + row["other_dropped"]
            assert named == row["dropped"] == sum(row["dropped_by_check"].values())
        assert told["total"]["original"] == 26
        live = list(catalog.samples())
        for row in told["classes"]:
            assert row["final"] == sum(s.label == row["label"] for s in live)
            assert row["original"] - row["unreadable"] == sum(label == row["label"] for label in given.values())
    assert told["total"]["unreadable"] == told["classes"][0]["unreadable"] == 1
    assert told["total"]["relabelled_from"] == told["total"]["relabelled_to"] == 2
    text = mirada("history").out
    assert "relabelled from" in text
    assert text.splitlines()[5].startswith("total")
    rows = mirada("history", labels[0]["sample_id"], "--json").document
    assert [(row["action"], row["check"], row["new_label"]) for row in rows][:1] == [("relabel", "label", names[2])]
    assert "relabel=" in mirada("history", labels[0]["uri"]).out


def test_a_table_goes_out_and_comes_back_from_a_spanish_spreadsheet(mirada: Mirada, catalog: Catalog) -> None:
    assert mirada("issues", "--check", "label", "-o", "labels.csv").status == 0
    raw = Path("labels.csv").read_bytes()
    assert raw.startswith(b"\xef\xbb\xbfid,check,sample_id")
    rows = list(csv.DictReader(raw.decode("utf-8-sig").splitlines()))
    names = catalog.class_names()
    for row, answer in zip(rows, ["keep", "drop", "ambiguous", f"relabel={names[0]}", "", " KEEP "], strict=False):
        row["decision"] = answer
        row["score"] = row["score"].replace(".", ",")
    with Path("back.csv").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), delimiter=";")
        writer.writeheader()
        writer.writerows(rows)
    done = mirada("decide", "--from", "back.csv", "--by", "ana", "--json").document
    assert (done["n_decided"], done["n_refused"]) == (5, 0)
    assert catalog.sample(rows[3]["sample_id"]).label == names[0]
    assert catalog.statuses([rows[1]["sample_id"], rows[2]["sample_id"]]) == {
        rows[1]["sample_id"]: "dropped",
        rows[2]["sample_id"]: "ambiguous",
    }
    again = mirada("decide", "--from", "back.csv", "--json").document
    assert (again["n_decided"], again["n_already"]) == (0, 5)
    assert mirada("issues", "--check", "label", "-o", "labels.json").status == 0
    listed = json.loads(Path("labels.json").read_text())
    assert len(listed) == 3
    listed[0]["decision"] = "drop"
    Path("labels.json").write_text(json.dumps(listed))
    assert mirada("decide", "--from", "labels.json", "--json").document["n_decided"] == 1


def test_undo_of_nothing_and_of_what_is_undone(mirada: Mirada, catalog: Catalog) -> None:
    nothing = mirada("undo")
    assert nothing.status == 1
    assert "There is no decision to undo." in nothing.err
    (issue, *_) = mirada("issues", "--json", "--check", "blurry").document
    mirada("decide", issue["id"], "drop")
    assert mirada("undo", "--id", "1").status == 0
    assert "Decision 1 is undone already." in mirada("undo", "--id", "1").err
    assert "There is no decision 77." in mirada("undo", "--id", "77").err
    assert mirada("undo", "2", "--id", "1").status == 2
    lines = mirada("history", issue["sample_id"]).out
    assert "undo 1" in lines


def test_an_unknown_check_is_told_with_the_near_miss(mirada: Mirada, catalog: Catalog) -> None:
    found = mirada("issues", "--check", "blury")
    assert found.status == 2
    assert "blurry" in found.err
    assert mirada("issues", "--format", "csv").status == 2
