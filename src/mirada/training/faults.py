"""What can be wrong with a training, in words: before it starts and while it runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mirada.errors import BackboneError, InputError, NotEnoughData, UsageError
from mirada.messages import Message, msg
from mirada.models.base import Network
from mirada.models.recipe import Recipe
from mirada.training.outcome import Labels, LoopData
from mirada.training.stopping import needs_monitor

DIVERGED = "diverged"


def check_request(network: Network, data: LoopData, recipe: Recipe) -> None:
    """Raise what would go wrong later: no stage, a monitor that nothing measures, classes that do not fit, no data."""
    if not recipe.stages:
        raise UsageError(msg("The recipe {name} has no stage: there is nothing to train.", name=recipe.name))
    for stage in recipe.stages:
        if data.val is None and stage.monitor.startswith("val_") and needs_monitor(stage):
            raise UsageError(
                msg(
                    "The stage {stage} watches {monitor}, and there is no val.",
                    stage=stage.name, monitor=stage.monitor,
                ),
                msg("Split the photographs into train and val, or let the stage watch train_loss."),
            )  # fmt: skip
    if network.head.out_features != data.n_classes:
        raise UsageError(
            msg(
                "The network tells {n} classes apart; the data have {k}.", n=network.head.out_features, k=data.n_classes
            )
        )
    for name, part in (("train", data.train), ("val", data.val)):
        if part is not None:
            _check_part(name, len(part[0]), part[1], data.n_classes)
    if data.n_classes > len(data.train[1]):
        raise NotEnoughData(
            msg(
                "There are {k} classes and {n} photographs to learn them from.", k=data.n_classes, n=len(data.train[1])
            ),
            msg("Every class needs photographs; twenty or more are a beginning."),
        )


def _check_part(name: str, n_images: int, labels: Labels, n_classes: int) -> None:
    if n_images != len(labels):
        raise InputError(msg("{part} has {n} photographs and {m} labels.", part=name, n=n_images, m=len(labels)))
    if not n_images:
        raise NotEnoughData(msg("{part} has no photographs.", part=name))
    low, high = int(np.min(labels)), int(np.max(labels))
    if low < 0 or high >= n_classes:
        got = low if low < 0 else high
        raise InputError(
            msg("A label of {part} is {got}; classes go from 0 to {last}.", part=name, got=got, last=n_classes - 1)
        )


def diverged(stage: str, epoch: int, step: int, checkpoint: Path | None) -> BackboneError:
    """The loss is not a number. `epoch` through all stages and `step` within it, both from 1."""
    said = msg(
        "The loss is not a number in stage {stage}, epoch {epoch}, step {step}: training stopped.",
        stage=stage, epoch=epoch, step=step,
    )  # fmt: skip
    if checkpoint is None:
        return BackboneError(said, msg("Try a lower learning rate, or clip_norm."), code=DIVERGED)
    hint = msg("{path} holds the last good state. Try a lower learning rate, or clip_norm.", path=checkpoint)
    return BackboneError(said, hint, code=DIVERGED)


def smaller_batch(stage: str, batch: int, asked: int) -> Message:
    """What is told where memory ended."""
    return msg(
        "{stage}: a batch of {asked} does not fit in memory: {batch} at a time now, and as many to a step as before.",
        stage=stage, batch=batch, asked=asked,
    )  # fmt: skip


def no_room(stage: str, side: int) -> InputError:
    """Not even one photograph fits."""
    return InputError(
        msg("{stage}: not even one photograph of {side} pixels fits in memory.", stage=stage, side=side),
        msg("Use a smaller network or input, or a machine with more memory."),
    )
