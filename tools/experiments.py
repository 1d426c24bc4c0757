"""Run the reports' experiments on the data at hand and write docs/experiments.md.

    .venv/bin/python tools/experiments.py [--only NAME …] [--again] [--list] [--page-only] [--quick] [--work DIR]

Runs what has not been run, and writes the page after each; killed, the next call goes on. --again runs what --only
names from the beginning. --quick runs one epoch of one seed on rendered photographs, keeps that apart, and writes a
page of its own beside it, never docs/experiments.md. Photographs and weights are those of ../shared, or of
MIRADA_SHARED. Keep the machine idle: times are part of the result.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

os.environ["MIRADA_LANG"] = "en"

from experiments_items import BY_NAME, ITEMS, Item  # the language is chosen first: some texts are rendered at import
from experiments_page import duration, page
from experiments_run import Place, kept_result, n_done, obstacle, run_item, steps

from mirada.testing import class_folders
from mirada.workspace import write_atomic

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "experiments.md"
# Rendered photographs of a quick run: folder → (classes, photographs of each, side).
RENDERED = {
    "restaurant_dirty": (3, 12, 96),
    "sports15/train": (3, 12, 96),
    "sports15/valid": (3, 4, 96),
    "sports15/test": (3, 4, 96),
    "cifar10_jpeg/train": (3, 24, 32),
    "cifar10_jpeg/test": (3, 8, 32),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 1 where an experiment failed."""
    options = _parser().parse_args(argv)
    place = _place(options)
    chosen = [BY_NAME[name] for name in options.only] if options.only else list(ITEMS)
    if options.list:
        print("\n".join(_line(item, place) for item in ITEMS))
        return 0
    failed = 0
    if not options.page_only:
        for item in chosen:
            failed += not _run(item, place, again=options.again and bool(options.only))
            _write_page(place, options.page)
    _write_page(place, options.page)
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(BY_NAME), metavar="NAME", help="these alone")
    parser.add_argument("--again", action="store_true", help="run what --only names anew")
    parser.add_argument("--list", action="store_true", help="name them, with what each would take, and stop")
    parser.add_argument("--page-only", action="store_true", help="run nothing, write the page")
    parser.add_argument("--quick", action="store_true", help="one epoch on rendered photographs: is no result")
    parser.add_argument("--keep", action="store_true", help="keep the workspaces of finished experiments (gigabytes)")
    parser.add_argument("--work", type=Path, default=ROOT / "experiments-work", help="where results are kept")
    parser.add_argument("--page", type=Path, help="the page to write; default: docs/experiments.md")
    return parser


def _place(options: argparse.Namespace) -> Place:
    shared = Path(os.environ.get("MIRADA_SHARED") or ROOT.parent / "shared").resolve()
    work, data = options.work.resolve(), shared / "data"
    if options.quick:
        work = work / "quick"
        data = work / "photographs"
        for name, (n_classes, n_per_class, side) in RENDERED.items():
            if not (data / name).exists():
                class_folders(data / name, n_classes, n_per_class, size=side, seed=len(name))
    return Place(data=data, weights=shared / "weights", work=work, quick=options.quick, keep=options.keep)


def _run(item: Item, place: Place, *, again: bool) -> bool:
    """False where it failed."""
    kept = kept_result(item, place)
    if kept is not None and not kept.failure and not again:
        print(f"{item.name}: done before")
        return True
    if needs := obstacle(item, place):
        print(f"{item.name}: not run here, needs {needs}")
        return True
    print(f"{item.name}: about {duration(60 * item.minutes)} (load {os.getloadavg()[0]:.1f})", flush=True)
    result = run_item(item, place, again=again, say=lambda text: print(text, flush=True))
    print(f"{item.name}: {result.failure or 'done'}", flush=True)
    return not result.failure


def _line(item: Item, place: Place) -> str:
    kept = kept_result(item, place)
    if kept is not None:
        state = "failed" if kept.failure else "done"
    elif needs := obstacle(item, place):
        state = f"needs {needs}"
    else:
        done = n_done(item, place)
        state = f"{done} of {len(steps(item, place))} commands done" if done else "to do"
    return f"{item.name:22}report {item.report or '–'}  {duration(60 * item.minutes):>7}  {state}"


def _write_page(place: Place, wanted: Path | None) -> None:
    results = {item.name: kept for item in ITEMS if (kept := kept_result(item, place)) is not None}
    path = wanted or (place.work / "experiments.md" if place.quick else PAGE)
    if place.quick and path.resolve() == PAGE:
        sys.exit("A quick run is no result: it does not go into docs/experiments.md.")
    write_atomic(path, page(results, place).encode())


if __name__ == "__main__":
    sys.exit(main())
