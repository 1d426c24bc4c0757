"""Runs, model versions, aliases, predictions and feedback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from mirada.catalog.catalog import Catalog
from mirada.errors import NotFound
from mirada.types import Feedback, Prediction, Run, Scored, TrainConfig

RUN = Run("r1", "running", "", "d", "s", TrainConfig(seed=3, head="mlp"), "abc", {"python": "3.11"}, {"add": 1.5})


def test_a_run_is_saved_and_updated(catalog: Catalog) -> None:
    catalog.save_run(RUN)
    done = replace(RUN, status="done", seconds={"add": 1.5, "total": 9.0})
    catalog.save_run(done)
    catalog.save_run(replace(RUN, run_id="r2"))
    assert catalog.run("r1") == done
    assert [run.run_id for run in catalog.runs()] == ["r1", "r2"]
    assert [run.run_id for run in catalog.runs(status="done")] == ["r1"]
    with pytest.raises(NotFound, match="no run r3"):
        catalog.run("r3")


def test_runs_of_ended_processes_are_marked(url: str, catalog: Catalog) -> None:
    code = (
        "import sys; from mirada.catalog.catalog import Catalog; from mirada.types import Run, TrainConfig\n"
        "Catalog.open(sys.argv[1]).save_run(Run('lost', 'running', '', '', '', TrainConfig(), '', {}, {}))"
    )
    subprocess.run([sys.executable, "-c", code, url], check=True)
    catalog.save_run(RUN)  # ours, and we live
    assert catalog.mark_interrupted() == ["lost"]
    assert catalog.mark_interrupted() == []
    assert (catalog.run("lost").status, catalog.run("lost").stop_reason) == ("interrupted", "process ended")
    assert catalog.run("r1").status == "running"


def test_versions_count_up_for_each_name_also_at_once(catalog: Catalog) -> None:
    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(lambda i: catalog.add_model("food", f"models/{i}"), range(24)))
    assert sorted(versions) == list(range(1, 25))
    assert catalog.add_model("sports", "elsewhere", run_id="r1", metrics={"accuracy": {"value": 0.9}}) == 1
    held = catalog.model("sports", 1)
    assert (held.path, held.run_id, held.metrics) == ("elsewhere", "r1", {"accuracy": {"value": 0.9}})


def test_a_reserved_version_shows_once_it_has_a_path(catalog: Catalog) -> None:
    assert catalog.add_model("food") == 1
    assert catalog.models() == []
    catalog.set_model_path("food", 1, "models/food/1")
    assert [found.path for found in catalog.models("food")] == ["models/food/1"]
    with pytest.raises(NotFound, match="no version 2 of the model food"):
        catalog.set_model_path("food", 2, "x")


def test_an_alias_moves_and_rolls_back_and_tells_its_history(catalog: Catalog) -> None:
    for i in (1, 2, 3):
        catalog.add_model("food", f"models/{i}")
    assert catalog.alias("food", "champion") is None
    for version in (1, 2, 3):
        catalog.set_alias("food", "champion", version, "ana", reason="better")
    assert catalog.rollback("food", "champion", "luis", reason="slow") == 2
    assert catalog.rollback("food", "champion") == 1
    catalog.set_alias("food", "champion", 3)
    assert catalog.rollback("food", "champion") == 1
    assert catalog.alias("food", "champion") == 1
    assert [found.aliases for found in catalog.models("food")] == [("champion",), (), ()]
    changes = catalog.alias_history("food", "champion")
    assert [(change.version, change.is_rollback) for change in changes] == [
        (1, False),
        (2, False),
        (3, False),
        (2, True),
        (1, True),
        (3, False),
        (1, True),
    ]
    assert (changes[3].by, changes[3].reason) == ("luis", "slow")


def test_there_is_nothing_to_roll_back_to(catalog: Catalog) -> None:
    catalog.add_model("food", "models/1")
    with pytest.raises(NotFound, match="no earlier version of food"):
        catalog.rollback("food", "champion")
    catalog.set_alias("food", "champion", 1)
    catalog.set_alias("food", "champion", 1)
    with pytest.raises(NotFound, match="no earlier version of food"):
        catalog.rollback("food", "champion")
    with pytest.raises(NotFound, match="no version 7 of the model food"):
        catalog.set_alias("food", "champion", 7)


def test_predictions_and_feedback(catalog: Catalog, kept: Callable, recounted: Callable) -> None:
    top = (Scored("sushi 🍣", 0.75), Scored("pizza", 0.25))
    given = [
        Prediction("p1", "food", 1, "sushi 🍣", 0.75, top, False, "a" * 64, 12.5, "/a.jpg"),
        Prediction("p2", "food", 1, "pizza", 0.3, (), True),
        Prediction("p3", "food", 2, None, 0.0, (), False, error="truncated"),
    ]
    catalog.log_predictions(given)
    assert list(catalog.predictions()) == given
    assert list(catalog.predictions(model="food", version=1)) == given[:2]
    assert catalog.prediction("p1") == given[0]
    catalog.feedback(Feedback("p1", "sushi 🍣", "ana", "2026-01-01"))
    catalog.feedback(Feedback("p2", "sushi 🍣"))
    assert next(catalog.feedbacks()) == Feedback("p1", "sushi 🍣", "ana", "2026-01-01")
    assert [answer.true_label for answer in catalog.feedbacks()] == ["sushi 🍣", "sushi 🍣"]
    assert kept(catalog) == recounted(catalog)
    for call in (lambda: catalog.prediction("p9"), lambda: catalog.feedback(Feedback("p9", "x"))):
        with pytest.raises(NotFound, match="no prediction p9"):
            call()
