"""A search space from TOML: a base recipe, what of it varies, how choices are drawn, and how long each is trained."""

from __future__ import annotations

import difflib
import hashlib
import itertools
import json
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr, ValidationError

from mirada.errors import NotFound, UsageError
from mirada.messages import Message, msg
from mirada.models.recipe import Recipe
from mirada.search.halving import Halving

SPACES = Path(__file__).parent / "spaces"
Scalar = str | int | float | bool
Value = Scalar | tuple[Scalar, ...]
Metric = Literal["val_accuracy", "val_loss"]
Kind = Literal["grid", "random", "tpe"]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of these values."""

    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """A number from `low` to `high`, evenly (log: on its logarithm); whole, in steps of `step`, where `whole`."""

    low: float
    high: float
    log: bool = False
    step: int = 1
    whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """A whole search space. `recipe`: the base's name or path. `folds`: of a cross-validation; 0: the fixed val.

    `trials`: how many are drawn (a grid has as many as it has points). `halving` None: all are trained to the end.
    `axes`: a recipe's dotted path (several that go together, joined by +) to what it may be.
    `fixed`: what of the recipe is otherwise in all trials.
    """

    name: str
    recipe: str
    metric: Metric = "val_accuracy"
    kind: Kind = "grid"
    trials: int = 0
    seed: int = 0
    folds: int = 0
    halving: Halving | None = None
    axes: Mapping[str, Choice | Range] = field(default_factory=dict)
    fixed: Mapping[str, Value] = field(default_factory=dict)

    @property
    def n_trials(self) -> int:
        """How many trials there are in all."""
        return math.prod(len(axis.values) for axis in choices(self)) if self.kind == "grid" else self.trials

    @property
    def mark(self) -> str:
        """A hash of all that decides what is tried."""
        about = {name: value for name, value in asdict(self).items() if name != "name"}
        return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]


def known_spaces() -> list[str]:
    """Names of the spaces that come with Mirada."""
    return sorted(path.stem for path in SPACES.glob("*.toml"))


def read_space(name: str | Path) -> Space:
    """A space by its name, or from a TOML file. Raises NotFound, and UsageError for what is not allowed in it."""
    path = Path(name) if str(name).endswith(".toml") else SPACES / f"{name}.toml"
    if not path.is_file():
        near = difflib.get_close_matches(str(name), known_spaces(), n=1)
        raise NotFound(
            msg("There is no search space {name}.", name=name),
            _did_you_mean(near) or msg("Give a TOML file, or one of: {known}.", known=", ".join(known_spaces())),
        )
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(msg("{path} is not TOML: {reason}.", path=path, reason=error)) from error
    return parse_space(document, where=str(path), name=path.stem)


def parse_space(document: Mapping[str, object], *, where: str, name: str = "search") -> Space:
    """A space from a parsed document; `where` names it in errors. Raises UsageError."""
    try:
        given = _Document.model_validate(document)
    except ValidationError as error:
        raise _refusal(error, where) from None
    axes = {path: _axis(path, axis, where) for path, axis in given.space.items()}
    strategy, halving = given.strategy, given.halving
    space = Space(
        name=name, recipe=given.recipe, metric=given.metric, kind=strategy.kind, trials=strategy.trials,
        seed=strategy.seed, folds=_folds(given.evaluation), axes=axes,
        fixed={path: tuple(value) if isinstance(value, list) else value for path, value in given.fixed.items()},
        halving=Halving(**halving.model_dump()) if halving else None,
    )  # fmt: skip
    _check(space, where)
    return space


def choices(space: Space) -> list[Choice]:
    """The axes of a grid, in order."""
    return [axis for axis in space.axes.values() if isinstance(axis, Choice)]


def grid(space: Space) -> list[dict[str, Value]]:
    """Every point of a grid once, the last axis fastest."""
    return [
        dict(zip(space.axes, point, strict=True))
        for point in itertools.product(*(axis.values for axis in choices(space)))
    ]


def apply(recipe: Recipe, params: Mapping[str, Value]) -> Recipe:
    """The base recipe with a trial's choices. Raises UsageError for a path or value that it does not have.

    Paths joined by + are set together, each to its part of the value.
    """
    from mirada.models.recipes import override

    for joined, value in params.items():
        paths = joined.split("+")
        parts = value if len(paths) > 1 and isinstance(value, tuple) else (value,)
        if len(parts) != len(paths):
            raise UsageError(msg("{path} needs {n} values together; got {got}.", path=joined, n=len(paths), got=value))
        for path, part in zip(paths, parts, strict=True):
            recipe = override(recipe, path.strip(), list(part) if isinstance(part, tuple) else part)
    return recipe


def check_axes(space: Space, recipe: Recipe) -> None:
    """Try the ends of every axis on the recipe. Raises UsageError, naming the nearest field for an unknown one."""
    recipe = apply(recipe, space.fixed)
    for path, axis in space.axes.items():
        ends = axis.values if isinstance(axis, Choice) else (_number(axis, axis.low), _number(axis, axis.high))
        for value in ends:
            apply(recipe, {path: value})


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Strategy(_Strict):
    kind: Kind = "grid"
    trials: Annotated[StrictInt, Field(ge=0)] = 0
    seed: StrictInt = 0


class _Halving(_Strict):
    min_epochs: Annotated[StrictInt, Field(ge=1)] = 1
    max_epochs: Annotated[StrictInt, Field(ge=0)] = 0
    eta: Annotated[StrictInt, Field(ge=2)] = 3
    brackets: Annotated[StrictInt, Field(ge=1)] = 1
    asynchronous: StrictBool = False


class _Range(_Strict):
    low: StrictInt | StrictFloat
    high: StrictInt | StrictFloat
    log: StrictBool = False
    step: Annotated[StrictInt, Field(ge=1)] | None = None


_Plain = StrictBool | StrictInt | StrictFloat | StrictStr


class _Document(_Strict):
    recipe: StrictStr
    metric: Metric = "val_accuracy"
    evaluation: StrictStr = "val"
    strategy: _Strategy = Field(default_factory=_Strategy)
    halving: _Halving | None = None
    fixed: dict[str, _Plain | list[_Plain]] = Field(default_factory=dict)
    space: Annotated[dict[str, _Range | list[_Plain | list[_Plain]]], Field(min_length=1)]


def _axis(path: str, given: _Range | list[_Plain | list[_Plain]], where: str) -> Choice | Range:
    if isinstance(given, list):
        values = tuple(tuple(value) if isinstance(value, list) else value for value in given)
        if not values or len({json.dumps(value) for value in values}) < len(values):
            raise UsageError(msg("{where}: {path} needs values, each of them once.", where=where, path=path))
        return Choice(values)
    integers = isinstance(given.low, int) and isinstance(given.high, int)
    whole = (integers and not given.log) or given.step is not None
    if given.low >= given.high or (given.log and given.low <= 0):
        raise UsageError(
            msg("{where}: {path} must go from a low to a higher number (above 0 with log).", where=where, path=path)
        )
    return Range(given.low, given.high, given.log, given.step or 1, whole)


def _folds(evaluation: str) -> int:
    if evaluation == "val":
        return 0
    kind, _, count = evaluation.partition(":")
    if kind != "folds" or not count.isdigit() or int(count) < 2:
        raise UsageError(
            msg('evaluation must be "val" or "folds:N" with N from 2; got {got!r}.', got=evaluation),
        )
    return int(count)


def _check(space: Space, where: str) -> None:
    if space.kind == "grid" and len(choices(space)) < len(space.axes):
        path = next(path for path, axis in space.axes.items() if isinstance(axis, Range))
        raise UsageError(
            msg("{where}: a grid cannot go over the range of {path}.", where=where, path=path),
            msg('List its values, or take the strategy "random" or "tpe".'),
        )
    if space.kind != "grid" and space.trials < 1:
        raise UsageError(msg("{where}: the strategy {kind} needs trials from 1.", where=where, kind=space.kind))


def _number(axis: Range, value: float) -> int | float:
    return int(value) if axis.whole else float(value)


def _refusal(error: ValidationError, where: str) -> UsageError:
    """The first thing that is wrong, in a sentence, with the nearest key for one that is unknown."""
    first = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    if first["type"] != "extra_forbidden":
        reason = first["msg"]
        return UsageError(msg("{where}: {key}: {reason}.", where=where, key=".".join(place), reason=reason))
    allowed = _keys_beside(place)
    hint = _did_you_mean(difflib.get_close_matches(place[-1], allowed, n=1))
    return UsageError(
        msg("{where}: unknown key {key}.", where=where, key=".".join(place)),
        hint or msg("Known are: {known}.", known=", ".join(allowed)),
    )


def _keys_beside(place: list[str]) -> list[str]:
    models: dict[str, type[BaseModel]] = {"strategy": _Strategy, "halving": _Halving, "space": _Range}
    model = models.get(place[0], _Document) if len(place) > 1 else _Document
    return sorted(model.model_fields)


def _did_you_mean(near: Iterable[str]) -> Message | None:
    return next((msg("Did you mean {name}?", name=name) for name in near), None)
