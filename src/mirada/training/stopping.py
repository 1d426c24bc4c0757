"""Which epoch is the best, and whether to go on: functions of what was monitored so far, so that no state is kept."""

from __future__ import annotations

from collections.abc import Sequence

from mirada.models.recipe import Stage
from mirada.training.outcome import EpochRecord


def needs_monitor(stage: Stage) -> bool:
    """Whether anything in the stage depends on its monitor."""
    return stage.restore_best or stage.patience > 0 or stage.schedule == "plateau"


def monitored(stage: Stage, records: Sequence[EpochRecord]) -> list[float]:
    """The stage's monitor in each of its epochs; NaN where it was not measured."""
    values = [getattr(record, stage.monitor) for record in records]
    return [float("nan") if value is None else float(value) for value in values]


def improvements(stage: Stage, values: Sequence[float]) -> list[bool]:
    """For each epoch, whether it was better than the best before it by more than `min_delta`. NaN never is."""
    sign = -1.0 if stage.monitor == "val_accuracy" else 1.0
    best, better = float("inf"), []
    for value in values:
        better.append(sign * value < best - stage.min_delta)
        best = sign * value if better[-1] else best
    return better


def best_index(stage: Stage, values: Sequence[float]) -> int:
    """Position of the best epoch; the last one where none was better than nothing."""
    better = improvements(stage, values)
    return max((i for i, flag in enumerate(better) if flag), default=len(values) - 1)


def has_stalled(stage: Stage, values: Sequence[float]) -> bool:
    """Whether the monitor has not improved for `patience` epochs (never with patience 0)."""
    return 0 < stage.patience <= len(values) - 1 - best_index(stage, values)
