"""CIFAR-10 as JPEG: `cifar-fast` by the command line, and report 3's network in our loop and in Keras.

    python -m benchmarks.cifar DATA [--parts fast ours keras] [--keras PYTHON] [--seeds 5] [--epochs 3]
        [--until 0.85] [--limit 3600] [--work FOLDER]

DATA holds train.parquet and test.parquet. fast: `mirada train DATA --recipe cifar-fast` in a new workspace for each
seed, adding and decoding included; test accuracy. ours and keras: the same 45,000 photographs, augmentation on, judged
on the same 5,000 of train after every epoch; seconds an epoch (the median), accuracy after `--epochs` for each of
`--seeds`, and the seconds at which `--until` was first reached (one seed, at most `--limit` seconds). PYTHON has
tensorflow-cpu: an environment of its own (`make bench-cifar` makes it). Nothing is chosen by the test photographs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

N_VAL = 5000
PEER = Path(__file__).parent / "peers" / "keras_cifar.py"


@dataclass(frozen=True)
class Curve:
    """Val accuracy after each epoch, and the seconds it was reached at."""

    accuracy: list[float]
    seconds: list[float]

    @property
    def epoch_s(self) -> float:
        """Seconds of an epoch, the median."""
        return statistics.median(np.diff([0.0, *self.seconds]))

    def seconds_to(self, accuracy: float) -> float | None:
        """When that was first reached; None: never."""
        return next((s for a, s in zip(self.accuracy, self.seconds, strict=True) if a >= accuracy), None)


def arrays(data: Path, file: Path) -> Path:
    """The photographs of train, 45,000 and 5,000 of them, as Keras and our loop are given them."""
    import pyarrow.parquet as pq

    from mirada.imaging.decode import decode

    if file.is_file():
        return file
    table = pq.read_table(data / "train.parquet")
    y = np.array(table["label"].to_pylist(), np.int64)
    encoded = table["image"].combine_chunks().field("bytes").to_pylist()
    x = np.stack([decode(one).pixels for one in encoded])
    order = np.random.default_rng(0).permutation(len(x))
    val, train = order[:N_VAL], order[N_VAL:]
    np.savez(file, x_train=x[train], y_train=y[train], x_val=x[val], y_val=y[val])
    return file


def ours(file: Path, *, epochs: int, seed: int, until: float = 2.0, limit: float = 1e9) -> Curve:
    """Report 3's network and schedule in our loop."""
    from mirada.models.recipes import load_recipe, scaled
    from mirada.models.registry import create_model
    from mirada.training.loop import fit
    from mirada.training.outcome import EpochRecord, FitOptions, LoopData

    with np.load(file) as held:
        part: dict[str, NDArray[np.generic]] = {name: held[name] for name in held.files}
    recipe = load_recipe("cifar10-report")
    if epochs:
        recipe = scaled(recipe, epochs=epochs)
    network = create_model(recipe.model.name, n_classes=10, input_size=32, dropout=recipe.model.dropout, seed=seed)
    curve, started = Curve([], []), time.perf_counter()

    def stop(record: EpochRecord) -> bool:
        curve.accuracy.append(float(record.val_accuracy or 0))
        curve.seconds.append(time.perf_counter() - started)
        print(f"  ours: epoch {record.epoch}, {curve.seconds[-1]:.0f} s, val {curve.accuracy[-1]:.4f}", flush=True)
        return curve.accuracy[-1] >= until or curve.seconds[-1] >= limit

    data = LoopData(train=(part["x_train"], part["y_train"]), val=(part["x_val"], part["y_val"]), n_classes=10)  # type: ignore[arg-type]
    fit(network, data, recipe, options=FitOptions(seed=seed, on_epoch=stop))
    return curve


def keras(python: str, file: Path, *, epochs: int, seed: int, until: float = 2.0, limit: float = 1e9) -> Curve:
    """The same in Keras, in a process of its own environment."""
    command = [python, str(PEER), str(file), "--seed", str(seed), "--until", str(until), "--seconds", str(limit)]
    command += ["--epochs", str(epochs)] if epochs else []
    curve = Curve([], [])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        for line in run.stdout:
            told = json.loads(line)
            if "epoch" not in told:
                print(f"  keras: {told}", flush=True)
                continue
            curve.accuracy.append(told["val_accuracy"])
            curve.seconds.append(told["seconds"])
            print(
                f"  keras: epoch {told['epoch']}, {curve.seconds[-1]:.0f} s, val {curve.accuracy[-1]:.4f}", flush=True
            )
    if run.returncode:
        raise SystemExit(f"{PEER.name} ended with {run.returncode}")
    return curve


def fast(data: Path, folder: Path, *, seed: int) -> tuple[float, float]:
    """`mirada train` with cifar-fast in a new workspace: wall seconds of the command, test accuracy."""
    workspace = folder / f"fast-{seed}"
    command = [sys.executable, "-m", "mirada", "--workspace", str(workspace), "train", str(data)]
    command += ["--recipe", "cifar-fast", "--seed", str(seed), "--json"]
    started = time.perf_counter()
    environment = {**os.environ, "MIRADA_TRACK_ENABLED": "false"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    took = time.perf_counter() - started
    told = json.loads(done.stdout)
    accuracy = float(told["test"]["accuracy"]["value"])
    stages = ", ".join(f"{name} {seconds:.0f}" for name, seconds in told["seconds"].items())
    print(f"  cifar-fast: seed {seed}, {took:.0f} s ({stages}), test {accuracy:.4f}", flush=True)
    return took, accuracy


def main() -> None:
    """Measure what was asked for and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--parts", nargs="+", default=["fast", "ours"], choices=["fast", "ours", "keras"])
    parser.add_argument("--keras", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--until", type=float, default=0.85)
    parser.add_argument("--limit", type=float, default=3600)
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}")
    with tempfile.TemporaryDirectory() as scratch:
        work = options.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        if "fast" in options.parts:
            made = [fast(options.data, work, seed=seed) for seed in range(options.seeds)]
            seconds, accuracy = (statistics.mean(part) for part in zip(*made, strict=True))
            print(f"cifar-fast: test {accuracy:.4f} in {seconds:.0f} s, the mean of {len(made)} seeds")
        compare_loops(options, work)


def compare_loops(options: argparse.Namespace, work: Path) -> None:
    """Report 3's network, ours beside Keras: an epoch, equal epochs, and the way to `--until`."""
    loops = {"ours": ours, "keras": lambda file, **rest: keras(options.keras, file, **rest)}
    asked = [name for name in loops if name in options.parts]
    if not asked:
        return
    file = arrays(options.data, work / "cifar10.npz")
    epoch_s, to = dict[str, float](), dict[str, float | None]()
    for name in asked:
        curves = [loops[name](file, epochs=options.epochs, seed=seed) for seed in range(min(3, options.seeds))]
        epoch_s[name] = statistics.median(curve.epoch_s for curve in curves)
        at_equal = [curve.accuracy[-1] for curve in curves]
        long = loops[name](file, epochs=0, seed=0, until=options.until, limit=options.limit)
        to[name] = long.seconds_to(options.until)
        told = "not reached" if to[name] is None else f"{to[name]:.0f} s"
        print(
            f"{name}: {epoch_s[name]:.1f} s an epoch; val {statistics.mean(at_equal):.4f} after "
            f"{options.epochs} epochs ({len(curves)} seeds); {options.until:.0%} after: {told} "
            f"(limit {options.limit:.0f} s)"
        )
    if len(asked) == 2:
        print(f"an epoch: ours {epoch_s['keras'] / epoch_s['ours']:.2f} x faster than Keras")


if __name__ == "__main__":
    main()
