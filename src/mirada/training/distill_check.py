"""Whether a student may be shipped: its file is whole, its answers are numbers, and it sees enough.

"Enough" is measured on labelled photographs by a logistic regression out of fold, the way `mirada train` would use
it, and compared with the accuracy on record.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mirada.embed.backbone import Backbone
from mirada.embed.network import Network
from mirada.errors import BackboneError
from mirada.imaging.decode import read_file
from mirada.imaging.preprocess import load_input
from mirada.messages import msg
from mirada.training.head import out_of_fold_probs

SLACK = 0.01  # bf16 and float32 machines may differ in a photograph or two


def check_student(
    backbone: Backbone, photos: Sequence[Path], labels: Sequence[str], *, recorded: float | None = None
) -> float:
    """Out-of-fold accuracy of `backbone` on labelled photographs.

    Raises BackboneError where an embedding has another length than it says, is not finite, is the same for every
    photograph, or where the accuracy is below `recorded`.
    """
    embedded = embed_photos(backbone, photos)
    if embedded.shape != (len(photos), backbone.dim):
        raise BackboneError(
            msg(
                "{name} gives {got} numbers a photograph, not {dim}.",
                name=backbone.name,
                got=embedded.shape[1],
                dim=backbone.dim,
            )
        )
    if not np.isfinite(embedded).all():
        raise BackboneError(msg("{name} gives embeddings that are not numbers.", name=backbone.name))
    if not embedded.std(axis=0).any():
        raise BackboneError(msg("{name} gives every photograph the same embedding.", name=backbone.name))
    _, y = np.unique(labels, return_inverse=True)
    found = float((out_of_fold_probs(embedded, y, seed=0).probs.argmax(1) == y).mean())
    if recorded is not None and found < recorded - SLACK:
        raise BackboneError(
            msg(
                "{name} reaches {found:.3f} on the sample, less than the {recorded:.3f} on record.",
                name=backbone.name,
                found=found,
                recorded=recorded,
            ),
            msg("It is not to be shipped: train it longer, or keep the file that is there."),
        )
    return found


def embed_photos(backbone: Backbone, photos: Sequence[Path]) -> NDArray[np.float32]:
    """float32 (n, d) of photographs on disk. Raises DecodeError for one that cannot be read."""
    inputs = (load_input(read_file(path), backbone.preprocess) for path in photos)
    return np.stack(list(Network(backbone.onnx_path).run(inputs)))
