"""Duplicates: Mirada beside difPy and imagededup on the same photographs, and a million vectors.

    python -m benchmarks.duplicates FOLDER [--n 4000] [--growth 500 1000 2000] [--full] [--cold 10000]
    python -m benchmarks.duplicates --synthetic 1000000 --planted 50000

The first prints, for the same `n` photographs of FOLDER: seconds and pairs of each, how many of the others' pairs
Mirada has, and those that it does not have (to be judged by eye). Mirada begins cold: it reads, decodes, describes,
finds, verifies and groups. difPy is quadratic: it is measured at the sizes of --growth, its curve is fitted and told
at `n`, and measured there with --full, which takes minutes. imagededup runs its CNN method over mobilenetv2_100
from ../shared (its own weights are a download). Each runs in a process of its own with the same Python.
The second plants near duplicates (cosine 0.95) among random unit vectors of 256 dimensions: the hardest case for an
index, as nothing lies in clusters.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mirada.catalog.catalog import Catalog
from mirada.clean.base import Material
from mirada.clean.duplicates import NearDuplicate
from mirada.clean.neighbours import near_pairs
from mirada.embed.looks import LookKeeper, look
from mirada.engine.local import Kind, LocalEngine, available_cpus
from mirada.ingest import ingest
from mirada.sources.base import detect
from mirada.sources.reader import PhotoReader
from mirada.workflow.data import MANY

SHARED = Path(os.environ.get("MIRADA_SHARED") or Path(__file__).parents[2] / "shared")
SUFFIXES = {".jpg", ".jpeg", ".png"}
Pair = tuple[str, str]

PEERS = {
    "difPy": """
import json, sys, time
from difPy import dif
if __name__ == "__main__":
    folder, similarity = sys.argv[1:3]
    begun = time.perf_counter()
    search = dif.search(dif.build(folder, show_progress=False), similarity=similarity, show_progress=False)
    seconds = time.perf_counter() - begun
    pairs = [(name, match[0]) for name, found in search.result.items() for match in found]
    print(json.dumps({"seconds": seconds, "pairs": pairs}))
""",
    "imagededup": """
import json, logging, sys, time
import timm, torch
from safetensors.torch import load_file
from imagededup.methods import CNN
from imagededup.utils import CustomModel
class Features(torch.nn.Module):
    name = "mobilenetv2_100"
    def __init__(self, weights):
        super().__init__()
        self.net = timm.create_model("mobilenetv2_100", num_classes=0).eval()
        self.net.load_state_dict(load_file(weights), strict=False)
        self.transform = timm.data.create_transform(**timm.data.resolve_model_data_config(self.net))
    def forward(self, x):
        return self.net(x)
if __name__ == "__main__":
    folder, weights = sys.argv[1:3]
    logging.disable(logging.INFO)
    begun = time.perf_counter()
    model = Features(weights)
    cnn = CNN(verbose=False, model_config=CustomModel(model=model, transform=model.transform, name=model.name))
    found = cnn.find_duplicates(image_dir=folder, min_similarity_threshold=0.9)
    seconds = time.perf_counter() - begun
    print(json.dumps({"seconds": seconds, "pairs": [(a, b) for a, others in found.items() for b in others]}))
""",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """Pairs of file names, each once, and seconds: wall, and of the processor where it is ours."""

    pairs: frozenset[Pair]
    wall: float
    cpu: float = float("nan")


def choose(folder: Path, n: int) -> list[Path]:
    """`n` photographs of the folder, by a seed."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    random.Random(0).shuffle(found)
    return found[:n]


def link(paths: Sequence[Path], folder: Path) -> None:
    """The photographs under one name each in a flat folder, as the peers want them."""
    for number, path in enumerate(paths):
        (folder / f"{number:06d}{path.suffix.lower()}").symlink_to(path.resolve())


def mirada(folder: Path) -> Outcome:
    """From files to groups as `mirada clean FOLDER` does it, catalogue included; a group counts as all of its pairs."""
    wall, cpu = time.perf_counter(), time.process_time()
    kind: Kind = "processes" if sum(1 for _ in folder.iterdir()) >= MANY else "threads"  # as `workflow.data.add`
    with tempfile.TemporaryDirectory() as home, LocalEngine(kind=kind) as engine:
        with Catalog.open(f"sqlite:///{home}/catalog.sqlite") as catalog:
            ingest(catalog, detect(folder), engine=engine, onlooker=LookKeeper(Path(home), ("lookalike",)))
            samples = list(catalog.samples())
        threads = LocalEngine()
        looks = look(samples, reader=PhotoReader(), engine=threads, cache_root=Path(home), want=("lookalike",))
    reader = PhotoReader()
    no_labels = np.full(len(samples), -1, np.int64)
    material = Material(samples, (), no_labels, lookalike=looks.lookalike, read=lambda sample: reader.read(sample.uri))
    found = NearDuplicate().run(material).found
    seconds = time.perf_counter() - wall, time.process_time() - cpu
    names = np.array([Path(sample.uri).name for sample in samples])
    order = np.argsort(found.groups, kind="stable")
    groups = np.split(names[order], np.flatnonzero(np.diff(found.groups[order])) + 1)
    pairs = {_pair(a, b) for group in groups for a in group for b in group if a < b}
    return Outcome(frozenset(pairs), *seconds)


def peer(name: str, folder: Path, argument: str) -> Outcome | None:
    """Run a peer in a process of its own; None, and why, where it does not run."""
    with tempfile.TemporaryDirectory() as home:
        script = Path(home) / "peer.py"
        script.write_text(PEERS[name])
        command = [sys.executable, "-W", "ignore", str(script), str(folder), argument]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{name}: does not run here: {done.stderr.strip().splitlines()[-1]}")
        return None
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    return Outcome(frozenset(_pair(a, b) for a, b in answer["pairs"]), answer["seconds"])


def _pair(a: str, b: str) -> Pair:
    first, second = sorted((Path(a).name, Path(b).name))
    return first, second


def tell(name: str, outcome: Outcome, ours: Outcome, folder: Path) -> None:
    missing = sorted(outcome.pairs - ours.pairs)
    held = len(outcome.pairs) - len(missing)
    ratio = outcome.wall / ours.wall
    print(f"{name}: {outcome.wall:.1f} s, {ratio:.1f} × Mirada's; {len(outcome.pairs)} pairs, Mirada has {held}")
    for pair in missing:
        print("    not in Mirada:", *((folder / file).readlink() for file in pair))


def side_by_side(photographs: list[Path], full: bool, growth: list[int]) -> None:
    sizes = [n for n in growth if n < len(photographs)] + ([len(photographs)] if full else [])
    curves: dict[str, list[tuple[int, float]]] = {"Mirada": [], "difPy": []}
    for n in sorted({*sizes, len(photographs)}):
        with tempfile.TemporaryDirectory() as home:
            folder = Path(home)
            link(photographs[:n], folder)
            ours = mirada(folder)
            curves["Mirada"].append((n, ours.wall))
            print(
                f"\n{n} photographs. Mirada: {ours.wall:.1f} s ({ours.cpu:.1f} s of processor), {len(ours.pairs)} pairs"
            )
            if n in sizes:
                for similarity in ("duplicates", "similar"):
                    theirs = peer("difPy", folder, similarity)
                    if theirs:
                        tell(f"difPy, {similarity}", theirs, ours, folder)
                        if similarity == "duplicates":
                            curves["difPy"].append((n, theirs.wall))
            if n == len(photographs):
                weights = str(SHARED / "weights" / "mobilenetv2_100.safetensors")
                theirs = peer("imagededup", folder, weights)
                if theirs:
                    tell("imagededup, CNN", theirs, ours, folder)
    print("\ngrowth, seconds = a + b n + c n²:")
    for name, points in curves.items():
        fit(name, points, len(photographs))


def fit(name: str, points: list[tuple[int, float]], n: int) -> None:
    """A curve of degree 2 (as far as there are points), and what it says at `n`."""
    if not points:
        return
    sizes, seconds = np.array(points, float).T
    curve = np.polynomial.Polynomial.fit(sizes, seconds, min(2, len(points) - 1)).convert()
    told = ", ".join(f"{int(size)}: {value:.1f} s" for size, value in points)
    terms = " + ".join(f"{c:.3g}{('', ' n', ' n²')[k]}" for k, c in enumerate(curve.coef))
    print(f"  {name}: {told}; {terms}; at {n}: {curve(n):.1f} s")


def cold(photographs: list[Path]) -> None:
    with tempfile.TemporaryDirectory() as home:
        link(photographs, Path(home))
        ours = mirada(Path(home))
    print(
        f"\n{len(photographs)} photographs, cold, decode to groups: {ours.wall:.1f} s ({ours.cpu:.1f} s of processor)"
    )


def synthetic(n: int, planted: int, cosine: float = 0.95) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((n, 256), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    source = rng.choice(n // 2, planted, replace=False)
    copy = n // 2 + rng.choice(n // 2, planted, replace=False)
    noise = rng.standard_normal((planted, 256), dtype=np.float32)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    vectors[copy] = cosine * vectors[source] + np.sqrt(1 - cosine**2) * noise
    del noise
    wall, cpu = time.perf_counter(), time.process_time()
    i, j, _ = near_pairs(vectors, min_similarity=cosine - 0.05)
    seconds = time.perf_counter() - wall, time.process_time() - cpu
    hit = np.isin(source * n + copy, i * n + j).mean()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{n} vectors, {planted} planted: {100 * hit:.2f} % found, {len(i)} pairs, {seconds[0]:.1f} s")
    print(f"({seconds[1]:.1f} s of processor), peak {peak:.2f} GB with the vectors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--n", type=int, default=4000)
    parser.add_argument("--growth", type=int, nargs="*", default=[500, 1000, 2000])
    parser.add_argument("--full", action="store_true", help="run difPy on all n photographs, too")
    parser.add_argument("--cold", type=int, default=0, help="measure Mirada alone on so many photographs")
    parser.add_argument("--synthetic", type=int, default=0)
    parser.add_argument("--planted", type=int, default=50_000)
    arguments = parser.parse_args()
    print(f"{platform.machine()}, {available_cpus()} cores, load {os.getloadavg()[0]:.1f}, {platform.python_version()}")
    if arguments.synthetic:
        synthetic(arguments.synthetic, arguments.planted)
    elif arguments.folder is None:
        parser.error("a folder of photographs, or --synthetic")
    else:
        side_by_side(choose(arguments.folder, arguments.n), arguments.full, arguments.growth)
        if arguments.cold:
            cold(choose(arguments.folder, arguments.cold))


if __name__ == "__main__":
    main()
