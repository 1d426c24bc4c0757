"""Decisions: what each does, undo, the log that only grows, and replay."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import DBAPIError

from mirada.catalog.catalog import Catalog
from mirada.errors import Conflict, InputError, NotFound
from mirada.types import Decision, Issue, Rejected, Sample

Make = Callable[..., Sample]


@pytest.fixture
def ids(catalog: Catalog, sample: Make) -> list[str]:
    catalog.add([sample(i) for i in range(5)])
    return [sample(i).sample_id for i in range(5)]


@pytest.mark.parametrize(
    ("action", "new", "status", "label"),
    [
        ("keep", None, "live", "cat"),
        ("drop", None, "dropped", "cat"),
        ("ambiguous", None, "ambiguous", "cat"),
        ("relabel", "owl", "live", "owl"),
        ("restore", None, "live", "cat"),
    ],
)
def test_what_each_action_does(
    catalog: Catalog, ids: list[str], action: str, new: str | None, status: str, label: str
) -> None:
    catalog.decide([Decision(ids[0], action, new=new, by="ana", reason="seen", at="2026-02-03T04:05:06")])
    assert catalog.statuses(ids[:1]) == {ids[0]: status}
    assert catalog.sample(ids[0]).label == label
    (row,) = catalog.history()
    assert (row.by, row.reason, row.at) == ("ana", "seen", "2026-02-03T04:05:06")
    old, new_ = ("cat", "owl") if action == "relabel" else ("live", status)
    assert list(catalog.decisions()) == [Decision(ids[0], action, old, new_, "ana", "seen", "2026-02-03T04:05:06")]


def test_a_restored_sample_keeps_the_label_it_was_given(catalog: Catalog, ids: list[str]) -> None:
    catalog.decide([Decision(ids[0], "relabel", new="owl"), Decision(ids[0], "drop"), Decision(ids[0], "restore")])
    assert catalog.sample(ids[0]).label == "owl"
    assert catalog.sample(ids[0]).label_source == "decision"
    assert catalog.statuses(ids[:1]) == {ids[0]: "live"}


def test_ids_come_in_order_and_times_are_set(catalog: Catalog, ids: list[str]) -> None:
    made = catalog.decide(Decision(id_, "drop") for id_ in ids * 500)
    assert made == list(range(1, 2501))
    assert all(row.at.endswith("+00:00") for row in catalog.history(after=2490))


def test_a_stale_old_is_a_conflict(catalog: Catalog, ids: list[str]) -> None:
    catalog.decide([Decision(ids[0], "relabel", old="cat", new="owl")])
    with pytest.raises(Conflict, match="is 'owl' by now, not 'cat'"):
        catalog.decide([Decision(ids[1], "drop"), Decision(ids[0], "relabel", old="cat", new="dog")])
    assert catalog.statuses(ids[1:2]) == {ids[1]: "live"}  # all or none
    catalog.decide([Decision(ids[0], "drop", old="live")])
    with pytest.raises(Conflict, match="is 'dropped' by now, not 'live'"):
        catalog.decide([Decision(ids[0], "ambiguous", old="live")])


def test_what_cannot_be_decided(catalog: Catalog, ids: list[str]) -> None:
    with pytest.raises(NotFound, match="no sample nobody"):
        catalog.decide([Decision("nobody", "drop")])
    with pytest.raises(InputError, match="keep, drop, relabel, ambiguous, restore; got 'burn'"):
        catalog.decide([Decision(ids[0], "burn")])  # type: ignore[arg-type]
    with pytest.raises(InputError, match="must name the new class"):
        catalog.decide([Decision(ids[0], "relabel")])
    assert list(catalog.history()) == []


def test_undo_takes_back_the_last_ones_and_only_once(catalog: Catalog, ids: list[str]) -> None:
    catalog.decide([Decision(ids[0], "drop"), Decision(ids[1], "relabel", new="owl"), Decision(ids[1], "drop")])
    assert catalog.undo(2, by="ana", reason="no") == [3, 2]
    assert catalog.undo() == [1]
    assert catalog.undo() == []
    assert [one.label for one in catalog.samples()] == ["cat"] * 5
    assert catalog.counts()["decided"] == 0
    undos = [row for row in catalog.history() if row.action == "undo"]
    assert [(row.undoes, row.by, row.reason) for row in undos] == [(3, "ana", "no"), (2, "ana", "no"), (1, "", "")]
    assert [row.undone_by for row in catalog.history()][:3] == [6, 5, 4]


def test_undo_of_one_in_the_middle_leaves_what_came_after(catalog: Catalog, ids: list[str]) -> None:
    catalog.decide([Decision(ids[0], "relabel", new="owl"), Decision(ids[0], "drop")])
    assert catalog.undo(ids=[1]) == [1]
    assert catalog.statuses(ids[:1]) == {ids[0]: "dropped"}
    assert catalog.sample(ids[0]).label == "cat"
    with pytest.raises(Conflict, match="undone already"):
        catalog.undo(ids=[1])
    with pytest.raises(NotFound, match="no decision 99"):
        catalog.undo(ids=[2, 99])
    with pytest.raises(NotFound, match="no decision 3"):
        catalog.undo(ids=[3])  # an undo is no decision


@pytest.mark.parametrize("table", ["decisions", "alias_history"])
@pytest.mark.parametrize("verb", ["UPDATE {} SET reason = 'other'", "DELETE FROM {}"])
def test_the_logs_only_grow(catalog: Catalog, ids: list[str], table: str, verb: str) -> None:
    catalog.decide([Decision(ids[0], "drop")])
    catalog.set_alias("m", "champion", catalog.add_model("m", "there"))
    with pytest.raises(DBAPIError, match="append-only"), catalog._db.write() as connection:
        connection.execute(sa.text(verb.format(table)))


def test_replay_onto_a_fresh_catalogue_gives_the_same_dataset(catalog: Catalog, ids: list[str], sample: Make) -> None:
    catalog.decide([Decision(ids[0], "relabel", new="owl"), Decision(ids[0], "relabel", old="owl", new="dog")])
    catalog.undo(ids=[1])  # what is left says that it was an owl before
    with Catalog.open("sqlite://") as fresh:
        fresh.add([sample(i) for i in range(5)])
        fresh.replay(catalog.decisions())
        assert fresh.freeze_dataset().dataset_id == catalog.freeze_dataset().dataset_id


N = 6
STEPS = st.one_of(
    st.tuples(
        st.just("decide"),
        st.lists(
            st.tuples(
                st.integers(0, N - 1),
                st.sampled_from(["keep", "drop", "ambiguous", "restore", "owl", "dog"]),
                st.sampled_from([None, "dark", "label"]),
            ),
            min_size=1,
            max_size=4,
        ),
    ),
    st.tuples(st.just("undo"), st.integers(1, 3)),
    st.tuples(st.just("undo one"), st.integers(0, 20)),
    st.tuples(st.just("edit"), st.tuples(st.integers(0, N - 1), st.sampled_from(["cat", "fox", None]))),
    st.tuples(st.just("touch"), st.integers(0, N - 1)),
    st.tuples(st.just("clean"), st.tuples(st.sampled_from(["dark", "label"]), st.sets(st.integers(0, N - 1)))),
    st.tuples(st.just("break"), st.integers(0, N - 1)),
)


def _as_decision(sample_id: str, action: str, check: str | None) -> Decision:
    if action in ("owl", "dog"):
        return Decision(sample_id, "relabel", new=action, check=check)
    return Decision(sample_id, action, check=check)  # type: ignore[arg-type]


def _frozen_rows(catalog: Catalog) -> bytes:
    """The dataset as it would be written down: its version, and every live row of it."""
    version = catalog.freeze_dataset()
    rows = [[s.sample_id, s.content_sha256, s.uri, s.label, s.label_source, s.split] for s in catalog.samples()]
    named = [version.dataset_id, version.class_names, version.n_samples, dict(version.counts)]
    return json.dumps([named, rows]).encode()


@settings(max_examples=25, deadline=None)
@given(steps=st.lists(STEPS, max_size=12))
def test_undo_and_replay_always_agree(sample: Make, steps: list, kept: Callable, recounted: Callable) -> None:
    facts = [sample(i) for i in range(N)]
    with Catalog.open("sqlite://") as worked, Catalog.open("sqlite://") as fresh:
        worked.add(facts)
        broken: set[int] = set()
        for step, what in steps:
            if step == "decide":
                worked.decide(
                    _as_decision(facts[i].sample_id, *how)
                    for i, *how in what
                    if i not in broken or how[0] in ("keep", "drop")
                )
            elif step == "undo":
                before = _frozen_rows(worked)
                last = len(list(worked.decisions()))
                undone = worked.undo(what)
                assert len(undone) == min(what, last)
                if undone and what == 1:  # deciding the same again leads back
                    row = next(row for row in worked.history() if row.decision_id == undone[0])
                    worked.replay([row.decision()])
                    assert _frozen_rows(worked) == before
            elif step == "undo one":
                in_force = [row.decision_id for row in worked.history() if not (row.undoes or row.undone_by)]
                if in_force:
                    worked.undo(ids=[in_force[what % len(in_force)]])
            elif step == "edit":
                broken.discard(what[0])
                facts[what[0]] = sample(what[0], label=what[1])
                worked.add([facts[what[0]]])
            elif step == "clean":
                worked.replace_issues(
                    what[0], [Issue(facts[i].sample_id, what[0], 0.1, True, 0.5) for i in what[1] if i not in broken]
                )
            elif step == "break":
                broken.add(what)
                worked.add([], [Rejected(facts[what].uri, facts[what].source, "truncated")])
            else:
                broken.discard(what)
                facts[what] = sample(what, label=facts[what].label, content_sha256=f"{what:064d}")
                worked.add([facts[what]])
        lost = [Rejected(facts[i].uri, facts[i].source, "truncated") for i in broken]
        fresh.add([one for i, one in enumerate(facts) if i not in broken], lost)
        fresh.replay(worked.decisions())
        assert _frozen_rows(fresh) == _frozen_rows(worked)
        states = [
            {one.sample_id: (one.label, one.label_source) for one in c.samples(status=None)} for c in (worked, fresh)
        ]
        assert states[0] == states[1]
        assert kept(worked) == recounted(worked)
