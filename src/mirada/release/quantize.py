"""A bundle's network in int8: smaller and faster, and refused where that costs accuracy.

Weights and activations are quantised after training by NNCF, on calibration photographs; the result is ONNX with
QuantizeLinear and DequantizeLinear, which the predictor runs as it runs any bundle. Head, temperature and softmax stay
in float32. What NNCF would send about its use is not sent: its door is closed in `embed.vino`.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import logging
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mirada import __version__
from mirada.embed import vino
from mirada.embed.network import EMBEDDING
from mirada.errors import BundleError, MissingExtra, UsageError
from mirada.messages import msg
from mirada.predict.manifest import (
    CARD_NAME,
    MODEL_NAME,
    REFERENCE_NAME,
    BackboneFacts,
    Manifest,
    Parity,
    Quantization,
    load_manifest,
    read_manifest,
    verified_bytes,
)
from mirada.predict.runtime import CHUNK, Predictor
from mirada.release.bundle import building, write_manifest
from mirada.release.card import model_card
from mirada.types import Bundle, Metric

if TYPE_CHECKING:
    import onnx

CALIBRATION = 300
TOLERANCE = 0.005
MIN_VAL = 20
_TIMED = 32  # photographs that the speeds are compared on
_ROUNDS = 3
Images = NDArray[np.uint8]
Measure = Callable[[Predictor], Mapping[str, Metric]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantized:
    """What came of it. speed: seconds of the original network over those of the one in int8, on this machine."""

    bundle: Bundle
    path: str
    accuracy_before: float
    accuracy_after: float
    same_top_label: float
    n: int
    n_calibration: int
    n_bytes_before: int
    n_bytes_after: int
    speed: float


@dataclass(frozen=True, slots=True)
class Judges:
    """Photographs of val that decide: uint8 (n, S, S, 3) as the network takes them, class indices (n,)."""

    images: Images
    y: NDArray[np.int64]


def quantize_bundle(
    bundle_path: Path,
    out_path: Path,
    *,
    calibration: Iterable[Images],
    val: Judges,
    tolerance: float = TOLERANCE,
    version: int | None = None,
    measure: Measure | None = None,
) -> Quantized:
    """Write the bundle `bundle_path` anew at `out_path`, its backbone in int8.

    calibration: photographs of train, uint8 (S, S, 3) each; 300 are used. tolerance: by how much the accuracy on
    `val` may fall, as a share. measure: the figures that the new manifest states (None: none, for those of the
    original are not its own). A network with attention is quantised as a transformer; any other symmetrically, and
    where that is not good enough with asymmetric activations.
    Raises BundleError (code "accuracy_fell") where accuracy falls by more than `tolerance`: nothing is written then.
    MissingExtra without NNCF; UsageError for a bundle in int8 or too few photographs.
    """
    root = bundle_path.resolve()
    manifest = read_manifest(root)
    onnx_bytes = verified_bytes(root / MODEL_NAME, manifest.onnx_sha256)
    photographs = list(islice(calibration, CALIBRATION))
    _check(manifest, root, photographs, val, tolerance)
    before = Predictor.open(root)
    probs_before = before.predict_inputs(val.images)
    accuracy = float((probs_before.argmax(axis=1) == val.y).mean())
    with building(out_path) as build:
        for candidate in _candidates(onnx_bytes, photographs):
            facts = _Facts(manifest, version or manifest.version, tolerance, len(photographs), accuracy)
            made, after = _fill(build, candidate, probs_before, val, facts)
            if made.accuracy_after >= accuracy - tolerance - 1e-9:
                break
        else:
            raise _fell(made)
        _finish(build, root, after, measure)
        speed = _speed(before, after, val.images)
    sizes = len(onnx_bytes), (out_path / MODEL_NAME).stat().st_size
    return Quantized(
        bundle=load_manifest(out_path),
        path=str(out_path),
        accuracy_before=accuracy,
        accuracy_after=made.accuracy_after,
        same_top_label=made.same_top_label,
        n=made.n,
        n_calibration=made.n_calibration,
        n_bytes_before=sizes[0],
        n_bytes_after=sizes[1],
        speed=speed,
    )


@dataclass(frozen=True, slots=True)
class _Facts:
    """What is known before the first try."""

    manifest: Manifest
    version: int
    tolerance: float
    n_calibration: int
    accuracy: float


def _fill(
    build: Path, onnx_bytes: bytes, probs_before: NDArray[np.float32], val: Judges, facts: _Facts
) -> tuple[Quantization, Predictor]:
    """Write network and manifest into `build`, open them as any user would and judge them on val."""
    sha256 = hashlib.sha256(onnx_bytes).hexdigest()
    (build / MODEL_NAME).write_bytes(onnx_bytes)
    old = facts.manifest
    # Embeddings of the network in int8 are others: the cache must not take them for the original's.
    backbone = BackboneFacts(name=f"{old.backbone.name}-int8", sha256=sha256, dim=old.backbone.dim)
    unmeasured = Quantization(
        accuracy_before=facts.accuracy, accuracy_after=0, tolerance=facts.tolerance, n=len(val.y), same_top_label=0,
        n_calibration=facts.n_calibration, made_from_sha256=old.onnx_sha256,
    )  # fmt: skip
    changed = {
        "onnx_sha256": sha256, "version": facts.version, "backbone": backbone, "quantization": unmeasured,
        "metrics": {}, "reference_sha256": None, "mirada_version": __version__,
    }  # fmt: skip
    write_manifest(build, old.model_copy(update=changed))
    predictor = Predictor.open(build)
    probs = predictor.predict_inputs(val.images)
    top, same = probs.argmax(axis=1), (probs.argmax(axis=1) == probs_before.argmax(axis=1)).mean()
    made = unmeasured.model_copy(update={"accuracy_after": float((top == val.y).mean()), "same_top_label": float(same)})
    difference = float(np.abs(probs - probs_before).max())
    changed["quantization"] = made
    changed["parity"] = Parity(max_abs_diff=difference, same_top_label=float(same), n=len(val.y))
    write_manifest(build, old.model_copy(update=changed))
    return made, predictor


def _finish(build: Path, root: Path, predictor: Predictor, measure: Measure | None) -> None:
    """What stands beside the network: figures of its own, the reference arrays, the card."""
    manifest = read_manifest(build)
    original = read_manifest(root)
    if original.reference_sha256 is not None:
        (build / REFERENCE_NAME).write_bytes(verified_bytes(root / REFERENCE_NAME, original.reference_sha256))
    metrics = dict(measure(predictor)) if measure is not None else {}
    finite = {name: metric for name, metric in metrics.items() if np.isfinite(metric.value)}
    manifest = manifest.model_copy(update={"metrics": finite, "reference_sha256": original.reference_sha256})
    write_manifest(build, manifest)
    (build / CARD_NAME).write_text(model_card(manifest, n={}), encoding="utf-8")


def _candidates(onnx_bytes: bytes, photographs: list[Images]) -> Iterator[bytes]:
    """The network in int8, the fastest way first."""
    import onnx

    nncf = _nncf()
    model = onnx.load_from_string(onnx_bytes)
    attends, keep = _has_attention(model), nncf.IgnoredScope(names=_behind_the_embedding(model), validate=False)
    presets = [None] if attends else [nncf.QuantizationPreset.PERFORMANCE, nncf.QuantizationPreset.MIXED]
    # Half the range of weights: the 8-bit sums of processors without VNNI (AVX2) would saturate at the whole.
    advanced = nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE)
    for preset in presets:
        dataset = nncf.Dataset([photo[None] for photo in photographs], lambda batch: {"images": batch})
        with _quiet():
            made = nncf.quantize(
                onnx.load_from_string(onnx_bytes),
                dataset,
                preset=preset,
                subset_size=len(photographs),
                model_type=nncf.ModelType.TRANSFORMER if attends else None,
                ignored_scope=keep,
                advanced_parameters=advanced,
            )
        yield made.SerializeToString()


def _nncf() -> Any:
    vino.load_openvino()  # first: with it goes the telemetry that NNCF would load
    try:
        with _quiet():
            nncf = importlib.import_module("nncf")
            importlib.import_module("onnxruntime")  # NNCF measures the activations with it
    except ModuleNotFoundError as error:
        raise MissingExtra(
            msg("Quantising needs {library}, which is not installed.", library=error.name),
            msg("pip install 'mirada[quantize]'"),
        ) from error
    nncf.set_log_level(logging.ERROR)
    return nncf


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """NNCF draws bars on standard output, which is for answers, and warns about its own insides."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _behind_the_embedding(model: onnx.ModelProto) -> list[str]:
    """The names of the nodes that lead from the embedding to the probabilities: they stay in float32."""
    reached, names = {EMBEDDING}, []
    for node in model.graph.node:  # in order: ONNX graphs are sorted
        if reached.intersection(node.input):
            reached.update(node.output)
            names.append(node.name)
    return names


def _has_attention(model: onnx.ModelProto) -> bool:
    """Whether there is a softmax before the head's own."""
    head = set(_behind_the_embedding(model))
    return any(node.op_type in ("Softmax", "Attention") and node.name not in head for node in model.graph.node)


def _check(manifest: Manifest, root: Path, photographs: list[Images], val: Judges, tolerance: float) -> None:
    if manifest.quantization is not None:
        raise UsageError(msg("{path} is in int8 already.", path=root), msg("Give the version that it was made from."))
    if not 0 <= tolerance <= 1:
        raise UsageError(
            msg("The tolerance is a share from 0 to 1; got {given}.", given=tolerance),
            msg("0.005 allows half a point of accuracy."),
        )
    if not photographs or len(val.y) < MIN_VAL or len(val.images) != len(val.y):
        raise UsageError(
            msg(
                "Quantising takes photographs of train and at least {wanted} labelled ones of val; got {n} and {m}.",
                wanted=MIN_VAL, n=len(photographs), m=len(val.y),
            )
        )  # fmt: skip


def _fell(made: Quantization) -> BundleError:
    return BundleError(
        msg(
            "In int8 the accuracy on val falls from {before:.2f} % to {after:.2f} % ({n} photographs); "
            "at most {allowed:.2f} points are allowed.",
            before=100 * made.accuracy_before,
            after=100 * made.accuracy_after,
            n=made.n,
            allowed=100 * made.tolerance,
        ),
        msg("Nothing was written. Keep the model as it is, or allow more with --tolerance."),
        code="accuracy_fell",
    )


def _speed(before: Predictor, after: Predictor, images: Images) -> float:
    """Seconds of `before` over those of `after`, the best of some rounds each, in turns."""
    some = images[: min(_TIMED, CHUNK)]
    best = [np.inf, np.inf]
    for _ in range(_ROUNDS):
        for i, predictor in enumerate((before, after)):
            started = time.perf_counter()
            predictor.predict_inputs(some)
            best[i] = min(best[i], time.perf_counter() - started)
    return float(best[0] / best[1])
