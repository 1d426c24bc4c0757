"""Choices become decisions: all or none, once an issue, and what cannot be decided is told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mirada.catalog.catalog import Catalog
from mirada.catalog.records import photo_id
from mirada.errors import Conflict, InputError, NotFound
from mirada.exchange.base import Choice
from mirada.exchange.deciding import Rules, decide
from mirada.types import Decision, Issue, Rejected, Sample

Make = Callable[[int], Sample]
BAD = photo_id("/photos", "/photos/Pizza/bad.jpg")


def _open(catalog: Catalog, check: str) -> list[int]:
    return [row.issue_id for row in catalog.issues(check)]


def test_a_keep_closes_its_own_issue_and_a_drop_all_of_the_sample(catalog: Catalog) -> None:
    decide(catalog, [Choice("keep", issue_id=1)])
    assert (_open(catalog, "label"), _open(catalog, "dark")) == ([2, 3, 4, 5, 6], [7, 8, 9])
    decide(catalog, [Choice("drop", issue_id=8)])
    assert (_open(catalog, "label"), _open(catalog, "dark")) == ([3, 4, 5, 6], [7, 9])
    catalog.undo(1)
    assert (_open(catalog, "label"), _open(catalog, "dark")) == ([2, 3, 4, 5, 6], [7, 8, 9])


def test_a_decision_on_the_photograph_closes_what_was_found_before(catalog: Catalog, sample: Make) -> None:
    key = sample(0).sample_id
    decide(catalog, [Choice("keep", sample_id=key)])
    assert (_open(catalog, "label"), _open(catalog, "dark")) == ([2, 3, 4, 5, 6], [8, 9])
    catalog.replace_issues("blurry", [Issue(key, "blurry", 0.1, True, 0.5)])
    assert len(_open(catalog, "blurry")) == 1


def test_two_issues_of_one_photograph_in_one_call(catalog: Catalog, sample: Make) -> None:
    done = decide(catalog, [Choice("drop", issue_id=1), Choice("keep", issue_id=7)])
    assert len(done.ids) == 2
    assert catalog.statuses([sample(0).sample_id]) == {sample(0).sample_id: "dropped"}  # the stronger answer
    with pytest.raises(InputError, match="Two answers for one photograph"):
        decide(catalog, [Choice("drop", issue_id=2), Choice("keep", issue_id=2)])


def test_a_relabel_to_the_class_it_has_is_a_keep(catalog: Catalog, sample: Make) -> None:
    done = decide(catalog, [Choice("relabel", "Pizza", issue_id=2)])
    assert [one.action for one in done.decisions] == ["keep"]
    assert decide(catalog, [Choice("relabel", "Pizza", issue_id=2)]).n_already == 1


def test_what_cannot_be_read_can_be_dropped(catalog: Catalog) -> None:
    (row,) = catalog.issues("corrupt")
    with pytest.raises(InputError, match="cannot be read: keep or drop it"):
        decide(catalog, [Choice("ambiguous", issue_id=row.issue_id)])
    decide(catalog, [Choice("drop", issue_id=row.issue_id)])
    assert _open(catalog, "corrupt") == []
    (made,) = catalog.history()
    assert (made.sample_id, made.old_status, made.new_status, made.check) == (BAD, "rejected", "rejected", "corrupt")
    assert catalog.counts()["by_status"] == {"live": 12}
    catalog.undo()
    assert _open(catalog, "corrupt") == [row.issue_id]


def test_an_issue_whose_sample_vanished_or_is_none_any_more(catalog: Catalog, sample: Make) -> None:
    gone = sample(5)
    row = next(row for row in catalog.issues("label") if row.issue.sample_id == gone.sample_id)
    catalog.add([], [Rejected(gone.uri, gone.source, "missing")])
    with pytest.raises(NotFound, match=f"There is no issue {row.issue_id}"):
        decide(catalog, [Choice("drop", issue_id=row.issue_id)])
    catalog.replace_issues("dark", [])
    with pytest.raises(NotFound, match="Issue 7 is no longer one"):
        decide(catalog, [Choice("drop", issue_id=7)])
    with pytest.raises(NotFound, match="no sample stranger"):
        decide(catalog, [Choice("drop", sample_id="stranger")])
    with pytest.raises(InputError, match="must name an issue or a photograph"):
        decide(catalog, [Choice("drop")])


def test_somebody_else_decided_first(catalog: Catalog, sample: Make) -> None:
    decide(catalog, [Choice("drop", issue_id=1, by="ana")])
    with pytest.raises(Conflict, match=r"Issue 1 is settled already: drop by ana\.") as caught:
        decide(catalog, [Choice("keep", issue_id=1, by="ben"), Choice("keep", issue_id=2, by="ben")])
    assert "`mirada undo --id 1` takes that back" in str(caught.value.hint)
    assert _open(catalog, "label") == [2, 3, 4, 5, 6]  # all or none
    with pytest.raises(Conflict, match="Issue 1 is settled already: drop by ana, decision 1"):
        catalog.decide([Decision(sample(0).sample_id, "keep", check="label", by="ben")], open_only=True)
    rest = decide(catalog, [Choice("keep", issue_id=1), Choice("keep", issue_id=2)], Rules(skip_bad=True))
    assert (len(rest.ids), len(rest.refused)) == (1, 1)


N_ISSUES = 500


PERSON = """
import sys, time
from pathlib import Path
from mirada.catalog.catalog import Catalog
from mirada.errors import Conflict
from mirada.exchange.base import Choice
from mirada.exchange.deciding import decide
folder, by, action = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
made = conflicts = 0
with Catalog.open(f"sqlite:///{folder / 'catalog.sqlite'}") as catalog:
    (folder / f"{by}.ready").touch()
    while len(list(folder.glob("*.ready"))) < 2:
        time.sleep(0.01)
    for issue_id in range(1, 501):
        try:
            made += len(decide(catalog, [Choice(action, issue_id=issue_id, by=by)]).ids)
        except Conflict:
            conflicts += 1
print(made, conflicts)
"""


def test_two_processes_decide_the_same_500_issues_at_once(tmp_path: Path, sample: Make) -> None:
    url = f"sqlite:///{tmp_path / 'catalog.sqlite'}"
    with Catalog.open(url) as catalog:
        catalog.add([sample(i) for i in range(N_ISSUES)])
        catalog.replace_issues("dark", [Issue(sample(i).sample_id, "dark", 0.1, True, 0.5) for i in range(N_ISSUES)])
    people = [
        subprocess.Popen([sys.executable, "-c", PERSON, str(tmp_path), *who], stdout=subprocess.PIPE, text=True)
        for who in (("ana", "drop"), ("ben", "keep"))
    ]
    tallies = [[int(n) for n in person.communicate(timeout=200)[0].split()] for person in people]
    assert sum(made for made, _ in tallies) == N_ISSUES
    assert sum(conflicts for _, conflicts in tallies) == N_ISSUES
    with Catalog.open(url) as catalog:
        assert _open(catalog, "dark") == []
        decided = [row.sample_id for row in catalog.history()]
        assert sorted(decided) == sorted(sample(i).sample_id for i in range(N_ISSUES))
        assert catalog.issue_counts()["dark"].n_decided == N_ISSUES
