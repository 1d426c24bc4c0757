"""Subsets: drawn once, kept by name, trained on, exported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mirada.catalog.catalog import Catalog
from mirada.catalog.subsets import SubsetRow
from mirada.embed.backbone import Backbone
from mirada.engine.base import Progress, Silent
from mirada.errors import Conflict, InputError, NotEnoughData, UsageError
from mirada.messages import Message, msg, msg_n
from mirada.sources.reader import PhotoReader
from mirada.subsets.draw import draw
from mirada.subsets.export import Exported, ExportRequest, refuse_taken
from mirada.subsets.export import export as write
from mirada.subsets.recipe import (
    Recipe,
    checked_subset_name,
    ids_hash,
    parse_classes,
    parse_recipe,
    recipe_hash,
    unknown_subset,
)
from mirada.types import SPLIT_NAMES, Sample, Split
from mirada.workflow.data import Dataset, engine, limits
from mirada.workflow.splitting import Divided
from mirada.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Subset:
    """A subset with the members that are left of it: live, labelled, of its classes. notes: what has to be told."""

    name: str
    recipe: Recipe
    ids: tuple[str, ...]
    ids_hash: str
    dataset_id: str
    samples: tuple[Sample, ...]
    notes: tuple[Message, ...] = ()
    is_new: bool = False
    made_at: str = ""

    @property
    def hash(self) -> str:
        """Of the recipe and the data it was drawn from."""
        return recipe_hash(self.recipe, self.dataset_id)

    @property
    def reference(self) -> str:
        """What a run's config says: "NAME@HASH"."""
        return f"{self.name}@{self.hash}"

    def by_class(self) -> dict[str, int]:
        """Members left of each class."""
        return dict(sorted(Counter(str(sample.label) for sample in self.samples).items()))

    def by_split(self) -> dict[str, int]:
        """Members left in train, val, test and ("") in none of them."""
        counts = Counter[str](sample.split or "" for sample in self.samples)
        return {name: counts[name] for name in (*SPLIT_NAMES, "") if counts[name]}


def with_classes(catalog: Catalog, recipe: Recipe, classes: Sequence[str]) -> Recipe:
    """`recipe` for the classes of ``A,B`` texts. Raises UsageError for one that no live photograph has."""
    known = list(catalog.counts_by_class())
    return replace(recipe, classes=parse_classes(classes, known))


def make_subset(catalog: Catalog, name: str, recipe: Recipe, *, anew: bool = False) -> Subset:
    """Draw a subset from the live samples and keep it under `name`.

    The same name with the same recipe is left as it is, and that is told. Raises Conflict for another recipe unless
    `anew`, NotEnoughData where the recipe cannot be filled.
    """
    held = catalog.subset(checked_subset_name(name))
    if held is not None and not anew:
        return _kept(catalog, held, recipe)
    drawn = draw(catalog.samples(), recipe)
    dataset_id = catalog.freeze_dataset().dataset_id
    row = SubsetRow(name, recipe.to_json(), ids_hash(drawn.ids), dataset_id, len(drawn.ids))
    catalog.save_subset(row, drawn.ids, replace=anew)
    made = find_subset(catalog, name)
    return _with(made, notes=(*drawn.notes, *made.notes), is_new=True)


def _kept(catalog: Catalog, held: SubsetRow, recipe: Recipe) -> Subset:
    """The subset that is there already, if it has this recipe."""
    if parse_recipe(held.recipe) != recipe:
        raise Conflict(
            msg("There is a subset {name} already, of another recipe: {recipe}.", name=held.name,
                recipe=describe(parse_recipe(held.recipe))),
            msg("Choose another name, or draw it anew with --replace."),
        )  # fmt: skip
    found = find_subset(catalog, held.name)
    told = msg("There is a subset {name} of this recipe already; nothing was drawn.", name=held.name)
    if catalog.freeze_dataset().dataset_id == held.dataset_id:
        return _with(found, notes=(told, *found.notes))
    changed = msg("The photographs have changed since it was drawn; --replace draws it anew from those of today.")
    return _with(found, notes=(told, changed, *found.notes))


def find_subset(catalog: Catalog, name: str) -> Subset:
    """A subset by its name, with the members that are left. Raises NotFound with the nearest name."""
    row = catalog.subset(name)
    if row is None:
        raise unknown_subset(name, [other.name for other in catalog.subsets()])
    return _loaded(catalog, row)


def all_subsets(catalog: Catalog) -> list[Subset]:
    """Every subset, by name."""
    return [_loaded(catalog, row) for row in catalog.subsets()]


def _loaded(catalog: Catalog, row: SubsetRow) -> Subset:
    recipe = parse_recipe(row.recipe)
    ids = catalog.subset_ids(row.name)
    held, status = catalog.samples_by_id(ids), catalog.statuses(ids)
    live = [held[i] for i in ids if status.get(i) == "live" and held[i].label is not None]
    left = [sample for sample in live if not recipe.classes or sample.label in recipe.classes]
    notes = []
    if n := len(ids) - len(live):
        notes.append(
            msg_n(
                "{n} photograph of the subset {name} is no longer there: dropped, ambiguous or without a label.",
                "{n} photographs of the subset {name} are no longer there: dropped, ambiguous or without a label.",
                n=n, name=row.name,
            )
        )  # fmt: skip
    if n := len(live) - len(left):
        notes.append(
            msg_n(
                "{n} photograph of the subset {name} now has a class that is not of it, and is left out.",
                "{n} photographs of the subset {name} now have a class that is not of it, and are left out.",
                n=n, name=row.name,
            )
        )  # fmt: skip
    return Subset(row.name, recipe, tuple(ids), row.ids_hash, row.dataset_id, tuple(left), tuple(notes),
                  made_at=row.made_at)  # fmt: skip


def _with(subset: Subset, *, notes: tuple[Message, ...], is_new: bool = False) -> Subset:
    return replace(subset, notes=notes, is_new=is_new)


def describe(recipe: Recipe) -> str:
    """A recipe as one would type it."""
    parts = [f"--strategy {recipe.strategy}"]
    parts += [f"--size {recipe.size}"] if recipe.size is not None else []
    parts += ["--grey"] if recipe.grey else []
    parts += [f"--classes {','.join(recipe.classes)}"] if recipe.classes else []
    parts += [f"--split {recipe.split}"] if recipe.split else []
    parts += [f"--seed {recipe.seed}"] if recipe.seed else []
    return " ".join(parts)


def without_colour(backbone: Backbone) -> Backbone:
    """`backbone` behind a preprocessing that makes photographs grey; it travels into the bundle."""
    return replace(backbone, preprocess=replace(backbone.preprocess, channels="grey"))


@dataclass(frozen=True, slots=True)
class Narrowed:
    """The part of a training's data and split that a subset leaves, and what to tell of it."""

    data: Dataset
    divided: Divided
    notes: tuple[Message, ...]


def narrow(subset: Subset, data: Dataset, divided: Divided) -> Narrowed:
    """`data` and `divided`, which are of the whole catalogue, within `subset`: every photograph keeps its place.

    A subset drawn from train alone is judged on all val and test photographs of its classes. Raises NotEnoughData
    where fewer than two classes are left to train on, or nothing to test on.
    """
    members = {sample.sample_id for sample in subset.samples}
    label = dict(zip(data.ids, data.labels, strict=True))
    train = [i for i in divided.split.train if i in members]
    names = tuple(sorted({label[i] for i in train}))
    if len(names) < 2:
        raise NotEnoughData(
            msg("The subset {name} has {n} classes with photographs to train on, and needs two.", name=subset.name,
                n=len(names)),
            msg("Draw a larger one, or of more classes; `mirada subset {name}` tells what is in it.", name=subset.name),
        )  # fmt: skip
    of_train = subset.recipe.split == "train"
    judged = {part: [i for i in getattr(divided.split, part) if of_train or i in members] for part in ("val", "test")}
    parts = {"train": train, **{part: [i for i in ids if label[i] in names] for part, ids in judged.items()}}
    if not parts["test"]:
        raise NotEnoughData(
            msg("None of the photographs of the subset {name} is in test.", name=subset.name),
            msg("Draw a larger one, or one with --split train: it is judged on the test photographs of the catalogue."),
        )
    absent = sorted({label[i] for ids in judged.values() for i in ids} - set(names)) if not of_train else []
    split = _split(divided.split, parts)
    notes = (*subset.notes, *_part_notes(subset, parts, label, names, absent))
    return Narrowed(_within(data, split, names), replace(divided, split=split), notes)


def _split(whole: Split, parts: Mapping[str, Sequence[str]]) -> Split:
    return replace(whole, train=tuple(parts["train"]), val=tuple(parts["val"]), test=tuple(parts["test"]))


def _within(data: Dataset, split: Split, names: tuple[str, ...]) -> Dataset:
    wanted = {i for part in SPLIT_NAMES for i in getattr(split, part)}
    samples = tuple(sample for sample in data.samples if sample.sample_id in wanted)
    return Dataset(samples, names, np.array([names.index(str(s.label)) for s in samples], dtype=np.int64))


def _part_notes(
    subset: Subset, parts: Mapping[str, Sequence[str]], label: Mapping[str, str], names: Sequence[str],
    absent: Sequence[str],
) -> list[Message]:  # fmt: skip
    if subset.recipe.split == "train":
        told = msg("Judged on all {n} test photographs of its classes: the subset {name} is drawn from train alone.",
                   n=len(parts["test"]), name=subset.name)  # fmt: skip
    else:
        told = msg("Judged on the {n} test photographs of the subset {name}.", n=len(parts["test"]), name=subset.name)
    notes = [told]
    if subset.recipe.grey:
        notes.append(msg("Trained without colour; the model makes every photograph grey before it answers."))
    if absent:
        notes.append(msg("Left out, for want of a photograph to train on: {names}.", names=", ".join(absent)))
    for part in ("val", "test"):
        if missing := [name for name in names if name not in {label[i] for i in parts[part]}]:
            shown = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
            notes.append(
                msg_n(
                    "{n} class has no photograph in {part}: {names}.",
                    "{n} classes have no photograph in {part}: {names}.",
                    n=len(missing), part=part, names=shown,
                )
            )  # fmt: skip
    return notes


def export_subset(
    workspace: Workspace, catalog: Catalog, subset: Subset | None, request: ExportRequest,
    *, progress: Progress | None = None,
) -> Exported:  # fmt: skip
    """Write the members of a subset (None: every live sample with a label) as `request` says."""
    out = Path(request.out).absolute()
    refuse_taken(out, is_folder=request.format != "csv")
    samples = list(subset.samples) if subset else [s for s in catalog.samples() if s.label is not None]
    _refuse_inside(out, {sample.source for sample in samples})
    title = subset.name if subset else workspace.path.name
    request = replace(request, out=out, grey=request.grey or bool(subset and subset.recipe.grey), title=title)
    with engine(workspace) as pool:
        return write(
            samples, request, reader=PhotoReader(limits=limits(workspace)), engine=pool,
            progress=progress or Silent(), limits=limits(workspace),
        )  # fmt: skip


def _refuse_inside(out: Path, sources: set[str]) -> None:
    """Nothing is written among the photographs: the next `add` would take it for new ones."""
    for source in sorted(sources):
        root = Path(source)
        if root.is_absolute() and root.is_dir() and out.resolve().is_relative_to(root.resolve()):
            raise InputError(
                msg("{path} is inside {source}, where photographs were added from.", path=out, source=source),
                msg("Choose a place outside with -o: the next `mirada add` would take the export for new photographs."),
            )


def refuse_both(source: str | None, subset: str | None) -> None:
    """Raise UsageError where a training is told a source and a subset."""
    if source is not None and subset is not None:
        raise UsageError(
            msg("--subset names photographs that the workspace has already, so SOURCE does not go with it."),
            msg("First `mirada add {source}`, then `mirada train --subset {subset}`.", source=source, subset=subset),
        )
