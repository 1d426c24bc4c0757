"""Write a bundle: one folder with the network, its manifest and a model card, whole or not at all.

The folder is built beside its place under a hidden name, flushed to disk and renamed: a kill leaves no half
bundle. Before that, the written files are loaded as any user would and must give training's own probabilities.
"""

from __future__ import annotations

import datetime
import hashlib
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from mirada import __version__
from mirada.embed.backbone import Backbone
from mirada.embed.network import EMBEDDING
from mirada.errors import BundleError, Conflict, UsageError
from mirada.messages import msg
from mirada.predict.manifest import (
    CARD_NAME,
    MANIFEST_NAME,
    MODEL_NAME,
    PROBABILITIES,
    REFERENCE_NAME,
    BackboneFacts,
    Manifest,
    Parity,
    load_manifest,
)
from mirada.predict.runtime import CHUNK, Predictor
from mirada.release.card import model_card
from mirada.types import Bundle, Metric, Precision
from mirada.workspace import storage_errors

if TYPE_CHECKING:
    import onnx

PARITY_TOLERANCE = 1e-3
# Two classes closer than this are a tie: which of them comes first says nothing about the bundle.
_TIE = 1e-5
_PREFIX = "mirada.head"
_ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh"}


class HeadLike(Protocol):
    """What a bundle needs of a head; `training.head.Head` is one. Layers are W (inputs, outputs) and b (outputs,)."""

    @property
    def layers(self) -> Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """The dense layers, first to last."""
        ...

    @property
    def activation(self) -> str:
        """Between the layers: "relu" or "tanh"; of no meaning where there is one layer."""
        ...

    @property
    def temperature(self) -> float:
        """What the logits are divided by before softmax."""
        ...

    @property
    def reject_threshold(self) -> float:
        """Answers with a lower score are marked unsure."""
        ...


@dataclass(frozen=True, slots=True)
class BundleFacts:
    """What a bundle says of itself beside its network. `n`: photographs by split; `reference`: float arrays."""

    name: str
    version: int
    class_names: tuple[str, ...]
    precision: Precision
    metrics: Mapping[str, Metric]
    run_id: str
    dataset_id: str
    n: Mapping[str, int] = field(default_factory=dict)
    reference: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)
    reference_stats: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ParityCheck:
    """Photographs of val as the network takes them, uint8 (S, S, 3) each, and training's probabilities (n, k)."""

    images: Iterable[NDArray[np.uint8]]
    probs: NDArray[np.float32]


def write_bundle(path: Path, *, backbone: Backbone, head: HeadLike, facts: BundleFacts, parity: ParityCheck) -> Bundle:
    """Write the bundle folder `path` and return what its manifest says.

    Raises Conflict where `path` exists; BundleError where the written network disagrees with training (by more
    than 1e-3, or on a top label) on the photographs of `parity`; StorageError where the disk refuses. In all of
    these, nothing is written.
    """
    with building(path) as build:
        _fill(build, backbone=backbone, head=head, facts=facts, parity=parity)
    return load_manifest(path)


@contextmanager
def building(path: Path) -> Iterator[Path]:
    """A hidden folder beside `path`, which takes its name when the block ends well; else nothing is left of it.

    Raises Conflict where `path` exists, StorageError where the disk refuses.
    """
    if path.exists() or path.is_symlink():
        raise Conflict(
            msg("{path} exists already; a bundle is never overwritten.", path=path),
            msg("Choose another folder, or move this one away."),
        )
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        build = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
        try:
            yield build
            build.chmod(0o755)  # mkdtemp makes it private
            _flush(build)
            build.rename(path)
            _flush_folder(path.parent)
        except BaseException:
            shutil.rmtree(build, ignore_errors=True)
            raise


def _fill(build: Path, *, backbone: Backbone, head: HeadLike, facts: BundleFacts, parity: ParityCheck) -> None:
    onnx_bytes = append_head(backbone.onnx_path, head)
    (build / MODEL_NAME).write_bytes(onnx_bytes)
    manifest = Manifest(
        name=facts.name,
        version=facts.version,
        onnx_sha256=hashlib.sha256(onnx_bytes).hexdigest(),
        reference_sha256=_write_reference(build / REFERENCE_NAME, facts.reference),
        class_names=facts.class_names,
        preprocess=backbone.preprocess,
        backbone=BackboneFacts(name=backbone.name, sha256=backbone.sha256, dim=backbone.dim),
        temperature=float(head.temperature),
        reject_threshold=float(head.reject_threshold),
        precision=facts.precision,
        parity=Parity(max_abs_diff=0, same_top_label=1, n=1),  # measured below, from the written files
        # JSON has no NaN: a figure that could not be computed is left out.
        metrics={name: metric for name, metric in facts.metrics.items() if math.isfinite(metric.value)},
        run_id=facts.run_id,
        dataset_id=facts.dataset_id,
        weights_licence=backbone.licence,
        reference_stats=dict(facts.reference_stats),
        mirada_version=__version__,
        created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    write_manifest(build, manifest)
    measured = measure_parity(Predictor.open(build, facts.precision), parity)
    manifest = manifest.model_copy(update={"parity": measured})
    write_manifest(build, manifest)
    (build / CARD_NAME).write_text(model_card(manifest, n=facts.n), encoding="utf-8")


def measure_parity(predictor: Predictor, parity: ParityCheck) -> Parity:
    """Compare the bundle's probabilities with training's; raises BundleError where they disagree."""
    images = iter(parity.images)
    n, n_same, max_abs_diff = 0, 0, 0.0
    while chunk := list(islice(images, CHUNK)):
        expected = parity.probs[n : n + len(chunk)]
        got = predictor.predict_inputs(chunk)
        if expected.shape != got.shape:
            raise UsageError(
                msg("The parity check has probabilities {want} for answers {got}.", want=expected.shape, got=got.shape)
            )
        max_abs_diff = max(max_abs_diff, float(np.abs(got - expected).max()))
        chosen = expected[np.arange(len(chunk)), got.argmax(axis=1)]
        n_same += int((expected.max(axis=1) - chosen <= _TIE).sum())
        n += len(chunk)
    if n == 0 or n != len(parity.probs):
        raise UsageError(msg("The parity check needs as many photographs as rows of probabilities, and at least one."))
    # `not <=` also catches NaN.
    if not max_abs_diff <= PARITY_TOLERANCE or n_same < n:
        raise BundleError(
            msg(
                "The bundle disagrees with training on val: probabilities differ by up to {diff:.2g} "
                "(allowed {allowed:.2g}), and {n_other} of {n} photographs get another top label.",
                diff=max_abs_diff,
                allowed=PARITY_TOLERANCE,
                n_other=n - n_same,
                n=n,
            ),
            msg("Nothing was written. Train again with --precision f32; if it happens again, it is a fault in Mirada."),
        )
    return Parity(max_abs_diff=max_abs_diff, same_top_label=n_same / n, n=n)


def append_head(backbone_path: Path, head: HeadLike) -> bytes:
    """The ONNX model: `backbone_path`, then dense layers, temperature and softmax in float32.

    Input "images" as the backbone has it; outputs "probabilities" (n, k) and "embedding" (n, d).
    """
    import onnx
    from onnx import TensorProto, helper

    whole = onnx.load(str(backbone_path))
    if EMBEDDING not in [output.name for output in whole.graph.output]:
        raise BundleError(msg('The backbone {path} has no output named "embedding".', path=backbone_path))
    # A backbone may bring its own classifier along; only what leads to the embedding is kept.
    model = onnx.utils.Extractor(whole).extract_model([port.name for port in whole.graph.input], [EMBEDDING])
    logits = _append_layers(model.graph, head)
    _append_constant(model.graph, f"{_PREFIX}.temperature", np.float32(head.temperature))
    scaled = f"{_PREFIX}.scaled_logits"
    model.graph.node.append(helper.make_node("Div", [logits, f"{_PREFIX}.temperature"], [scaled], name=scaled))
    model.graph.node.append(helper.make_node("Softmax", [scaled], [PROBABILITIES], name=PROBABILITIES, axis=-1))
    n_classes = int(head.layers[-1][1].shape[0])
    outputs = [helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["n", n_classes]), *model.graph.output]
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    _check(model, backbone_path)
    serialized: bytes = model.SerializeToString()
    return serialized


def _append_layers(graph: onnx.GraphProto, head: HeadLike) -> str:
    """Add the dense layers behind the embedding; returns the name of the logits."""
    from onnx import helper

    tensor = EMBEDDING
    for i, (W, b) in enumerate(head.layers):
        layer = f"{_PREFIX}.{i}"
        if i > 0:
            activation = _ACTIVATIONS.get(head.activation)
            if activation is None:
                known = ", ".join(_ACTIVATIONS)
                raise UsageError(
                    msg("A head's activation is one of {known}; got {name}.", known=known, name=head.activation)
                )
            graph.node.append(helper.make_node(activation, [tensor], [f"{layer}.input"], name=f"{layer}.input"))
            tensor = f"{layer}.input"
        _append_constant(graph, f"{layer}.weight", W)
        _append_constant(graph, f"{layer}.bias", b)
        inputs = [tensor, f"{layer}.weight", f"{layer}.bias"]
        graph.node.append(helper.make_node("Gemm", inputs, [layer], name=layer))
        tensor = layer
    return tensor


def _append_constant(graph: onnx.GraphProto, name: str, array: NDArray[np.float32] | np.float32) -> None:
    from onnx import numpy_helper

    graph.initializer.append(numpy_helper.from_array(np.array(array, np.float32, order="C"), name))


def _check(model: onnx.ModelProto, backbone_path: Path) -> None:
    from onnx import checker

    try:
        checker.check_model(model, full_check=True)
    except (checker.ValidationError, ValueError, RuntimeError) as error:
        raise BundleError(
            msg("The network made from {path} is not valid ONNX: {error}.", path=backbone_path, error=error),
            msg("Convert the backbone again; nothing was written."),
        ) from error


def _write_reference(file: Path, arrays: Mapping[str, NDArray[np.floating]]) -> str | None:
    if not arrays:
        return None
    for name, array in arrays.items():
        if array.dtype.kind != "f":
            raise UsageError(msg("Reference array {name} must hold floats; got {dtype}.", name=name, dtype=array.dtype))
    np.savez(file, allow_pickle=False, **arrays)
    return hashlib.sha256(file.read_bytes()).hexdigest()


def write_manifest(build: Path, manifest: Manifest) -> None:
    """Write ``manifest.json`` into a folder that is being built."""
    (build / MANIFEST_NAME).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _flush(folder: Path) -> None:
    for file in folder.iterdir():
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
    _flush_folder(folder)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
