"""What goes into `loop.fit` and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mirada.engine.base import Progress, Silent
from mirada.messages import Message, msg, msg_n
from mirada.models.base import Network
from mirada.training.pixels import Images

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "bf16", "f32"]
Labels = NDArray[np.int64]

ALL_EPOCHS, EARLY, PAUSED = "all epochs", "early stopping", "paused"


@dataclass(frozen=True, slots=True)
class LoopData:
    """Photographs (n, S, S, 3) with labels (n,) from 0 to `n_classes` - 1, to learn from and to be judged on.

    Photographs may be mapped from a file (`pixels.MappedRows`), and larger than the network's input, for crops. Nothing
    is chosen on anything but `val`; None: there is none.
    """

    train: tuple[Images, Labels]
    val: tuple[Images, Labels] | None
    n_classes: int


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """What an epoch brought. `epoch` counts from 1 through all stages; `lr` is that of its last step.

    train_loss: as it was minimised, with augmentation, smoothing and penalty. val_loss: mean log loss, without them.
    is_best: the best of its stage so far by the stage's monitor. cpu_percent: 100 is one core; rss_mb, gpu_mb: peaks
    in MiB; gpu_percent: mean use. None where it is not known.
    """

    stage: str
    epoch: int
    lr: float
    train_loss: float
    val_loss: float | None
    val_accuracy: float | None
    seconds: float
    is_best: bool
    cpu_percent: float | None = None
    rss_mb: float | None = None
    gpu_mb: float | None = None
    gpu_percent: float | None = None


@dataclass(frozen=True, slots=True)
class StageStop:
    """Why a stage ended, after so many of its epochs, and which epoch's weights it left (numbers through all stages).

    `reason` is ALL_EPOCHS, EARLY or PAUSED (`on_epoch` asked for it; the same call goes on).
    """

    stage: str
    reason: str
    n_epochs: int
    best_epoch: int
    monitor: str = ""
    patience: int = 0

    @property
    def message(self) -> Message:
        """The reason, as a sentence."""
        if self.reason == EARLY:
            return msg_n(
                "{stage}: {monitor} has not improved for {n} epoch; epoch {best} is kept.",
                "{stage}: {monitor} has not improved for {n} epochs; epoch {best} is kept.",
                n=self.patience, stage=self.stage, monitor=self.monitor, best=self.best_epoch,
            )  # fmt: skip
        if self.reason == PAUSED:
            return msg("{stage}: paused on request.", stage=self.stage)
        return msg("{stage}: all epochs are done; epoch {best} is kept.", stage=self.stage, best=self.best_epoch)


@dataclass(frozen=True, slots=True)
class FitOptions:
    """How `fit` is run; none of it but the seed and the precision changes what comes out.

    `folder`: where the checkpoint lies (None: there is none); it is written after every `checkpoint_epochs` epochs
    and every `checkpoint_steps` steps (0: at ends of epochs alone). `on_epoch` is told of every new epoch, after its
    checkpoint; where it gives True, training pauses there. `threads`: of torch on the processor (0: as it is).
    `prefetch`: the next batch is made in a thread while one is learned from. `judge_every`: val is judged every so many
    epochs and after the last; in a stage that depends on its monitor, always.
    """

    seed: int = 0
    device: Device = "auto"
    precision: Precision = "auto"
    folder: Path | None = None
    checkpoint_epochs: int = 1
    checkpoint_steps: int = 0
    on_epoch: Callable[[EpochRecord], bool | None] | None = None
    threads: int = 0
    prefetch: bool = True
    judge_every: int = 1
    progress: Progress = field(default_factory=Silent)


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained network, in evaluation mode, on the processor, with the weights of `best_epoch`.

    `batch_size` is how many photographs really went through the network at once in the last stage.
    """

    network: Network
    history: tuple[EpochRecord, ...]
    stops: tuple[StageStop, ...]
    batch_size: int
    notes: tuple[Message, ...] = ()

    @property
    def best_epoch(self) -> int:
        """The epoch whose weights were kept, counted from 1 through all stages; 0: none was trained."""
        return self.stops[-1].best_epoch if self.stops else 0

    @property
    def stop_reason(self) -> str:
        """Why the last stage ended: ALL_EPOCHS, EARLY or PAUSED."""
        return self.stops[-1].reason if self.stops else ALL_EPOCHS
