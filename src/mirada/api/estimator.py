"""``mirada.ImageClassifier``: the head on a backbone's embeddings, with the manners of scikit-learn."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from mirada.api.library import Photo, as_bytes
from mirada.embed.network import Network
from mirada.engine.local import LocalEngine
from mirada.errors import InputError
from mirada.imaging.decode import read_file
from mirada.imaging.preprocess import load_input, resize_crop
from mirada.messages import msg
from mirada.training.head import Head, fit_head
from mirada.types import PreprocessSpec
from mirada.workflow.backbones import resolve_backbone

Photos = Sequence[Photo] | NDArray[np.uint8]


class ImageClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A classifier of photographs: a frozen backbone and a cross-validated head.

    X is a list of paths, encoded bytes or PIL images, or an array (n, h, w, 3) of uint8; y any labels (n,).
    After `fit`: `classes_` (k,), `head_`, `backbone_name_`.

    Parameters: `backbone` (a name or an .onnx file; None: the shipped one), `weights` (a .safetensors file for a
    timm name), `head` ("logistic" or "mlp"), `class_weight` ("none" or "balanced"), `precision` ("auto", "bf16" or
    "f32"), `random_state` (the seed).
    """

    def __init__(
        self,
        *,
        backbone: str | None = None,
        weights: str | os.PathLike[str] | None = None,
        head: Literal["logistic", "mlp"] = "logistic",
        class_weight: Literal["none", "balanced"] = "none",
        precision: Literal["auto", "bf16", "f32"] = "auto",
        random_state: int = 0,
    ) -> None:
        self.backbone = backbone
        self.weights = weights
        self.head = head
        self.class_weight = class_weight
        self.precision = precision
        self.random_state = random_state

    def fit(self, X: Photos, y: ArrayLike) -> ImageClassifier:
        """Embed `X` and fit the head. Raises InputError or NotEnoughData; DecodeError for an unreadable photograph."""
        labels = np.asarray(y)
        _check_lengths(X, labels)
        backbone = resolve_backbone(None, self.backbone, Path(self.weights) if self.weights else None)
        self._network = Network(backbone.onnx_path, precision=self.precision)
        self._spec = backbone.preprocess
        self.backbone_name_ = backbone.name
        self.classes_, index = np.unique(labels, return_inverse=True)
        self.head_: Head = fit_head(
            self.embed(X), index, n_classes=len(self.classes_), class_names=[str(c) for c in self.classes_],
            class_weight=self.class_weight, kind=self.head, seed=self.random_state,
        )  # fmt: skip
        return self

    def embed(self, X: Photos) -> NDArray[np.float32]:
        """The backbone's embeddings (n, d) of `X`."""
        check_is_fitted(self, "classes_")
        with LocalEngine() as pool:
            pixels = pool.map(lambda photo: as_input(photo, self._spec), _each(X))
            vectors = list(self._network.run(pixels))
        return np.stack(vectors) if vectors else np.empty((0, 0), np.float32)

    def predict_proba(self, X: Photos) -> NDArray[np.float32]:
        """Probabilities (n, k), columns in the order of `classes_`."""
        check_is_fitted(self, "head_")
        return self.head_.probs(self.embed(X))

    def predict(self, X: Photos) -> NDArray[Any]:
        """The most probable class of each photograph (n,)."""
        probs = self.predict_proba(X)
        best: NDArray[Any] = self.classes_[probs.argmax(axis=1)]
        return best

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = False
        return tags


def as_input(photo: Photo, spec: PreprocessSpec) -> NDArray[np.uint8]:
    """Any photograph as the network takes it, uint8 (S, S, 3), by the one preprocessing."""
    if isinstance(photo, np.ndarray):
        return resize_crop(np.ascontiguousarray(photo), spec)
    if isinstance(photo, bytes | Image.Image):
        return load_input(as_bytes(photo), spec)
    return load_input(read_file(Path(photo)), spec)


def _each(X: Photos) -> Iterator[Photo]:
    if (
        isinstance(X, np.ndarray)
        and X.dtype.kind not in "USO"
        and (X.ndim != 4 or X.shape[-1] != 3 or X.dtype != np.uint8)
    ):
        raise InputError(
            msg("An array of photographs is uint8 (n, h, w, 3); got {dtype} {shape}.", dtype=X.dtype, shape=X.shape),
            msg("Give paths, PIL images, or such an array."),
        )
    return iter(X)


def _check_lengths(X: Photos, labels: NDArray[Any]) -> None:
    if labels.ndim != 1 or len(X) != len(labels):
        raise InputError(
            msg(
                "y must hold one label for each of the {n} photographs; got shape {shape}.",
                n=len(X),
                shape=labels.shape,
            )
        )
