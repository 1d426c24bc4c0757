"""What travels between the stages: frozen records that import nothing of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

SplitName = Literal["train", "val", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "val", "test")
Action = Literal["keep", "drop", "relabel", "ambiguous", "restore"]
Precision = Literal["bf16", "f32"]


@dataclass(frozen=True, slots=True)
class Photo:
    """One occurrence of a photograph as a source found it; its bytes are read later, by uri."""

    uri: str
    source: str
    label: str | None = None
    split: SplitName | None = None
    n_bytes: int | None = None
    mtime_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One readable photograph in the catalogue. width and height are pixels, upright; times are UTC ISO 8601."""

    sample_id: str
    content_sha256: str
    uri: str
    source: str
    width: int
    height: int
    mode: str
    format: str
    n_bytes: int
    label: str | None = None
    label_source: str | None = None
    group_id: str | None = None
    split: SplitName | None = None
    phash: int | None = None
    mtime_ns: int | None = None
    added_at: str = ""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A photograph that was listed but cannot be read; `reason` is a code of `imaging.decode.REASONS`."""

    uri: str
    source: str
    reason: str
    detail: str = ""
    n_bytes: int | None = None
    mtime_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Issue:
    """A check's finding on a sample: score 0 (worst) to 1."""

    sample_id: str
    check: str
    score: float
    is_issue: bool
    threshold: float
    evidence: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person (or a rule a person chose) decided on a sample. Append-only.

    `check`: the issue it answers; None: it is about the photograph as a whole.
    """

    sample_id: str
    action: Action
    old: str | None = None
    new: str | None = None
    by: str = ""
    reason: str = ""
    at: str = ""
    check: str | None = None


@dataclass(frozen=True, slots=True)
class DatasetVersion:
    """A named state of the data: `dataset_id` is a hash of (sample, content, label) of every live sample."""

    dataset_id: str
    parent_id: str | None
    class_names: tuple[str, ...]
    n_samples: int
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Split:
    """Which sample ids train, tune and test."""

    split_id: str
    dataset_id: str
    strategy: str
    seed: int
    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PreprocessSpec:
    """From decoded pixels to the network's input.

    The short side is resized to `resize` pixels, then the centre `input_size` × `input_size` is cut.
    `mean` and `std` are in units of pixel / 255 and applied inside the network.
    """

    input_size: int = 224
    resize: int = 224
    crop: Literal["center"] = "center"
    interpolation: Literal["bilinear", "bicubic", "lanczos", "box"] = "bicubic"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    channels: Literal["rgb", "grey"] = "rgb"


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """What a run was asked to do. Fields at 0 or "" matter only to networks of the `train` extra.

    `source`: the source whose samples it used; None: all of the workspace. `subset`: "NAME@HASH" of its recipe.
    `plan`: the whole recipe of a network as JSON, with what the command line changed in it.
    """

    recipe: str = "head"
    model_name: str = ""
    weights: str | None = None
    freeze: str = "backbone"
    epochs: int = 0
    batch_size: int = 0
    lr: float = 0.0
    weight_decay: float = 0.0
    schedule: str = ""
    augment: str = "none"
    precision: str = "auto"
    patience: int = 0
    seed: int = 0
    device: str = "cpu"
    head: Literal["logistic", "mlp"] = "logistic"
    class_weight: Literal["none", "balanced"] = "none"
    source: str | None = None
    subset: str | None = None
    plan: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of training and what became of it."""

    run_id: str
    status: Literal["running", "done", "failed", "interrupted"]
    stop_reason: str
    dataset_id: str
    split_id: str
    config: TrainConfig
    git_sha: str
    environment: Mapping[str, str]
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure with its 95 % interval and the number of samples behind it."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class WorstSample:
    """A sample the model got most confidently wrong."""

    sample_id: str
    uri: str
    label: str
    prediction: str
    score: float


@dataclass(frozen=True, slots=True)
class EvalReport:
    """How good a model is on one subset. `confusion[i][j]`: samples of class i predicted as class j."""

    run_id: str
    subset: str
    n: int
    class_names: tuple[str, ...]
    metrics: Mapping[str, Metric]
    per_class: Mapping[str, Mapping[str, Metric]]
    confusion: tuple[tuple[int, ...], ...]
    calibration: tuple[tuple[float, float, int], ...]
    worst: tuple[WorstSample, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bundle:
    """A model folder: what `manifest.json` says. `reference_stats` names arrays in `reference.npz`."""

    name: str
    version: int
    path: str
    onnx_sha256: str
    class_names: tuple[str, ...]
    preprocess: PreprocessSpec
    backbone: str
    temperature: float
    reject_threshold: float
    precision: Precision
    parity: Mapping[str, float]
    metrics: Mapping[str, Metric]
    run_id: str
    dataset_id: str
    weights_licence: str
    reference_stats: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Scored:
    """A class and its calibrated probability."""

    label: str
    score: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """A model's answer for one photograph. `rejected`: the model is unsure, ask a person.

    Where the photograph could not be read, `label` is None, `top_k` empty and `error` its reason.
    """

    id: str
    model: str
    version: int
    label: str | None
    score: float
    top_k: tuple[Scored, ...]
    rejected: bool
    sample_sha256: str = ""
    milliseconds: float = 0.0
    uri: str = ""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Feedback:
    """The right answer to a prediction, from a person."""

    prediction_id: str
    true_label: str
    by: str = ""
    at: str = ""
