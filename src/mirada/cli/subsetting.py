"""``mirada subset``: draw a named part of the photographs, look at it, export it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mirada.cli.output import Result, Settings, progress, speaks, table
from mirada.errors import UsageError
from mirada.messages import Message, msg, msg_n

if TYPE_CHECKING:
    from mirada.catalog.catalog import Catalog
    from mirada.subsets.export import Exported, Format
    from mirada.subsets.recipe import Recipe
    from mirada.workflow.subsetting import Subset
    from mirada.workspace import Workspace

_RECIPE = ("size", "strategy", "classes", "split", "seed")


@click.command(
    help=str(
        msg(
            "Name a part of the photographs by a recipe; nothing is copied. `mirada train --subset NAME` trains on it. "
            "Without options: tell what is in NAME; without NAME: list the subsets. "
            "-o exports the subset, or without NAME all labelled photographs, for other tools."
        )
    ),
    epilog=str(msg("Example: mirada subset small --size 500 --strategy balanced -o small/")),
)
@click.argument("name", required=False)
@click.option("--size", type=int, metavar="N", help=str(msg("How many photographs; default: all that the recipe has.")))
@click.option(
    "--strategy", type=click.Choice(["stratified", "balanced", "all"]),
    help=str(
        msg("stratified (default): classes keep their shares; balanced: equally many of each; all: whatever the class.")
    ),
)  # fmt: skip
@click.option("--grey", is_flag=True, help=str(msg("Train on it, and export it, without colour.")))
@click.option("--classes", multiple=True, metavar="A,B", help=str(msg("Only these classes.")))
@click.option("--split", type=click.Choice(["train", "val", "test"]), help=str(msg("Only photographs of this part.")))
@click.option("--seed", type=int, metavar="N", help=str(msg("Seed of the draw; default 0.")))
@click.option("--replace", is_flag=True, help=str(msg("Draw NAME anew, if need be by another recipe.")))
@click.option("--delete", is_flag=True, help=str(msg("Forget NAME; the photographs are untouched.")))
@click.option("-o", "--out", type=click.Path(path_type=Path), metavar="PATH", help=str(msg("Export to PATH.")))
@click.option(
    "--format", "fmt", type=click.Choice(["folder", "csv", "huggingface"]),
    help=str(msg("Class folders, a CSV of paths, or a Hugging Face data set; default: as PATH ends, else folder.")),
)  # fmt: skip
@click.option(
    "--link", type=click.Choice(["hard", "symbolic"]),
    help=str(msg("Link the files instead of copying them; a change to a linked photograph changes the original.")),
)  # fmt: skip
@click.pass_obj
@speaks
def subset(settings: Settings, *, name: str | None, **options: Any) -> Result:
    """List, draw, tell, delete, export."""
    from mirada.catalog.catalog import Catalog

    _check(name, options)
    workspace = settings.open()
    with Catalog.open(workspace.catalog_url) as catalog:
        if name is None and options["out"] is None:
            return _listed(catalog)
        if options["delete"]:
            return _deleted(catalog, str(name))
        found = None if name is None else _found(catalog, name, options)
        exported = None if options["out"] is None else _exported(workspace, catalog, found, options)
    lines = _lines(found, is_exported=exported is not None) if found else []
    document = {**(_document(found) if found else {}), "export": exported and _export_document(exported)}
    return Result(document, [*lines, *(_export_lines(exported) if exported else [])])


def _asks(options: dict[str, Any]) -> bool:
    """Whether a recipe is given."""
    return options["grey"] or any(options[key] not in (None, ()) for key in _RECIPE)


def _check(name: str | None, options: dict[str, Any]) -> None:
    """Refuse options that would be ignored."""
    if name is None and (_asks(options) or options["replace"] or options["delete"]):
        raise UsageError(
            msg("A recipe needs a name for its subset."), msg("For example: mirada subset small --size 500")
        )
    if options["delete"] and (_asks(options) or options["replace"] or options["out"]):
        raise UsageError(msg("--delete goes with nothing else."), msg("For example: mirada subset small --delete"))
    if options["out"] is None and (options["fmt"] or options["link"]):
        raise UsageError(msg("--format and --link say how to export: -o PATH says where to."), msg("Add -o PATH."))


def _found(catalog: Catalog, name: str, options: dict[str, Any]) -> Subset:
    """The subset that is drawn, or was."""
    from mirada.workflow.subsetting import find_subset, make_subset, with_classes

    if not _asks(options):
        held = find_subset(catalog, name)
        return make_subset(catalog, name, held.recipe, anew=True) if options["replace"] else held
    recipe = with_classes(catalog, _recipe(options), options["classes"])
    return make_subset(catalog, name, recipe, anew=options["replace"])


def _recipe(options: dict[str, Any]) -> Recipe:
    from mirada.subsets.recipe import Recipe

    given = {key: options[key] for key in ("size", "strategy", "split", "seed") if options[key] is not None}
    return Recipe(grey=options["grey"], **given)


def _listed(catalog: Catalog) -> Result:
    from mirada.workflow.subsetting import all_subsets, describe

    found = all_subsets(catalog)
    rows = [[one.name, len(one.samples), len(one.by_class()), describe(one.recipe), one.made_at[:10]] for one in found]
    head = [msg("subset"), msg("photographs"), msg("classes"), msg("recipe"), msg("drawn")]
    none = [msg("No subset yet: `mirada subset small --size 500` draws one.")]
    return Result([_summary(one) for one in found], table(head, rows) if rows else none)


def _deleted(catalog: Catalog, name: str) -> Result:
    from mirada.workflow.subsetting import find_subset

    find_subset(catalog, name)  # for the nearest name in the error
    catalog.delete_subset(name)
    return Result({"deleted": name}, [msg("The subset {name} is forgotten; its photographs are untouched.", name=name)])


def _exported(workspace: Workspace, catalog: Catalog, found: Subset | None, options: dict[str, Any]) -> Exported:
    from mirada.subsets.export import ExportRequest
    from mirada.workflow.subsetting import export_subset

    out = options["out"]
    fmt: Format = options["fmt"] or ("csv" if out.suffix.lower() == ".csv" else "folder")
    request = ExportRequest(out=out, format=fmt, link=options["link"])
    return export_subset(workspace, catalog, found, request, progress=progress())


def _summary(found: Subset) -> dict[str, object]:
    """What a program is told of each subset of the list."""
    return {
        "name": found.name,
        "recipe": asdict(found.recipe),
        "hash": found.hash,
        "dataset_id": found.dataset_id,
        "ids_hash": found.ids_hash,
        "n": len(found.samples),
        "n_drawn": len(found.ids),
        "by_class": found.by_class(),
        "by_split": found.by_split(),
        "made_at": found.made_at,
    }


def _document(found: Subset) -> dict[str, object]:
    """What a program is told of one subset: `ids` are those drawn, in the order of the draw."""
    notes = [str(note) for note in found.notes]
    return {**_summary(found), "is_new": found.is_new, "ids": list(found.ids), "notes": notes}


def _lines(found: Subset, *, is_exported: bool) -> list[str | Message]:
    from mirada.workflow.subsetting import describe

    by_split = found.by_split()
    split = ", ".join(f"{n} {name}" for name, n in by_split.items() if name)
    rows = [[label, n] for label, n in found.by_class().items()]
    return [
        msg_n(
            "{name}: {n} photograph ({recipe}); {hash}.", "{name}: {n} photographs ({recipe}); {hash}.",
            n=len(found.samples), name=found.name, recipe=describe(found.recipe), hash=found.hash,
        ),
        *([msg("Of them {split}.", split=split)] if split else []),
        "",
        *table([msg("class"), msg("photographs")], rows),
        "",
        *(msg("· {note}", note=note) for note in found.notes),
        msg("Next: mirada train --subset {name}", name=found.name) if is_exported else
        msg("Next: mirada train --subset {name}, or mirada subset {name} -o PATH", name=found.name),
    ]  # fmt: skip


def _export_document(exported: Exported) -> dict[str, object]:
    return {
        "path": str(exported.path),
        "format": exported.format,
        "n": sum(exported.n.values()),
        "by_split": dict(exported.n),
        "left_out": [{"uri": one.sample.uri, "reason": one.reason} for one in exported.left_out],
        "notes": [str(note) for note in exported.notes],
    }


def _export_lines(exported: Exported) -> list[str | Message]:
    return [
        msg_n(
            "{n} photograph exported to {path} ({format}).", "{n} photographs exported to {path} ({format}).",
            n=sum(exported.n.values()), path=exported.path, format=exported.format,
        ),
        *(msg("· {note}", note=note) for note in exported.notes),
    ]  # fmt: skip
