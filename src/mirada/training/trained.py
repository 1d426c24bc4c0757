"""What is asked of training a network and what comes back, for those who do not load torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mirada.embed.backbone import Backbone
from mirada.engine.base import Engine
from mirada.evaluate.training_curves import StageSpan
from mirada.imaging.decode import Limits
from mirada.messages import Message
from mirada.models.recipe import Recipe
from mirada.sources.reader import PhotoReader
from mirada.types import Sample

Device = Literal["auto", "cpu", "cuda"]
CHECKPOINT_FOLDER = "checkpoint"  # in a run's folder, while it is not done


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPlan:
    """Which network is trained and how. `weights`: a file for a pretrained one; None: the hub's."""

    recipe: Recipe
    weights: Path | None = None
    seed: int = 0
    device: Device = "auto"
    precision: Literal["auto", "bf16", "f32"] = "auto"
    grey: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """The photographs of a training. y_train, y_val: class indices (n,) of `train` and `val`."""

    class_names: tuple[str, ...]
    train: Sequence[Sample]
    y_train: NDArray[np.int64]
    val: Sequence[Sample]
    y_val: NDArray[np.int64]
    reader: PhotoReader
    engine: Engine
    limits: Limits
    pixels_folder: Path


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One figure of one epoch, counted from 1 through all stages."""

    name: str
    step: int
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedNetwork:
    """A trained network without its last layer as a backbone, and that layer: W (d, k), b (k,)."""

    backbone: Backbone
    layer: tuple[NDArray[np.float32], NDArray[np.float32]]
    curves: tuple[CurvePoint, ...]
    stages: tuple[StageSpan, ...]
    best_epoch: int
    n_epochs: int
    stop_reason: str
    n_parameters: int
    n_trainable: int
    n_train: int
    seconds: float
    notes: tuple[Message, ...] = ()
