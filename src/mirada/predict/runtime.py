"""Answers from a bundle: decode, preprocess, backbone, head. Needs neither torch nor a workspace.

The backbone runs in bf16 or float32 through `embed.network`; head, temperature and softmax always in float32. An
answer does not depend on what else is in the batch.
"""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray

from mirada.embed import vino
from mirada.embed.network import EMBEDDING, HeadNetwork, Network
from mirada.engine.base import Engine
from mirada.engine.local import LocalEngine
from mirada.errors import BackboneError, BundleError, DecodeError, UsageError
from mirada.imaging.decode import Limits, read_file
from mirada.imaging.preprocess import load_input
from mirada.messages import Message, msg
from mirada.predict.manifest import PROBABILITIES, open_bundle
from mirada.types import Bundle, Precision, Prediction, PreprocessSpec, Scored

PathLike = str | os.PathLike[str]
TOP_K = 3
CHUNK = 64  # photographs handed to the network at once: 10 MB of pixels at 224 × 224


@dataclass(frozen=True, slots=True)
class Loaded:
    """A photograph ready for the network, or the reason why it is not. pixels: uint8 (S, S, 3)."""

    uri: str
    sha256: str = ""
    pixels: NDArray[np.uint8] | None = None
    error: DecodeError | None = None


class Predictor:
    """A bundle at work. Safe to use from several threads."""

    def __init__(self, bundle: Bundle, network: Network, head: HeadNetwork, *, limits: Limits) -> None:
        self.bundle = bundle
        self.limits = limits
        self._network = network
        self._head = head

    @classmethod
    def open(
        cls,
        bundle_path: PathLike,
        precision: Precision | Literal["auto"] | str | None = None,
        *,
        limits: Limits | None = None,
    ) -> Predictor:
        """Load the bundle folder `bundle_path` (a link such as ``models/champion`` is followed).

        `precision` "auto" or None: the one the bundle was measured in where this machine has it, else f32.
        Raises NotFound, or BundleError for a bundle that must not be trusted.
        """
        bundle, onnx = open_bundle(Path(bundle_path))
        wanted = bundle.precision if precision in (None, "auto") and bundle.precision == "f32" else precision or "auto"
        try:
            model = vino.read_model(onnx)
            network = Network(model, precision=wanted, output=EMBEDDING)
            head = HeadNetwork(model, output=PROBABILITIES)
        except BackboneError as error:
            raise _unusable(bundle, error.message) from error
        if head.dim != len(bundle.class_names) or network.input_size != bundle.preprocess.input_size:
            raise _unusable(bundle, msg("the network and the manifest differ in the classes or the size of the input"))
        return cls(bundle, network, head, limits=limits or Limits())

    @property
    def precision(self) -> Precision:
        """What the backbone runs in; the head always runs in f32."""
        return self._network.precision

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the probabilities' columns."""
        return self.bundle.class_names

    def load(self, item: tuple[str, PathLike | bytes]) -> Loaded:
        """Decode and preprocess one photograph, given as (uri, path or encoded bytes). Never raises DecodeError."""
        return load_one(item, spec=self.bundle.preprocess, limits=self.limits)

    def predict_inputs(self, images: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (n, k) of preprocessed photographs uint8 (n, S, S, 3)."""
        if len(images) == 0:
            return np.empty((0, len(self.class_names)), np.float32)
        return self._head.run_batch(self._network.run_batch(np.asarray(images, np.uint8)))

    def predict_bytes(self, photos: Sequence[bytes], *, top_k: int = TOP_K) -> list[Prediction]:
        """One answer for each encoded photograph; an unreadable one gets an answer with `error`."""
        return list(self.stream([("", photo) for photo in photos], top_k=top_k))

    # A str is a sequence of str: the first signature that fits holds.
    @overload
    def predict(  # type: ignore[overload-overlap]
        self, photos: PathLike, *, top_k: int = TOP_K
    ) -> Prediction: ...
    @overload
    def predict(self, photos: Sequence[PathLike], *, top_k: int = TOP_K) -> list[Prediction]: ...
    def predict(self, photos: PathLike | Sequence[PathLike], *, top_k: int = TOP_K) -> Prediction | list[Prediction]:
        """The answer for one photograph (DecodeError where it is unreadable), or for each of a list."""
        if isinstance(photos, str | os.PathLike):
            loaded = self.load((os.fspath(photos), photos))
            if loaded.error is not None:
                raise loaded.error
            return self.answers([loaded], top_k=top_k)[0]
        return list(self.stream([(os.fspath(photo), photo) for photo in photos], top_k=top_k))

    def stream(
        self,
        photos: Iterable[tuple[str, PathLike | bytes]],
        *,
        top_k: int = TOP_K,
        engine: Engine | None = None,
    ) -> Iterator[Prediction]:
        """Answers in the order of `photos` (uri, path or bytes), drawn lazily: memory does not grow with their number.

        Decoding runs in `engine` (default: a pool of threads) while the network works on the photographs before.
        """
        _check_top_k(top_k)
        if engine is None:
            with closing(LocalEngine(kind="threads")) as own:
                yield from self.stream(photos, top_k=top_k, engine=own)
            return
        loaded = engine.map(partial(load_one, spec=self.bundle.preprocess, limits=self.limits), photos)
        while chunk := list(islice(loaded, CHUNK)):
            yield from self.answers(chunk, top_k=top_k)

    def answers(self, chunk: Sequence[Loaded], *, top_k: int = TOP_K) -> list[Prediction]:
        """One answer for each photograph that `load` returned, unreadable ones among them."""
        _check_top_k(top_k)
        started = time.perf_counter()
        probs = iter(self.predict_inputs([item.pixels for item in chunk if item.pixels is not None]))
        each_ms = (time.perf_counter() - started) * 1000 / max(1, len(chunk))
        return [
            self._failure(item) if item.pixels is None else self._answer(item, next(probs), top_k, each_ms)
            for item in chunk
        ]

    def _answer(self, item: Loaded, probs: NDArray[np.float32], top_k: int, milliseconds: float) -> Prediction:
        # A stable order: of equal scores the class that comes first wins, as argmax has it.
        order = np.argsort(-probs, kind="stable")[:top_k]
        scored = tuple(Scored(self.class_names[i], float(probs[i])) for i in order)
        return Prediction(
            id=uuid.uuid4().hex,
            model=self.bundle.name,
            version=self.bundle.version,
            label=scored[0].label,
            score=scored[0].score,
            top_k=scored,
            rejected=scored[0].score < self.bundle.reject_threshold,
            sample_sha256=item.sha256,
            milliseconds=milliseconds,
            uri=item.uri,
        )

    def _failure(self, item: Loaded) -> Prediction:
        return Prediction(
            id=uuid.uuid4().hex,
            model=self.bundle.name,
            version=self.bundle.version,
            label=None,
            score=0.0,
            top_k=(),
            rejected=False,
            sample_sha256=item.sha256,
            uri=item.uri,
            error=item.error.code if item.error else None,
        )


def load_one(item: tuple[str, PathLike | bytes], *, spec: PreprocessSpec, limits: Limits) -> Loaded:
    """Decode and preprocess (uri, path or encoded bytes); what cannot be read comes back with its reason."""
    uri, source = item
    sha256 = ""
    try:
        data = source if isinstance(source, bytes) else read_file(Path(source), limits=limits)
        sha256 = hashlib.sha256(data).hexdigest()
        return Loaded(uri, sha256, load_input(data, spec, limits=limits))
    except DecodeError as error:
        return Loaded(uri, sha256, error=error)


def _check_top_k(top_k: int) -> None:
    if top_k < 1:
        raise UsageError(
            msg("top_k must be 1 or more; got {top_k}.", top_k=top_k), msg("Leave it out to get the best three.")
        )


def _unusable(bundle: Bundle, why: Message) -> BundleError:
    return BundleError(
        msg("The model bundle {path} cannot be used: {why}", path=bundle.path, why=why),
        msg("Copy the bundle folder again, or train the model again; nothing was loaded."),
    )
