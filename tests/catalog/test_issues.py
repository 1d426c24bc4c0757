"""Scores and queues of the checks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import pytest

from mirada.catalog.catalog import Catalog
from mirada.errors import InputError, NotFound
from mirada.intake import sample_id
from mirada.types import Decision, Issue, Rejected, Sample

Make = Callable[..., Sample]


@pytest.fixture
def ids(catalog: Catalog, sample: Make) -> list[str]:
    catalog.add([sample(i) for i in range(1500)])
    return [sample(i).sample_id for i in range(1500)]


def test_a_queue_is_worst_first_and_holds_only_what_is_flagged(catalog: Catalog, ids: list[str]) -> None:
    scored = [
        Issue(id_, "dark", (i * 37 % 100) / 100, i % 2 == 0, 0.5, {"of": id_, "é": [1]}) for i, id_ in enumerate(ids)
    ]
    assert catalog.save_issues(scored) == 1500
    rows = list(catalog.issues("dark"))
    assert [row.issue.score for row in rows] == sorted(issue.score for issue in scored if issue.is_issue)
    assert {row.issue for row in map(_frozen, rows)} == {_frozen_issue(issue) for issue in scored if issue.is_issue}
    last = rows[99]
    assert next(catalog.issues("dark", after=(last.issue.score, last.issue_id))) == rows[100]
    assert list(catalog.issues("blurry")) == []


def _frozen(row: object) -> object:
    return type("Row", (), {"issue": _frozen_issue(row.issue)})  # type: ignore[attr-defined]


def _frozen_issue(issue: Issue) -> tuple[object, ...]:
    return (issue.sample_id, issue.check, issue.score, issue.is_issue, issue.threshold, str(dict(issue.evidence)))


def test_saving_again_replaces_and_keeps_the_key(catalog: Catalog, ids: list[str]) -> None:
    catalog.save_issues([Issue(ids[0], "dark", 0.1, True, 0.2), Issue(ids[0], "blurry", 0.9, False, 0.2)])
    (before,) = catalog.issues("dark")
    catalog.save_issues([Issue(ids[0], "dark", 0.15, True, 0.3, {"why": "night"})])
    (after,) = catalog.issues("dark")
    assert after.issue_id == before.issue_id
    assert (after.issue.score, after.issue.threshold, after.issue.evidence) == (0.15, 0.3, {"why": "night"})
    assert catalog.counts()["by_check"] == {"dark": 1}
    catalog.save_issues([Issue(ids[0], "dark", 0.4, False, 0.3)])
    assert catalog.counts()["by_check"] == {}
    assert [row.issue.check for row in catalog.issues_of(ids[:1])] == ["dark", "blurry"]


def test_the_queue_and_its_counter_follow_decisions(catalog: Catalog, ids: list[str]) -> None:
    catalog.save_issues([Issue(id_, "dark", 0.1, True, 0.2) for id_ in ids[:3]])
    catalog.decide([Decision(ids[0], "drop"), Decision(ids[1], "ambiguous")])
    assert catalog.counts()["by_check"] == {"dark": 1}
    assert [row.issue.sample_id for row in catalog.issues("dark")] == [ids[2]]
    assert len(list(catalog.issues("dark", open_only=False))) == 3
    catalog.undo(2)
    assert catalog.counts()["by_check"] == {"dark": 3}


def test_issues_by_key(catalog: Catalog, ids: list[str]) -> None:
    catalog.save_issues([Issue(id_, "dark", 0.1, True, 0.2) for id_ in ids[:3]])
    assert [row.issue.sample_id for row in catalog.issues_by_id([3, 1])] == [ids[2], ids[0]]
    with pytest.raises(NotFound, match="no issue 9"):
        catalog.issues_by_id([1, 9])
    with pytest.raises(NotFound, match="no sample stranger"):
        catalog.save_issues([Issue("stranger", "dark", 0.1, True, 0.2)])


def test_replacing_makes_the_queue_exactly_these_and_keeps_ids(
    catalog: Catalog, ids: list[str], kept: Callable, recounted: Callable
) -> None:
    def queue() -> dict[str, int]:
        return {row.issue.sample_id: row.issue_id for row in catalog.issues("dark", open_only=False)}

    catalog.save_issues([Issue(ids[5], "blurry", 0.1, True, 0.5)])
    assert catalog.replace_issues("dark", [Issue(id_, "dark", 0.1, True, 0.2) for id_ in ids[:1200]]) == 1200
    first = queue()
    catalog.decide([Decision(ids[1], "keep", check="dark"), Decision(ids[2], "drop", check="dark")])
    assert catalog.replace_issues("dark", [Issue(id_, "dark", 0.2, True, 0.3) for id_ in ids[1:1300]]) == 1299
    second = queue()
    assert set(second) == set(ids[1:1300])
    assert all(second[id_] == first[id_] for id_ in ids[1:1200])
    assert catalog.issue_counts()["dark"].n_decided == 2  # what was decided stays so
    (row,) = (row for row in catalog.issues_of(ids[:1]) if row.issue.check == "dark")
    assert (row.issue.is_issue, row.is_open, row.issue.score) == (False, False, 0.1)
    assert kept(catalog) == recounted(catalog)
    catalog.replace_issues("dark", [Issue(id_, "dark", 0.2, True, 0.3) for id_ in ids[:3]])
    assert queue() == {id_: first[id_] for id_ in ids[:3]}
    assert [row.issue.sample_id for row in catalog.issues("dark")] == [ids[0]]
    assert catalog.counts()["by_check_open"] == {"blurry": 1, "dark": 1}
    assert catalog.replace_issues("dark", [Issue(ids[9], "dark", 0.4, False, 0.3)]) == 0  # a near miss is none
    assert set(catalog.issue_counts()) == {"blurry"}
    assert kept(catalog) == recounted(catalog)
    with pytest.raises(ValueError, match="blurry"):
        catalog.replace_issues("dark", [Issue(ids[0], "blurry", 0.1, True, 0.2)])
    with pytest.raises(NotFound):
        catalog.replace_issues("dark", [Issue(ids[0], "dark", 0.1, True, 0.2), Issue("no", "dark", 0.1, True, 0.2)])
    assert queue() == {}  # all or nothing


def test_what_cannot_be_read_is_an_issue_until_it_can(
    catalog: Catalog, sample: Make, kept: Callable, recounted: Callable
) -> None:
    bad = sample(1)
    catalog.add([], [Rejected(bad.uri, bad.source, "truncated")])
    key = sample_id(bad.source, bad.uri)
    catalog.replace_issues("corrupt", [Issue(key, "corrupt", 0.0, True, 0.5)])
    assert catalog.rejected_by_id([key, "x"]) == {key: Rejected(bad.uri, bad.source, "truncated")}
    assert catalog.ids_at(bad.uri) == [key]
    assert catalog.counts()["by_check"] == {"corrupt": 1}
    catalog.decide([Decision(key, "keep", check="corrupt")])
    assert list(catalog.issues("corrupt")) == []
    assert kept(catalog) == recounted(catalog)
    with pytest.raises(InputError, match="cannot be read"):
        catalog.decide([Decision(key, "relabel", new="owl")])
    catalog.undo()
    assert len(list(catalog.issues("corrupt"))) == 1
    catalog.add([replace(bad, sample_id=key)])
    assert list(catalog.issues("corrupt", open_only=False)) == []
    assert kept(catalog) == recounted(catalog)


def test_an_issue_found_again_after_its_photograph_changed_is_open(catalog: Catalog, sample: Make) -> None:
    catalog.add([sample(1)])
    key = sample(1).sample_id
    catalog.replace_issues("dark", [Issue(key, "dark", 0.1, True, 0.5)])
    catalog.decide([Decision(key, "keep", check="dark")])
    catalog.add([sample(1, content_sha256="f" * 64)])
    catalog.replace_issues("dark", [Issue(key, "dark", 0.1, True, 0.5)])
    assert catalog.issue_counts()["dark"].n_open == 1


def test_fifty_thousand_issues_are_replaced_in_seconds(sqlite_url: str, bench: ModuleType) -> None:
    n = 50_000
    with Catalog.open(sqlite_url) as catalog:
        catalog.add(list(bench.synthetic(n)))
        ids = [one.sample_id for one in catalog.samples()]
        took = []
        for score in (0.1, 0.2):
            begun = time.process_time()
            catalog.replace_issues("dark", (Issue(id_, "dark", score, True, 0.5, {"mean": score}) for id_ in ids))
            took.append(time.process_time() - begun)
        assert catalog.issue_counts()["dark"].n_open == n
    assert max(took) < 3
