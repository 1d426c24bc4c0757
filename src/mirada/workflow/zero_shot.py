"""A pretrained network's own classes (ImageNet's 1,000) on any photographs, without training anything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mirada.embed import vino
from mirada.embed.backbone import Backbone
from mirada.embed.network import EMBEDDING, HeadNetwork, Network
from mirada.engine.base import Progress
from mirada.errors import UsageError
from mirada.imaging.decode import Limits
from mirada.messages import msg
from mirada.predict.runtime import CHUNK, Predictor
from mirada.types import Bundle, Precision
from mirada.workflow.backbones import resolve_backbone

LOGITS = "logits"


class OwnClasses(Predictor):
    """A backbone that answers with the classes it was trained on; everything else is as in a bundle.

    Scores are the network's own softmax: not calibrated on anybody's photographs, and nothing is marked unsure.
    """

    def __init__(self, backbone: Backbone, precision: Precision | Literal["auto"] | str = "auto") -> None:
        """Raises UsageError for a backbone without classes, or whose file does not name them."""
        _check(backbone)
        model = vino.read_model(backbone.onnx_path)
        network = Network(model, precision=precision, output=EMBEDDING)
        super().__init__(_as_bundle(backbone), network, HeadNetwork(model, output=LOGITS), limits=Limits())

    def predict_inputs(self, images: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (n, k) of preprocessed photographs uint8 (n, S, S, 3)."""
        probs = np.empty((len(images), len(self.class_names)), np.float32)
        for i in range(0, len(images), CHUNK):
            logits = super().predict_inputs(images[i : i + CHUNK])
            shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
            probs[i : i + CHUNK] = shifted / shifted.sum(axis=1, keepdims=True)
        return probs


def zero_shot(
    name: str | None,
    weights: Path | None,
    *,
    precision: str = "auto",
    progress: Progress | None = None,
) -> OwnClasses:
    """The predictor of `--backbone name --weights weights --imagenet`; needs no workspace.

    Raises UsageError, BackboneError, MissingExtra.
    """
    return OwnClasses(resolve_backbone(None, name, weights, progress=progress), precision)


def _check(backbone: Backbone) -> None:
    hint = msg(
        "Name a classifier of timm with its weights: --backbone mobilenetv2_100 --weights FILE.safetensors --imagenet"
    )
    if not backbone.n_classes:
        raise UsageError(msg("The backbone {name} has no classes of its own.", name=backbone.name), hint)
    if not backbone.class_names:
        raise UsageError(
            msg(
                "The backbone {name} has {n} classes without names: they are not ImageNet's.",
                name=backbone.name,
                n=backbone.n_classes,
            ),
            hint,
        )


def _as_bundle(backbone: Backbone) -> Bundle:
    return Bundle(
        name=backbone.name,
        version=0,
        path=str(backbone.onnx_path),
        onnx_sha256=backbone.sha256,
        class_names=backbone.class_names,
        preprocess=backbone.preprocess,
        backbone=backbone.name,
        temperature=1.0,
        reject_threshold=0.0,
        precision="f32",
        parity={},
        metrics={},
        run_id="",
        dataset_id="",
        weights_licence=backbone.licence,
        reference_stats={},
    )
