"""``mirada recipes``."""

from __future__ import annotations

from pathlib import Path

import click

from mirada.cli.output import Result, speaks, table
from mirada.messages import Message, current_language, msg


@click.command(
    help=str(msg("List the recipes for training, or show one whole.")),
    epilog=str(msg("Example: mirada recipes sports-unfrozen")),
)
@click.argument("name", required=False)
@speaks
def recipes(*, name: str | None) -> Result:
    """The recipes that `mirada train --recipe` takes."""
    from mirada.models.recipes import RECIPES_PATH, all_recipes, load_recipe, recipe_document, recipe_names

    if name is not None:
        recipe = load_recipe(name)
        path = RECIPES_PATH / f"{name}.toml" if name in recipe_names() else Path(name)
        return Result(recipe_document(recipe), path.read_text(encoding="utf-8").splitlines())
    found = all_recipes()
    document = [
        {"name": r.name, "kind": r.kind, "model": r.model.name, "summary": r.summary, "origin": r.origin} for r in found
    ]
    rows: list[list[object]] = [[r.name, r.model.name, r.summary[current_language()]] for r in found]
    lines: list[str | Message] = [
        *table([msg("recipe"), msg("network"), msg("what it does")], rows),
        "",
        msg("Use one: mirada train PHOTOS --recipe NAME. A file of your own: --recipe FILE.toml."),
    ]
    return Result(document, lines)
