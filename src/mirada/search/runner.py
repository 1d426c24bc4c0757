"""Who trains trials: one after the other in the loop, or small MLPs all at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open

from mirada.errors import BackboneError, UsageError
from mirada.messages import msg
from mirada.models.base import Network
from mirada.models.recipe import Recipe
from mirada.models.registry import create_model
from mirada.search.space import Metric
from mirada.search.trial import ANSWERS, Progressed, Trial
from mirada.training.checkpoint import NAME as CHECKPOINT
from mirada.training.folds import fold_of
from mirada.training.judge import predict_logits
from mirada.training.loop import fit
from mirada.training.many import (
    SAVE_EVERY_S,
    ManyOptions,
    ManyResult,
    can_run,
    choose_precision,
    prepare_inputs,
    spec_of,
    train_many,
)
from mirada.training.many_network import Inputs
from mirada.training.outcome import EARLY, EpochRecord, FitOptions, LoopData
from mirada.training.pixels import Images, MappedRows
from mirada.workspace import write_atomic

STATE, FITTED = "state.safetensors", "fitted.json"
SAMPLED = 256
Probs = NDArray[np.float32]


def fold_data(data: LoopData, folds: int, *, groups: Sequence[str] | None = None, seed: int = 0) -> list[LoopData]:
    """Each fold of the training photographs as val, the others as train; groups stay whole. folds 0: as they are."""
    if not folds:
        if data.val is None:
            raise UsageError(
                msg("A search needs val photographs, or a cross-validation."), msg('Set evaluation to "folds:5".')
            )
        return [data]
    images, labels = data.train
    fold = fold_of(np.asarray(labels, np.intp), groups=groups, folds=folds, seed=seed, n_classes=data.n_classes)
    rows = [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(int(fold.max()) + 1)]
    return [
        LoopData((_taken(images, learn), labels[learn]), (_taken(images, judged), labels[judged]), data.n_classes)
        for learn, judged in rows
    ]


def _taken(images: Images, rows: NDArray[np.int64]) -> Images:
    """Some of the photographs; what is mapped from a file stays there."""
    return images.take(rows) if isinstance(images, MappedRows) else images[rows]


def data_mark(parts: Sequence[LoopData]) -> str:
    """A hash of all labels and of some photographs."""
    digest = hashlib.sha256()
    for part in parts:
        for images, labels in (part.train, part.val or part.train):
            rows = np.unique(np.linspace(0, len(images) - 1, SAMPLED).astype(int))
            digest.update(f"{images.shape}".encode() + np.ascontiguousarray(labels, np.int64).tobytes())
            digest.update(np.ascontiguousarray(images[rows]).tobytes())
    return digest.hexdigest()[:16]


def val_labels(parts: Sequence[LoopData]) -> NDArray[np.int64]:
    """Labels of what is judged, part after part."""
    return np.concatenate([np.asarray(part.val[1], np.int64) for part in parts if part.val is not None])


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerOptions:
    """How trials are trained. seed: of weights and order, the same for all. threads: in all (0: as torch has them).

    save_every_s: how often the group's networks are kept between rungs; what a kill may cost.
    """

    metric: Metric = "val_accuracy"
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    threads: int = 0
    weights: Path | None = None
    save_every_s: float = SAVE_EVERY_S


@dataclass(slots=True, eq=False)
class ManyRunner:
    """Small MLPs, whole rungs at a time, by `training.many`. `parts`: one, or a fold each."""

    parts: Sequence[LoopData]
    options: RunnerOptions = field(default_factory=RunnerOptions)
    at_once: int = 1 << 20
    on_epoch: Callable[[int, EpochRecord], None] | None = None
    labels: NDArray[np.int64] = field(init=False)
    mark: str = field(init=False)
    _many: ManyOptions = field(init=False)
    _inputs: list[Inputs] = field(init=False)

    def __post_init__(self) -> None:
        options = self.options
        device = "cuda" if options.device != "cpu" and torch.cuda.is_available() else "cpu"
        many = ManyOptions(
            precision=options.precision,  # type: ignore[arg-type]  # checked by choose_precision
            threads=options.threads,
            device=device,
            save_every_s=options.save_every_s,
            on_epoch=self.on_epoch,
        )
        self._many = replace(many, precision=choose_precision(many))
        self._inputs = [prepare_inputs(part, self._many.precision, device=device) for part in self.parts]  # type: ignore[arg-type]
        self.labels, self.mark = val_labels(self.parts), data_mark(self.parts)

    def run(self, trials: Sequence[Trial], *, upto_epoch: int, folders: Sequence[Path]) -> list[Progressed]:
        """Train the group; see `Runner.run`."""
        specs = [spec_of(trial.recipe, seed=self.options.seed) for trial in trials]
        results: list[list[ManyResult]] = []
        for i, inputs in enumerate(self._inputs):
            states = [folder / f"part-{i}" / STATE for folder in folders]
            results.append(train_many(specs, inputs, epochs=upto_epoch, states=states, options=self._many))
        made = []
        for place, folder in enumerate(folders):
            of_trial = [part[place] for part in results]
            keep_answers(folder, np.concatenate([result.probs for result in of_trial]))
            made.append(self._progressed(of_trial))
        return made

    def _progressed(self, results: Sequence[ManyResult]) -> Progressed:
        return progressed_of(
            [result.history for result in results],
            np.concatenate([result.probs for result in results]),
            self.labels,
            metric=self.options.metric,
            best_epoch=max(result.best_epoch for result in results),
            n_parameters=results[0].n_parameters,
            over=not any(result.paused for result in results),
            diverged=any(result.diverged for result in results),
        )


@dataclass(slots=True, eq=False)
class LoopRunner:
    """Any recipe, one trial after the other, by `training.loop`. `parts`: one, or a fold each."""

    parts: Sequence[LoopData]
    options: RunnerOptions = field(default_factory=RunnerOptions)
    at_once: int = 1
    labels: NDArray[np.int64] = field(init=False)
    mark: str = field(init=False)

    def __post_init__(self) -> None:
        self.labels, self.mark = val_labels(self.parts), data_mark(self.parts)

    def run(self, trials: Sequence[Trial], *, upto_epoch: int, folders: Sequence[Path]) -> list[Progressed]:
        """Train them; see `Runner.run`."""
        return [self._run(trial.recipe, upto_epoch, folder) for trial, folder in zip(trials, folders, strict=True)]

    def _run(self, recipe: Recipe, upto: int, folder: Path) -> Progressed:
        parts = [self._part(recipe, part, upto, folder / f"part-{i}") for i, part in enumerate(self.parts)]
        probs = np.concatenate([np.load(folder / f"part-{i}" / ANSWERS) for i in range(len(parts))])
        keep_answers(folder, probs)
        return progressed_of(
            [part.history for part in parts], probs, self.labels, metric=self.options.metric,
            best_epoch=max(part.best_epoch for part in parts), n_parameters=parts[0].n_parameters,
            over=all(part.over for part in parts), diverged=any(part.diverged for part in parts),
        )  # fmt: skip

    def _part(self, recipe: Recipe, data: LoopData, upto: int, folder: Path) -> _Fitted:
        """Train on one part up to an epoch, unless that is done, and keep answers and figures."""
        kept = _read_fitted(folder)
        if kept is not None and (kept.over or len(kept.history) >= upto):
            return kept
        network = self._network(recipe, data)
        images, _ = data.val or data.train
        made: _Fitted
        if _epochs_of(folder) >= upto:  # killed between the last epoch and its answers
            history, best = _take_weights(network, folder)
            made = _Fitted(history, best, _count(network), over=upto >= _all_epochs(recipe))
        else:
            made = self._fit(network, recipe, data, upto, folder)
        logits = predict_logits(network, images, tta=recipe.tta)
        folder.mkdir(parents=True, exist_ok=True)
        if made.diverged:
            logits = np.zeros_like(logits)
        keep_answers(folder, np.asarray(torch.from_numpy(logits).softmax(1).numpy(), np.float32))
        _write_fitted(folder, made)
        return made

    def _fit(self, network: Network, recipe: Recipe, data: LoopData, upto: int, folder: Path) -> _Fitted:
        seen: list[EpochRecord] = []

        def pause(record: EpochRecord) -> bool:
            seen.append(record)
            return record.epoch >= upto and upto < _all_epochs(recipe)

        options = self.options
        asked = FitOptions(
            seed=options.seed, device=options.device, precision=options.precision,  # type: ignore[arg-type]
            folder=folder, on_epoch=pause, threads=options.threads,
        )  # fmt: skip
        try:
            fitted = fit(network, data, recipe, options=asked)
        except BackboneError as error:
            if error.code != "diverged":
                raise
            return _Fitted(tuple(seen), 0, _count(network), over=True, diverged=True)
        # A stage that stopped early is followed by the next: only the last one's end is the trial's.
        over = fitted.stop_reason == EARLY or len(fitted.history) >= _all_epochs(recipe)
        return _Fitted(fitted.history, fitted.best_epoch, _count(network), over=over)

    def _network(self, recipe: Recipe, data: LoopData) -> Network:
        model = recipe.model
        weights = self.options.weights if model.weights == "pretrained" else None
        return create_model(
            model.name, n_classes=data.n_classes, input_size=recipe.input_size or data.train[0].shape[1],
            weights=weights or (model.weights if model.weights == "pretrained" else None), hidden=model.hidden,
            dropout=model.dropout, activation=model.activation, seed=self.options.seed, **model.options,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Fitted:
    history: tuple[EpochRecord, ...]
    best_epoch: int
    n_parameters: int
    over: bool
    diverged: bool = False


def progressed_of(
    histories: Sequence[Sequence[EpochRecord]],
    probs: Probs,
    labels: NDArray[np.int64],
    *,
    metric: Metric,
    best_epoch: int,
    n_parameters: int,
    over: bool,
    diverged: bool,
) -> Progressed:
    """The trial's figures; its value is that of the pooled answers of all parts, its curve the mean of theirs."""
    curves = [[float(getattr(record, metric) or 0.0) for record in history] for history in histories]
    most = max(len(curve) for curve in curves)
    held = np.array([[*curve, *curve[-1:] * (most - len(curve))] for curve in curves if curve])
    right = float((probs.argmax(1) == labels).mean())
    loss = -float(np.log(np.maximum(probs[np.arange(len(labels)), labels], 1e-12)).mean())
    value = right if metric == "val_accuracy" else loss
    return Progressed(
        values=tuple(held.mean(0).tolist()) if len(held) else (),
        value=value,
        epochs=most,
        best_epoch=best_epoch,
        seconds=sum(record.seconds for history in histories for record in history),
        n_parameters=n_parameters,
        over=over,
        diverged=diverged,
    )


def keep_answers(folder: Path, probs: Probs) -> None:
    """Val's answers (n, k), put in place at once."""
    part = folder / f".{ANSWERS}.part.npy"
    np.save(part, probs)
    part.replace(folder / ANSWERS)


def _all_epochs(recipe: Recipe) -> int:
    return sum(stage.epochs for stage in recipe.stages)


def _count(network: Network) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _epochs_of(folder: Path) -> int:
    """Whole epochs that the loop's checkpoint in a folder holds, where it stands between two; else 0."""
    path = folder / CHECKPOINT
    if not path.is_file():
        return 0
    with safe_open(path, "pt") as kept:
        about = json.loads(kept.metadata()["about"])
    return 0 if about["position"]["step"] else len(about["history"])


def _take_weights(network: Network, folder: Path) -> tuple[tuple[EpochRecord, ...], int]:
    """Give `network` the best weights of the checkpoint; its history and best epoch."""
    with safe_open(folder / CHECKPOINT, "pt") as kept:
        about = json.loads(kept.metadata()["about"])
        names = list(kept.keys())
        for prefix in ("best.", "average.", "network."):
            held = {name.removeprefix(prefix): kept.get_tensor(name) for name in names if name.startswith(prefix)}
            if held:
                network.load_state_dict(held)
                break
    history = tuple(EpochRecord(**record) for record in about["history"])
    return history, int(about["position"]["best"]) or len(history)


def _read_fitted(folder: Path) -> _Fitted | None:
    path = folder / FITTED
    if not path.is_file():
        return None
    kept = json.loads(path.read_text(encoding="utf-8"))
    return _Fitted(**{**kept, "history": tuple(EpochRecord(**record) for record in kept["history"])})


def _write_fitted(folder: Path, fitted: _Fitted) -> None:
    write_atomic(folder / FITTED, json.dumps(asdict(fitted)).encode())


def runner_for(
    recipes: Sequence[Recipe], parts: Sequence[LoopData], options: RunnerOptions | None = None
) -> ManyRunner | LoopRunner:
    """The group's runner where every recipe is a small MLP, else the loop's."""
    side = parts[0].train[0].shape[1]
    fits = all(can_run(recipe) and recipe.input_size in (0, side) for recipe in recipes)
    return ManyRunner(parts, options or RunnerOptions()) if fits else LoopRunner(parts, options or RunnerOptions())
