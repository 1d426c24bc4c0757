"""How good and how fast a backbone is, beside its teachers and a network with random weights.

    python -m benchmarks.backbone --set sports15=TRAIN:TEST --set caltech101=TRAIN:TEST … \
        --teacher mobilenetv2_100=WEIGHTS --teacher deit_tiny_patch16_224=WEIGHTS [--pool sports15=FOLDER]
        [--backbone FILE.onnx] [--cache DIR] [--max-train 3000] [--speed-only]

TRAIN and TEST hold a folder per class. Every network embeds the same photographs with its own preprocessing.
Linear probe: the logistic regression that `mirada train` fits, its strength chosen by cross-validation on TRAIN
alone. k-NN: 20 neighbours by cosine, votes weighted by exp(similarity / 0.07) (Wu et al. 2018). `--pool`: all
photographs of FOLDER in five stratified folds, the answers pooled. Photographs per second: 2 s rounds of every
network in turn, in one process; the middle of the rounds' ratios to the first teacher.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from mirada.embed import vino
from mirada.embed.backbone import Backbone, BackboneStore, default_backbone, load_backbone
from mirada.embed.network import Network
from mirada.evaluate.intervals import wilson
from mirada.imaging.decode import read_file
from mirada.imaging.preprocess import load_input
from mirada.release.export import convert_timm
from mirada.training.distill_data import SUFFIXES
from mirada.training.distill_eval import knn_accuracy
from mirada.training.distill_export import export_student
from mirada.training.head import fit_head
from mirada.training.students import STUDENTS, build_student

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
ROUNDS, ROUND_S = 5, 2.0
COLD = """
import time; start = time.perf_counter()
import numpy as np
from mirada.embed.backbone import load_backbone
from mirada.embed.network import Network
from pathlib import Path
backbone = load_backbone(Path({path!r}))
size = backbone.preprocess.input_size
Network(backbone.onnx_path).run_batch(np.zeros((1, size, size, 3), np.uint8))
print(time.perf_counter() - start)
"""


def labelled(folder: Path, limit: int | None) -> tuple[list[Path], list[str]]:
    """Photographs of a folder per class and their classes; a seeded sample where there are more than `limit`."""
    paths = sorted(path for path in folder.glob("*/*") if path.suffix.lower() in SUFFIXES)
    if limit is not None and limit < len(paths):
        paths = [paths[i] for i in sorted(np.random.default_rng(0).choice(len(paths), limit, replace=False))]
    return paths, [path.parent.name for path in paths]


def embeddings(backbone: Backbone, paths: list[Path], cache: Path) -> Floats:
    """(n, d), from the cache where these photographs were embedded before."""
    key = hashlib.sha256("\n".join([backbone.sha256, *map(str, paths)]).encode()).hexdigest()[:20]
    kept = cache / f"{key}.npy"
    if kept.is_file():
        return np.asarray(np.load(kept), np.float32)
    cache.mkdir(parents=True, exist_ok=True)
    spec = backbone.preprocess
    found = np.stack(list(Network(backbone.onnx_path).run(load_input(read_file(path), spec) for path in paths)))
    np.save(kept, found)
    return found


def probe_answers(train: Floats, y: Ints, test: Floats) -> Ints:
    """Classes that a logistic regression on `train` gives `test`."""
    return np.asarray(fit_head(train, y, seed=0).logits(test).argmax(1), np.int64)


def pooled_answers(X: Floats, y: Ints) -> Ints:
    """Out-of-fold answers of five probes."""
    answers = np.empty_like(y)
    for fit, held in StratifiedKFold(5, shuffle=True, random_state=0).split(X, y):
        answers[held] = probe_answers(X[fit], y[fit], X[held])
    return answers


def random_backbone(folder: Path) -> Backbone:
    """The default student as it is before it has learned anything, batch norms settled on noise."""
    import torch

    student = build_student(STUDENTS["mirada-small"], seed=0)
    with torch.no_grad():
        for module in student.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.fill_(1.0)
                module.momentum = 0.5
        for _ in range(8):
            student(torch.randn(16, 3, 160, 160))
    return export_student(student, folder / "random.onnx", licence="none", about={})


def photos_per_s(networks: dict[str, Network], n: int = 64) -> dict[str, list[float]]:
    """Rates of every network in turn, ROUNDS times."""
    rng = np.random.default_rng(0)
    images = {
        name: rng.integers(0, 256, (n, net.input_size, net.input_size, 3), dtype=np.uint8)
        for name, net in networks.items()
    }
    rates: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(ROUNDS):
        for name, network in networks.items():
            start, done = time.perf_counter(), 0
            while time.perf_counter() - start < ROUND_S:
                network.run_batch(images[name])
                done += n
            rates[name].append(done / (time.perf_counter() - start))
    return rates


def speed_lines(backbones: dict[str, Backbone], first: str) -> Iterator[str]:
    """Photographs per second of every network, and its ratio to `first`."""
    for precision in ("bf16", "f32"):
        rates = photos_per_s({name: Network(b.onnx_path, precision=precision) for name, b in backbones.items()})
        for name, values in rates.items():
            ratios = [value / peer for value, peer in zip(values, rates[first], strict=True)]
            shown = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            yield f"| {name} | {precision} | {statistics.median(values):.0f} | {shown} |"


def first_embedding_s(path: Path) -> float:
    """Least of five: seconds from the interpreter's first line to the first embedding, in a new process."""
    command = [sys.executable, "-c", COLD.format(path=str(path))]
    return min(float(subprocess.run(command, capture_output=True, check=True).stdout) for _ in range(5))


def accuracy_lines(backbones: dict[str, Backbone], asked: argparse.Namespace) -> Iterator[str]:
    """One line per set and network: linear probe with its 95 % interval, and k-NN."""
    for name, (train, test) in asked.set.items():
        paths, labels = labelled(train, asked.max_train)
        test_paths, test_labels = labelled(test, None)
        names, y = np.unique(labels, return_inverse=True)
        wanted = np.searchsorted(names, test_labels)
        for backbone_name, backbone in backbones.items():
            X, T = embeddings(backbone, paths, asked.cache), embeddings(backbone, test_paths, asked.cache)
            right = int((probe_answers(X, y, T) == wanted).sum())
            knn = knn_accuracy(X, y, T, wanted)
            yield _line(f"{name} | {backbone_name} | {len(paths)}", right, len(test_paths), f"{knn:.3f}")
    for name, folder in asked.pool.items():
        paths = [path for part in sorted(folder.glob("*")) for path in labelled(part, None)[0]]
        _, y = np.unique([path.parent.name for path in paths], return_inverse=True)
        for backbone_name, backbone in backbones.items():
            answers = pooled_answers(embeddings(backbone, paths, asked.cache), y)
            yield _line(f"{name}, 5 folds | {backbone_name} | –", int((answers == y).sum()), len(y), "–")


def _line(head: str, right: int, n: int, knn: str) -> str:
    share = wilson(right, n)
    return f"| {head} | {n} | {share.value:.3f} ({share.low:.3f} to {share.high:.3f}) | {knn} |"


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Accuracy and speed of backbones.")
    parser.add_argument("--set", action="append", type=_pair, default=[], metavar="NAME=TRAIN:TEST")
    parser.add_argument("--pool", action="append", type=_pair, default=[], metavar="NAME=FOLDER")
    parser.add_argument("--teacher", action="append", type=_pair, required=True, metavar="NAME=WEIGHTS")
    parser.add_argument("--backbone", type=Path, help="default: the shipped one")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "mirada-benchmark")
    parser.add_argument("--max-train", type=int, default=None)
    parser.add_argument("--speed-only", action="store_true")
    parser.add_argument("--accuracy-only", action="store_true")
    asked = parser.parse_args()
    asked.set = {name: tuple(Path(p) for p in value.split(":")) for name, value in asked.set}
    asked.pool = {name: Path(value) for name, value in asked.pool}
    return asked


def main() -> None:
    """Print the tables."""
    asked = parsed()
    store = BackboneStore(asked.cache)
    student = load_backbone(asked.backbone) if asked.backbone else default_backbone()
    teachers = {name: store.resolve(name, Path(weights), convert=convert_timm) for name, weights in asked.teacher}
    backbones = {student.name: student, **teachers}
    size_mb = student.onnx_path.stat().st_size / 1e6
    print(f"{vino.device_name()}, Python {platform.python_version()}, OpenVINO {vino.runtime_version()}")
    print(f"{student.name}: {size_mb:.2f} MB, first embedding after {first_embedding_s(student.onnx_path):.2f} s\n")
    if not asked.accuracy_only:
        print("| network | precision | photographs/s | ratio (least to most) |\n|---|---|---:|---:|")
        for line in speed_lines(backbones, next(iter(teachers))):
            print(line, flush=True)
    if not asked.speed_only:
        backbones["random weights"] = random_backbone(asked.cache)
        print("\n| set | network | n train | n test | linear probe (95 %) | 20-NN |\n|---|---|---:|---:|---:|---:|")
        for line in accuracy_lines(backbones, asked):
            print(line, flush=True)


if __name__ == "__main__":
    main()
