"""The main job, cold, each call in a process of its own: ``python -m benchmarks.main_job DATA WEIGHTS``.

Prints wall time, peak memory and accuracy of `train` on sports15 with both backbones and the shipped one, of `add` on
cifar10_jpeg (first and second), and the time of `mirada --help`. The backbones are converted beforehand.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BACKBONES = ("deit_tiny_patch16_224", "mobilenetv2_100")


def mirada(home: Path, *argv: object) -> tuple[Any, float]:
    """One command line: its document and its seconds."""
    command = [sys.executable, "-m", "mirada", "--workspace", str(home), *(str(arg) for arg in argv), "--json"]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout), seconds


def peak_mb() -> float:
    """The largest resident memory of any child so far, in MB."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def add_cifar(data: Path, home: Path) -> None:
    """60,000 photographs, twice."""
    first, first_s = mirada(home, "add", data / "cifar10_jpeg")
    memory = peak_mb()
    second, second_s = mirada(home, "add", data / "cifar10_jpeg")
    print(f"add cifar10_jpeg     {first['n']['added']:>7} added   {first_s:6.1f} s   peak {memory:.0f} MB")
    print(f"add it again         {second['n']['added']:>7} added   {second_s:6.1f} s")


def train_sports(data: Path, home: Path, backbone: str, *argv: object) -> None:
    """sports15 with one backbone, cold, then the same over five folds."""
    told, seconds = mirada(home, "train", data / "sports15", *argv)
    metric = told["test"]["accuracy"]
    stages = " ".join(f"{name} {value:.1f}" for name, value in told["seconds"].items())
    print(f"train {backbone:<22} {seconds:6.1f} s   test {metric['value']:.4f} (n = {metric['n']})   [{stages}]")
    folds, folds_s = mirada(home, "evaluate", "--folds", 5)
    pooled = folds["metrics"]["accuracy"]
    interval = f"{pooled['low']:.4f} to {pooled['high']:.4f}"
    print(f"  5 folds pooled{'':<13} {folds_s:6.1f} s   {pooled['value']:.4f} ({interval}, n = {pooled['n']})")


def main() -> None:
    """Everything in a scratch folder."""
    data, weights = Path(sys.argv[1]), Path(sys.argv[2])
    os.environ["MIRADA_TRACK_ENABLED"] = "false"
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["MIRADA_CACHE"] = f"{scratch}/cache"
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "mirada", "--help"], check=True, capture_output=True)
        print(f"mirada --help        {time.perf_counter() - start:.2f} s")
        add_cifar(data, Path(scratch) / "cifar")
        for backbone in BACKBONES:
            argv = ("--backbone", backbone, "--weights", weights / f"{backbone}.safetensors")
            mirada(Path(scratch) / "warm", "train", data / "sports15" / "valid", *argv)  # converts the weights
            train_sports(data, Path(scratch) / backbone, backbone, *argv)
        doctor, _ = mirada(Path(scratch) / "cifar", "doctor")
        if doctor["backbone"].startswith("mirada"):
            train_sports(data, Path(scratch) / "own", doctor["backbone"])


if __name__ == "__main__":
    main()
