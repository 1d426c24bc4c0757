"""Rates, sides and stopping: functions of the place in a run and of what was measured."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("torch")

from mirada.models.recipe import Stage
from mirada.training.schedules import plateau_share, rate_at, side_at
from mirada.training.stopping import best_index, has_stalled, improvements, needs_monitor

pytestmark = pytest.mark.train


def rates(stage: Stage, n: int = 10) -> list[float]:
    return [rate_at(stage, step, n) for step in range(n)]


def test_a_constant_rate_rises_over_its_warmup() -> None:
    assert rates(Stage(schedule="constant", warmup=0.4)) == pytest.approx([0.25, 0.5, 0.75, 1.0, *[1.0] * 6])


def test_linear_and_cosine_fall_from_the_highest_to_the_final_rate() -> None:
    assert rates(Stage(schedule="linear", final_lr=0.5)) == pytest.approx([1 - 0.05 * i for i in range(10)])
    wanted = [0.1 + 0.9 * (1 + math.cos(math.pi * i / 10)) / 2 for i in range(10)]
    assert rates(Stage(schedule="cosine", final_lr=0.1)) == pytest.approx(wanted)


def test_one_cycle_rises_to_its_peak_and_falls() -> None:
    values = rates(Stage(schedule="one-cycle"), 100)
    assert max(values) == values[29] == pytest.approx(1.0)
    assert values[:30] == sorted(values[:30])
    assert values[29:] == sorted(values[29:], reverse=True)
    assert values[0] < 0.05
    assert values[-1] < 0.001


def test_plateau_halves_after_each_standstill() -> None:
    stage = Stage(schedule="plateau", plateau_patience=2, plateau_factor=0.5)
    falls = [plateau_share(stage, [3.0, 2.0, 2.5, 2.5, 2.5, 2.5, 1.0][:n]) for n in range(8)]
    assert falls == [1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25]
    assert rate_at(stage, 5, 10, values=[3.0, 2.0, 2.5, 2.5]) == 0.5


def test_sides_follow_their_shares() -> None:
    stage = Stage(sizes=((0.0, 16), (0.5, 24)))
    assert [side_at(stage, step, 10, native=32) for step in (0, 4, 5, 9)] == [16, 16, 24, 24]
    assert side_at(Stage(), 3, 10, native=32) == 32
    assert side_at(Stage(sizes=((0.5, 24),)), 0, 10, native=32) == 32


def test_improvement_needs_min_delta_and_a_number() -> None:
    nan = float("nan")
    assert improvements(Stage(min_delta=0.1), [1.0, 0.95, nan, 0.85]) == [True, False, False, True]
    accuracy = Stage(monitor="val_accuracy")
    assert improvements(accuracy, [0.5, 0.5, 0.6]) == [True, False, True]
    assert best_index(accuracy, [0.5, 0.7, 0.6]) == 1
    assert best_index(Stage(), [nan, nan]) == 1


def test_a_stage_stalls_after_its_patience() -> None:
    stage = Stage(patience=2)
    assert [has_stalled(stage, [1.0, 0.5, 0.6, 0.7][:n]) for n in range(5)] == [False, False, False, False, True]
    assert not has_stalled(Stage(patience=0), [1.0, *[2.0] * 50])


def test_only_what_looks_at_the_monitor_needs_it() -> None:
    assert needs_monitor(Stage())
    assert needs_monitor(Stage(restore_best=False, patience=3))
    assert needs_monitor(Stage(restore_best=False, schedule="plateau"))
    assert not needs_monitor(Stage(restore_best=False))
