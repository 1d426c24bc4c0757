"""The training loop, to be read from top to bottom: `fit`, its stages, their epochs, their steps.

A run stopped at any moment and started again with the same call ends with the same weights to the bit (on one
processor, with the same number of threads): the order of the data, every augmentation and every dropout depend on
the seed and the place in the run alone, and the checkpoint holds all the rest.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from mirada.messages import Message, msg
from mirada.models.base import Network
from mirada.models.freezing import parameter_groups, set_train_mode
from mirada.models.recipe import Recipe, Stage
from mirada.training.averaging import Average
from mirada.training.checkpoint import NAME, Kept, Position, fingerprint, load_checkpoint, save_checkpoint
from mirada.training.compiled import Compiled
from mirada.training.devices import Machine, choose_machine, is_out_of_memory, own_generator_and_threads
from mirada.training.faults import check_request, diverged, no_room, smaller_batch
from mirada.training.feed import Batch, Feed, Store, n_steps_of_epoch
from mirada.training.judge import judge
from mirada.training.losses import class_weights, kernels, l2_penalty, sum_of_losses
from mirada.training.optim import make_optimizers, optimizer_tensors, restore_optimizers, set_rates
from mirada.training.outcome import ALL_EPOCHS, EARLY, PAUSED, EpochRecord, FitOptions, Fitted, LoopData, StageStop
from mirada.training.resources import ResourceWatch
from mirada.training.schedules import rate_at, side_at
from mirada.training.stopping import has_stalled, improvements, monitored, needs_monitor

LOOK_EVERY = 50  # steps between looks at a GPU's losses: each look waits for its queue
PREPARED_PIXELS = 1000 * 32 * 32  # what `Network.prepare` is shown


def fit(network: Network, data: LoopData, recipe: Recipe, *, options: FitOptions | None = None) -> Fitted:
    """Train `network` in place as the recipe says, stage after stage, taking up the folder's checkpoint of this run.

    Raises UsageError (a GPU that is not there, a monitor that nothing measures), NotEnoughData, InputError (labels
    that do not fit, a photograph that does not fit in memory), BackboneError with the code "diverged" where the loss
    is not a number, StorageError where a checkpoint cannot be written. An earlier checkpoint outlives them all.
    """
    options = options or FitOptions()
    check_request(network, data, recipe)
    machine = choose_machine(options.device, options.precision)
    with own_generator_and_threads(machine, options.threads), ResourceWatch(machine.device) as watch:
        return Run(network, data, recipe, options, machine, watch).to_the_end()


class Run:
    """The state of one call of `fit`: what is the same in all stages here, what a stage has of its own in `enter`."""

    def __init__(
        self,
        network: Network,
        data: LoopData,
        recipe: Recipe,
        options: FitOptions,
        machine: Machine,
        watch: ResourceWatch,
    ) -> None:
        self.recipe, self.options, self.machine, self.watch = recipe, options, machine, watch
        self.mark = fingerprint(network, data, recipe, seed=options.seed) if options.folder else ""
        self.network = network.to(machine.device, memory_format=torch.channels_last)
        self.side = network.preprocess.input_size
        self.feed = Feed(data.train, data.n_classes, network.preprocess, machine, seed=options.seed)
        self.val: tuple[Store, torch.Tensor] | None = None
        if data.val is not None:
            self.val = Store(data.val[0], machine), torch.tensor(data.val[1], dtype=torch.int64, device=machine.device)
        self.at = Position()
        self.history: list[EpochRecord] = []
        self.stops: list[StageStop] = []
        self.notes: list[Message] = []

    # ---- the run and its stages ----

    def to_the_end(self) -> Fitted:
        """All stages that are left."""
        kept = self.taken_up()
        if kept is None:
            self.begin()
        for stage in self.recipe.stages[self.at.stage :]:
            self.enter(stage, kept)
            reason = self.train_stage(stage)
            self.leave(stage, reason)
            if reason == PAUSED:
                break
            kept, self.at = None, Position(stage=self.at.stage + 1)
        network = self.network.to("cpu", memory_format=torch.contiguous_format).eval()
        return Fitted(network, tuple(self.history), tuple(self.stops), self.micro, tuple(self.notes))

    def begin(self) -> None:
        """A network without weights may look at photographs first."""
        if self.recipe.model.weights == "none":
            self.network.prepare(self.feed.sample(max(64, PREPARED_PIXELS // self.side**2), self.side))

    def enter(self, stage: Stage, kept: Kept | None) -> None:
        """What the stage has of its own: what learns, optimisers, average, weights of classes, batches."""
        n, labels = len(self.feed.labels), self.feed.labels
        groups = parameter_groups(self.network, stage)
        self.learning = [param for group in groups for param in group["params"]]
        self.optimizers = make_optimizers(self.network, stage, groups)
        self.average = Average(self.network, stage.ema) if stage.ema else None
        self.best: dict[str, torch.Tensor] = {}
        self.forward = Compiled(self.network, self.tell) if stage.compile else self.network
        self.kernels = kernels(self.network) if self.recipe.model.l2 else []
        balanced = stage.class_weight == "balanced"
        weights = torch.from_numpy(class_weights(labels, self.feed.n_classes)).to(self.machine.device)
        self.class_weights = weights if balanced else None
        self.n_steps = n_steps_of_epoch(n, stage.batch_size * stage.accumulate)
        self.losses = torch.zeros(self.n_steps, device=self.machine.device)
        self.micro, self.rate = self.at.micro or min(stage.batch_size, n), 0.0
        if kept is not None:
            self.put_back(kept)
            if self.micro < min(stage.batch_size, n):
                self.tell(smaller_batch(stage.name, self.micro, stage.batch_size))

    def train_stage(self, stage: Stage) -> str:
        """Its epochs; gives the reason why it ended."""
        shown = self.options.progress
        shown.start(
            msg("Training {name}: {stage}", name=self.recipe.name, stage=stage.name), self.n_steps * stage.epochs
        )
        shown.advance(self.at.epoch * self.n_steps + self.at.step)
        reason = ALL_EPOCHS
        while self.at.epoch < stage.epochs and reason == ALL_EPOCHS:
            self.values = monitored(stage, self.history[len(self.history) - self.at.epoch :])
            if has_stalled(stage, self.values):
                reason = EARLY
            elif self.train_epoch(stage):
                reason = PAUSED
        shown.finish()
        return reason

    def leave(self, stage: Stage, reason: str) -> None:
        """Go on with the average's weights, or with those of the best epoch."""
        if self.average is not None:
            self.network.load_state_dict(self.average.network.state_dict())
        if self.best:
            self.network.load_state_dict(self.best)
        best = self.at.best if self.best else len(self.history)
        self.stops.append(StageStop(stage.name, reason, self.at.epoch, best, stage.monitor, stage.patience))

    def train_epoch(self, stage: Stage) -> bool:
        """Its steps, with smaller batches from where memory ends; True where the caller asks for a pause."""
        self.started = time.perf_counter() - self.at.seconds
        set_train_mode(self.network, stage)
        while self.at.step < self.n_steps:
            if not self.steps_fit(stage):
                self.make_room(stage)
        record = self.judged(stage)
        self.history.append(record)
        self.at.epoch, self.at.step, self.at.seconds = self.at.epoch + 1, 0, 0.0
        self.losses = torch.zeros_like(self.losses)
        due = self.at.epoch % self.options.checkpoint_epochs == 0 or self.at.epoch == stage.epochs
        if due:
            self.save()
        pause = self.options.on_epoch is not None and bool(self.options.on_epoch(record))
        if pause and not due:
            self.save()
        return pause

    # ---- the steps: what is hot ----

    def take_steps(self, stage: Stage) -> None:
        """Gather, augment, forward, loss, backward, step, till the end of the epoch."""
        with closing(self.batches(stage)) as batches:
            for batch in batches:
                self.losses[batch.step] += self.learn(stage, batch)
                if batch.last:
                    self.update(stage, batch.step)
                    self.options.progress.advance()

    def learn(self, stage: Stage, batch: Batch) -> torch.Tensor:
        """Add the batch's part of the step's gradient; gives its part of the step's loss."""
        self.machine.seed(self.options.seed + batch.draw)  # dropout, by the place in the run
        with self.machine.autocast():
            logits = self.forward(batch.x)
        loss = sum_of_losses(logits, batch.targets, smoothing=stage.label_smoothing, weights=self.class_weights)
        loss = loss / batch.n_step
        if self.kernels:
            loss = loss + l2_penalty(self.kernels, self.recipe.model.l2) * (len(batch.x) / batch.n_step)
        loss.backward()
        return loss.detach()

    def update(self, stage: Stage, step: int) -> None:
        """Let the optimisers take their step and the average follow; keep the state where that is due."""
        done, every = self.at.epoch * self.n_steps + step, self.options.checkpoint_steps
        due = every > 0 and (done + 1) % every == 0 and step + 1 < self.n_steps
        self.look_at_losses(stage, step, now=due)
        self.rate = rate_at(stage, done, self.n_steps * stage.epochs, values=self.values)
        set_rates(self.optimizers, self.rate)
        self.step(stage)
        if self.average is not None:
            self.average.follow(done)
        self.at.step = step + 1
        if due:
            self.save()

    def step(self, stage: Stage) -> None:
        """From the gradient, which is used up, to new weights."""
        if stage.clip_norm:
            nn.utils.clip_grad_norm_(self.learning, stage.clip_norm)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def batches(self, stage: Stage) -> Generator[Batch, None, None]:
        """What is left of the epoch."""
        total, before = self.n_steps * stage.epochs, self.at.epoch * self.n_steps
        return self.feed.epoch(
            stage,
            index=self.at.stage,
            epoch=self.at.epoch,
            start=self.at.step,
            micro=self.micro,
            side_at=lambda step: side_at(stage, before + step, total, native=self.side),
            prefetch=self.options.prefetch,
        )

    # ---- what can go wrong ----

    def look_at_losses(self, stage: Stage, step: int, *, now: bool) -> None:
        """Stop where a loss since the last look is not a number, before it reaches weights that are kept."""
        every = LOOK_EVERY if self.machine.on_gpu else 1
        if not (now or (step + 1) % every == 0 or step + 1 == self.n_steps):
            return
        first = max(0, step + 1 - every)
        bad = ~torch.isfinite(self.losses[first : step + 1])
        if bool(bad.any()):
            raise diverged(stage.name, len(self.history) + 1, first + int(bad.nonzero()[0]) + 1, self.checkpoint)

    def steps_fit(self, stage: Stage) -> bool:
        """Take the epoch's steps; False where one does not fit in memory. What it held is free again after that."""
        try:
            self.take_steps(stage)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return False
        return True

    def make_room(self, stage: Stage) -> None:
        """Half as many photographs at a time, as many to a step: the step is begun again."""
        if self.micro == 1:
            raise no_room(stage.name, self.side)
        self.micro = self.at.micro = -(-self.micro // 2)
        self.tell(smaller_batch(stage.name, self.micro, stage.batch_size))
        self.network.zero_grad(set_to_none=True)
        self.losses[self.at.step] = 0
        if self.machine.on_gpu:
            torch.cuda.empty_cache()

    def tell(self, message: Message) -> None:
        """Say it now and in the end."""
        self.notes.append(message)
        self.options.progress.note(message)

    # ---- judging and keeping ----

    def judged(self, stage: Stage) -> EpochRecord:
        """The epoch's record; its weights are put aside where it is the best so far."""
        network = self.network if self.average is None else self.average.network
        train_loss, (val_loss, val_accuracy) = float(self.losses.mean()), self.measured(stage, network)
        if val_loss is not None and math.isnan(val_loss):
            raise diverged(stage.name, len(self.history) + 1, self.n_steps, self.checkpoint)
        usage = self.watch.usage()
        record = EpochRecord(
            stage.name, len(self.history) + 1, self.rate * stage.lr, train_loss, val_loss, val_accuracy,
            time.perf_counter() - self.started, False,
            usage.cpu_percent, usage.rss_mb, usage.gpu_mb, usage.gpu_percent,
        )  # fmt: skip
        if not improvements(stage, [*self.values, *monitored(stage, [record])])[-1]:
            return record
        self.at.best = record.epoch
        if stage.restore_best:
            self.best = {name: value.detach().clone() for name, value in network.state_dict().items()}
        return replace(record, is_best=True)

    def measured(self, stage: Stage, network: Network) -> tuple[float | None, float | None]:
        """Log loss and accuracy on val, where it is its turn."""
        epoch = self.at.epoch + 1
        skipped = epoch % self.options.judge_every != 0 and epoch < stage.epochs and not needs_monitor(stage)
        if self.val is None or skipped:
            return None, None
        store, labels = self.val
        return judge(network, store, labels, machine=self.machine, tta=self.recipe.tta)

    @property
    def checkpoint(self) -> Path | None:
        """The file that holds the last good state, where there is one."""
        path = self.options.folder / NAME if self.options.folder else None
        return path if path is not None and path.is_file() else None

    def save(self) -> None:
        """Keep all that a later call needs to go on from here. Raises StorageError."""
        if self.options.folder is None:
            return
        self.at.seconds = time.perf_counter() - self.started if self.at.step else 0.0
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        if self.average is not None:
            tensors |= {f"average.{name}": value for name, value in self.average.network.state_dict().items()}
        tensors |= {**optimizer_tensors(self.optimizers), "losses": self.losses}
        kept = Kept(self.at, tuple(self.history), tuple(self.stops), tensors)
        save_checkpoint(self.options.folder, kept, mark=self.mark)

    def taken_up(self) -> Kept | None:
        """The folder's state of this very run, with which the network goes on; another run's is left and told of."""
        if self.options.folder is None:
            return None
        try:
            kept = load_checkpoint(self.options.folder, mark=self.mark)
        except FileNotFoundError:
            return None
        if kept is None:
            self.tell(msg("{path} is the state of another run: training starts anew.", path=self.checkpoint))
            return None
        self.network.load_state_dict(kept.under("network."))
        self.at, self.history, self.stops = kept.position, list(kept.history), list(kept.stops)
        return kept

    def put_back(self, kept: Kept) -> None:
        """What the stage had of its own when it was kept."""
        if self.average is not None:
            self.average.network.load_state_dict(kept.under("average."))
        restore_optimizers(self.optimizers, kept.tensors)
        self.best = {name: value.to(self.machine.device) for name, value in kept.under("best.").items()}
        self.losses = kept.tensors["losses"].to(self.machine.device)
