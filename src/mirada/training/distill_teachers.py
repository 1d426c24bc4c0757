"""Teachers: any backbone Mirada can run. A timm model with its weights is converted once and kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mirada.embed.backbone import Backbone, BackboneStore
from mirada.embed.network import Network
from mirada.release.export import convert_timm


class BackboneTeacher:
    """A backbone run by OpenVINO, in bf16 where the processor has it."""

    def __init__(self, backbone: Backbone, *, precision: str = "auto") -> None:
        self.name = backbone.name
        self.sha256 = backbone.sha256
        self.dim = backbone.dim
        self.input_size = backbone.preprocess.input_size
        self._network = Network(backbone.onnx_path, precision=precision)

    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings (n, dim) of uint8 images (n, input_size, input_size, 3)."""
        return self._network.run_batch(images)


def open_teacher(name: str, weights: Path | None = None, *, store: BackboneStore | None = None) -> BackboneTeacher:
    """The teacher called `name`: a timm model with a weights file, or an ONNX backbone by its path.

    Raises BackboneError for an unknown name or weights that do not fit.
    """
    return BackboneTeacher((store or BackboneStore()).resolve(name, weights, convert=convert_timm))
