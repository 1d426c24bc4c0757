"""The loop of distillation: a student learns to give back what its teachers say of every view.

Through a linear projection per teacher: cosine distance on standardised features, and a relational term (Park
et al. 2019) that asks for the teachers' similarities within the batch. What is kept is an exponential moving
average of the weights.

A run stopped at any moment takes up again from its last checkpoint and ends with the same weights to the bit:
the order of the data and every augmentation depend on the seed and the step alone.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from mirada.engine.base import Progress
from mirada.errors import BackboneError, UsageError
from mirada.messages import msg
from mirada.training.distill_augment import augmented
from mirada.training.distill_data import Pixels, Views
from mirada.training.distill_optim import make_optimizers
from mirada.training.optim import optimizer_tensors, restore_optimizers, set_rates
from mirada.training.students import STUDENTS, Student, build_student, count_macs

LOG = logging.getLogger("mirada.training")
TEMPERATURE = 0.1  # of the similarities in the relational term


@dataclass(frozen=True, slots=True)
class DistillConfig:
    """What a run is asked to do.

    `views`: how many views the student sees in all. `sizes`: from which share of the run on which input side in
    pixels is used. `cooldown`: the last share of the run, over which the learning rate falls to zero as a half
    cosine; before it, it is constant, so that a run may be prolonged.
    """

    student: str = "mirada-small"
    views: int = 1_000_000
    batch: int = 256
    muon_lr: float = 0.02
    adam_lr: float = 0.002
    weight_decay: float = 0.01
    warmup: int = 200
    cooldown: float = 1.0
    sizes: tuple[tuple[float, int], ...] = ((0.0, 112), (0.75, 160))
    relational: float = 0.5
    ema: float = 0.999
    checkpoint_every: int = 200
    seed: int = 0

    @property
    def n_steps(self) -> int:
        """Steps of the whole run."""
        return max(1, self.views // self.batch)

    def size_at(self, step: int) -> int:
        """Input side at a step."""
        return [size for share, size in self.sizes if step >= share * self.n_steps][-1]

    def rate_at(self, step: int) -> float:
        """Learning rate at a step, as a share of its highest."""
        left = (self.n_steps - step) / max(1.0, self.cooldown * self.n_steps)
        return min(1.0, (step + 1) / max(1, self.warmup)) * (0.5 - 0.5 * math.cos(math.pi * min(1.0, left)))


class Heads(nn.Module):  # type: ignore[misc]
    """A linear projection to each teacher, and the mean and spread of that teacher's features."""

    def __init__(self, dim: int, statistics: Mapping[str, tuple[torch.Tensor, torch.Tensor]]) -> None:
        super().__init__()
        self.project = nn.ModuleDict({name: nn.Linear(dim, len(mean)) for name, (mean, _) in statistics.items()})
        for name, (mean, spread) in statistics.items():
            self.register_buffer(f"mean_{name}", mean)
            self.register_buffer(f"spread_{name}", spread)

    def standardised(self, name: str, features: torch.Tensor) -> torch.Tensor:
        """A teacher's features (n, d) with mean 0 and spread 1 in every dimension."""
        return (features - self.get_buffer(f"mean_{name}")) / self.get_buffer(f"spread_{name}")


def distill_loss(
    embedding: torch.Tensor, heads: Heads, targets: Mapping[str, torch.Tensor], *, relational: float
) -> torch.Tensor:
    """Mean over the teachers of the cosine distance, plus `relational` times the similarities' divergence."""
    wanted = {name: heads.standardised(name, features) for name, features in targets.items()}
    direct = [1 - functional.cosine_similarity(heads.project[name](embedding), wanted[name]).mean() for name in wanted]
    loss = torch.stack(direct).mean()
    if relational:
        likeness = torch.stack([_similarities(features) for features in wanted.values()]).mean(0)
        own = _similarities(embedding - embedding.mean(0))
        loss = loss + relational * functional.kl_div(
            (own / TEMPERATURE).log_softmax(1), (likeness / TEMPERATURE).softmax(1), reduction="batchmean"
        )
    return loss


def _similarities(features: torch.Tensor) -> torch.Tensor:
    """(n, d) to (n, n - 1): cosine of every row with every other."""
    unit = functional.normalize(features)
    n = len(unit)
    return (unit @ unit.T)[~torch.eye(n, dtype=torch.bool)].view(n, n - 1)


class Distiller:
    """One run: the student, its moving average, the projections, the optimisers, and where they are kept."""

    def __init__(self, config: DistillConfig, views: Views, folder: Path, *, init: Mapping[str, torch.Tensor] | None):
        if config.student not in STUDENTS:
            raise UsageError(
                msg("Unknown student {name}; there are: {known}.", name=config.student, known=", ".join(STUDENTS))
            )
        if config.batch > len(views):
            raise UsageError(
                msg("A batch of {batch} needs as many views; there are {n}.", batch=config.batch, n=len(views)),
                msg("Give more photographs, more views of each, or a smaller batch."),
            )
        self.config, self.views, self.folder = config, views, folder
        self.teachers = list(views.features[0])
        self.student: Student = build_student(STUDENTS[config.student], seed=config.seed)
        if init is not None:
            self.student.load_state_dict(dict(init), strict=True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.heads = Heads(self.student.spec.dim, {name: _statistics(views, name) for name in self.teachers})
        self.average = {name: value.clone() for name, value in self.student.state_dict().items()}
        self.optimizers = make_optimizers(
            self.student,
            self.heads,
            muon_lr=config.muon_lr,
            adam_lr=config.adam_lr,
            weight_decay=config.weight_decay,
        )
        self.step = 0
        self.losses: list[float] = []

    @property
    def checkpoint(self) -> Path:
        """The file that holds the run's state."""
        return self.folder / "checkpoint.safetensors"

    def run(self, progress: Progress, *, after_step: Callable[[Distiller], None] | None = None) -> None:
        """Train to the end of the schedule. Raises BackboneError, naming the step, where the loss is not finite."""
        progress.start(msg("Distilling {name}", name=self.config.student), self.config.n_steps)
        progress.advance(self.step)
        for batch in self._batches():
            self._learn(*batch)
            if self.step % self.config.checkpoint_every == 0 or self.step == self.config.n_steps:
                self.save()
            progress.advance()
            if after_step is not None:
                after_step(self)
        progress.finish()

    def _batches(self) -> Iterator[tuple[Pixels, dict[str, NDArray[np.float32]]]]:
        with ThreadPoolExecutor(1) as pool:  # reads the next batch while this one is learned from
            ahead: Future[tuple[Pixels, dict[str, NDArray[np.float32]]]] | None = None
            for step in range(self.step, self.config.n_steps):
                now = (ahead or pool.submit(self._read, step)).result()
                ahead = pool.submit(self._read, step + 1)
                yield now

    def _read(self, step: int) -> tuple[Pixels, dict[str, NDArray[np.float32]]]:
        index = batch_rows(len(self.views), self.config.batch, seed=self.config.seed, step=step)
        return self.views.images(index), {name: self.views.targets(name, index) for name in self.teachers}

    def _learn(self, images: Pixels, targets: Mapping[str, NDArray[np.float32]]) -> None:
        config = self.config
        set_rates(self.optimizers, config.rate_at(self.step))
        self.student.train()
        x = augmented(images, config.size_at(self.step), seed=config.seed, step=self.step)
        with torch.autocast("cpu", torch.bfloat16):
            embedding = self.student(x)
        wanted = {name: torch.from_numpy(features) for name, features in targets.items()}
        loss = distill_loss(embedding.float(), self.heads, wanted, relational=config.relational)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise BackboneError(
                msg("The loss is not a number at step {step}: training stopped.", step=self.step),
                msg("{path} holds the last good state; take it up with a lower learning rate.", path=self.checkpoint),
            )
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self._average()
        self.step += 1
        self.losses.append(value)

    def _average(self) -> None:
        decay = min(self.config.ema, (self.step + 1) / (self.step + 10))
        for name, value in self.student.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)

    def averaged(self) -> Student:
        """The student with the averaged weights, for evaluation and export."""
        copy = build_student(self.student.spec, seed=0)
        copy.load_state_dict(self.average)
        copy.eval()
        return copy

    def save(self) -> None:
        """Write the whole state next to its final name, then put it in place at once."""
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"student.{name}": value for name, value in self.student.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.items()}
        tensors |= {f"heads.{name}": value for name, value in self.heads.state_dict().items()}
        tensors |= optimizer_tensors(self.optimizers)
        about = {"step": self.step, "config": asdict(self.config), "losses": self.losses}
        part = self.checkpoint.with_suffix(".part")
        save_file({name: value.contiguous() for name, value in tensors.items()}, part, {"about": json.dumps(about)})
        part.replace(self.checkpoint)

    def restore(self) -> bool:
        """Take up the folder's checkpoint; False where there is none. Raises UsageError for another run's."""
        if not self.checkpoint.is_file():
            return False
        with safe_open(self.checkpoint, "pt") as kept:
            about = json.loads(kept.metadata()["about"])
            tensors = {name: kept.get_tensor(name) for name in kept.keys()}  # noqa: SIM118 (not a mapping)
        if about["config"]["student"] != self.config.student:
            raise UsageError(
                msg("{path} is the state of another student: {name}.", path=self.checkpoint, name=about["config"]),
                msg("Choose another folder, or start anew with resume off."),
            )
        for prefix, module in (("student.", self.student), ("heads.", self.heads)):
            module.load_state_dict(_under(tensors, prefix), strict=True)
        self.average = {name: value.clone() for name, value in _under(tensors, "average.").items()}
        restore_optimizers(self.optimizers, tensors)
        self.step, self.losses = int(about["step"]), list(about["losses"])
        return True


def _under(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _statistics(views: Views, teacher: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and spread of a teacher's features over at most 8,192 views."""
    index = np.random.default_rng(0).permutation(len(views))[:8192]
    features = torch.from_numpy(views.targets(teacher, np.sort(index)))
    return features.mean(0), features.std(0) + 1e-3


def batch_rows(n_views: int, batch: int, *, seed: int, step: int) -> NDArray[np.int64]:
    """Which views make the batch of a step: a new order every epoch, drawn from the seed alone."""
    per_epoch = n_views // batch
    epoch, position = divmod(step, per_epoch)
    order = np.random.default_rng((seed, epoch)).permutation(n_views)
    return np.sort(order[position * batch : (position + 1) * batch])


def read_checkpoint(path: Path) -> tuple[Student, dict[str, object]]:
    """The averaged student in a checkpoint, and what is told of it: views, seed, loss, teachers, sizes.

    Works beside a run that goes on. Raises BackboneError where the file is missing or not a checkpoint.
    """
    try:
        with safe_open(path, "pt") as kept:
            about = json.loads((kept.metadata() or {})["about"])
            names = list(kept.keys())
            state = {n.removeprefix("average."): kept.get_tensor(n) for n in names if n.startswith("average.")}
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise BackboneError(
            msg("{path} is not a checkpoint of a distillation.", path=path), msg("Give the work folder of the run.")
        ) from error
    config, losses = about["config"], about["losses"]
    student = build_student(STUDENTS[config["student"]], seed=0)
    student.load_state_dict(state)
    told: dict[str, object] = {
        "views": about["step"] * config["batch"],
        "seed": config["seed"],
        "loss": round(sum(losses[-100:]) / max(1, len(losses[-100:])), 4),
        "teachers": sorted(name.removeprefix("heads.mean_") for name in names if name.startswith("heads.mean_")),
        "sizes": config["sizes"],
        "macs": count_macs(student, student.spec.input_size),
    }
    return student.eval(), told
