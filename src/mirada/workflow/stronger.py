"""After a training with the shipped backbone: what a stronger one would take, on this machine, for these photographs.

Said only where it can be had: a conversion is cached here, or the train extra is installed and the hub not shut off.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Mapping

import numpy as np

from mirada.embed.backbone import SHIPPED_NAME, Backbone, BackboneStore
from mirada.embed.network import Network
from mirada.errors import MiradaError
from mirada.messages import Message, decimal, msg
from mirada.types import Precision

SUGGESTED = "mobilenetv2_100"
DOWNLOAD_MB = 14
# MobileNetV2 at 224 px against the shipped backbone, docs/backbone.md: the slower of what was measured.
SLOWER = 3.3
PROBE_PHOTOS = 16


def stronger_note(used: Backbone, n_photos: int, embed_s: float, precision: Precision) -> tuple[Message, ...]:
    """One sentence, or none: another backbone was used, or no stronger one is in reach.

    embed_s: what embedding took; it is used only where the stronger network is not here to be timed. Network and
    cache are looked at, nothing is downloaded.
    """
    if used.name != SHIPPED_NAME:
        return ()
    cached = _best_cached(BackboneStore())
    if cached is not None:
        seconds = n_photos / _rate(cached, precision)
        return (
            msg(
                "A stronger backbone is on this machine: --backbone {name} would take about {seconds} s for these "
                "{n} photographs, plus reading them.",
                name=cached.name, seconds=decimal(seconds, 0), n=n_photos,
            ),
        )  # fmt: skip
    if not _may_download(os.environ):
        return ()
    return (
        msg(
            "A stronger backbone, --backbone {name}, would download {mb} MB once and take about {seconds} s for these "
            "{n} photographs.",
            name=SUGGESTED, mb=DOWNLOAD_MB, seconds=decimal(max(1.0, embed_s * SLOWER), 0), n=n_photos,
        ),
    )  # fmt: skip


def _best_cached(store: BackboneStore) -> Backbone | None:
    for path in sorted(store.path.glob(f"{SUGGESTED}-*.onnx")):
        try:
            return store.resolve(str(path))
        except MiradaError:
            continue  # a damaged cache is not worth a sentence here
    return None


def _rate(backbone: Backbone, precision: Precision) -> float:
    """Photographs a second of the network alone, from one small run after the first."""
    network = Network(backbone.onnx_path, precision=precision)
    size = backbone.preprocess.input_size
    images = np.zeros((PROBE_PHOTOS, size, size, 3), np.uint8)
    network.run_batch(images)
    start = time.perf_counter()
    network.run_batch(images)
    return PROBE_PHOTOS / (time.perf_counter() - start)


def _may_download(env: Mapping[str, str]) -> bool:
    shut = any(env.get(name, "").upper() in ("1", "TRUE", "YES", "ON") for name in ("HF_HUB_OFFLINE", "MIRADA_OFFLINE"))
    return not shut and all(importlib.util.find_spec(name) for name in ("timm", "torch"))
