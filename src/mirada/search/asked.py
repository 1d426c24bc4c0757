"""What is asked of a search and what comes back, for those who load neither torch nor Optuna."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mirada.messages import Message
from mirada.models.recipe import Recipe
from mirada.search.space import Space
from mirada.training.trained import Device


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPlan:
    """A search over a recipe. `groups`: of the training photographs, for folds; copies stay together."""

    space: Space
    recipe: Recipe
    groups: Sequence[str]
    weights: Path | None = None
    seed: int = 0
    device: Device = "auto"
    precision: Literal["auto", "bf16", "f32"] = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """The table of a search: for programs (`document`), and for people (`head`, `cells`). `winner`: its recipe."""

    document: Mapping[str, object]
    head: Sequence[Message | str]
    cells: Sequence[Sequence[object]]
    winner: Recipe
    notes: tuple[Message, ...] = ()
