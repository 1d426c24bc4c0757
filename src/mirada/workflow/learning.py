"""Two ways of learning behind one door: a head on frozen embeddings, or a network trained as a recipe says.

Both end as material that can be judged and a head on it: a trained network without its last layer is a backbone.
So evaluation, comparison with the champion and the bundle know nothing of how a model learned.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from mirada.embed.backbone import Backbone, file_sha256
from mirada.engine.base import Engine, Progress
from mirada.messages import Message
from mirada.models.recipe import Augment, Recipe
from mirada.models.recipes import recipe_document
from mirada.sources.reader import PhotoReader
from mirada.training.head import Head, calibrate_head, fit_head
from mirada.training.trained import CurvePoint, NetworkPlan, Supply, TrainedNetwork
from mirada.types import Precision, TrainConfig
from mirada.workflow.data import Dataset, engine, limits
from mirada.workflow.embedding import Embedded, embed
from mirada.workflow.extras import by_dotted_name
from mirada.workflow.material import Material
from mirada.workflow.runs import Stopwatch
from mirada.workflow.splitting import Divided
from mirada.workspace import Workspace

TRAINER = "mirada.training.networks:train_network"
CHECKER = "mirada.training.networks:check_plan"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a way of learning works on, and with."""

    workspace: Workspace
    data: Dataset
    divided: Divided
    run_folder: Path
    seed: int
    clock: Stopwatch
    progress: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What came of it: a calibrated head on embeddings, and what there is to tell."""

    material: Material
    head: Head
    notes: tuple[Message, ...] = ()
    stop_reason: str = "done"
    curves: tuple[CurvePoint, ...] = ()
    trained: TrainedNetwork | None = None


class Way(Protocol):
    """A way of learning."""

    @property
    def config(self) -> TrainConfig:
        """What a run's row says of it, but for seed, source and subset."""
        ...

    @property
    def ratios(self) -> str:
        """Shares of train, val and test that it asks for where the photographs bring none; "": the setting's."""
        ...

    @property
    def channels(self) -> str:
        """With colour ("rgb") or without ("grey")."""
        ...

    def learn(self, work: Work) -> Learned:
        """Do it. A run that was killed goes on from what lies in `work.run_folder`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadWay:
    """A head on the frozen embeddings of `backbone`."""

    backbone: Backbone
    precision: Precision | None
    kind: Literal["logistic", "mlp"]
    class_weight: Literal["none", "balanced"]
    flips: bool
    default_precision: str = "auto"
    ratios: str = ""

    @property
    def config(self) -> TrainConfig:
        """What is asked."""
        return TrainConfig(
            recipe="head",
            model_name=self.backbone.name,
            weights=self.backbone.sha256,
            augment="flip" if self.flips else "none",
            precision=self.precision or self.default_precision,
            head=self.kind,
            class_weight=self.class_weight,
        )

    @property
    def channels(self) -> str:
        """What the backbone is given."""
        return self.backbone.preprocess.channels

    def learn(self, work: Work) -> Learned:
        """Embed every photograph, fit on train, calibrate on val."""
        return self.learn_on(self.embedded(work), work)

    def embedded(self, work: Work) -> Embedded:
        """Embeddings of every photograph."""
        made = embed(
            work.workspace, work.data.samples, self.backbone,
            precision=self.precision, flips=self.flips, progress=work.progress,
        )  # fmt: skip
        work.clock.lap("embed")
        return made

    def learn_on(self, embedded: Embedded, work: Work) -> Learned:
        """Fit on train, calibrate on val."""
        material = Material(work.data, work.divided, embedded, self.backbone)
        X, y, groups = material.training_part()
        head = fit_head(
            X, y, class_names=work.data.class_names, groups=groups,
            class_weight=self.class_weight, kind=self.kind, seed=work.seed,
        )  # fmt: skip
        head, notes = _calibrated(head, material, work)
        work.clock.lap("train")
        return Learned(material=material, head=head, notes=(*embedded.notes, *head.info.notes, *notes))


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkWay:
    """A network of the `train` extra, trained as `plan.recipe` says."""

    plan: NetworkPlan
    precision: Precision | None = None

    @property
    def config(self) -> TrainConfig:
        """What is asked, the whole recipe included."""
        recipe, weights = self.plan.recipe, self.plan.weights
        last = recipe.stages[-1]
        return TrainConfig(
            recipe=recipe.name,
            model_name=recipe.model.name,
            weights=file_sha256(weights) if weights else recipe.model.weights,
            freeze=", ".join(stage.trainable for stage in recipe.stages),
            epochs=sum(stage.epochs for stage in recipe.stages),
            batch_size=last.batch_size,
            lr=last.lr,
            weight_decay=last.weight_decay,
            schedule=last.schedule,
            augment=_augment_words(recipe),
            precision=self.plan.precision,
            patience=last.patience,
            device=self.plan.device,
            class_weight=last.class_weight,
            plan=json.dumps(recipe_document(recipe), sort_keys=True),
        )

    @property
    def ratios(self) -> str:
        """What the recipe asks for."""
        return self.plan.recipe.ratios

    @property
    def channels(self) -> str:
        """What the recipe or the subset asks for."""
        return "grey" if self.plan.grey or self.plan.recipe.grey else "rgb"

    def check(self) -> None:
        """Raise what can be known to be wrong before a photograph is read: the name, the weights, the device."""
        by_dotted_name(CHECKER)(self.plan)

    def learn(self, work: Work) -> Learned:
        """Train, then embed val and test with what came of it, and calibrate."""
        with engine(work.workspace) as pool:
            trained: TrainedNetwork = by_dotted_name(TRAINER)(
                replace(self.plan, seed=work.seed),
                supply_of(work.workspace, work.data, work.divided, engine=pool),
                work.run_folder,
                progress=work.progress,
            )
        work.clock.lap("train")
        embedded = _embed_parts(work, trained.backbone, ("val", "test"), self.precision)
        work.clock.lap("embed")
        material = Material(work.data, work.divided, embedded, trained.backbone, n_train=trained.n_train)
        head = Head(layers=(trained.layer,), class_names=work.data.class_names)
        head, notes = _calibrated(head, material, work)
        return Learned(
            material=material, head=head, notes=(*trained.notes, *embedded.notes, *notes),
            stop_reason=trained.stop_reason, curves=trained.curves, trained=trained,
        )  # fmt: skip


def supply_of(workspace: Workspace, data: Dataset, divided: Divided, *, engine: Engine) -> Supply:
    """The photographs of train and val, for those who train networks."""
    train, val = data.rows(divided.split.train), data.rows(divided.split.val)
    return Supply(
        class_names=data.class_names,
        train=[data.samples[i] for i in train],
        y_train=data.y[train],
        val=[data.samples[i] for i in val],
        y_val=data.y[val],
        reader=PhotoReader(limits=limits(workspace)),
        engine=engine,
        limits=limits(workspace),
        pixels_folder=workspace.path / "pixels",
    )


def _calibrated(head: Head, material: Material, work: Work) -> tuple[Head, tuple[Message, ...]]:
    """Temperature and reject threshold from val."""
    X_val, y_val = material.part("val")
    return calibrate_head(head, X_val, y_val, target=work.workspace.config.number("train.reject_precision"))


def _embed_parts(work: Work, backbone: Backbone, parts: Sequence[str], precision: Precision | None) -> Embedded:
    """Embeddings of some parts of the split alone; all other rows are not `ok`."""
    data = work.data
    rows = np.concatenate([data.rows(getattr(work.divided.split, part)) for part in parts])
    made = embed(work.workspace, [data.samples[i] for i in rows], backbone, precision=precision, progress=work.progress)
    vectors = np.zeros((len(data.samples), backbone.dim), np.float32)  # pages that stay zero take no memory
    ok = np.zeros(len(data.samples), np.bool_)
    vectors[rows], ok[rows] = made.vectors, made.ok
    return Embedded(vectors, None, ok, made.failures, made.precision)


def _augment_words(recipe: Recipe) -> str:
    """The augmentations that are on in the last stage, for a table: "flip, rotate"."""
    used, off = asdict(recipe.stages[-1].augment), asdict(Augment())
    return ", ".join(name for name, value in used.items() if value != off[name] and name != "magnitude") or "none"
