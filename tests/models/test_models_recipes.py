"""Recipes load, come back as they were, and what is wrong in one is named."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mirada.errors import UsageError
from mirada.models.recipe import Stage
from mirada.models.recipes import (
    RECIPES_PATH,
    all_recipes,
    load_recipe,
    override,
    parse_document,
    recipe_document,
    recipe_names,
    scaled,
)

ASKED = [
    *("fast", "balanced", "best", "cifar-fast", "cifar10-report", "cifar100-report", "restaurant-baseline"),
    *("restaurant-plus", "vit-head", "resnet152-head", "retail-resnet18", "government-mlp", "sports-frozen"),
    "sports-unfrozen",
]
REPORTS = set(ASKED) - {"fast", "balanced", "best", "cifar-fast"}
OWN = """
input_size = 32
[model]
name = "mlp"
hidden = [64, 32]
[[stages]]
name = "one"
lr = 1
"""


def test_every_recipe_asked_for_is_here_and_says_what_it_is() -> None:
    assert set(recipe_names()) == set(ASKED)
    assert recipe_names()[:3] == ("fast", "balanced", "best")
    for recipe in all_recipes():
        assert (RECIPES_PATH / f"{recipe.name}.toml").is_file()
        assert set(recipe.summary) == {"en", "es"}
        assert recipe.summary["en"] != recipe.summary["es"]
        assert bool(recipe.origin) == (recipe.name in REPORTS), recipe.name
        assert len({stage.name for stage in recipe.stages}) == len(recipe.stages)


@pytest.mark.parametrize("name", ASKED)
def test_recipes_come_back_from_json(name: str) -> None:
    recipe = load_recipe(name)
    document = json.loads(json.dumps(recipe_document(recipe)))
    assert parse_document(document) == recipe
    assert (RECIPES_PATH / f"{name}.toml").read_text().startswith("#")  # says what the report did


def test_what_the_reports_state() -> None:
    retail, government, sports = map(load_recipe, ("retail-resnet18", "government-mlp", "sports-unfrozen"))
    assert (retail.ratios, retail.stages[0].monitor) == ("63/27/10", "val_loss")
    assert (government.model.hidden, government.input_size) == ((512,), 32)
    assert (government.stages[0].batch_size, government.stages[0].epochs) == (512, 50)
    assert [stage.trainable for stage in sports.stages] == ["head", "last:3"]
    assert load_recipe("cifar10-report").model.l2 == 1e-4
    assert load_recipe("fast").kind == "head"


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(OWN)
    recipe = load_recipe(path)
    assert load_recipe(str(path)) == recipe
    assert (recipe.name, recipe.model.hidden, recipe.stages) == ("mine", (64, 32), (Stage(name="one", lr=1.0),))
    with pytest.raises(UsageError, match=r"There is no recipe file .*none\.toml"):
        load_recipe(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("lr = 1", "lrr = 1", r"mine\.toml has an unknown key: stages\.lrr\. Did you mean stages\.lr\?"),
        ("hidden", "hiden", r"unknown key: model\.hiden\. Did you mean model\.hidden\?"),
        ("input_size", "inputsize", r"unknown key: inputsize\. Did you mean input_size\?"),
        ("lr = 1", "augment = { flipp = 1 }", r"stages\.augment\.flipp\. Did you mean stages\.augment\.flip\?"),
        ("lr = 1", "lr = '1'", r"stages\.0\.lr in .* must be a number; got '1'"),
        ("lr = 1", "epochs = 0", r"stages\.0\.epochs in .* must be ≥ 1; got 0"),
        ("lr = 1", "epochs = 1.5", r"stages\.0\.epochs in .* must be a whole number; got 1\.5"),
        ("lr = 1", "label_smoothing = 2.0", r"stages\.0\.label_smoothing in .* must be 0 – 1; got 2\.0"),
        ("lr = 1", "optimizer = 'adamm'", r"stages\.0\.optimizer in .* must be 'sgd', 'adam', .*; got 'adamm'"),
        ("lr = 1", "trainable = 'last:0'", r'must be "all", "head", "last:N"; got \'last:0\''),
        ("[64, 32]", "[64, 0]", r"model\.hidden in .* must be ≥ 1; got 0"),
        ("[[stages]]", "[model.options]", "needs stages, at least one"),
        ('name = "mlp"', "", r"model\.name in .* must be a value; got –"),
        ("lr = 1", "lr =", "is not valid TOML"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(old: str, new: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(OWN.replace(old, new, 1))
    with pytest.raises(UsageError, match=said):
        load_recipe(path)


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"no recipe called balancd\. Did you mean balanced\?"):
        load_recipe("balancd")
    with pytest.raises(UsageError, match="`mirada recipes` lists them"):
        load_recipe("zzzz")


def test_overriding_by_path() -> None:
    recipe = load_recipe("sports-unfrozen")
    assert [stage.lr for stage in override(recipe, "stage.lr", 0.5).stages] == [0.5, 0.5]
    one = override(recipe, "stage.unfrozen.augment.flip", "none")
    assert [stage.augment.flip for stage in one.stages] == ["random", "none"]
    assert override(recipe, "stage.augment.rotate", 5.0).stages[1].augment.rotate == 5.0
    assert override(recipe, "model.hidden", (16, 8)).model.hidden == (16, 8)
    assert override(recipe, "input_size", 96).input_size == 96
    plus = override(load_recipe("restaurant-plus"), "model.options.pools", [3, 3])
    assert plus.model.options["pools"] == (3, 3)
    for path, said in (
        ("stage.lrr", r"stages\.lrr\. Did you mean stages\.lr\?"),
        ("stage.unfrozn.lr", r"stage\.unfrozn\. Did you mean stage\.unfrozen\?"),
        ("modl.hidden", r"modl\. Did you mean model\?"),
        ("inputsize", "Did you mean input_size"),
    ):
        with pytest.raises(UsageError, match=said):
            override(recipe, path, 1)
    with pytest.raises(UsageError, match=r"must be a number; got 'x'"):
        override(recipe, "stage.lr", "x")
    with pytest.raises(UsageError, match="has no stages"):
        override(load_recipe("fast"), "stage.lr", 1.0)


@pytest.mark.parametrize(("epochs", "shares"), [(1, [1, 1]), (2, [1, 1]), (13, [5, 8]), (26, [10, 16]), (7, [3, 4])])
def test_epochs_are_shared_among_the_stages(epochs: int, shares: list[int]) -> None:
    assert [stage.epochs for stage in scaled(load_recipe("sports-unfrozen"), epochs=epochs).stages] == shares


def test_epochs_that_make_no_sense() -> None:
    with pytest.raises(UsageError, match="whole number from 1; got 0"):
        scaled(load_recipe("best"), epochs=0)
    with pytest.raises(UsageError, match="it has no epochs"):
        scaled(load_recipe("fast"), epochs=3)


def test_reading_recipes_loads_no_torch() -> None:
    code = "import sys; from mirada.models.recipes import all_recipes; all_recipes(); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
