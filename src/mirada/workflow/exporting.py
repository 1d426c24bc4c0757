"""A registered model out into the world: as ONNX, as OpenVINO's own files, and as a version in int8."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mirada.catalog.catalog import Catalog
from mirada.embed import vino
from mirada.embed.network import EMBEDDING, HeadNetwork, Network
from mirada.engine.base import Progress, Silent
from mirada.engine.local import LocalEngine
from mirada.errors import BundleError, DecodeError, NotEnoughData, NotFound
from mirada.evaluate.metrics import evaluate
from mirada.imaging.preprocess import load_input
from mirada.messages import Message, msg
from mirada.predict.manifest import CARD_NAME, MANIFEST_NAME, MODEL_NAME, PROBABILITIES, load_manifest
from mirada.predict.runtime import Predictor
from mirada.release.bundle import PARITY_TOLERANCE, building
from mirada.release.quantize import CALIBRATION, MIN_VAL, Judges, Quantized, quantize_bundle
from mirada.release.registry import Registry
from mirada.sources.reader import PhotoReader
from mirada.types import Bundle, Metric, Sample, SplitName
from mirada.workflow.runs import load_predictions
from mirada.workspace import Workspace

Format = Literal["onnx", "openvino"]
XML_NAME = "model.xml"
COMPARED = 256
VAL_BYTES = 400_000_000
_MADE_UP = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """What `mirada export` was asked. out: the folder to write (None: none in int8, else NAME-VERSION-FORMAT here)."""

    model: str = "champion"
    format: Format = "onnx"
    int8: bool = False
    out: Path | None = None
    tolerance: float = 0.005
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written. compared_on: "val", "test" or "made-up" photographs; the rest is 0 where none were compared.

    path: None where only a version in int8 was registered.
    """

    model: str
    path: Path | None
    format: Format
    compared_on: str = ""
    n_compared: int = 0
    max_abs_diff: float = 0.0
    quantized: Quantized | None = None
    notes: tuple[Message, ...] = ()


def export(workspace_path: Path | None, request: ExportRequest, *, progress: Progress | None = None) -> Exported:
    """Do as `request` says. Raises NotFound, Conflict where `out` exists, BundleError for a model that would disagree.

    A bundle given by its folder needs no workspace, unless it is to be quantised.
    """
    display = progress or Silent()
    folder = Path(request.model)
    if (folder / MANIFEST_NAME).is_file() and not request.int8:
        return _write(load_manifest(folder), request, _made_up(load_manifest(folder)), display)
    workspace = Workspace.open(workspace_path)
    with Catalog.open(workspace.catalog_url) as catalog:
        registry = Registry(workspace, catalog)
        bundle = load_manifest(registry.resolve(request.model))
        if not request.int8:
            return _write(bundle, request, _photographs(workspace, catalog, bundle), display)
        quantized, notes = _quantize(workspace, catalog, registry, bundle, request, display)
        done = Exported(model=_shown(quantized.bundle), path=None, format="onnx")
        if request.out is not None:
            done = _write(quantized.bundle, request, _photographs(workspace, catalog, bundle), display)
        return replace(done, quantized=quantized, notes=notes)


@dataclass(frozen=True, slots=True)
class _Compared:
    """On what two forms of a model are compared: uint8 (n, S, S, 3)."""

    kind: str
    images: NDArray[np.uint8]


def _write(bundle: Bundle, request: ExportRequest, compared: _Compared, display: Progress) -> Exported:
    out = request.out or Path(f"{bundle.name}-{bundle.version}-{request.format}")
    root = Path(bundle.path)
    display.note(msg("Writing {path}.", path=out))
    with building(out) as build:
        if request.format == "onnx":
            for file in root.iterdir():
                shutil.copyfile(file, build / file.name)
            load_manifest(build)  # what arrived is what was sent
            return Exported(model=_shown(bundle), path=out, format="onnx")
        difference = _to_openvino(bundle, root, build, compared)
    return Exported(
        model=_shown(bundle), path=out, format="openvino", compared_on=compared.kind,
        n_compared=len(compared.images), max_abs_diff=difference,
    )  # fmt: skip


def _to_openvino(bundle: Bundle, root: Path, build: Path, compared: _Compared) -> float:
    """Write OpenVINO's files and return by how much they differ from the bundle. Raises BundleError."""
    original = Predictor.open(root, "f32")
    model = vino.read_model(root / MODEL_NAME)
    # Weights stay as they are: half of their digits would be cut off otherwise.
    vino.load_openvino().save_model(model, str(build / XML_NAME), compress_to_fp16=False)
    for name in (MANIFEST_NAME, CARD_NAME):
        if (root / name).is_file():
            shutil.copyfile(root / name, build / name)
    again = vino.read_model(build / XML_NAME)
    network, head = Network(again, precision="f32", output=EMBEDDING), HeadNetwork(again, output=PROBABILITIES)
    got = Predictor(bundle, network, head, limits=original.limits).predict_inputs(compared.images)
    wanted = original.predict_inputs(compared.images)
    difference = float(np.abs(got - wanted).max())
    if not difference <= PARITY_TOLERANCE:  # also where it is not a number
        raise BundleError(
            msg(
                "The OpenVINO form of {model} disagrees with it by {difference:.2g} on {n} photographs.",
                model=_shown(bundle), difference=difference, n=len(wanted),
            ),
            msg("Nothing was written. This is a fault: please report it with the version {version}.",
                version=vino.runtime_version()),
        )  # fmt: skip
    return difference


def _quantize(
    workspace: Workspace,
    catalog: Catalog,
    registry: Registry,
    bundle: Bundle,
    request: ExportRequest,
    display: Progress,
) -> tuple[Quantized, tuple[Message, ...]]:
    """Register a version in int8, calibrated on train, judged on val; its stated figures are on test."""
    parts = {part: _samples(workspace, catalog, bundle, part) for part in ("train", "val", "test")}
    if len(parts["val"]) < MIN_VAL:
        raise NotEnoughData(
            msg("Val holds {n} photographs: too few to judge a network in int8 by.", n=len(parts["val"])),
            msg("At least {n} are needed; `mirada split` divides anew.", n=MIN_VAL),
        )
    rng = np.random.default_rng(request.seed)
    most = max(MIN_VAL, VAL_BYTES // (3 * bundle.preprocess.input_size**2))
    display.note(msg("Quantising; judged on {n} photographs of val.", n=min(len(parts["val"]), most)))
    train, _ = _load(bundle, _spread(parts["train"], CALIBRATION, rng))
    val = Judges(*_load(bundle, _spread(parts["val"], most, rng)))
    made: list[Quantized] = []

    def measure(predictor: Predictor) -> Mapping[str, Metric]:
        if not parts["test"]:
            return {}
        probs, y = list[NDArray[np.float32]](), list[NDArray[np.int64]]()
        for first in range(0, len(parts["test"]), most):  # all of test may be more than memory holds
            images, labels = _load(bundle, parts["test"][first : first + most])
            probs.append(predictor.predict_inputs(images))
            y.append(labels)
        return evaluate(
            np.concatenate(probs), np.concatenate(y), class_names=bundle.class_names, subset="test",
            run_id=bundle.run_id,
        ).metrics  # fmt: skip

    def write(path: Path, version: int) -> Bundle:
        made.append(
            quantize_bundle(
                Path(bundle.path), path, calibration=iter(train), val=val, tolerance=request.tolerance,
                version=version, measure=measure,
            )
        )  # fmt: skip
        return made[-1].bundle

    registry.add(bundle.name, write)
    one = 100 / made[-1].n
    notes = [] if one <= 100 * request.tolerance else [
        msg("Val is small: one photograph is {points:.1f} points, more than the tolerance.", points=one)
    ]  # fmt: skip
    return made[-1], tuple(notes)


def _samples(workspace: Workspace, catalog: Catalog, bundle: Bundle, part: str) -> list[Sample]:
    """The labelled photographs of a part of the run's split, of classes that the model knows."""
    run = catalog.run(bundle.run_id)
    split = catalog.split(run.split_id)
    test = set(split.test)
    if run.config.subset is not None:  # its test photographs are those that the run was judged on
        test = set(load_predictions(workspace, run.run_id).sample_ids)
    wanted = test if part == "test" else set(getattr(split, part)) - test
    known = set(bundle.class_names)
    return [s for s in catalog.samples(source=run.config.source) if s.sample_id in wanted and s.label in known]


def _spread(samples: Sequence[Sample], most: int, rng: np.random.Generator) -> list[Sample]:
    """At most `most` samples, all classes in turn, in an order drawn from `rng`."""
    by_class: dict[str | None, list[Sample]] = {}
    for i in rng.permutation(len(samples)):
        by_class.setdefault(samples[i].label, []).append(samples[i])
    queues = [by_class[name] for name in sorted(by_class, key=str)]
    turns = [queue[i] for i in range(max(map(len, queues), default=0)) for queue in queues if i < len(queue)]
    return turns[:most]


def _load(bundle: Bundle, samples: Sequence[Sample]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Photographs uint8 (n, S, S, 3) and class indices (n,), without those that cannot be read any more."""
    reader, side = PhotoReader(), bundle.preprocess.input_size
    index = {name: i for i, name in enumerate(bundle.class_names)}

    def load(sample: Sample) -> NDArray[np.uint8] | None:
        try:
            return load_input(reader.read(sample.uri), bundle.preprocess)
        except DecodeError:
            return None

    with LocalEngine(kind="threads") as pool:
        loaded = list(zip(samples, pool.map(load, samples), strict=True))
    kept = [(pixels, index[str(sample.label)]) for sample, pixels in loaded if pixels is not None]
    images = np.stack([pixels for pixels, _ in kept]) if kept else np.empty((0, side, side, 3), np.uint8)
    return images, np.array([y for _, y in kept], np.int64)


def _photographs(workspace: Workspace, catalog: Catalog, bundle: Bundle) -> _Compared:
    """Photographs of the workspace that the model did not learn from; made-up ones where it has none of them."""
    rng = np.random.default_rng(0)
    parts: tuple[SplitName, ...] = ("test", "val")
    for part in parts:
        try:
            images, _ = _load(bundle, _spread(_samples(workspace, catalog, bundle, part), COMPARED, rng))
        except NotFound:  # a bundle from another workspace
            break
        if len(images):
            return _Compared(part, images)
    return _made_up(bundle)


def _made_up(bundle: Bundle) -> _Compared:
    """Noise and smooth pictures."""
    side = bundle.preprocess.input_size
    return _Compared("made-up", np.stack(list(_pictures(side, np.random.default_rng(0)))))


def _pictures(side: int, rng: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    grid = np.linspace(0, 3, side).round().astype(int)
    for i in range(_MADE_UP):
        coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        yield coarse[grid][:, grid] if i % 2 else rng.integers(0, 256, (side, side, 3), dtype=np.uint8)


def _shown(bundle: Bundle) -> str:
    return f"{bundle.name}@{bundle.version}"
