"""From a recipe and photographs to a trained network that the rest of the house takes for a backbone and a head.

Found by its dotted name from `workflow`, which loads no torch.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from mirada.embed.backbone import Backbone, file_sha256
from mirada.embed.embed import Failure
from mirada.engine.base import Progress, Silent
from mirada.errors import NotEnoughData, UsageError
from mirada.evaluate.training_curves import StageSpan
from mirada.messages import Message, msg, msg_n
from mirada.models.base import Network
from mirada.models.counting import count_parameters
from mirada.models.recipe import Recipe
from mirada.models.recipes import parse_document
from mirada.models.registry import create_model
from mirada.models.weights import from_hub, read_state
from mirada.release.export_network import export_network, head_of
from mirada.training.checkpoint import put_tensors
from mirada.training.devices import choose_machine
from mirada.training.loop import fit
from mirada.training.outcome import EpochRecord, FitOptions, Fitted, LoopData
from mirada.training.pixels import Pixels, prepare_pixels
from mirada.training.trained import CHECKPOINT_FOLDER, CurvePoint, NetworkPlan, Supply, TrainedNetwork
from mirada.types import PreprocessSpec

WEIGHTS_NAME = "weights.safetensors"
BACKBONE_NAME = "backbone.onnx"
PARITY_PHOTOS = 16
_CURVES = ("train_loss", "val_loss", "val_accuracy", "lr", "seconds", "cpu_percent", "rss_mb", "gpu_mb", "gpu_percent")


def check_plan(plan: NetworkPlan) -> None:
    """Raise what is wrong with a plan whatever the photographs are: recipe, name, options, weights, device."""
    choose_machine(plan.device, plan.precision)
    if not plan.recipe.stages:
        raise UsageError(msg("The recipe {name} has no stage: there is nothing to train.", name=plan.recipe.name))
    build(plan, n_classes=2)


def build(plan: NetworkPlan, *, n_classes: int) -> Network:
    """The network of a plan, pretrained where its recipe asks for it. Raises UsageError, BackboneError."""
    model = plan.recipe.model
    if plan.weights is not None and model.weights == "none":
        raise UsageError(
            msg(
                "The recipe {name} trains from scratch; it has no use for {path}.",
                name=plan.recipe.name,
                path=plan.weights,
            ),
            msg("Leave out --weights, or choose a recipe that starts from a pretrained network."),
        )
    if twice := sorted({"hidden", "dropout", "activation"} & model.options.keys()):
        raise UsageError(msg("{name} stands under [model] itself, not under its options.", name=", ".join(twice)))
    network = create_model(
        model.name, n_classes=n_classes, input_size=plan.recipe.input_size, seed=plan.seed,
        weights=plan.weights or (model.weights if model.weights == "pretrained" else None),
        hidden=model.hidden, dropout=model.dropout, activation=model.activation,
        **cast("Mapping[str, Any]", model.options),
    )  # fmt: skip
    if plan.grey or plan.recipe.grey:
        network.preprocess = replace(network.preprocess, channels="grey")
    return network


def train_network(
    plan: NetworkPlan, supply: Supply, folder: Path, *, progress: Progress | None = None
) -> TrainedNetwork:
    """Decode, train, keep the weights, and export. What lies in `folder` of the same run is taken up.

    Raises NotEnoughData where nothing can be read, and all that `fit`, `create_model` and `export_network` raise.
    """
    display = progress or Silent()
    started = time.perf_counter()
    network = build(plan, n_classes=len(supply.class_names))
    train, val, notes = _pixels(network.preprocess, supply, display)
    data = LoopData(
        train=(train.images, train.labels),
        val=(val.images, val.labels) if len(val) else None,
        n_classes=len(supply.class_names),
    )
    options = FitOptions(
        seed=plan.seed,
        device=plan.device,
        precision=plan.precision,
        folder=folder / CHECKPOINT_FOLDER,
        progress=display,
    )
    fitted = fit(network, data, plan.recipe, options=options)
    counted = count_parameters(fitted.network)
    backbone = _kept(
        fitted, plan, folder, photographs=np.asarray(train.images[np.arange(min(len(train), PARITY_PHOTOS))])
    )
    return TrainedNetwork(
        backbone=backbone,
        layer=head_of(fitted.network),
        curves=tuple(curve_points(fitted.history)),
        stages=stage_spans(fitted.history),
        best_epoch=fitted.best_epoch,
        n_epochs=len(fitted.history),
        stop_reason=fitted.stop_reason,
        n_parameters=counted.total,
        n_trainable=counted.trainable,
        n_train=len(train),
        seconds=time.perf_counter() - started,
        notes=(*notes, *fitted.notes, *(stop.message for stop in fitted.stops)),
    )


def curve_points(history: Iterable[EpochRecord]) -> list[CurvePoint]:
    """Every figure of every epoch that is known."""
    return [
        CurvePoint(name, record.epoch, float(value))
        for record in history
        for name in _CURVES
        if (value := getattr(record, name)) is not None
    ]


def stage_spans(history: Iterable[EpochRecord]) -> tuple[StageSpan, ...]:
    """The stages in their order with their epochs; two of one name that follow each other are one."""
    return tuple(
        StageSpan(name, records[0].epoch, records[-1].epoch)
        for name, records in ((name, list(part)) for name, part in groupby(history, key=lambda record: record.stage))
    )


def load_trained(folder: Path, document: str, *, n_classes: int, grey: bool = False) -> Network:
    """The network that a run kept in `folder`, as torch has it. document: the run's recipe as JSON (its `plan`).

    Raises BackboneError where its weights are damaged.
    """
    recipe: Recipe = parse_document(json.loads(document))
    bare = replace(recipe, model=replace(recipe.model, weights="none"))
    network = build(NetworkPlan(recipe=bare, grey=grey), n_classes=n_classes)
    network.load_state_dict(read_state(folder / WEIGHTS_NAME)[0], strict=True)
    network.eval()
    return network


def _pixels(spec: PreprocessSpec, supply: Supply, display: Progress) -> tuple[Pixels, Pixels, tuple[Message, ...]]:
    made, failures = list[Pixels](), list[Failure]()
    for samples, labels in ((supply.train, supply.y_train), (supply.val, supply.y_val)):
        pixels, failed = prepare_pixels(
            samples, labels, spec, reader=supply.reader, engine=supply.engine,
            folder=supply.pixels_folder, progress=display, limits=supply.limits,
        )  # fmt: skip
        made.append(pixels)
        failures += failed
    train, val = made
    if not len(train):
        raise NotEnoughData(
            msg("No photograph of train can be read."), msg("`mirada add` tells what is wrong with them.")
        )
    if not failures:
        return train, val, ()
    first = failures[0]
    note = msg_n(
        "{n} photograph was left out of training: {uri} ({reason}).",
        "{n} photographs were left out of training, such as {uri} ({reason}).",
        n=len(failures), uri=first.sample.uri, reason=first.error.message,
    )  # fmt: skip
    return train, val, (note,)


def _kept(fitted: Fitted, plan: NetworkPlan, folder: Path, *, photographs: NDArray[np.uint8]) -> Backbone:
    """The weights as they are and as a backbone, in the run's folder."""
    path = folder / WEIGHTS_NAME
    put_tensors(path, fitted.network.state_dict())
    return export_network(
        fitted.network, folder / BACKBONE_NAME, name=plan.recipe.model.name, licence=_licence(plan),
        trained_on=file_sha256(path)[:12], photographs=photographs,
    )  # fmt: skip


def _licence(plan: NetworkPlan) -> str:
    """What the origin of the weights states; a network from scratch is its maker's."""
    if plan.recipe.model.weights == "none":
        return "your own"
    file, stated = from_hub(plan.recipe.model.name) if plan.weights is None else (plan.weights, "")
    return stated or read_state(file)[1] or f"not stated (fine-tuned from {file.name})"
