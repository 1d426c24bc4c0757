"""`mirada search`: from photographs to a table and the winner's recipe, which trains."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mirada.cli.main import run
from mirada.models.recipes import load_recipe, recipe_document, recipe_names, recipe_toml
from mirada.testing import class_folders

SPACE = """
recipe = "{recipe}"
[strategy]
kind = "grid"
[space]
"model.hidden" = [[16], [16, 16]]
"stage.optimizer" = ["adam", "sgd"]
"""
RECIPE = """
input_size = 16
[model]
name = "mlp"
hidden = [16]
[[stages]]
epochs = 2
lr = 0.003
batch_size = 16
"""


@pytest.fixture(autouse=True)
def _no_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIRADA_TRACK_ENABLED", "false")


def test_a_search_ends_in_a_table_and_a_recipe_that_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class_folders(tmp_path / "photos", n_per_class=24)
    (tmp_path / "small.toml").write_text(RECIPE, encoding="utf-8")
    space = tmp_path / "shapes.toml"
    space.write_text(SPACE.format(recipe=tmp_path / "small.toml"), encoding="utf-8")
    before = ["--workspace", str(tmp_path / "w")]

    assert run([*before, "search", str(space), str(tmp_path / "photos"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["n_trials"] == 4
    assert {trial["epochs"] for trial in told["trials"]} == {2}
    best = told["trials"][0]
    assert best["accuracy"]["value"] == max(trial["accuracy"]["value"] for trial in told["trials"])
    assert run([*before, "search", str(space), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["trials"] == told["trials"], "a search that is done trains nothing again"

    winner = load_recipe(told["winner_recipe"])
    assert list(winner.model.hidden) == best["params"]["model.hidden"]
    assert winner.stages[0].optimizer == best["params"]["stage.optimizer"]
    assert run([*before, "train", "--recipe", told["winner_recipe"], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["network"]["n_epochs"] == 2


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_written_as_a_file_is_read_back_the_same(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    (tmp_path / f"{name}.toml").write_text(recipe_toml(recipe), encoding="utf-8")
    assert recipe_document(load_recipe(tmp_path / f"{name}.toml")) == recipe_document(recipe)


def test_a_wrong_space_leaves_no_workspace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class_folders(tmp_path / "photos", n_per_class=2)
    assert run(["--workspace", str(tmp_path / "w"), "search", "goverment", str(tmp_path / "photos")]) != 0
    assert "government" in capsys.readouterr().err
    assert not (tmp_path / "w").exists()
