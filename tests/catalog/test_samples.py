"""Reading: filters, pages by key, streams that tolerate writes, and totals."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import islice

import pytest

from mirada.catalog.catalog import Catalog
from mirada.catalog.records import STATUSES
from mirada.errors import InputError, NotFound
from mirada.types import SPLIT_NAMES, Decision, Issue, Rejected, Sample

Make = Callable[..., Sample]
FLAGGED = 0.3


@pytest.fixture
def mixed(catalog: Catalog, sample: Make) -> tuple[Catalog, dict[str, tuple[Sample, str, set[str]]]]:
    """600 samples of mixed labels, splits, sources and statuses, and the truth: sample, status, flagging checks."""
    rng = random.Random(3)
    truth = {}
    issues, decisions = [], []
    for i in range(600):
        source = rng.choice(["photos", "camera"])
        label, split = rng.choice(["cat", "dog", None]), rng.choice([*SPLIT_NAMES, None])
        one = sample(i, source=source, label=label, split=split, added_at="2026-01-01")
        status, checks = rng.choice(STATUSES), set()
        for check, share in (("dark", FLAGGED), ("blurry", 0.02)):
            is_issue = rng.random() < share
            checks |= {check} if is_issue else set()
            issues.append(Issue(one.sample_id, check, rng.random(), is_issue, 0.5))
        if status != "live":
            decisions.append(Decision(one.sample_id, "drop" if status == "dropped" else "ambiguous"))
        truth[one.sample_id] = (one, status, checks)
    catalog.add([one for one, _, _ in truth.values()], [])
    catalog.save_issues(issues)
    catalog.decide(decisions)
    return catalog, truth


def _pages(catalog: Catalog, limit: int, **wanted: str | None) -> Iterator[Sample]:
    after = None
    while page := catalog.page(after=after, limit=limit, **wanted):  # type: ignore[arg-type]
        yield from page
        after = page[-1].sample_id


@pytest.mark.parametrize("status", [*STATUSES, None])
@pytest.mark.parametrize("check", [None, "dark", "blurry", "unknown"])
def test_a_page_holds_exactly_what_was_asked_for(mixed: tuple, status: str | None, check: str | None) -> None:
    catalog, truth = mixed
    for label in (None, "", "cat", "unknown"):
        for split in (None, "", "val"):
            for source in (None, "camera"):
                expected = sorted(
                    sample_id
                    for sample_id, (one, now, checks) in truth.items()
                    if (status is None or now == status)
                    and (label is None or (one.label or "") == label)
                    and (split is None or (one.split or "") == split)
                    and (source is None or one.source == source)
                    and (check is None or check in checks)
                )
                wanted = {"status": status, "label": label, "split": split, "source": source}
                found = [one.sample_id for one in _pages(catalog, 40, check=check, **wanted)]
                assert found == expected, wanted
                if check is None:
                    assert [one.sample_id for one in catalog.samples(**wanted)] == expected


def test_a_stream_stops_at_its_limit_and_goes_on_after_a_key(mixed: tuple) -> None:
    catalog, truth = mixed
    live = sorted(sample_id for sample_id, (_, status, _) in truth.items() if status == "live")
    found = [one.sample_id for one in catalog.samples(after=live[4], limit=7)]
    assert found == live[5:12]
    assert list(catalog.samples(limit=0)) == []


def test_writing_while_a_stream_is_read(catalog: Catalog, sample: Make) -> None:
    catalog.add([sample(i) for i in range(3000)])
    seen = []
    for one in catalog.samples():
        seen.append(one.sample_id)
        if len(seen) % 500 == 1:
            catalog.decide([Decision(one.sample_id, "drop")])
            catalog.add([sample(10_000 + len(seen))])
    assert len(seen) >= 3000
    assert seen == sorted(set(seen))
    assert catalog.counts()["by_status"]["dropped"] == len(range(1, len(seen) + 1, 500))


def test_a_stream_draws_no_more_than_it_needs(catalog: Catalog, sample: Make) -> None:
    catalog.add([sample(i) for i in range(500)])
    first = list(islice(catalog.samples(), 3))
    catalog.decide([Decision(first[0].sample_id, "drop")])  # no transaction of the stream is in the way
    assert len(first) == 3


def test_one_sample(catalog: Catalog, sample: Make) -> None:
    catalog.add([sample(1), sample(2)])
    catalog.decide([Decision(sample(2).sample_id, "drop")])
    assert catalog.sample(sample(2).sample_id).uri == sample(2).uri
    assert catalog.samples_by_id([sample(1).sample_id, "none"]).keys() == {sample(1).sample_id}
    assert catalog.statuses([sample(1).sample_id, sample(2).sample_id, "none"]) == {
        sample(1).sample_id: "live",
        sample(2).sample_id: "dropped",
    }
    with pytest.raises(NotFound, match="no sample none"):
        catalog.sample("none")


def test_an_unknown_status_is_refused(catalog: Catalog) -> None:
    with pytest.raises(InputError, match="live, dropped, ambiguous; got 'gone'"):
        catalog.page(status="gone")


def test_totals(mixed: tuple) -> None:
    catalog, truth = mixed
    catalog.add([], [Rejected("/x", "photos", "empty"), Rejected("/y", "photos", "missing")])
    live = [one for one, status, _ in truth.values() if status == "live"]
    totals = catalog.counts()
    assert totals["samples"] == len(live)
    assert totals["rejected"] == 2
    assert totals["unlabelled"] == sum(one.label is None for one in live)
    assert totals["decided"] == len(truth) - len(live)
    assert totals["by_split"] == {name: sum(one.split == name for one in live) for name in sorted(SPLIT_NAMES)}
    flags = [checks for _, status, checks in truth.values() if status == "live"]
    assert totals["by_check"]["dark"] == sum("dark" in checks for checks in flags)
    assert totals["by_reason"] == {"empty": 1, "missing": 1}
    assert sum(totals["by_source"].values()) == 600
    assert catalog.counts_by_class("val")["cat"] == sum(one.label == "cat" and one.split == "val" for one in live)


def test_duplicates_are_live_samples_of_equal_bytes(catalog: Catalog, sample: Make) -> None:
    same = [sample(i, content_sha256="a" * 64) for i in range(3)]
    pairs = [sample(i, content_sha256=f"{i // 2:064d}") for i in range(10, 3010)]
    catalog.add([*same, *pairs, sample(9000), sample(9001, content_sha256="a" * 64)])
    catalog.decide([Decision(sample(9001).sample_id, "drop")])
    groups = list(catalog.duplicates_by_content())
    assert len(groups) == 1501
    assert sorted(one.sample_id for one in same) in groups
    assert all(len(group) == 2 for group in groups if len(group) != 3)


def test_groups_are_set_and_taken_back(catalog: Catalog, sample: Make) -> None:
    catalog.add([sample(1), sample(2)])
    ids = [sample(1).sample_id, sample(2).sample_id]
    catalog.set_groups({ids[0]: "g1", ids[1]: "g1", "none": "g1"})
    catalog.set_groups({ids[0]: None})
    assert [catalog.sample(one).group_id for one in ids] == [None, "g1"]
