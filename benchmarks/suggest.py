"""How far a number of answers gets one in the order of `mirada suggest`, beside as many random ones.

    python -m benchmarks.suggest --set sports15=TRAIN:TEST[:MORE…] --set cifar10=TRAIN … \
        --teacher deit_tiny_patch16_224=WEIGHTS [--backbone FILE.onnx] [--questions 30,75,150] [--block 15]
        [--seeds 5] [--max-train 3000] [--cache DIR] [--scale]

TRAIN, TEST and MORE hold a folder per class. The labels of TRAIN are hidden; an oracle answers block by block. Both
orders are judged with the head that `mirada train` fits. Test: photographs of TEST; test+: of TEST and MORE
together; rest: those of TRAIN without an answer. Without TEST a quarter of TRAIN is held out, another for each
seed. estimate: what `mirada suggest` says of the rest, less what is true, the share of its 95 % intervals that hold
the truth and their mean width. bulk: photographs that are proposed for confirmation and the share that is right.
`--scale`: seconds (of processor) and memory for one block of 20 among 200,000 × 512 random embeddings.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from benchmarks.backbone import embeddings, labelled

from mirada.embed.backbone import Backbone, BackboneStore, default_backbone, load_backbone
from mirada.embed.vino import device_name
from mirada.release.export import convert_timm
from mirada.suggest.clusters import Floats, Ints
from mirada.training.head import fit_head
from mirada.workflow.suggesting import Pool, suggest_rows


@dataclass(frozen=True)
class Photographs:
    """Embeddings to ask about, and those to be judged on: `n_test` of TEST, the others of MORE."""

    X: Floats
    y: Ints
    held: Floats
    held_y: Ints
    n_test: int


@dataclass(frozen=True)
class Reached:
    """After so many answers: accuracies, and what was estimated."""

    test: float
    more: float
    rest: float
    off: float = np.nan
    inside: float = np.nan
    width: float = np.nan
    bulk: float = np.nan
    bulk_right: float = np.nan


def pool_of(photographs: Photographs, asked: list[int]) -> Pool:
    """The pool as the workflow sees it; names are class indices."""
    names = sorted({str(photographs.y[i]) for i in asked}, key=int)
    y = np.full(len(photographs.y), -1)
    y[asked] = [names.index(str(photographs.y[i])) for i in asked]
    ids = np.array([str(i) for i in range(len(y))])
    return Pool(tuple(ids), tuple(ids), photographs.X, y, tuple(names), ids)


def simulate(photographs: Photographs, marks: list[int], *, block: int, seed: int, random: bool) -> list[Reached]:
    """One oracle's session, judged at each of `marks`."""
    asked: list[int] = []
    reached = []
    shuffled = np.random.default_rng(seed).permutation(len(photographs.y)).tolist()
    for mark in marks:
        while len(asked) < mark:
            n = min(block, mark - len(asked))
            if random:
                asked += shuffled[len(asked) : len(asked) + n]
            else:
                found = suggest_rows(pool_of(photographs, asked), n=n, seed=seed, judge=False)
                asked += [int(q.sample_id) for q in found.questions]
        reached.append(judged(photographs, asked, seed=seed, random=random))
    return reached


def judged(photographs: Photographs, asked: list[int], *, seed: int, random: bool) -> Reached:
    """Accuracy of a head on the answers, and the honesty of what `suggest` says of it."""
    X, y = photographs.X, photographs.y
    head = fit_head(X[asked], y[asked], n_classes=int(y.max()) + 1, seed=seed)
    right = head.logits(photographs.held).argmax(axis=1) == photographs.held_y
    rest = np.setdiff1d(np.arange(len(y)), asked)
    true = float((head.logits(X[rest]).argmax(axis=1) == y[rest]).mean())
    test, more = float(right[: photographs.n_test].mean()), float(right.mean())
    if random:
        return Reached(test, more, true)
    found = suggest_rows(pool_of(photographs, asked), n=1, seed=seed)
    named = [(p.label, int(i)) for p in found.proposals for i in p.sample_ids]
    bulk_right = float(np.mean([str(y[i]) == label for label, i in named])) if named else np.nan
    e = found.estimate
    if e is None:
        return Reached(test, more, true, bulk=len(named), bulk_right=bulk_right)
    inside = float(e.low <= true <= e.high)
    return Reached(test, more, true, e.value - true, inside, e.high - e.low, len(named), bulk_right)


def photographs_of(folders: list[Path], backbone: Backbone, asked: argparse.Namespace, seed: int) -> Photographs:
    """TRAIN and what to judge on."""
    sets = [labelled(folder, asked.max_train if i == 0 else None) for i, folder in enumerate(folders)]
    names = sorted({label for _, labels in sets for label in labels})
    Xs = [embeddings(backbone, paths, asked.cache) for paths, _ in sets]
    ys = [np.array([names.index(label) for label in labels]) for _, labels in sets]
    if len(sets) > 1:
        return Photographs(Xs[0], ys[0], np.concatenate(Xs[1:]), np.concatenate(ys[1:]), len(ys[1]))
    rows = np.random.default_rng(1000 + seed).permutation(len(ys[0]))
    held, kept = np.split(rows, [len(rows) // 4])
    return Photographs(Xs[0][kept], ys[0][kept], Xs[0][held], ys[0][held], len(held))


def lines(name: str, folders: list[Path], backbone: Backbone, asked: argparse.Namespace) -> Iterator[str]:
    """A line for each number of answers and order."""
    runs: dict[bool, list[list[Reached]]] = {False: [], True: []}
    for seed in range(asked.seeds):
        photographs = photographs_of(folders, backbone, asked, seed)
        for random in runs:
            runs[random].append(simulate(photographs, asked.questions, block=asked.block, seed=seed, random=random))
    for i, mark in enumerate(asked.questions):
        for random, sessions in runs.items():
            at = [session[i] for session in sessions]
            cells = [_mean([getattr(r, field) for r in at]) for field in ("test", "more", "rest")]
            honesty = "– | – | –"
            if not random and not all(np.isnan(r.off) for r in at):
                inside, width = (np.nanmean([getattr(r, field) for r in at]) for field in ("inside", "width"))
                honesty = f"{_mean([r.off for r in at], sign=True)} | {inside:.2f} | {width:.2f}"
            bulk = "–"
            if not random and np.nanmean([r.bulk for r in at]) > 0:
                bulk = f"{np.nanmean([r.bulk for r in at]):.0f}, {np.nanmean([r.bulk_right for r in at]):.3f}"
            order = "random" if random else "suggest"
            yield f"| {name} | {backbone.name} | {mark} | {order} | {' | '.join(cells)} | {honesty} | {bulk} |"


def scale_line() -> str:
    """The next block among 200,000 photographs, with 150 labelled."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 15, 200_000)
    X = rng.standard_normal((15, 512), dtype=np.float32)[y]
    for begin in range(0, len(X), 10_000):
        X[begin : begin + 10_000] += 2 * rng.standard_normal((10_000, 512), dtype=np.float32)
    photographs = Photographs(X, y, X[:0], y[:0], 0)
    pool = pool_of(photographs, list(range(150)))
    wall, used = time.perf_counter(), time.process_time()
    suggest_rows(pool, n=20, seed=0)
    wall, used = time.perf_counter() - wall, time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return f"200,000 × 512: {wall:.1f} s ({used:.1f} s of processor), peak memory {peak:.2f} GB with the embeddings"


def _mean(values: list[float], *, sign: bool = False) -> str:
    return f"{np.nanmean(values):{'+' if sign else ''}.3f} ± {np.nanstd(values, ddof=1) if len(values) > 1 else 0:.3f}"


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="suggest beside random labels.")
    parser.add_argument("--set", action="append", type=_pair, default=[], metavar="NAME=TRAIN[:TEST[:MORE]]")
    parser.add_argument("--teacher", action="append", type=_pair, default=[], metavar="NAME=WEIGHTS")
    parser.add_argument("--backbone", type=Path, help="default: the shipped one")
    parser.add_argument("--questions", default="30,75,150")
    parser.add_argument("--block", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--max-train", type=int, default=None)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "mirada-benchmark")
    parser.add_argument("--scale", action="store_true")
    asked = parser.parse_args()
    asked.questions = sorted(int(n) for n in asked.questions.split(","))
    return asked


def main() -> None:
    """Print the tables."""
    asked = parsed()
    print(device_name())
    if asked.scale:
        print(scale_line(), flush=True)
    store = BackboneStore(asked.cache)
    student = load_backbone(asked.backbone) if asked.backbone else default_backbone()
    backbones = [store.resolve(name, Path(weights), convert=convert_timm) for name, weights in asked.teacher]
    if asked.set:
        print("\n| set | network | answers | order | test | test+ | rest | estimate off | inside | width | bulk |")
        print("|---|---|---:|---|---:|---:|---:|---:|---:|---:|---:|")
    for name, folders in asked.set:
        for backbone in (*backbones, student):
            for line in lines(name, [Path(part) for part in folders.split(":")], backbone, asked):
                print(line, flush=True)


if __name__ == "__main__":
    main()
