"""Recipes: what they refuse, and how they are named."""

from __future__ import annotations

import pytest

from mirada.errors import UsageError
from mirada.subsets.recipe import (
    Recipe,
    checked_subset_name,
    ids_hash,
    parse_classes,
    parse_recipe,
    recipe_hash,
    unknown_subset,
)


def test_a_recipe_comes_back_from_its_text() -> None:
    recipe = Recipe(size=7, strategy="balanced", grey=True, classes=("ñandú", "a,b"), split="val", seed=3)
    assert parse_recipe(recipe.to_json()) == recipe


def test_the_hash_is_of_the_recipe_and_the_data() -> None:
    hashes = {recipe_hash(Recipe(), "d"), recipe_hash(Recipe(), "e"), recipe_hash(Recipe(grey=True), "d")}
    assert len(hashes) == 3
    assert recipe_hash(Recipe(seed=0), "d") in hashes
    assert ids_hash(["b", "a"]) == ids_hash(["a", "b"]) != ids_hash(["ab"])


@pytest.mark.parametrize("size", [0, -5])
def test_a_size_below_one_is_refused(size: int) -> None:
    with pytest.raises(UsageError, match=f"got size {size}"):
        Recipe(size=size)


def test_an_unknown_strategy_is_refused() -> None:
    with pytest.raises(UsageError, match="stratified, balanced, all; got 'most'"):
        Recipe(strategy="most")  # type: ignore[arg-type]


def test_classes_by_name() -> None:
    known = ["food", "inside, warm", "menu"]
    assert parse_classes(["menu,food", "food"], known) == ("food", "menu")
    assert parse_classes(["inside, warm"], known) == ("inside, warm",)
    with pytest.raises(UsageError, match="no class 'mennu'") as caught:
        parse_classes(["mennu"], known)
    assert str(caught.value.hint) == "Did you mean menu?"


@pytest.mark.parametrize("name", ["", ".", "-o", "a/b", "a b", "x" * 65, "_x", "a@b"])
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a subset"):
        checked_subset_name(name)


@pytest.mark.parametrize("name", ["small", "ñandú-2", "a.b_c", "7"])
def test_names_that_are_taken(name: str) -> None:
    assert checked_subset_name(name) == name


def test_the_nearest_name_is_told() -> None:
    assert str(unknown_subset("smal", ["small", "large"]).hint) == "Did you mean small?"
    assert "--size 500" in str(unknown_subset("zzz", ["small"]).hint)
