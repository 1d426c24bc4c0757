"""Recipes as TOML files: those that come with Mirada, and anybody's own. Light: no torch.

A file says what differs from the defaults in `models.recipe`; an unknown key or a value of another kind is refused.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from functools import cache
from pathlib import Path
from typing import cast

from pydantic import TypeAdapter, ValidationError

from mirada.errors import UsageError
from mirada.messages import Message, msg
from mirada.models.recipe import Augment, ModelSpec, Recipe, Stage

RECIPES_PATH = Path(__file__).parent / "recipes"
FIRST = ("fast", "balanced", "best")  # listed before the others: for those who do not want to choose
INFINITY = float("inf")
Document = dict[str, object]

_ADAPTER = TypeAdapter(Recipe)
_KINDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "missing": "a value",
}
# Least and greatest values. What is not here may be any of its kind.
_RANGES: Mapping[str, tuple[float, float]] = {
    **dict.fromkeys(("translate", "colour", "erase", "dropout", "zoom", "warmup", "final_lr", "momentum"), (0, 1)),
    **dict.fromkeys(("ema", "label_smoothing", "plateau_factor"), (0, 1)),
    **dict.fromkeys(("min_delta", "weight_decay", "mixup", "cutmix", "l2", "clip_norm"), (0, INFINITY)),
    **dict.fromkeys(("lr", "head_lr", "patience", "input_size", "randaugment"), (0, INFINITY)),
    **dict.fromkeys(("epochs", "batch_size", "accumulate", "plateau_patience", "hidden"), (1, INFINITY)),
    "crop": (0.01, 1),
    "layer_decay": (0.01, 1),
    "magnitude": (0, 10),
    "rotate": (0, 180),
}


def recipe_names() -> tuple[str, ...]:
    """Names of the recipes that come with Mirada."""
    names = {path.stem for path in RECIPES_PATH.glob("*.toml")}
    return (*(name for name in FIRST if name in names), *sorted(names - set(FIRST)))


def all_recipes() -> tuple[Recipe, ...]:
    """The recipes that come with Mirada, read."""
    return tuple(load_recipe(name) for name in recipe_names())


def load_recipe(name_or_path: str | Path) -> Recipe:
    """The recipe of that name, or in that .toml file. Raises UsageError: unknown name, key or value, broken file."""
    given = str(name_or_path)
    if isinstance(name_or_path, Path) or given.endswith(".toml") or "/" in given:
        return _read(Path(given))
    if given not in recipe_names():
        raise _unknown_recipe(given)
    return _shipped(given)


def parse_document(document: Mapping[str, object], where: str = "") -> Recipe:
    """A recipe from what `recipe_document` gave, or a TOML file held; `where` stands in errors. Raises UsageError."""
    where = where or msg("The recipe").render()
    _refuse_unknown(document, where)
    try:
        # By way of JSON, whose lists and tables pydantic takes for tuples and records while being strict on values.
        recipe = _ADAPTER.validate_json(json.dumps(document, default=str), strict=True)
    except ValidationError as error:
        raise _wrong_value(error, where) from error
    _check_ranges(recipe, where)
    return recipe


def recipe_document(recipe: Recipe) -> Document:
    """Every field of a recipe as JSON has it; `parse_document` reads it back."""
    return cast("Document", json.loads(json.dumps(asdict(recipe))))


def recipe_toml(recipe: Recipe) -> str:
    """The recipe as a file that `load_recipe` reads; what is as by default is left out."""
    document, default = recipe_document(recipe), recipe_document(Recipe(name="", summary={}, model=ModelSpec(name="")))
    del document["name"]  # the file's
    stages = cast("list[Document]", document.pop("stages"))
    tables = {key: cast("Document", document.pop(key)) for key in ("summary", "model")}
    lines = [f"{key} = {_toml(value)}" for key, value in document.items() if value != default[key]]
    plain = {"summary": {}, "model": cast("Document", default["model"])}
    for key, table in tables.items():
        lines += ["", f"[{key}]", *(f"{k} = {_toml(v)}" for k, v in table.items() if v != plain[key].get(k))]
    usual = cast("Document", json.loads(json.dumps(asdict(Stage()))))
    for stage in stages:
        lines += ["", "[[stages]]"]
        for key, value in stage.items():
            if key == "augment":
                off = cast("Document", usual[key])
                value = {k: v for k, v in cast("Document", value).items() if v != off[k]}
                lines += [f"{key} = {_toml(value)}"] if value else []
            elif value != usual[key]:
                lines.append(f"{key} = {_toml(value)}")
    return "\n".join(lines).strip() + "\n"


def _toml(value: object) -> str:
    """A value of a recipe's document as TOML writes it: as JSON does, but for tables."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + " }" if value else "{}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(one) for one in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def override(recipe: Recipe, path: str, value: object) -> Recipe:
    """The recipe with another value at a dotted path, for searches and flags. Raises UsageError: no such path, value.

    "input_size", "model.dropout", "model.options.filters"; "stage.lr" is that of every stage, "stage.NAME.lr" of one,
    "stage.augment.flip" goes deeper.
    """
    document = recipe_document(recipe)
    first, *rest = path.split(".")
    if first == "stage" and rest:
        stages = cast("list[Document]", document["stages"])
        if not stages:
            raise UsageError(msg("{path}: the recipe {name} has no stages.", path=path, name=recipe.name))
        named = [stage for stage in stages if stage["name"] == rest[0]] if len(rest) > 1 else []
        if not named and rest[0] not in _names(Stage) and len(rest) > 1:
            raise _unknown_key(
                f"stage.{rest[0]}", path, [f"stage.{s['name']}" for s in stages] + [f"stage.{n}" for n in _names(Stage)]
            )
        for stage in named or stages:
            _put(stage, rest[1:] if named else rest, value)
    else:
        _put(document, [first, *rest], value)
    return parse_document(document, path)


def scaled(recipe: Recipe, *, epochs: int) -> Recipe:
    """The recipe with `epochs` in all, shared among its stages as theirs are, each at least one. Raises UsageError."""
    if not recipe.stages:
        raise UsageError(
            msg("The recipe {name} trains a head on frozen embeddings: it has no epochs.", name=recipe.name),
            msg("Leave out --epochs, or choose another recipe: `mirada recipes` lists them."),
        )
    if epochs < 1:
        raise UsageError(msg("--epochs is a whole number from 1; got {got}.", got=epochs))
    total, done, given = sum(stage.epochs for stage in recipe.stages), 0, 0
    stages = []
    for stage in recipe.stages:
        done += stage.epochs
        share = max(1, round(epochs * done / total) - given)
        given += share
        stages.append(replace(stage, epochs=share))
    return replace(recipe, stages=tuple(stages))


@cache
def _shipped(name: str) -> Recipe:
    return _read(RECIPES_PATH / f"{name}.toml")


def _read(path: Path) -> Recipe:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            msg("There is no recipe file {path}.", path=path),
            msg("`mirada recipes` lists those that come with Mirada; they go by name."),
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(msg("{path} is not valid TOML: {error}.", path=path, error=error)) from error
    return parse_document({"name": path.stem, "summary": {}, **document}, str(path))


def _put(document: Document, path: Sequence[str], value: object) -> None:
    *parents, last = path
    for part in parents:
        below = document.get(part)
        if not isinstance(below, dict):
            raise _unknown_key(part, ".".join(path), [key for key, held in document.items() if isinstance(held, dict)])
        document = below
    document[last] = value


def _names(record: type) -> list[str]:
    return [field.name for field in fields(record)]


def _refuse_unknown(document: Mapping[str, object], where: str) -> None:
    """Look at every table's keys: pydantic would pass over those it does not know."""
    _check_keys(document, Recipe, where, "")
    if isinstance(model := document.get("model"), Mapping):
        _check_keys(model, ModelSpec, where, "model.")
    stages = document.get("stages")
    for stage in stages if isinstance(stages, list | tuple) else ():
        if isinstance(stage, Mapping):
            _check_keys(stage, Stage, where, "stages.")
            if isinstance(augment := stage.get("augment"), Mapping):
                _check_keys(augment, Augment, where, "stages.augment.")


def _check_keys(table: Mapping[str, object], record: type, where: str, prefix: str) -> None:
    known = _names(record)
    for key in table:
        if key not in known:
            raise _unknown_key(prefix + key, where, [prefix + name for name in known])


def _unknown_key(key: str, where: str, known: Sequence[str]) -> UsageError:
    near = difflib.get_close_matches(key, known, n=1)
    hint = msg("Did you mean {name}?", name=near[0]) if near else msg("Known: {names}.", names=", ".join(known))
    return UsageError(msg("{where} has an unknown key: {key}.", where=where, key=key), hint)


def _wrong_value(error: ValidationError, where: str) -> UsageError:
    first = error.errors(include_url=False)[0]
    # A union's branches stand in the location too: not those, only names and places in lists are keys.
    branch = re.compile(r"str|int|float|bool|.*\W.*")
    key = ".".join(str(part) for part in first["loc"] if not branch.fullmatch(str(part)))
    allowed = str(first.get("ctx", {}).get("expected", "")) or _KINDS.get(first["type"], first["msg"])
    return _refused(key, where, allowed, "–" if first["type"] == "missing" else repr(first["input"]))


def _check_ranges(recipe: Recipe, where: str) -> None:
    tables: list[tuple[str, Document]] = [("", asdict(recipe)), ("model.", asdict(recipe.model))]
    for i, stage in enumerate(recipe.stages):
        tables += [(f"stages.{i}.", asdict(stage)), (f"stages.{i}.augment.", asdict(stage.augment))]
        if not re.fullmatch(r"all|head|last:[1-9]\d*", stage.trainable):
            raise _refused(f"stages.{i}.trainable", where, '"all", "head", "last:N"', repr(stage.trainable))
    for prefix, table in tables:
        for key, (low, high) in _RANGES.items():
            held = table.get(key, ())
            for value in held if isinstance(held, tuple) else (held,):
                if not low <= cast("float", value) <= high:
                    allowed = f"{low:g} – {high:g}" if high < INFINITY else f"≥ {low:g}"
                    raise _refused(prefix + key, where, allowed, repr(value))
    if (recipe.kind == "network") != bool(recipe.stages):
        raise UsageError(
            msg(
                '{where}: kind "network" needs stages, at least one; kind "head" has none.',
                where=where,
            )
        )


def _refused(key: str, where: str, allowed: str, got: str) -> UsageError:
    return UsageError(
        msg("{key} in {where} must be {allowed}; got {got}.", key=key, where=where, allowed=allowed, got=got)
    )


def _unknown_recipe(name: str) -> UsageError:
    near = difflib.get_close_matches(name, recipe_names(), n=1)
    hint: Message = (
        msg("Did you mean {name}?", name=near[0])
        if near
        else msg("`mirada recipes` lists them; a file of your own ends with .toml.")
    )
    return UsageError(msg("There is no recipe called {name}.", name=name), hint)
