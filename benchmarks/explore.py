"""`explore` on 200,000 synthetic rows: a real catalogue, embeddings and statistics at hand, no photographs behind them.

``python -m benchmarks.explore [N]``: target ≤ 60 s and ≤ 2 GB for 200,000 on 2 cores; the page stays below 15 MB.
The command runs in a process of its own, whose seconds, CPU seconds and peak memory are printed.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from mirada.catalog.catalog import Catalog
from mirada.embed.cache import EmbeddingCache, open_cache
from mirada.embed.vino import resolve_precision
from mirada.imaging.lookalike import LOOKALIKE_DIM, LOOKALIKE_VERSION
from mirada.imaging.statistics import LOOK_SIDE, STATISTICS, STATISTICS_VERSION
from mirada.types import Sample
from mirada.workflow.backbones import resolve_backbone
from mirada.workspace import Workspace

BLOCK, N_CLASSES = 5000, 40


def main(n: int = 200_000) -> dict[str, float]:
    """Make the rows, run the command, print and return what it took."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.create(Path(folder) / "workspace")
        start = time.perf_counter()
        dim = fill(workspace, n)
        print(f"{n:,} rows with {dim}-dimensional embeddings made in {time.perf_counter() - start:.0f} s")
        page = Path(folder) / "page.html"
        command = [sys.executable, "-m", "mirada", "--workspace", str(workspace.path), "explore", "--json", "--html"]
        start = time.perf_counter()
        run = subprocess.run([*command, str(page)], stdout=subprocess.PIPE, text=True, check=True)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        made = json.loads(run.stdout)
        found = {
            "n": made["n"]["photographs"],
            "seconds": round(time.perf_counter() - start, 1),
            "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
            "peak_gb": round(used.ru_maxrss / 1e6, 2),
            "page_mb": round(page.stat().st_size / 1e6, 1),
            "n_measured": made["all"]["n_measured"],
        }
        print(json.dumps({**found, "load": os.getloadavg()[0], "stages": made["seconds"], "notes": made["notes"]}))
        return found


def fill(workspace: Workspace, n: int, *, seed: int = 0) -> int:
    """Rows of 40 classes of unequal size, a few copies and groups among them; returns the embeddings' length."""
    backbone = resolve_backbone(workspace, None, None)
    rng = np.random.default_rng(seed)
    shares = np.arange(1, N_CLASSES + 1) ** 1.2
    y = rng.choice(N_CLASSES, n, p=shares / shares.sum())
    centres = rng.normal(0, 1, (N_CLASSES, 3, backbone.dim)).astype(np.float32)
    precision = resolve_precision(workspace.config.text("embed.precision"))
    caches = (
        open_cache(workspace.embeddings_path, backbone, precision),
        EmbeddingCache(workspace.looks_path, f"statistics-{STATISTICS_VERSION}-{LOOK_SIDE}", len(STATISTICS)),
        EmbeddingCache(workspace.looks_path, f"lookalike-{LOOKALIKE_VERSION}-{LOOK_SIDE}", LOOKALIKE_DIM),
    )
    with Catalog.open(workspace.catalog_url) as catalog:
        for start in range(0, n, BLOCK):
            part = np.arange(start, min(n, start + BLOCK))
            samples = [_sample(i, int(y[i]), rng) for i in part]
            catalog.add(samples, ())
            noise = rng.normal(0, 0.6, (len(part), backbone.dim)).astype(np.float32)
            values = (
                centres[y[part], rng.integers(0, 3, len(part))] + noise,
                rng.random((len(part), len(STATISTICS)), np.float32),
                rng.random((len(part), LOOKALIKE_DIM), np.float32),
            )
            for cache, block in zip(caches, values, strict=True):
                cache.put([sample.content_sha256 for sample in samples], block)
    return backbone.dim


def _sample(i: int, y: int, rng: np.random.Generator) -> Sample:
    # One in a hundred has the bytes of the one before.
    content = hashlib.sha256(str(i - 1 if i % 100 == 99 else i).encode()).hexdigest()
    split = ("train", "train", "train", "val", "test")[i % 5]
    return Sample(
        sample_id=hashlib.sha256(f"/photos/{i}".encode()).hexdigest()[:32], content_sha256=content,
        uri=f"/nowhere/photos/class{y:02d}/{i:07d}.jpg", source="/nowhere/photos",
        width=int(rng.integers(200, 4000)), height=int(rng.integers(200, 3000)), mode="RGB" if i % 50 else "L",
        format="JPEG" if i % 20 else "PNG", n_bytes=int(rng.lognormal(12, 0.6)), label=f"class{y:02d}",
        label_source="source", split=split,  # type: ignore[arg-type]
    )  # fmt: skip


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:2]))
