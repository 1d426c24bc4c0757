"""A search on a workspace's photographs: decode them once, choose who trains, search, and make the table.

Found by its dotted name from `workflow`, which loads neither torch nor Optuna.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from mirada.engine.base import Progress
from mirada.engine.local import available_cpus
from mirada.errors import NotEnoughData
from mirada.messages import Message, msg, msg_n
from mirada.models.registry import create_model
from mirada.search.asked import Searched, SearchPlan
from mirada.search.runner import ManyRunner, RunnerOptions, fold_data, runner_for
from mirada.search.space import Choice, Range, Space, Value, apply, check_axes
from mirada.search.study import search
from mirada.search.table import table_cells, table_document, table_head, table_rows
from mirada.training.devices import choose_machine
from mirada.training.outcome import LoopData
from mirada.training.pixels import Pixels, prepare_pixels
from mirada.training.trained import Supply


def conduct(plan: SearchPlan, supply: Supply, folder: Path, *, progress: Progress) -> Searched:
    """Search in `folder`, or go on there. Raises UsageError for a space that does not go with its recipe."""
    choose_machine(plan.device, plan.precision)
    check_axes(plan.space, plan.recipe)
    data, groups, notes = _data(plan, supply, progress)
    parts = fold_data(data, plan.space.folds, groups=groups, seed=plan.space.seed)
    options = RunnerOptions(
        metric=plan.space.metric, seed=plan.seed, device=plan.device, precision=plan.precision, weights=plan.weights
    )
    base = apply(plan.recipe, plan.space.fixed)
    runner = runner_for([base, *(apply(base, point) for point in _points(plan.space))], parts, options)
    is_group = isinstance(runner, ManyRunner)
    if isinstance(runner, ManyRunner) and plan.space.kind == "tpe":
        runner.at_once = available_cpus()  # each draw learns from those before: not all may be drawn at once
    result = search(plan.space, plan.recipe, runner, folder, progress=progress)
    winner = replace(apply(base, result.winner.params), name=f"{plan.space.name}-winner")
    if is_group:
        notes = (*notes, msg("The networks are small: they were trained side by side."))
    return Searched(
        document={**table_document(result), "folder": str(folder)},
        head=table_head(result),
        cells=table_cells(table_rows(result)),
        winner=winner,
        notes=notes,
    )


def _data(plan: SearchPlan, supply: Supply, progress: Progress) -> tuple[LoopData, list[str], tuple[Message, ...]]:
    """Photographs as the recipe's network takes them; for folds train and val together. Also the groups of train."""
    model, n_classes = plan.recipe.model, len(supply.class_names)
    spec = create_model(
        model.name, n_classes=n_classes, input_size=plan.recipe.input_size, hidden=model.hidden
    ).preprocess
    spec = replace(spec, channels="grey") if plan.recipe.grey else spec
    wanted = [(supply.train, supply.y_train), (supply.val, supply.y_val)]
    if plan.space.folds:
        wanted = [([*supply.train, *supply.val], np.concatenate([supply.y_train, supply.y_val]))]
    made, groups, n_failed = list[Pixels](), list[str](), 0
    for samples, labels in wanted:
        pixels, failures = prepare_pixels(
            samples, labels, spec, reader=supply.reader, engine=supply.engine,
            folder=supply.pixels_folder, progress=progress, limits=supply.limits,
        )  # fmt: skip
        made.append(pixels)
        unread = {failure.sample.sample_id for failure in failures}
        n_failed += len(unread)
        groups += [s.group_id or s.content_sha256 for s in samples if s.sample_id not in unread]
    if not len(made[0]):
        raise NotEnoughData(msg("No photograph of train can be read."), msg("`mirada add` tells what is wrong."))
    notes = (msg_n("{n} photograph was left out.", "{n} photographs were left out.", n=n_failed),) if n_failed else ()
    train, *judged = [(pixels.images, pixels.labels) for pixels in made]
    val = judged[0] if judged and len(judged[0][1]) else None
    return LoopData(train, val, n_classes), groups[: len(made[0])], notes


def _points(space: Space) -> list[dict[str, Value]]:
    """Points that show what a space may ask of a network: each value of each axis, and the ends of each range."""
    return [{path: value} for path, axis in space.axes.items() for value in _values(axis)]


def _values(axis: Choice | Range) -> tuple[Value, ...]:
    if isinstance(axis, Choice):
        return axis.values
    return (int(axis.low), int(axis.high)) if axis.whole else (axis.low, axis.high)
