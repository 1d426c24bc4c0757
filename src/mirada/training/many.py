"""Many small MLPs trained in one go: one network after the other on each core, its weights in the cache.

All networks of a group look at the same bytes. What a network becomes depends on its spec and the photographs alone,
never on the others or on the number of threads: each is trained by one thread at a time, an epoch a turn.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from mirada.errors import UsageError
from mirada.messages import Message, msg
from mirada.models.recipe import Augment, Recipe
from mirada.models.scratch import Mlp, scratch_preprocess
from mirada.training.feed import epoch_rows, n_steps_of_epoch
from mirada.training.many_judge import answers, judge
from mirada.training.many_network import TENSOR_TYPES, Inputs, ManyPrecision, ManySpec, columns_first
from mirada.training.many_state import ManyState, new_state, read_state, save_state
from mirada.training.outcome import EpochRecord, LoopData
from mirada.training.pixels import Images
from mirada.training.schedules import rate_at
from mirada.training.stopping import improvements, monitored

PRECISIONS = ("auto", "int8", "bf16", "f32")
OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop")
SAVE_EVERY_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ManyOptions:
    """How a group is run; the precision alone changes what comes out.

    `threads`: networks trained at the same time (0: as many as there are cores). `on_epoch` is told the network's
    place in the group and every new epoch, from the thread that trained it.
    """

    precision: ManyPrecision | Literal["auto"] = "auto"
    threads: int = 0
    device: str = "cpu"
    save_every_s: float = SAVE_EVERY_S
    on_epoch: Callable[[int, EpochRecord], None] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ManyResult:
    """A trained network: its epochs, the weights W₁, b₁, W₂, … of the best (out, in; float32), and val's answers.

    `probs` (n_val, k) are those of the best epoch's weights in float32, whatever was trained in, and so is `accuracy`
    (0 where there is no val). `paused`: it can go on. Inputs are photographs (S, S, 3), normalised, rows first.
    """

    spec: ManySpec
    history: tuple[EpochRecord, ...]
    best_epoch: int
    weights: tuple[torch.Tensor, ...]
    probs: NDArray[np.float32]
    accuracy: float
    seconds: float
    n_parameters: int
    paused: bool
    diverged: bool


def can_run(recipe: Recipe) -> bool:
    """Whether a recipe is a small MLP that `train_many` can train."""
    return why_not(recipe) is None


def why_not(recipe: Recipe) -> Message | None:
    """What in a recipe `train_many` cannot do; None where it can do all of it."""
    model, stages = recipe.model, recipe.stages
    if recipe.kind != "network" or model.name != "mlp" or model.weights != "none" or len(stages) != 1:
        return msg("{name} is not one stage of an MLP from scratch.", name=recipe.name)
    stage = stages[0]
    if stage.optimizer not in OPTIMIZERS:
        return msg("Its optimiser is {name}.", name=stage.optimizer)
    plain = (
        (stage.augment == Augment(), "augment"), (stage.trainable == "all", "trainable"), (not stage.ema, "ema"),
        (not stage.clip_norm, "clip_norm"), (stage.accumulate == 1, "accumulate"), (not stage.sizes, "sizes"),
        (stage.head_lr == 1 == stage.layer_decay, "head_lr"),
        (not model.l2, "l2"), (not recipe.tta, "tta"), (not recipe.grey, "grey"),
    )  # fmt: skip
    asked = [name for fits, name in plain if not fits]
    return msg("It asks for {fields}.", fields=", ".join(asked)) if asked else None


def spec_of(recipe: Recipe, *, seed: int) -> ManySpec:
    """The recipe as a spec. Raises UsageError where `train_many` cannot do what it asks."""
    reason = why_not(recipe)
    if reason is not None:
        raise UsageError(
            msg("Recipe {name} cannot be trained in a group. {reason}", name=recipe.name, reason=reason),
            msg("Train it by itself."),
        )
    model = recipe.model
    hidden = model.hidden or tuple(int(width) for width in _sequence(model.options.get("hidden", (512,))))
    return ManySpec(
        hidden=hidden, activation=model.activation, dropout=model.dropout, seed=seed, stage=recipe.stages[0]
    )


def train_many(
    specs: Sequence[ManySpec],
    data: LoopData | Inputs,
    *,
    epochs: int,
    states: Sequence[Path] | None = None,
    options: ManyOptions | None = None,
) -> list[ManyResult]:
    """Train every network up to epoch `epochs`, or until it stops by its stage's patience.

    `states`: a file for each, where it is taken up from if it is there, and kept on the way and at the end.
    Schedules run over the epochs of the stage, so that a network paused at an epoch and taken up again ends with the
    same weights to the bit. Raises UsageError, StorageError.
    """
    options = options or ManyOptions()
    precision = choose_precision(options)
    inputs = data if isinstance(data, Inputs) else prepare_inputs(data, precision, device=options.device)
    files: list[Path | None] = list(states) if states is not None else [None] * len(specs)
    group = _Group(specs, files, inputs, precision, epochs, options)
    before = torch.get_num_threads()
    threads = max(1, min(group.threads, len(specs)))
    try:
        with ThreadPoolExecutor(threads) as pool:
            for worker in [pool.submit(group.work) for _ in range(threads)]:
                worker.result()
    finally:
        torch.set_num_threads(before)
    return [group.results[place] for place in range(len(specs))]


def choose_precision(options: ManyOptions) -> ManyPrecision:
    """What "auto" is here: int8 where the processor multiplies it faster, bf16 where it has that, else float32.

    Raises UsageError for another name, and for int8 where the processor has no instructions for it.
    """
    if options.precision not in PRECISIONS:
        raise UsageError(
            msg(
                "The {name} must be one of {allowed}; got {given}.",
                name="precision",
                allowed=", ".join(PRECISIONS),
                given=options.precision,
            )
        )
    if options.precision == "int8" and (options.device != "cpu" or not torch.cpu._is_vnni_supported()):
        raise UsageError(
            msg("This processor does not multiply int8 (VNNI)."), msg("Leave the precision at auto, or take f32.")
        )
    if options.precision != "auto":
        return options.precision
    if options.device != "cpu":
        return "bf16"
    if torch.cpu._is_vnni_supported():
        return "int8"
    return "bf16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "f32"


def prepare_inputs(data: LoopData, precision: ManyPrecision, *, device: str = "cpu") -> Inputs:
    """Photographs as the first layer takes them; normalised as `models.scratch` does it: (p / 255 − mean) / spread."""
    spec = scratch_preprocess(data.train[0].shape[1])
    images, labels = data.train
    val_images, val_labels = data.val if data.val is not None else (images[:0], labels[:0])
    kind = torch.int8 if precision == "int8" else TENSOR_TYPES[precision]

    def rows(images: Images) -> torch.Tensor:
        shifted = (np.asarray(images).reshape(len(images), -1) ^ 0x80).view(np.int8)
        return torch.from_numpy(shifted).to(device, kind)

    return Inputs(
        train=rows(images),
        train_labels=torch.from_numpy(np.asarray(labels, np.int64)).to(device),
        val=rows(val_images),
        val_labels=torch.from_numpy(np.asarray(val_labels, np.int64)).to(device),
        scale=1 / (255 * spec.std[0]),
        shift=128 - 255 * spec.mean[0],
        n_classes=data.n_classes,
    )


class _Group:
    """The networks of one call and whose turn it is. A network is held by one thread at a time."""

    def __init__(
        self,
        specs: Sequence[ManySpec],
        files: Sequence[Path | None],
        inputs: Inputs,
        precision: ManyPrecision,
        epochs: int,
        options: ManyOptions,
    ) -> None:
        self.specs, self.files, self.inputs = specs, files, inputs
        self.precision, self.epochs, self.options = precision, epochs, options
        self.results: dict[int, ManyResult] = {}
        self.threads = options.threads or torch.get_num_threads()
        self._lock, self._active = threading.Lock(), 0
        # The widest first, so that no long one is left for the end.
        self._waiting = deque(sorted(range(len(specs)), key=lambda i: -sum(specs[i].hidden)))

    def work(self) -> None:
        """Train networks until none waits. Run by each thread."""
        torch.set_num_threads(1)
        while True:
            with self._lock:
                if not self._waiting:
                    return
                place = self._waiting.popleft()
                self._active += 1
            try:
                self.results[place] = self._train(place)
            finally:
                with self._lock:
                    self._active -= 1

    def _train(self, place: int) -> ManyResult:
        state, path = self._take_up(place), self.files[place]
        saved, unsaved = time.monotonic(), path is not None and not path.is_file()
        while len(state.history) < min(self.epochs, self.specs[place].stage.epochs) and not state.stalled:
            # When others have ended, those that are left share the cores.
            state.network.threads = max(1, self.threads // max(1, self._active))
            record, unsaved = train_epoch(state), True
            if self.options.on_epoch is not None:
                self.options.on_epoch(place, record)
            if path is not None and time.monotonic() - saved >= self.options.save_every_s:
                save_state(state, path)
                saved, unsaved = time.monotonic(), False
        if path is not None and unsaved:
            save_state(state, path)
        return result_of(state)

    def _take_up(self, place: int) -> ManyState:
        path, spec = self.files[place], self.specs[place]
        state = read_state(path, spec, self.inputs, self.precision) if path is not None else None
        return state or new_state(spec, self.inputs, self.precision)


def train_epoch(state: ManyState) -> EpochRecord:
    """One more epoch of a network, and what val says then. A loss that is no number ends it: `diverged`."""
    network, stage = state.network, state.network.spec.stage
    inputs, began, epoch = network.inputs, time.perf_counter(), len(state.history)
    labels = inputs.train_labels
    order = epoch_rows(labels.cpu().numpy(), stage, seed=network.spec.seed, index=0, epoch=epoch)
    n_steps = n_steps_of_epoch(len(order), stage.batch_size)
    values, losses, rate = monitored(stage, state.history), [], 0.0
    for rows in torch.from_numpy(order).to(labels.device).split(stage.batch_size)[:n_steps]:
        rate = stage.lr * rate_at(stage, network.step, stage.epochs * n_steps, values=values)
        x, y = torch.index_select(inputs.train, 0, rows), torch.index_select(labels, 0, rows)
        losses.append(network.learn(x, y, rate))
    train_loss, (val_loss, val_accuracy) = float(torch.stack(losses).mean()), judge(network)
    state.diverged = not math.isfinite(train_loss + (val_loss or 0.0))
    better = not state.diverged and _is_better(state, train_loss, val_loss, val_accuracy)
    record = EpochRecord(
        stage=stage.name, epoch=epoch + 1, lr=rate, train_loss=train_loss, val_loss=val_loss,
        val_accuracy=val_accuracy, seconds=time.perf_counter() - began, is_best=better,
    )  # fmt: skip
    if state.diverged:
        return record  # an epoch that is not counted: the last good state stands
    state.history.append(record)
    if better or not stage.restore_best:
        for best, weight in zip(state.best, network.weights, strict=True):
            best.copy_(weight)
    return record


def _is_better(state: ManyState, train_loss: float, val_loss: float | None, val_accuracy: float | None) -> bool:
    stage = state.network.spec.stage
    value = {"train_loss": train_loss, "val_loss": val_loss, "val_accuracy": val_accuracy}[stage.monitor]
    return value is not None and improvements(stage, [*monitored(stage, state.history), value])[-1]


def result_of(state: ManyState) -> ManyResult:
    """The result of a network as it stands."""
    network, stage = state.network, state.network.spec.stage
    labels = network.inputs.val_labels.cpu().numpy()
    probs = answers(network.spec, state.best, network.inputs)
    return ManyResult(
        spec=network.spec,
        history=tuple(state.history),
        best_epoch=state.best_epoch,
        weights=tuple(weight.cpu() for weight in state.best),
        probs=probs,
        accuracy=float((probs.argmax(1) == labels).mean()) if len(labels) else 0.0,
        seconds=sum(record.seconds for record in state.history),
        n_parameters=sum(weight.numel() for weight in state.best),
        paused=len(state.history) < stage.epochs and not state.stalled,
        diverged=state.diverged,
    )


def network_of(result: ManyResult) -> Mlp:
    """The trained network as the registry's `Mlp`, with the weights of its best epoch, in evaluation mode."""
    n_classes, n_inputs = len(result.weights[-1]), result.weights[0].shape[1]
    spec = result.spec
    network = Mlp(
        n_classes=n_classes, input_size=math.isqrt(n_inputs // 3), hidden=spec.hidden, dropout=spec.dropout,
        activation=spec.activation,
    )  # fmt: skip
    tensors = (columns_first(result.weights[0]), *result.weights[1:])
    network.load_state_dict(dict(zip(network.state_dict(), tensors, strict=True)))
    network.eval()
    return network


def _sequence(value: object) -> Sequence[int]:
    return value if isinstance(value, tuple | list) else (int(str(value)),)
