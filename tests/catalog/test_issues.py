"""Scores and queues of the checks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mirada.catalog.catalog import Catalog
from mirada.errors import NotFound
from mirada.types import Decision, Issue, Sample

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
