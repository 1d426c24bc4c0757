"""Rules, groups, and which copy is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from mirada.catalog.catalog import Catalog
from mirada.catalog.records import photo_id
from mirada.errors import InputError, UsageError
from mirada.exchange.base import Choice
from mirada.exchange.deciding import decide
from mirada.types import Decision, Issue, Rejected, Sample
from mirada.workflow.deciding import best, group_choices, photo
from mirada.workflow.handed import Gathered
from mirada.workflow.ruling import apply_rule
from mirada.workflow.telling import cleaning_history

Make = Callable[..., Sample]


@pytest.fixture
def make() -> Make:
    def sample(i: int, **changes: object) -> Sample:
        uri = f"/photos/{i:03d}.jpg"
        made = Sample(photo_id("p", uri), f"{i:064d}", uri, "p", 64, 48, "RGB", "JPEG", 1000, "cat", "source")
        return replace(made, **changes)  # type: ignore[arg-type]

    return sample


@pytest.fixture
def catalog() -> Iterator[Catalog]:
    with Catalog.open("sqlite://") as opened:
        yield opened


def _flag(catalog: Catalog, check: str, samples: list[Sample], **evidence: object) -> None:
    catalog.replace_issues(check, [Issue(s.sample_id, check, 0.1, True, 0.5, evidence) for s in samples])


def test_which_copy_is_kept(make: Make) -> None:
    small, large = make(1), make(2, width=640, height=480)
    assert best([small, large]) is large
    assert best([make(3, split="test"), large]).split == "test"
    assert best([make(3, label=None, width=999), small]) is small
    assert best([make(3, n_bytes=9), small]) is small
    assert best([small, large], named=small.sample_id) is small


def test_exact_duplicates_go_and_a_person_s_keep_stays(catalog: Catalog, make: Make) -> None:
    same = [make(i, content_sha256="a" * 64) for i in range(3)]
    odd = [make(i, content_sha256="b" * 64, label=label) for i, label in ((5, "cat"), (6, "dog"))]
    catalog.add([*same, *odd, make(9)])
    _flag(catalog, "exact_duplicate", [*same, *odd])
    issue = next(row for row in catalog.issues("exact_duplicate") if row.issue.sample_id == same[2].sample_id)
    decide(catalog, [Choice("keep", issue_id=issue.issue_id, by="ana")])
    ruled = apply_rule(catalog, "drop_exact_duplicates")
    assert [str(note) for note in ruled.notes] == ["1 set of copies bears different labels: look at it yourself."]
    assert [one.sample_id for one in ruled.choices] == [same[1].sample_id]
    done = decide(catalog, ruled.choices)
    assert (done.decisions[0].by, done.decisions[0].reason) == (
        "rule:drop_exact_duplicates",
        "a copy of /photos/000.jpg",
    )
    assert apply_rule(catalog, "drop_exact_duplicates").choices == []
    pixels = [make(20), make(21)]
    catalog.add(pixels)
    _flag(catalog, "exact_duplicate", [pixels[1]], keep=pixels[0].sample_id, kinds=["pixels"])
    assert [one.sample_id for one in apply_rule(catalog, "drop_exact_duplicates").choices] == [pixels[1].sample_id]
    decide(catalog, [Choice("drop", sample_id=pixels[0].sample_id)])  # then the copy is all that is left
    assert apply_rule(catalog, "drop_exact_duplicates").choices == []


def test_near_duplicates_go_by_group_and_only_those_that_are_flagged(catalog: Catalog, make: Make) -> None:
    near = [make(i, width=100 - i) for i in range(4)]
    catalog.add(near)
    catalog.set_groups({one.sample_id: "g" for one in near})
    _flag(catalog, "near_duplicate", near[:3], keep=near[1].sample_id)
    ruled = apply_rule(catalog, "drop_near_duplicates")
    assert {one.sample_id for one in ruled.choices} == {near[0].sample_id, near[2].sample_id}
    (row, *_) = catalog.issues("near_duplicate")
    grouped = {one.sample_id: one.action for one in group_choices(catalog, row.issue_id)}
    assert grouped == {one.sample_id: "keep" if one is near[1] else "drop" for one in near}
    decide(catalog, group_choices(catalog, row.issue_id))
    assert [one.sample_id for one in catalog.samples()] == [near[1].sample_id]
    assert list(catalog.issues("near_duplicate")) == []


def test_corrupt_and_labels(catalog: Catalog, make: Make) -> None:
    catalog.add([make(1), make(2), make(3, label="dog")], [Rejected("/photos/bad.jpg", "p", "truncated")])
    catalog.replace_issues("corrupt", [Issue(photo_id("p", "/photos/bad.jpg"), "corrupt", 0.0, True, 0.5)])
    found = [("dog", 0.95), ("dog", 0.6)]
    catalog.replace_issues(
        "label",
        [
            Issue(make(i).sample_id, "label", 0.1, True, 0.5, {"suggested": label, "p_suggested": p})
            for i, (label, p) in enumerate(found, start=1)
        ],
    )
    gathered = Gathered(catalog, by="ana", why="tidy")
    gathered.rules(["drop_corrupt", "accept_labels=0,9"])
    done = decide(catalog, gathered.choices)
    assert sorted((one.by, one.action, one.new) for one in done.decisions) == [
        ("rule:accept_labels", "relabel", "dog"),
        ("rule:drop_corrupt", "drop", None),
    ]
    assert catalog.counts_by_class() == {"cat": 1, "dog": 2}
    for rule in ("accept_labels", "accept_labels=x", "drop_corrupt=1", "drop"):
        with pytest.raises(UsageError):
            apply_rule(catalog, rule)


def test_a_photograph_by_its_id_address_or_path(catalog: Catalog, make: Make) -> None:
    catalog.add([make(1), make(1, source="q", sample_id=photo_id("q", make(1).uri)), make(2)])
    assert photo(catalog, make(2).sample_id) == photo(catalog, "/photos/../photos/002.jpg") == make(2).sample_id
    with pytest.raises(InputError, match="was added from 2 sources; give its sample id"):
        photo(catalog, make(1).uri)


def test_the_history_of_what_has_no_label(catalog: Catalog, make: Make) -> None:
    catalog.add(
        [make(i, label=None if i < 4 else "cat") for i in range(6)], [Rejected("/photos/x.jpg", "p", "truncated")]
    )
    ids = [make(i).sample_id for i in range(6)]
    catalog.decide(
        [
            Decision(ids[0], "relabel", new="cat", check="label"),
            Decision(ids[1], "drop", check="outlier"),
            Decision(ids[4], "relabel", new="owl"),
            Decision(ids[4], "drop", check="near_duplicate"),
            Decision(ids[5], "relabel", new="owl"),
            Decision(ids[5], "relabel", new="cat"),
        ]
    )
    told = cleaning_history(catalog)
    found = {one.label: one for one in told.classes}
    assert list(found) == ["cat", "owl", None]
    cat, owl, none = found["cat"], found["owl"], found[None]
    assert (cat.original, cat.relabelled_from, cat.relabelled_to, cat.final) == (2, 1, 1, 2)
    assert (owl.original, owl.relabelled_to, owl.dropped, owl.final) == (0, 1, {"near_duplicate": 1}, 0)
    assert (none.original, none.relabelled_from, none.dropped, none.unreadable, none.final) == (
        5,
        1,
        {"outlier": 1},
        1,
        2,
    )
    assert (told.total.original, told.total.n_dropped, told.total.final, owl.kept) == (7, 2, 4, None)
    assert next((step.check, step.action, step.n) for step in told.steps) == (None, "relabel", 3)
    for one in (*told.classes, told.total):
        taken = one.relabelled_from + one.n_dropped + one.ambiguous + one.unreadable
        assert one.original + one.relabelled_to - taken == one.final
    catalog.undo(6)
    assert [one.final for one in cleaning_history(catalog).classes] == [2, 4]
