"""What a subset is: a recipe, and the ids it comes to on the data of today."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from mirada.errors import NotFound, UsageError
from mirada.messages import msg
from mirada.types import SplitName

Strategy = Literal["stratified", "balanced", "all"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
_NAME = re.compile(r"[^\W_.-][\w.-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a subset is drawn. size None: as many as the strategy has; classes (): all; split None: any.

    stratified: each class keeps its share. balanced: each class as many. all: whatever the class.
    grey: its photographs are trained on, and exported, without colour.
    """

    size: int | None = None
    strategy: Strategy = "stratified"
    grey: bool = False
    classes: tuple[str, ...] = ()
    split: SplitName | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise UsageError(
                msg("A subset needs at least one photograph; got size {size}.", size=self.size),
                msg("Give --size a whole number from 1, or leave it out."),
            )
        if self.strategy not in STRATEGIES:
            raise UsageError(
                msg("A strategy is one of {allowed}; got {got!r}.", allowed=", ".join(STRATEGIES), got=self.strategy)
            )

    def to_json(self) -> str:
        """As the catalogue keeps it."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)


def parse_recipe(text: str) -> Recipe:
    """What `Recipe.to_json` wrote."""
    values = json.loads(text)
    return Recipe(**{**values, "classes": tuple(values["classes"])})


def recipe_hash(recipe: Recipe, dataset_id: str) -> str:
    """16 hexadecimal digits that name a recipe together with the data it was drawn from."""
    return hashlib.sha256(f"{recipe.to_json()}\0{dataset_id}".encode()).hexdigest()[:16]


def ids_hash(ids: Iterable[str]) -> str:
    """SHA-256 of the members' ids, whatever their order."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()


def checked_subset_name(name: str) -> str:
    """`name` where it can name a subset. Raises UsageError."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            msg("{name} cannot name a subset: letters, digits, _ . - only, at most 64.", name=repr(name)),
            msg("For example: mirada subset small --size 500"),
        )
    return name


def unknown_subset(name: str, known: Sequence[str]) -> NotFound:
    """The error for a subset that was never drawn, with the nearest name."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = (
        msg("Did you mean {name}?", name=near[0])
        if near
        else msg("`mirada subset` lists them; `mirada subset {name} --size 500` draws one.", name=name)
    )
    return NotFound(msg("There is no subset {name}.", name=name), hint)


def parse_classes(given: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Class names from ``A,B`` texts, sorted, each once; a text that is a class as a whole is that class.

    Raises UsageError for one that is no class, with the nearest.
    """
    names: set[str] = set()
    for text in given:
        names |= {text} if text in known else {part.strip() for part in text.split(",") if part.strip()}
    for name in sorted(names):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            allowed = ", ".join(list(known)[:20]) + (", …" if len(known) > 20 else "")
            raise UsageError(
                msg("There is no class {name!r}; there are: {allowed}.", name=name, allowed=allowed or "–"),
                msg("Did you mean {name}?", name=near[0]) if near else msg("Names are compared letter by letter."),
            )
    return tuple(sorted(names))
