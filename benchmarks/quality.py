"""Mirada's checks of quality beside cleanvision's, on the same photographs, in one call.

    python -m benchmarks.quality FOLDER [--n 4000] [--rounds 3]

Both begin cold: no cache, no catalogue, the photographs read and decoded from disk (whose pages the kernel may hold
for both: every file is read once before). The checks are those that both have: dark, light, blurry, odd size, odd
aspect ratio, low information, greyscale, exact duplicates. Printed: wall and processor seconds of each, least of the
rounds, which take turns; the ratio; and for each check how many photographs each flags and how many both.

Mirada's seconds are of everything that leads from files to scores, as `mirada clean FOLDER` does it: adding to a new
catalogue (which decodes, measures, and finds the exact duplicates by content), reading the measures back, and scoring.
Its workers are processes, as cleanvision's are, as many as there are cores; starting them is counted in both.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import platform
import random
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from mirada.catalog.catalog import Catalog
from mirada.clean.base import Material
from mirada.clean.quality import quality_checks
from mirada.embed.looks import LookKeeper, look
from mirada.engine.local import LocalEngine, available_cpus
from mirada.ingest import ingest
from mirada.sources.base import detect
from mirada.sources.reader import PhotoReader

# Ours → cleanvision's.
NAMES = {
    "dark": "dark",
    "bright": "light",
    "blurry": "blurry",
    "odd_size": "odd_size",
    "odd_aspect": "odd_aspect_ratio",
    "low_information": "low_information",
    "greyscale": "grayscale",
    "exact_duplicate": "exact_duplicates",
}
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one tool flagged (file names by check, in our names), and the seconds it took, by part."""

    flagged: dict[str, set[str]]
    wall: dict[str, float]
    cpu: float


def choose(folder: Path, n: int) -> list[Path]:
    """`n` photographs of the folder, by a seed."""
    found = sorted(Path(at) / name for at, _, names in os.walk(folder, followlinks=True) for name in names)
    found = [path for path in found if path.suffix.lower() in SUFFIXES]
    random.Random(0).shuffle(found)
    return sorted(found[:n])


def cpu_seconds() -> float:
    """Of this process and the children it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def mirada(folder: Path) -> Outcome:
    """Everything, in a fresh workspace."""
    wall: dict[str, float] = {}
    begun_cpu, begun = cpu_seconds(), time.perf_counter()

    def lap(name: str) -> None:
        wall[name] = time.perf_counter() - begun - sum(wall.values())

    with tempfile.TemporaryDirectory() as home, LocalEngine(kind="processes") as engine:
        with Catalog.open(f"sqlite:///{home}/catalog.sqlite") as catalog:
            keeper = LookKeeper(Path(home), ("stats",))
            ingest(catalog, detect(folder), engine=engine, onlooker=keeper)
            samples = list(catalog.samples())
            copies = catalog.duplicates_by_content()
        lap("add")
        seen = look(samples, reader=PhotoReader(), engine=engine, cache_root=Path(home), want=("stats",))
        lap("look")
        material = Material(samples, (), np.full(len(samples), -1, np.int64), stats=seen.stats)
        names = np.array([Path(sample.uri).name for sample in samples])
        flagged = {}
        for check in quality_checks():
            scores = check.run(material)
            flagged[check.name] = set(names[scores.values < check.threshold].tolist())
        by_id = {sample.sample_id: name for sample, name in zip(samples, names.tolist(), strict=True)}
        flagged["exact_duplicate"] = {by_id[one] for group in copies for one in ids_of(group)}
        lap("score")
    return Outcome(flagged, wall, cpu_seconds() - begun_cpu)


def ids_of(group: Sequence[object]) -> list[str]:
    """Ids of a group of copies, given as ids or as samples."""
    return [one if isinstance(one, str) else one.sample_id for one in group]  # type: ignore[attr-defined]


def cleanvision(folder: Path) -> Outcome:
    """Its Imagelab over the checks that Mirada has too."""
    from cleanvision import Imagelab

    begun_cpu, begun = cpu_seconds(), time.perf_counter()
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        lab = Imagelab(data_path=str(folder))
        lab.find_issues({theirs: {} for theirs in NAMES.values()}, n_jobs=available_cpus(), verbose=False)
    wall = {"all": time.perf_counter() - begun}
    flagged = {}
    for ours, theirs in NAMES.items():
        column = lab.issues[f"is_{theirs}_issue"]
        flagged[ours] = {Path(str(index)).name for index in lab.issues.index[column]}
    return Outcome(flagged, wall, cpu_seconds() - begun_cpu)


def best(run: Callable[[Path], Outcome], folder: Path, so_far: Outcome | None) -> Outcome:
    outcome = run(folder)
    return outcome if so_far is None or sum(outcome.wall.values()) < sum(so_far.wall.values()) else so_far


def tell(ours: Outcome, theirs: Outcome, n: int) -> None:
    mine, peer = sum(ours.wall.values()), sum(theirs.wall.values())
    parts = ", ".join(f"{name} {seconds:.2f}" for name, seconds in ours.wall.items())
    print(f"Mirada       {mine:7.2f} s wall ({parts}); {ours.cpu:.2f} s of processor time")
    print(f"cleanvision  {peer:7.2f} s wall; {theirs.cpu:.2f} s of processor time")
    print(f"ratio        {peer / mine:7.1f} of wall, {theirs.cpu / ours.cpu:.1f} of processor time")
    print()
    print(f"{'check':18}{'Mirada':>8}{'cleanvision':>13}{'both':>7}{'agree':>9}")
    for name in NAMES:
        a, b = ours.flagged[name], theirs.flagged[name]
        print(f"{name:18}{len(a):8}{len(b):13}{len(a & b):7}{1 - len(a ^ b) / n:9.2%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    chosen = choose(arguments.folder, arguments.n)
    if not chosen:
        parser.error(f"no photographs in {arguments.folder}")
    print(
        f"{platform.processor() or platform.machine()}, {available_cpus()} cores; Python {platform.python_version()}, "
    )
    print(
        f"cleanvision {version('cleanvision')}, Pillow {version('pillow')}, simplejpeg {version('simplejpeg')}; ",
        end="",
    )
    print(f"load {os.getloadavg()[0]:.1f}; {len(chosen)} photographs, least of {arguments.rounds} rounds")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for number, path in enumerate(chosen):
            (folder / f"{number:06}{path.suffix.lower()}").write_bytes(path.read_bytes())
        ours: Outcome | None = None
        theirs: Outcome | None = None
        for _ in range(arguments.rounds):
            ours, theirs = best(mirada, folder, ours), best(cleanvision, folder, theirs)
        assert ours is not None and theirs is not None  # noqa: PT018
        tell(ours, theirs, len(chosen))


if __name__ == "__main__":
    main()
