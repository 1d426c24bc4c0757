"""The catalogue at a million samples, a tenth of them decided on: how long counts and pages take.

    python -m benchmarks.catalog [N]

Prints the hardware, the versions, and for each query the slowest and the middle of its repetitions.
"""

from __future__ import annotations

import hashlib
import os
import platform
import resource
import sqlite3
import statistics
import sys
import tempfile
import time
from bisect import bisect
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import sqlalchemy

from mirada.catalog.catalog import Catalog
from mirada.types import SPLIT_NAMES, Action, Decision, Issue, Sample

CLASSES = tuple(f"class {i:02d}" for i in range(50))
REPETITIONS = 20
ACTIONS: tuple[Action, ...] = ("drop", "relabel", "keep", "ambiguous")
_BATCH = 20_000


def number(sample_id: str) -> int:
    """A number to choose by that has nothing to do with the order of the ids."""
    return int(sample_id[12:], 16)


def synthetic(n: int) -> Iterator[Sample]:
    """`n` samples of 50 classes in three splits; every 50th repeats the bytes of the one before."""
    for i in range(n):
        sample_id = hashlib.sha256(b"%d" % i).hexdigest()[:20]
        content = hashlib.sha256(b"%d" % (i - (i % 50 == 1))).hexdigest()
        chosen = number(sample_id)
        label = CLASSES[chosen % 50]
        split = SPLIT_NAMES[bisect((14, 17), chosen // 50 % 20)]
        uri = f"/photographs/{label}/{i:08d}.jpg"
        facts = (640, 480, "RGB", "JPEG", 50_000 + i % 1000, label, "folder", None, split, i, i, "2026-01-01")
        yield Sample(sample_id, content, uri, "/photographs", *facts)


def decision(sample_id: str) -> Decision:
    """A decision on a sample: a drop, a relabel, a keep or a doubt."""
    chosen = number(sample_id) // 10_000
    action = ACTIONS[chosen % 4]
    new = CLASSES[chosen // 4 % 50] if action == "relabel" else None
    return Decision(sample_id, action, new=new, by="bench", reason="synthetic", at="2026-01-02")


def finding(sample_id: str) -> Issue:
    """What the check `dark` says of a sample: a fifth of the scored ones are flagged."""
    score = number(sample_id) // 100_000 % 1000 / 1000
    return Issue(sample_id, "dark", score, score < 0.2, 0.2, {"brightness": score})


def fill(catalog: Catalog, n: int) -> None:
    """`n` samples; a tenth of them decided on, and a twentieth scored by a check."""
    stream = synthetic(n)
    while batch := list(islice(stream, _BATCH)):
        catalog.add(batch, [])
        ids = [sample.sample_id for sample in batch]
        catalog.decide(decision(sample_id) for sample_id in ids if number(sample_id) // 1000 % 10 == 0)
        catalog.save_issues(finding(sample_id) for sample_id in ids if number(sample_id) // 1000 % 20 == 3)


def queries(catalog: Catalog) -> dict[str, Callable[[], object]]:
    """What the pages ask for, by name."""
    middle = "8" * 20
    return {
        "counts_by_class()": catalog.counts_by_class,
        "counts_by_class(test)": lambda: catalog.counts_by_class("test"),
        "counts()": catalog.counts,
        "page()": lambda: catalog.page(after=middle),
        "page(class)": lambda: catalog.page(label=CLASSES[3], after=middle),
        "page(split)": lambda: catalog.page(split="test", after=middle),
        "page(class, split)": lambda: catalog.page(label=CLASSES[3], split="val", after=middle),
        "page(dropped)": lambda: catalog.page(status="dropped", after=middle),
        "page(class, split, dropped)": lambda: catalog.page(label=CLASSES[30], split="train", status="dropped"),
        "page(class, any status)": lambda: catalog.page(label=CLASSES[3], status=None, after=middle),
        "page(check)": lambda: catalog.page(check="dark", after=middle),
        "page(check, class)": lambda: catalog.page(check="dark", label=CLASSES[7]),
        "page(check, class, split)": lambda: catalog.page(check="dark", label=CLASSES[7], split="test"),
        "page(check, class, split, any status)": lambda: catalog.page(
            check="dark", label=CLASSES[7], split="train", status=None
        ),
        "page(check that flags nothing here)": lambda: catalog.page(check="dark", label=CLASSES[0], split="test"),
        "worst 100 of a check": lambda: list(islice(catalog.issues("dark"), 100)),
    }


def timings(call: Callable[[], object], repetitions: int = REPETITIONS) -> list[float]:
    """Milliseconds of each repetition."""
    found = []
    for _ in range(repetitions):
        begun = time.perf_counter()
        call()
        found.append((time.perf_counter() - begun) * 1000)
    return found


def main(n: int = 1_000_000) -> None:
    print(f"{platform.machine()}, {os.cpu_count()} cores; Python {platform.python_version()}, ", end="")
    print(f"SQLAlchemy {sqlalchemy.__version__}, SQLite {sqlite3.sqlite_version}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "catalog.sqlite"
        begun, begun_cpu = time.perf_counter(), time.process_time()
        with Catalog.open(f"sqlite:///{path}") as catalog:
            fill(catalog, n)
        wall, cpu = time.perf_counter() - begun, time.process_time() - begun_cpu
        print(f"{n:,} samples filled in {wall:.1f} s ({cpu:.1f} s of processor time); ", end="")
        print(f"{path.stat().st_size / 1e6:.0f} MB; n = {REPETITIONS} a query, first one included")
        begun = time.perf_counter()
        with Catalog.open(f"sqlite:///{path}") as catalog:
            print(f"{'open':40s} {(time.perf_counter() - begun) * 1000:8.2f} ms")
            for name, call in queries(catalog).items():
                found = timings(call)
                print(f"{name:40s} {statistics.median(found):8.2f} ms, at most {max(found):8.2f} ms")
            begun = time.perf_counter()
            n_seen = sum(1 for _ in catalog.samples())
            print(f"{'samples(): stream of ' + format(n_seen, ','):40s} {time.perf_counter() - begun:8.2f} s")
            begun = time.perf_counter()
            catalog.freeze_dataset()
            print(f"{'freeze_dataset()':40s} {time.perf_counter() - begun:8.2f} s")
    print(f"most memory held: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main(*(int(argument.replace("_", "")) for argument in sys.argv[1:2]))
