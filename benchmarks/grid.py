"""Report 4's grid of 27 perceptrons on CIFAR-10: our search against Optuna's Hyperband around a plain PyTorch loop.

    python -m benchmarks.grid [DATA.parquet] [--quick] [--grid] [--photos N] [--seeds 0 1 …]

Ours: `government-fast` (successive halving that goes on from the paused epoch) over networks trained side by side.
Theirs: the same 27 points, batch, order of magnitude of rates, photographs and val, by Optuna's GridSampler and
HyperbandPruner, trained by autograd in float32 with torch's default threads, from normalised floats in memory.
Printed: seconds until the best val accuracy so far reaches the same figure, and their ratio. That figure is the
grid's winner less half a point with --grid, or --target; else what both reach. --grid also times the whole grid of
27 × 50 epochs and prints its table. --quick: 4,000 photographs, 4 epochs. Decoding is in neither time. Keep the machine
idle.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import optuna
import pyarrow.parquet as pq
import simplejpeg
import torch
from torch import nn
from torch.nn import functional

from mirada.cli.output import table
from mirada.models.base import Photographs
from mirada.models.recipe import Recipe
from mirada.models.recipes import load_recipe, override
from mirada.models.scratch import Mlp
from mirada.search.halving import Halving
from mirada.search.runner import ManyRunner, RunnerOptions
from mirada.search.sampling import decoded, distributions
from mirada.search.space import Space, apply, read_space
from mirada.search.study import SearchResult, search
from mirada.search.table import table_cells, table_head, table_rows
from mirada.training.outcome import EpochRecord, LoopData

SHARED = Path(os.environ.get("MIRADA_SHARED") or Path(__file__).parents[2] / "shared")
DATA = SHARED / "data" / "cifar10_jpeg" / "train.parquet"
HALF_A_POINT = 0.005


@dataclass(frozen=True, slots=True)
class Moment:
    """The best val accuracy after so many seconds."""

    seconds: float
    accuracy: float


def photographs(path: Path, n: int) -> LoopData:
    """`n` photographs, a tenth of them for val, in an order drawn once."""
    read = pq.read_table(path)
    jpegs = read["image"].combine_chunks().field("bytes").to_pylist()[:n]
    labels = read["label"].to_numpy()[:n].astype(np.int64)
    images = np.stack([simplejpeg.decode_jpeg(jpeg) for jpeg in jpegs])
    order = np.random.default_rng(0).permutation(n)
    val, train = order[: n // 10], order[n // 10 :]
    return LoopData((images[train], labels[train]), (images[val], labels[val]), int(labels.max()) + 1)


class Clock:
    """Notes when something better was seen; several threads may tell it."""

    def __init__(self) -> None:
        self.began, self.moments = time.perf_counter(), [Moment(0.0, 0.0)]

    def tell(self, accuracy: float) -> None:
        """An epoch of some network has ended."""
        if accuracy > self.moments[-1].accuracy:
            self.moments.append(Moment(time.perf_counter() - self.began, accuracy))

    @property
    def best(self) -> float:
        """The best accuracy so far."""
        return self.moments[-1].accuracy

    def reached(self, accuracy: float) -> float | None:
        """Seconds until something was as good as that; None: never."""
        return next((moment.seconds for moment in self.moments if moment.accuracy >= accuracy), None)


def ours(space: Space, recipe: Recipe, data: LoopData, *, seed: int, threads: int) -> tuple[SearchResult, Clock]:
    clock = Clock()

    def on_epoch(_place: int, record: EpochRecord) -> None:
        clock.tell(record.val_accuracy or 0.0)

    with tempfile.TemporaryDirectory() as folder:
        runner = ManyRunner([data], RunnerOptions(seed=seed, threads=threads), on_epoch=on_epoch)
        result = search(space, recipe, runner, Path(folder) / "search")
        print_table(result)
    return result, clock


def print_table(result: SearchResult) -> None:
    print("\n".join(table(table_head(result), table_cells(table_rows(result)))))
    print(f"{len(result.entries)} trials, {result.n_epochs} epochs, {result.seconds:.1f} s")


def plain_loop(recipe: Recipe, data: LoopData, *, seed: int, after_epoch: Callable[[int, float], None]) -> None:
    """What one writes without us: floats in memory, autograd, torch's optimisers."""
    stage, model = recipe.stages[0], recipe.model
    torch.manual_seed(seed)
    size = data.train[0].shape[1]
    network = Mlp(
        n_classes=data.n_classes, input_size=size, hidden=model.hidden, activation=model.activation, seed=seed
    )
    kinds = {
        "adam": lambda p: torch.optim.Adam(p, lr=stage.lr),
        "sgd": lambda p: torch.optim.SGD(p, lr=stage.lr, momentum=stage.momentum),
        "rmsprop": lambda p: torch.optim.RMSprop(p, lr=stage.lr, alpha=0.9, eps=1e-7),
    }
    optimizer = kinds[stage.optimizer](network.parameters())
    (x, y), (x_val, y_val) = FLOATS(data)
    for epoch in range(stage.epochs):
        network.train()
        for rows in torch.randperm(len(x)).split(stage.batch_size):
            optimizer.zero_grad()
            functional.cross_entropy(network(x[rows]), y[rows]).backward()
            optimizer.step()
        after_epoch(epoch + 1, accuracy_of(network, x_val, y_val))


def accuracy_of(network: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    network.eval()
    with torch.no_grad():
        return float((network(x).argmax(1) == y).float().mean())


class _Floats:
    """Normalised photographs as floats, made once."""

    def __init__(self) -> None:
        self._made: tuple[tuple[torch.Tensor, torch.Tensor], ...] = ()

    def __call__(self, data: LoopData) -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
        if not self._made:
            normalise = Photographs(Mlp(n_classes=2, input_size=data.train[0].shape[1]).preprocess)
            self._made = tuple(
                (normalise(torch.from_numpy(np.asarray(images))).contiguous(), torch.from_numpy(labels))
                for images, labels in (data.train, data.val or data.train)
            )
        return self._made


FLOATS = _Floats()


def theirs(
    space: Space, recipe: Recipe, data: LoopData, *, seed: int, min_epochs: int, stop_at: float, limit_s: float
) -> Clock:
    """Optuna's own way: a grid, a pruner, a function. It stops once it has `stop_at`, or after `limit_s`."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    epochs, axes, base = recipe.stages[0].epochs, distributions(space), apply(recipe, space.fixed)
    FLOATS(data)
    clock = Clock()
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.GridSampler({path: list(axis.choices) for path, axis in axes.items()}, seed=seed),  # type: ignore[attr-defined]
        pruner=optuna.pruners.HyperbandPruner(min_resource=min_epochs, max_resource=epochs, reduction_factor=3),
    )

    def objective(trial: optuna.Trial) -> float:
        params = {path: trial.suggest_categorical(path, axis.choices) for path, axis in axes.items()}  # type: ignore[attr-defined]
        best = 0.0

        def after_epoch(epoch: int, accuracy: float) -> None:
            nonlocal best
            best = max(best, accuracy)
            clock.tell(accuracy)
            trial.report(accuracy, epoch)
            if clock.best >= stop_at or time.perf_counter() - clock.began > limit_s:
                study.stop()
                raise optuna.TrialPruned
            if trial.should_prune():
                raise optuna.TrialPruned

        plain_loop(apply(base, decoded(space, params)), data, seed=seed, after_epoch=after_epoch)
        return best

    study.optimize(objective, n_trials=space.n_trials)
    return clock


def side_by_side(args: argparse.Namespace, data: LoopData, target: float) -> None:
    fast, recipe = read_space("government-fast"), base_recipe(args)
    if args.quick:
        fast = replace(fast, halving=Halving(min_epochs=1, eta=3))
    ratios = []
    for seed in args.seeds:
        print(f"\nseed {seed}: ours")
        result, mine = ours(fast, recipe, data, seed=seed, threads=args.threads)
        print(f"best on the way {mine.best:.4f} at {mine.moments[-1].seconds:.1f} s")
        stop_at = target or mine.best
        min_epochs = fast.halving.min_epochs if fast.halving else 1
        other = theirs(fast, recipe, data, seed=seed, min_epochs=min_epochs, stop_at=stop_at, limit_s=args.limit_s)
        level = target or min(mine.best, other.best)
        a, b = mine.reached(level), other.reached(level)
        print(f"Optuna's Hyperband: best {other.best:.4f} at {other.moments[-1].seconds:.1f} s")
        told = [f"{seconds:.1f} s" if seconds is not None else "never" for seconds in (a, b)]
        print(f"to {level:.4f}: ours {told[0]}, Optuna {told[1]}; our search ended after {result.seconds:.1f} s")
        if a and b:
            ratios.append(b / a)
        elif a:
            print(f"Optuna was stopped after {args.limit_s:.0f} s: more than {args.limit_s / a:.1f}×")
    if ratios:
        print(f"\nours is faster {min(ratios):.1f} to {max(ratios):.1f}×, {np.median(ratios):.1f}× in the middle")


def base_recipe(args: argparse.Namespace) -> Recipe:
    recipe = load_recipe(read_space("government").recipe)
    return override(recipe, "stage.epochs", args.epochs) if args.epochs else recipe


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, default=DATA)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--grid", action="store_true")
    parser.add_argument("--photos", type=int, default=50_000)
    parser.add_argument("--epochs", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--target", type=float, default=0.0)
    parser.add_argument("--limit-s", type=float, default=1800.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    args = parser.parse_args(argv)
    if args.quick:
        args.photos, args.epochs = min(args.photos, 4000), args.epochs or 4
    data = photographs(args.data, args.photos)
    print(f"{args.photos} photographs, a tenth of them for val, load {os.getloadavg()[0]:.2f}")
    target = args.target
    if args.grid:
        result, _ = ours(read_space("government"), base_recipe(args), data, seed=args.seeds[0], threads=args.threads)
        winner = result.winner.latest
        target = target or (winner.value - HALF_A_POINT if winner else 0.0)
    side_by_side(args, data, target)


if __name__ == "__main__":
    main()
