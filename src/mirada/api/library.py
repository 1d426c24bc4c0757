"""``mirada.train`` and ``mirada.load``, and what they give back."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mirada import workspace as rooms
from mirada.catalog.catalog import Catalog
from mirada.engine.base import Progress, Silent
from mirada.predict.runtime import Predictor
from mirada.types import Bundle, EvalReport, Precision, Prediction
from mirada.workflow.train import TrainRequest, TrainResult
from mirada.workflow.train import train as run_training

PathLike = str | os.PathLike[str]
Photo = PathLike | bytes | Image.Image | NDArray[np.uint8]


class Workspace(rooms.Workspace):
    """A project folder with its catalogue: ``Workspace.open("mirada").catalog.samples(split="test")``."""

    @cached_property
    def catalog(self) -> Catalog:
        """The catalogue of this workspace, opened on first use."""
        return Catalog.open(self.catalog_url)


class Classifier:
    """A trained model at hand. `report` and `result` are set where it comes from `mirada.train`."""

    def __init__(self, predictor: Predictor, result: TrainResult | None = None) -> None:
        self._predictor = predictor
        self.result = result

    @property
    def bundle(self) -> Bundle:
        """What the model's manifest says."""
        return self._predictor.bundle

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the columns of `predict_proba`."""
        return self._predictor.class_names

    @property
    def report(self) -> EvalReport | None:
        """The figures on the test photographs, where this process trained the model."""
        return self.result.test if self.result else None

    @overload
    def predict(self, photos: Photo, *, top_k: int = 3) -> Prediction: ...  # type: ignore[overload-overlap]  # str
    @overload
    def predict(self, photos: Sequence[Photo], *, top_k: int = 3) -> list[Prediction]: ...
    def predict(self, photos: Photo | Sequence[Photo], *, top_k: int = 3) -> Prediction | list[Prediction]:
        """The answer for a photograph (path, encoded bytes, PIL image, uint8 array (h, w, 3)), or for each of several.

        A single unreadable photograph raises DecodeError; in a list its answer carries `error`.
        """
        if isinstance(photos, str | os.PathLike):
            return self._predictor.predict(photos, top_k=top_k)
        if isinstance(photos, bytes | Image.Image) or (isinstance(photos, np.ndarray) and photos.ndim == 3):
            return self._predictor.predict_bytes([as_bytes(photos)], top_k=top_k)[0]
        items = [("" if not isinstance(p, str | os.PathLike) else os.fspath(p), as_source(p)) for p in photos]
        return list(self._predictor.stream(items, top_k=top_k))

    def predict_proba(self, photos: Sequence[Photo]) -> NDArray[np.float32]:
        """Calibrated probabilities (n, k); an unreadable photograph raises DecodeError."""
        loaded = [self._predictor.load(("", as_source(photo))) for photo in photos]
        for one in loaded:
            if one.error is not None:
                raise one.error
        return self._predictor.predict_inputs([one.pixels for one in loaded if one.pixels is not None])


def as_source(photo: Photo) -> PathLike | bytes:
    """A path as it is, anything else as encoded bytes."""
    return photo if isinstance(photo, str | os.PathLike) else as_bytes(photo)


def as_bytes(photo: bytes | Image.Image | NDArray[np.uint8]) -> bytes:
    """Encoded bytes of a photograph that is in memory (lossless)."""
    if isinstance(photo, bytes):
        return photo
    image = photo if isinstance(photo, Image.Image) else Image.fromarray(np.ascontiguousarray(photo))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def train(
    source: PathLike | None = None,
    *,
    workspace: PathLike | None = None,
    backbone: str | None = None,
    weights: PathLike | None = None,
    seed: int | None = None,
    precision: Precision | None = None,
    subset: str | None = None,
    progress: Progress | None = None,
) -> Classifier:
    """Add, split, embed, train, evaluate and bundle the photographs of `source`; see `mirada train --help`.

    `source` None trains on what the workspace holds; `subset`: on that part of it alone. Raises a MiradaError that
    says what is wrong and what to do.
    """
    home = rooms.Workspace.create(workspace)
    request = TrainRequest(
        source=os.fspath(source) if source is not None else None,
        backbone=backbone,
        weights=Path(weights) if weights is not None else None,
        seed=seed,
        precision=precision,
        subset=subset,
    )
    result = run_training(home, request, progress=progress or Silent())
    return Classifier(Predictor.open(result.bundle.path), result)


def load(path: PathLike) -> Classifier:
    """The model in the bundle folder `path`, such as ``mirada/models/champion``. Needs no workspace and no torch."""
    return Classifier(Predictor.open(path))
