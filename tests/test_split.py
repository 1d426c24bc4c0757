from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirada.errors import NotEnoughData, UsageError
from mirada.evaluate.leakage import find_leakage
from mirada.groups import group_keys
from mirada.split import Ratios, given_split, make_split, parse_ratios
from mirada.types import Sample, Split, SplitName


def sample(
    name: str, label: str | None = "a", *, sha: str = "", group: str | None = None, split: SplitName | None = None
) -> Sample:
    return Sample(
        sample_id=name,
        content_sha256=sha or f"sha-{name}",
        uri=f"/photos/{name}.jpg",
        source="/photos",
        width=8,
        height=8,
        mode="RGB",
        format="JPEG",
        n_bytes=1,
        label=label,
        group_id=group,
        split=split,
    )


def pile(counts: dict[str, int]) -> list[Sample]:
    return [sample(f"{label}{i:04d}", label) for label, n in counts.items() for i in range(n)]


def parts(split: Split) -> dict[str, str]:
    return {i: name for name in ("train", "val", "test") for i in getattr(split, name)}


def test_each_class_is_divided_by_the_ratios() -> None:
    split = make_split(pile({"a": 100, "b": 200, "c": 10}), ratios=parse_ratios("63/27/10")).split
    by_class = {name: Counter(i[0] for i in getattr(split, name)) for name in ("train", "val", "test")}
    assert by_class["train"] == {"a": 63, "b": 126, "c": 6}
    assert by_class["val"] == {"a": 27, "b": 54, "c": 3}
    assert by_class["test"] == {"a": 10, "b": 20, "c": 1}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("63/27/10", (0.63, 0.27, 0.10)), ("0.7/0.15/0.15", (0.7, 0.15, 0.15)), (" 2 / 1/1", (0.5, 0.25, 0.25))],
)
def test_ratios_are_read_and_scaled(text: str, expected: tuple[float, float, float]) -> None:
    ratios = parse_ratios(text)
    assert (ratios.train, ratios.val, ratios.test) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "70/30", "70/15/15/0", "70/15/0", "70/15/-15", "a/b/c", "nan/1/1", "inf/1/1"])
def test_other_ratios_are_refused_with_what_was_given(text: str) -> None:
    with pytest.raises(UsageError, match="three positive numbers") as caught:
        parse_ratios(text)
    assert repr(text) in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 12), st.none() | st.integers(0, 5)), min_size=2, max_size=60
    ),
    seed=st.integers(0, 5),
    shuffle=st.randoms(use_true_random=False),
)
def test_groups_stay_whole_and_order_does_not_matter(
    rows: list[tuple[str, int, int | None]], seed: int, shuffle: random.Random
) -> None:
    samples = [
        sample(f"s{i}", label, sha=f"sha{content}", group=None if group is None else f"g{group}")
        for i, (label, content, group) in enumerate(rows)
    ]
    if len({s.label for s in samples}) < 2:
        return
    first = make_split(samples, seed=seed)
    shuffled = samples[:]
    shuffle.shuffle(shuffled)
    assert make_split(shuffled, seed=seed) == first
    place = parts(first.split)
    assert set(place) == {s.sample_id for s in samples}
    keys = group_keys(samples)
    assert all(len({place[i] for i in place if keys[i] == key}) == 1 for key in keys.values())
    assert not find_leakage(samples, first.split)


def test_another_seed_gives_another_split_and_another_id() -> None:
    samples = pile({"a": 50, "b": 50})
    one, two = make_split(samples, seed=1).split, make_split(samples, seed=2).split
    assert one.test != two.test
    assert one.split_id != two.split_id
    assert make_split(samples, seed=1).split.split_id == one.split_id


def test_group_ids_and_equal_content_link_up() -> None:
    keys = group_keys(
        [
            sample("1", sha="x", group="g"),
            sample("2", sha="y", group="g"),
            sample("3", sha="y"),
            sample("4", sha="z", group="h"),
            sample("5", sha="w"),
        ]
    )
    assert keys["1"] == keys["2"] == keys["3"] == "x"
    assert len({keys["1"], keys["4"], keys["5"]}) == 3


def test_small_classes_train_first_then_test_and_are_told() -> None:
    result = make_split(pile({"big": 20, "one": 1, "two": 2, "wee": 3}))
    place = parts(result.split)
    assert place["one0000"] == "train"
    assert sorted(place[i] for i in ("two0000", "two0001")) == ["test", "train"]
    assert sorted(place[f"wee000{i}"] for i in range(3)) == ["test", "train", "val"]
    told = [str(note) for note in result.notes]
    assert "2 classes have no photograph in val: one, two." in told
    assert "1 class has no photograph in test: one." in told


@pytest.mark.parametrize("samples", [[], pile({"a": 9}), [sample("x", None), sample("y", "a")]])
def test_fewer_than_two_classes_are_refused(samples: list[Sample]) -> None:
    with pytest.raises(NotEnoughData, match="two classes"):
        make_split(samples)


def test_photographs_without_label_are_left_out_and_told() -> None:
    result = make_split([*pile({"a": 5, "b": 5}), sample("x", None)])
    assert result.left_out == {"x": "unlabelled"}
    assert "1 photograph without a label is left out." in map(str, result.notes)
    assert "x" not in parts(result.split)


def test_later_photographs_never_enter_the_frozen_test() -> None:
    old = pile({"a": 60, "b": 60})
    first = make_split(old, seed=3).split
    new = [sample(f"new{i:03d}", "ab"[i % 2]) for i in range(200)]
    result = make_split([*old, *new], seed=3, previous=[first])
    assert set(result.split.test) == set(first.test)
    before, after = parts(first), parts(result.split)
    assert all(after[i] == before[i] for i in before)
    arrived = Counter(after[s.sample_id] for s in new)
    assert arrived["val"] + arrived["train"] == 200
    assert arrived["val"] / 200 == pytest.approx(0.15 / 0.85, abs=0.08)


def test_later_copies_join_their_group_and_copies_of_test_are_left_out() -> None:
    old = pile({"a": 20, "b": 20})
    first = make_split(old).split
    copies = [
        sample("copy-test", "a", sha=f"sha-{first.test[0]}"),
        sample("copy-val", "a", sha=f"sha-{first.val[0]}"),
        sample("copy-train", "a", sha=f"sha-{first.train[0]}"),
    ]
    result = make_split([*old, *copies], previous=[first])
    place = parts(result.split)
    assert (place["copy-val"], place["copy-train"]) == ("val", "train")
    assert result.left_out == {"copy-test": "in_test"}
    assert any("copy of it is in the test set" in str(note) for note in result.notes)


def test_a_group_found_later_that_touches_test_leaves_train() -> None:
    old = pile({"a": 20, "b": 20})
    first = make_split(old).split
    near = {first.train[0], first.val[0], first.test[0]}
    linked = [replace(s, group_id="near") if s.sample_id in near else s for s in old]
    result = make_split(linked, previous=[first])
    assert result.left_out == {first.train[0]: "in_test", first.val[0]: "in_test"}
    assert first.test[0] in result.split.test
    assert not find_leakage(linked, result.split)


def test_test_photographs_of_every_earlier_split_stay_test() -> None:
    samples = pile({"a": 20, "b": 20})
    one, two = make_split(samples, seed=1).split, make_split(samples, seed=2).split
    result = make_split(samples, seed=3, previous=[one, two])
    assert set(result.split.test) == set(one.test) | set(two.test)


def given_pile(layout: dict[SplitName, int]) -> list[Sample]:
    return [
        sample(f"{name}-{label}{i:03d}", label, split=name)
        for name, n in layout.items()
        for label in "ab"
        for i in range(n)
    ]


def test_a_given_layout_is_kept() -> None:
    samples = given_pile({"train": 20, "val": 5, "test": 5})
    result = make_split(samples)
    assert result.split.strategy == "given"
    assert all(i.startswith(name) for i, name in parts(result.split).items())
    assert make_split(samples, strategy="stratified").split.strategy == "stratified"


def test_a_missing_val_is_carved_out_of_train_by_class() -> None:
    result = given_split(given_pile({"train": 20, "test": 5}), ratios=Ratios(0.6, 0.2, 0.2))
    assert Counter(i[:7] for i in result.split.val) == {"train-a": 5, "train-b": 5}
    assert len(result.split.test) == 10
    assert "The layout given has no val: taken out of train." in map(str, result.notes)


def test_a_layout_of_train_alone_gets_val_and_test() -> None:
    split = given_split(given_pile({"train": 20}), ratios=Ratios(0.6, 0.2, 0.2)).split
    assert (len(split.train), len(split.val), len(split.test)) == (24, 8, 8)


def test_what_was_carved_stays_carved() -> None:
    old = given_pile({"train": 20, "test": 5})
    first = given_split(old).split
    more = [sample(f"train-c{i}", "a", split="train") for i in range(30)]
    second = make_split([*old, *more], previous=[first]).split
    assert second.val == first.val
    assert second.test == first.test


def test_a_layout_without_train_is_refused() -> None:
    with pytest.raises(NotEnoughData, match="no photograph to train on"):
        given_split(given_pile({"val": 5, "test": 5}))


def test_frozen_test_wins_over_the_folder_and_is_told() -> None:
    samples = pile({"a": 20, "b": 20})
    first = make_split(samples).split
    moved = [replace(s, split="train") for s in samples]
    result = make_split(moved, previous=[first])
    assert set(result.split.test) == set(first.test)
    assert any("stay there, though their folders say otherwise" in str(note) for note in result.notes)


def test_photographs_without_a_place_join_a_given_layout_but_not_its_test() -> None:
    samples = given_pile({"train": 20, "val": 5, "test": 5})
    late = [sample(f"late{i:02d}", "a") for i in range(50)]
    place = parts(make_split([*samples, *late]).split)
    assert {place[s.sample_id] for s in late} == {"train", "val"}


def test_leakage_across_a_given_layout_is_kept_and_reported() -> None:
    samples = given_pile({"train": 20, "val": 5, "test": 5})
    copies = {"test-a000": "train-a000", "test-b001": "train-a001", "val-a002": "train-b003", "test-b002": "val-b004"}
    leaky = [replace(s, content_sha256=f"sha-{copies[s.sample_id]}") if s.sample_id in copies else s for s in samples]
    result = make_split(leaky)
    assert parts(result.split) == parts(make_split(samples).split)
    leakage = find_leakage(leaky, result.split)
    assert set(leakage.pairs) == {(train, other) for other, train in copies.items()}
    assert leakage.test_ids == {"test-a000", "test-b001", "test-b002"}
    assert leakage.val_ids == {"val-a002"}
    assert "4 pairs of duplicates cross" in str(leakage.messages()[0])


def test_sixty_thousand_photographs_are_split_in_seconds() -> None:
    import time

    samples = pile({str(c): 6_000 for c in range(10)})
    begin = time.process_time()
    split = make_split(samples).split
    assert time.process_time() - begin < 5
    assert (len(split.train), len(split.val), len(split.test)) == (42_000, 9_000, 9_000)
