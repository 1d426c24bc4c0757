"""Search spaces from TOML: what is read, and what is refused with a hint."""

from __future__ import annotations

from pathlib import Path

import pytest

from mirada.errors import NotFound, UsageError
from mirada.models.recipe import ModelSpec, Recipe, Stage
from mirada.search.halving import Halving
from mirada.search.sampling import draw
from mirada.search.space import Choice, Range, apply, check_axes, grid, known_spaces, parse_space, read_space

BASE = Recipe(name="small", summary={"en": "Small."}, model=ModelSpec(name="mlp"), stages=(Stage(),))
DOCUMENT = {
    "recipe": "small",
    "strategy": {"kind": "random", "trials": 5, "seed": 3},
    "space": {
        "stage.optimizer": ["adam", "sgd"],
        "model.hidden": [[512], [512, 256]],
        "stage.lr": {"low": 1e-4, "high": 1e-2, "log": True},
        "stage.epochs": {"low": 2, "high": 8, "step": 2},
    },
}


def test_the_reports_grid_is_27_networks_each_once() -> None:
    space = read_space("government")
    points = grid(space)
    assert space.n_trials == len(points) == 27
    assert len({str(point) for point in points}) == 27
    base = apply(BASE, space.fixed)
    recipes = [apply(base, point) for point in points]
    assert len({(r.stages[0].optimizer, r.model.activation, r.model.hidden) for r in recipes}) == 27
    assert {(r.stages[0].optimizer, r.stages[0].lr) for r in recipes} == {
        ("adam", 1e-3),
        ("sgd", 1e-2),
        ("rmsprop", 1e-3),
    }
    assert {(r.model.dropout, r.stages[0].patience, r.stages[0].monitor) for r in recipes} == {(0.0, 0, "val_accuracy")}


@pytest.mark.parametrize("name", known_spaces())
def test_every_shipped_space_can_be_read(name: str) -> None:
    space = read_space(name)
    assert space.n_trials in (27, 54)
    check_axes(space, BASE)


def test_the_fast_space_is_the_reports_by_halving() -> None:
    assert read_space("government-fast").axes == read_space("government").axes
    assert read_space("government-fast").halving == Halving(min_epochs=2, eta=4)


def test_choices_and_ranges() -> None:
    space = parse_space(DOCUMENT, where="here")
    assert space.axes["model.hidden"] == Choice(((512,), (512, 256)))
    assert space.axes["stage.lr"] == Range(1e-4, 1e-2, log=True)
    assert space.axes["stage.epochs"] == Range(2, 8, step=2, whole=True)
    assert parse_space({**DOCUMENT, "evaluation": "folds:5"}, where="here").folds == 5


def test_drawn_points_lie_in_the_space_and_depend_on_the_seed_alone() -> None:
    space = parse_space(DOCUMENT, where="here")
    points = [draw(space, number, []) for number in range(5)]
    assert points == [draw(space, number, []) for number in range(5)]
    assert len({str(point) for point in points}) == 5
    for point in points:
        recipe = apply(BASE, point)
        assert recipe.stages[0].epochs in (2, 4, 6, 8)
        assert 1e-4 <= recipe.stages[0].lr <= 1e-2
        assert recipe.model.hidden in ((512,), (512, 256))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"halvign": {}}, ["halvign", "halving"]),
        ({"strategy": {"kind": "grid", "trails": 3}}, ["strategy.trails", "trials"]),
        ({"halving": {"min_epoch": 1}}, ["halving.min_epoch", "min_epochs"]),
        ({"metric": "accuracy"}, ["metric", "val_accuracy"]),
        ({"evaluation": "folds:1"}, ["folds:1"]),
        ({"strategy": {"kind": "grid"}}, ["stage.lr", "random"]),
        ({"strategy": {"kind": "tpe"}}, ["trials"]),
        ({"space": {"stage.lr": {"low": 1.0, "high": 0.1}}}, ["stage.lr"]),
        ({"space": {}}, ["space"]),
    ],
)
def test_what_is_wrong_in_a_space_is_named(change: dict[str, object], words: list[str]) -> None:
    with pytest.raises(UsageError) as error:
        parse_space({**DOCUMENT, **change}, where="space.toml")
    assert all(word in str(error.value) for word in words), str(error.value)


def test_an_unknown_path_of_the_recipe_gets_a_near_miss() -> None:
    space = parse_space({"recipe": "small", "space": {"stage.optimiser": ["adam"]}}, where="here")
    with pytest.raises(UsageError, match="optimizer"):
        check_axes(space, BASE)
    space = parse_space({"recipe": "small", "space": {"stage.optimizer": ["adamm"]}}, where="here")
    with pytest.raises(UsageError, match="adam"):
        check_axes(space, BASE)


def test_paths_that_go_together() -> None:
    pairs = {"stage.lr+stage.momentum": [[0.1, 0.0], [0.01, 0.9]]}
    space = parse_space({"recipe": "small", "space": pairs}, where="here")
    check_axes(space, BASE)
    stages = [apply(BASE, point).stages[0] for point in grid(space)]
    assert [(stage.lr, stage.momentum) for stage in stages] == [(0.1, 0.0), (0.01, 0.9)]
    space = parse_space({"recipe": "small", "space": {"stage.lr+stage.momentum": [[0.1]]}}, where="here")
    with pytest.raises(UsageError, match="together"):
        check_axes(space, BASE)


def test_a_space_that_is_not_there_and_one_that_is_no_toml(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="government"):
        read_space("goverment")
    (tmp_path / "bad.toml").write_text("recipe = ")
    with pytest.raises(UsageError, match="TOML"):
        read_space(tmp_path / "bad.toml")
