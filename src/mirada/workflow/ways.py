"""Which way of learning a person meant: by the name of a recipe, of a backbone, or of a network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from mirada.embed.backbone import Backbone
from mirada.engine.base import Progress
from mirada.errors import UsageError
from mirada.messages import msg
from mirada.models.recipe import Recipe
from mirada.models.recipes import load_recipe, scaled
from mirada.training.trained import Device, NetworkPlan
from mirada.types import Precision
from mirada.workflow.backbones import resolve_backbone
from mirada.workflow.learning import HeadWay, NetworkWay, Way
from mirada.workflow.subsetting import without_colour
from mirada.workspace import Workspace


def choose_way(
    workspace: Workspace,
    *,
    recipe: str | None,
    backbone: str | None,
    weights: Path | None,
    epochs: int | None = None,
    device: Device = "auto",
    precision: Precision | None = None,
    head: Literal["logistic", "mlp"] = "logistic",
    class_weight: Literal["none", "balanced"] = "none",
    flips: bool = False,
    grey: bool = False,
    progress: Progress,
) -> Way:
    """The way that the options of `mirada train` ask for; a head on the default backbone where they ask for none.

    Raises UsageError for options that do not go together, and what is wrong with a network before anything is read.
    """
    chosen = load_recipe(recipe) if recipe is not None else None
    if chosen is not None and chosen.kind == "network":
        _refuse_head_options(chosen, head=head, class_weight=class_weight, flips=flips)
        return _network_way(chosen, backbone, weights, epochs, device, precision, grey)
    if epochs is not None:
        raise UsageError(
            msg("--epochs is for networks; a head on embeddings is fitted to the end."),
            msg("Name a network's recipe: --recipe balanced. `mirada recipes` lists them."),
        )
    own = None if chosen is None or chosen.model.name == "default" else chosen.model.name
    used = resolve_backbone(workspace, backbone or own, weights, progress=progress)
    if grey or (chosen is not None and chosen.grey):
        used = without_colour(used)
    return head_way(workspace, used, precision=precision, kind=head, class_weight=class_weight, flips=flips)


def head_way(
    workspace: Workspace,
    backbone: Backbone,
    *,
    precision: Precision | None,
    kind: Literal["logistic", "mlp"] = "logistic",
    class_weight: Literal["none", "balanced"] = "none",
    flips: bool = False,
) -> HeadWay:
    """A head on a backbone that is known already."""
    return HeadWay(
        backbone=backbone, precision=precision, kind=kind, class_weight=class_weight, flips=flips,
        default_precision=workspace.config.text("embed.precision"),
    )  # fmt: skip


def _network_way(
    recipe: Recipe,
    backbone: str | None,
    weights: Path | None,
    epochs: int | None,
    device: Device,
    precision: Precision | None,
    grey: bool,
) -> NetworkWay:
    if backbone is not None:
        recipe = replace(recipe, model=replace(recipe.model, name=backbone))
    if epochs is not None:
        recipe = scaled(recipe, epochs=epochs)
    plan = NetworkPlan(recipe=recipe, weights=weights, device=device, precision=precision or "auto", grey=grey)
    way = NetworkWay(plan=plan, precision=precision)
    way.check()
    return way


def _refuse_head_options(recipe: Recipe, *, head: str, class_weight: str, flips: bool) -> None:
    given = [
        option
        for option, is_given in (
            ("--head", head != "logistic"),
            ("--class-weight", class_weight != "none"),
            ("--flips", flips),
        )
        if is_given
    ]
    if given:
        raise UsageError(
            msg(
                "{options}: of no use to {recipe}, which trains a network.",
                options=", ".join(given),
                recipe=recipe.name,
            ),
            msg("A recipe says itself what is done; copy its file, change it, and pass --recipe FILE.toml."),
        )
