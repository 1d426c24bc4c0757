"""Which photographs a recipe takes."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirada.errors import NotEnoughData
from mirada.subsets.draw import draw
from mirada.subsets.recipe import Recipe
from mirada.types import Sample


def _sample(name: str, label: str | None, **changes: object) -> Sample:
    sha = hashlib.sha256(name.encode()).hexdigest()
    made = Sample(f"id-{name}", sha, f"/p/{name}.jpg", "/p", 8, 8, "RGB", "JPEG", 9, label)
    return replace(made, **changes)  # type: ignore[arg-type]


def _pile(**counts: int) -> list[Sample]:
    return [_sample(f"{label}{i}", label) for label, n in counts.items() for i in range(n)]


PILE = _pile(food=612, inside=306, outside=125, drink=92, menu=19)

piles = st.lists(st.integers(1, 60), min_size=1, max_size=6).map(
    lambda ns: _pile(**{f"c{i}": n for i, n in enumerate(ns)})
)
strategies = st.sampled_from(["stratified", "balanced", "all"])


@given(piles, strategies, st.integers(0, 3), st.randoms())
@settings(deadline=None, max_examples=60)
def test_the_order_does_not_matter_and_larger_sizes_contain_smaller_ones(
    pile: list[Sample], strategy: str, seed: int, rng: random.Random
) -> None:
    shuffled = rng.sample(pile, len(pile))
    before: set[str] = set()
    for size in sorted({1, len(pile) // 3 + 1, len(pile) // 2 + 1, len(pile)}):
        recipe = Recipe(size=size, strategy=strategy, seed=seed)  # type: ignore[arg-type]
        drawn = draw(pile, recipe)
        assert draw(shuffled, recipe).ids == drawn.ids
        assert len(drawn.ids) == len(set(drawn.ids)) == size
        assert before <= set(drawn.ids)
        before = set(drawn.ids)
        assert sum(drawn.counts.values()) == size


@given(piles, st.integers(1, 60))
@settings(deadline=None, max_examples=60)
def test_stratified_keeps_shares_and_no_class_is_missing(pile: list[Sample], size: int) -> None:
    n_of = Counter(str(sample.label) for sample in pile)
    size = min(size, len(pile))
    counts = draw(pile, Recipe(size=size)).counts
    if size < len(n_of):
        assert set(counts.values()) == {1}
        return
    assert set(counts) == set(n_of)
    extra = sum(max(0.0, 1 - size * n / len(pile)) for n in n_of.values())  # what the smallest take for their one
    for label, n in n_of.items():
        assert abs(counts[label] - size * n / len(pile)) < 1.5 + extra


@given(piles, st.integers(1, 60))
@settings(deadline=None, max_examples=60)
def test_balanced_is_as_equal_as_the_classes_allow(pile: list[Sample], size: int) -> None:
    n_of = Counter(str(sample.label) for sample in pile)
    counts = Counter(draw(pile, Recipe(size=min(size, len(pile)), strategy="balanced")).counts)
    most = max(counts.values())
    for label, n in n_of.items():
        assert counts[label] in (most, most - 1) or counts[label] == n


def test_five_hundred_of_a_pile_of_restaurants() -> None:
    drawn = draw(PILE, Recipe(size=500))
    assert drawn.counts == {"drink": 40, "food": 265, "inside": 133, "menu": 8, "outside": 54}
    balanced = draw(PILE, Recipe(size=500, strategy="balanced"))
    assert balanced.counts == {"drink": 92, "food": 132, "inside": 132, "menu": 19, "outside": 125}
    assert [str(note) for note in balanced.notes][1] == "menu has only 19: all are in, and the other classes give more."
    equal = draw(PILE, Recipe(strategy="balanced"))
    assert set(equal.counts.values()) == {19}
    assert len(draw(PILE, Recipe(strategy="all")).ids) == len(PILE)


def test_another_seed_is_another_subset() -> None:
    assert set(draw(PILE, Recipe(size=100)).ids) != set(draw(PILE, Recipe(size=100, seed=1)).ids)


def test_a_copy_is_never_drawn_beside_its_original() -> None:
    exact = [replace(sample, sample_id=f"{sample.sample_id}-copy") for sample in PILE[:50]]
    near = [_sample(f"near{i}", "food", group_id=f"g{i}") for i in range(100, 150)]
    grouped = [replace(s, group_id=f"g{i}") if 100 <= i < 150 else s for i, s in enumerate(PILE)]
    pile = [*grouped, *exact, *near]
    drawn = draw(pile, Recipe())
    held = {sample.sample_id: sample for sample in pile}
    groups = [held[i].group_id or held[i].content_sha256 for i in drawn.ids]
    assert len(groups) == len(set(groups)) == len(PILE)
    assert any("100 copies" in str(note) for note in drawn.notes)
    assert len(draw(pile, Recipe(strategy="all")).ids) == len(pile)  # everything is everything
    with pytest.raises(NotEnoughData, match=f"the recipe has {len(PILE)}, not counting 100 copies"):
        draw(pile, Recipe(size=len(PILE) + 1, strategy="all"))


def test_classes_and_split_narrow_the_draw() -> None:
    placed = [replace(s, split=("train", "test")[i % 2]) for i, s in enumerate(PILE)]
    drawn = draw(placed, Recipe(size=40, classes=("food", "menu"), split="train"))
    held = {sample.sample_id: sample for sample in placed}
    assert {held[i].label for i in drawn.ids} == {"food", "menu"}
    assert {held[i].split for i in drawn.ids} == {"train"}


def test_unlabelled_ones_are_told() -> None:
    drawn = draw([*PILE, _sample("x", None)], Recipe(size=10))
    assert str(drawn.notes[0]) == "1 photograph without a label is left out."
    assert "id-x" not in drawn.ids


def test_fewer_than_the_classes_is_told() -> None:
    drawn = draw(PILE, Recipe(size=3))
    assert drawn.counts == {"food": 1, "inside": 1, "outside": 1}
    assert "missing: drink, menu" in str(drawn.notes[-1])


def test_what_cannot_be_filled_is_refused() -> None:
    with pytest.raises(NotEnoughData, match=r"2000 photographs are asked for, but the recipe has 1154\."):
        draw(PILE, Recipe(size=2000))
    with pytest.raises(NotEnoughData, match="not divided into train, val and test yet"):
        draw(PILE, Recipe(size=10, split="train"))
    half = [replace(s, split="train" if s.label == "food" else "test") for s in PILE]
    with pytest.raises(NotEnoughData, match="no photograph of drink, inside, menu, outside"):
        draw(half, Recipe(size=10, split="train", strategy="balanced"))
    assert "no photograph of drink" in str(draw(half, Recipe(size=10, split="train")).notes[0])
    with pytest.raises(NotEnoughData, match="No labelled photograph"):
        draw([_sample("x", None)], Recipe())
