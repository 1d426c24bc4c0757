"""Embedding on this machine: which static shape and how many streams, a whole cold run, and what bf16 costs.

    python -m benchmarks.embed shapes | cold | precision [BACKBONE …]

Uses ../shared (or MIRADA_SHARED): weights of mobilenetv2_100 and deit_tiny_patch16_224, photographs of sports15.
Configurations take turns within each repetition, so that noise of the machine meets all of them; the middle of
the repetitions is printed, as photographs a second of wall time and of processor time (of all threads).
"""

from __future__ import annotations

import hashlib
import itertools
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from mirada.embed import vino
from mirada.embed.backbone import Backbone, BackboneStore
from mirada.embed.cache import open_cache
from mirada.embed.embed import embed_samples
from mirada.embed.network import Network
from mirada.engine.local import LocalEngine, available_cpus
from mirada.release.export import convert_timm
from mirada.sources.reader import PhotoReader
from mirada.types import Sample

SHARED = Path(os.environ.get("MIRADA_SHARED") or Path(__file__).parents[2] / "shared")
NAMES = ("mobilenetv2_100", "deit_tiny_patch16_224")
REPETITIONS = 5


def backbones(names: list[str]) -> list[Backbone]:
    store = BackboneStore()
    weights = SHARED / "weights"
    return [store.resolve(name, weights / f"{name}.safetensors", convert=convert_timm) for name in names]


def photographs() -> list[Sample]:
    samples = []
    for path in sorted((SHARED / "data" / "sports15").glob("*/*/*.jpg")):
        sha = hashlib.sha256(path.read_bytes()).hexdigest()
        samples.append(Sample(str(path), sha, str(path), "sports15", 224, 224, "RGB", "JPEG", path.stat().st_size))
    return samples


def shapes(backbone: Backbone, precision: str) -> None:
    size = backbone.preprocess.input_size
    grid = list(itertools.product((1, 2, 4, 8, 16), (1, 2)))
    networks = {
        (batch, streams): Network(backbone.onnx_path, precision=precision, batch_size=batch, n_streams=streams)
        for batch, streams in grid
    }
    images = np.random.default_rng(0).integers(0, 256, (128, size, size, 3), dtype=np.uint8)
    rates: dict[tuple[int, int], list[tuple[float, float]]] = {shape: [] for shape in grid}
    for _, shape in itertools.product(range(REPETITIONS), grid):
        wall, cpu = time.perf_counter(), time.process_time()
        networks[shape].run_batch(images)
        seconds = time.perf_counter() - wall, time.process_time() - cpu
        rates[shape].append((len(images) / seconds[0], len(images) / seconds[1]))
    print(f"\n{backbone.name}, {networks[grid[0]].precision}: photographs a second (of processor time)")
    for shape, pairs in rates.items():
        wall_rate, cpu_rate = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"  batch {shape[0]:2}, {shape[1]} streams: {wall_rate:5.0f} ({cpu_rate:4.0f})")


def cold(backbone: Backbone, precision: str) -> None:
    samples = photographs()
    walls, cpus = [], []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder, LocalEngine() as engine:
            wall, cpu = time.perf_counter(), time.process_time()
            cache = open_cache(Path(folder), backbone, vino.resolve_precision(precision))
            out = embed_samples(
                samples, backbone, reader=PhotoReader(), cache=cache, engine=engine, precision=precision
            )
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
            assert out.ok.all()
            begun = time.perf_counter()
            embed_samples(samples, backbone, reader=PhotoReader(), cache=cache, engine=engine, precision=precision)
            warm = time.perf_counter() - begun
    best, processor = min(walls), statistics.median(cpus)
    print(
        f"{backbone.name}, {vino.resolve_precision(precision)}: {len(samples)} photographs, decoding included, "
        f"{best:.1f} s wall at best, {processor:.1f} s of processor time "
        f"({processor / available_cpus():.1f} s on {available_cpus()} idle cores), from the cache {warm:.2f} s"
    )


def precision(backbone: Backbone) -> None:
    samples = photographs()
    with LocalEngine() as engine:
        exact, rounded = (
            embed_samples(samples, backbone, reader=PhotoReader(), cache=None, engine=engine, precision=name).vectors
            for name in ("f32", "bf16")
        )
    lengths = np.linalg.norm(exact, axis=1) * np.linalg.norm(rounded, axis=1)
    distance = 1 - (exact * rounded).sum(axis=1) / lengths
    print(
        f"{backbone.name}: 1 − cosine between bf16 and f32 over {len(samples)} photographs: "
        f"mean {distance.mean():.1e}, 99 % {np.quantile(distance, 0.99):.1e}, max {distance.max():.1e}"
    )


def main() -> None:
    what, names = (sys.argv[1] if len(sys.argv) > 1 else "cold"), sys.argv[2:] or list(NAMES)
    print(f"{vino.device_name()}, {available_cpus()} cores, OpenVINO {vino.runtime_version()}")
    precisions = ["bf16", "f32"] if vino.has_bf16() else ["f32"]
    for backbone in backbones(names):
        if what == "precision":
            precision(backbone)
            continue
        for name in precisions:
            (shapes if what == "shapes" else cold)(backbone, name)


if __name__ == "__main__":
    main()
