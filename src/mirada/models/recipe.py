"""A recipe: which network, on which pixels, trained how. Frozen records; `models.recipes` reads them from TOML.

Light: nothing here or in `models.recipes` loads torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Optimizer = Literal["sgd", "adam", "adamw", "rmsprop", "muon"]
Schedule = Literal["constant", "linear", "cosine", "one-cycle", "plateau"]
Monitor = Literal["val_loss", "val_accuracy", "train_loss"]
Option = str | int | float | bool | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Augment:
    """What is done to a batch of training photographs, on the device. All off by default.

    flip: "random", or "alternating" (every photograph mirrored in every other epoch). translate: up to this share
    of the side, edges reflected. rotate: up to so many degrees either way. zoom: side scaled within 1 ± zoom. crop:
    the smallest share of the area of a random resized crop (1: none). colour: brightness, contrast and saturation
    scaled within 1 ± colour. randaugment: operations drawn for each photograph, of `magnitude` 0 to 10. erase: side of
    a square painted over, as a share of the side. mixup, cutmix: alpha of their beta distributions (0: off).
    """

    flip: Literal["none", "random", "alternating"] = "none"
    translate: float = 0.0
    rotate: float = 0.0
    zoom: float = 0.0
    crop: float = 1.0
    colour: float = 0.0
    randaugment: int = 0
    magnitude: float = 9.0
    erase: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stretch of training. Stages follow each other on the same network; each has its own optimiser.

    trainable: "all", "head", or "last:N" (the N last blocks and the head). lr: the highest rate. layer_decay: each
    block towards the input learns at this times the rate of the one behind it (1: all the same). head_lr: factor on
    the head's rate. warmup: share of the steps over which the rate rises. final_lr: the rate that linear, cosine and
    one-cycle end at, as a share of lr. plateau_*: after so many epochs without improvement of `monitor`, times factor.
    patience: epochs without improvement after which the stage stops (0: never). min_delta: what counts as one.
    restore_best: go on with the weights of the best epoch by `monitor`. ema: decay of the moving average of the
    weights that is judged and kept (0: off). sizes: (from which share of the steps, input side), for progressive
    resizing. accumulate: batches to a step. bn_frozen: batch norms keep their running statistics.
    """

    name: str = "train"
    epochs: int = 10
    trainable: str = "all"
    optimizer: Optimizer = "adamw"
    lr: float = 1e-3
    head_lr: float = 1.0
    layer_decay: float = 1.0
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: Schedule = "cosine"
    warmup: float = 0.0
    final_lr: float = 0.0
    plateau_patience: int = 3
    plateau_factor: float = 0.5
    batch_size: int = 64
    accumulate: int = 1
    label_smoothing: float = 0.0
    clip_norm: float = 0.0
    ema: float = 0.0
    class_weight: Literal["none", "balanced"] = "none"
    sampling: Literal["uniform", "balanced"] = "uniform"
    monitor: Monitor = "val_loss"
    patience: int = 0
    min_delta: float = 0.0
    restore_best: bool = True
    bn_frozen: bool = False
    compile: bool = False
    sizes: tuple[tuple[float, int], ...] = ()
    augment: Augment = field(default_factory=Augment)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """Which network. `options` go to `create_model`; `hidden`, `dropout` and `activation` build its head.

    weights: "pretrained" (the file given with --weights, else the hub's) or "none". l2: penalty of the reports'
    Keras networks on their kernels, added to the loss.
    """

    name: str
    weights: Literal["none", "pretrained"] = "none"
    options: Mapping[str, Option] = field(default_factory=dict)
    hidden: tuple[int, ...] = ()
    activation: Literal["relu", "tanh", "sigmoid"] = "relu"
    dropout: float = 0.0
    l2: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A whole recipe. kind "head": a head on frozen embeddings (`training.head`); "network": what `stages` say.

    summary: a sentence for each language. input_size: side in pixels (0: the network's own). ratios: of the split,
    where the photographs bring none. tta: judge with mirrored photographs too. origin: which experiment of which
    report it repeats, and the figure stated there. grey: without colour.
    """

    name: str
    summary: Mapping[str, str]
    kind: Literal["head", "network"] = "network"
    model: ModelSpec
    input_size: int = 0
    stages: tuple[Stage, ...] = ()
    ratios: str = ""
    tta: bool = False
    grey: bool = False
    origin: str = ""
