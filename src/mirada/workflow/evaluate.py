"""How good a model is: on its test photographs, on a second set, or by cross-validation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mirada.catalog.catalog import Catalog
from mirada.engine.base import Progress, Silent
from mirada.engine.local import LocalEngine
from mirada.errors import DecodeError, NotEnoughData, UsageError
from mirada.evaluate.compare import Comparison, compare
from mirada.evaluate.metrics import evaluate as judge
from mirada.evaluate.report import ReportContext
from mirada.imaging.base import REASONS
from mirada.intake import sample_id
from mirada.messages import Message, msg, msg_n
from mirada.models.recipes import load_recipe
from mirada.predict.manifest import MANIFEST_NAME, load_manifest
from mirada.predict.runtime import Loaded, Predictor
from mirada.release.registry import Registry
from mirada.sources.reader import PhotoReader
from mirada.training.trained import Device
from mirada.types import Bundle, EvalReport, Photo, Precision, Rejected
from mirada.workflow.backbones import bundle_backbone
from mirada.workflow.crossval import compare_pooled, cross_validate
from mirada.workflow.data import open_source
from mirada.workflow.learning import Way
from mirada.workflow.reporting import write_report
from mirada.workflow.runs import load_predictions
from mirada.workflow.ways import choose_way, head_way
from mirada.workspace import Workspace

CHUNK = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateRequest:
    """What `mirada evaluate` was asked. `source`: a second set (--on); `folds`: cross-validate instead.

    `recipe`: what is cross-validated; `against`: another recipe, compared on the same folds.
    """

    model: str = "champion"
    source: str | None = None
    folds: int | None = None
    fmt: str | None = None
    labels: Path | None = None
    html: Path | None = None
    backbone: str | None = None
    weights: Path | None = None
    precision: Precision | None = None
    seed: int | None = None
    recipe: str | None = None
    against: str | None = None
    epochs: int | None = None
    device: Device = "auto"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What came of it. `model` names what was judged; `fold_seconds`: what each fold took."""

    model: str
    report: EvalReport
    notes: tuple[Message, ...]
    report_path: Path | None
    fold_seconds: tuple[float, ...] = ()
    comparison: Comparison | None = None


@dataclass(frozen=True, slots=True)
class _Answered:
    """Answers (n, k) for the photographs that could be read, with what is known of each."""

    probs: NDArray[np.float32]
    uris: tuple[str, ...]
    labels: tuple[str | None, ...]
    shas: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]


def evaluate(workspace_path: Path | None, request: EvaluateRequest, *, progress: Progress | None = None) -> Evaluation:
    """Judge as `request` says. Raises a MiradaError: no such model, nothing to judge, no class in common."""
    display = progress or Silent()
    asked = {"--recipe": request.recipe, "--against": request.against, "--epochs": request.epochs}
    if request.folds is None and (unheeded := [name for name, value in asked.items() if value is not None]):
        raise UsageError(
            msg("{options}: a model that is trained already is judged as it is.", options=", ".join(unheeded)),
            msg("Add --folds N to train anew in each fold."),
        )
    if request.source is not None and (Path(request.model) / MANIFEST_NAME).is_file():
        return _on_source(None, load_manifest(Path(request.model)), request, display)
    workspace = Workspace.open(workspace_path)
    with Catalog.open(workspace.catalog_url) as catalog:
        if request.folds is not None:
            return _by_folds(workspace, catalog, request, display)
        bundle = load_manifest(Registry(workspace, catalog).resolve(request.model))
        if request.source is not None:
            return _on_source(catalog, bundle, request, display)
        return _on_test(workspace, catalog, bundle, request, display)


def _on_test(
    workspace: Workspace, catalog: Catalog, bundle: Bundle, request: EvaluateRequest, display: Progress
) -> Evaluation:
    run = catalog.run(bundle.run_id)
    if run.config.subset is None:
        test = set(catalog.split(run.split_id).test)
    else:  # the subset may have been drawn anew since: its test photographs are those that the run was judged on
        test = set(load_predictions(workspace, run.run_id).sample_ids)
    samples = [s for s in catalog.samples(source=run.config.source) if s.sample_id in test and s.label is not None]
    photos = [Photo(s.uri, s.source, s.label) for s in samples]
    answered = _answer(bundle, photos, request, display)
    return _judged(bundle, answered, request, subset="test", notes=_unreadable(answered))


def _on_source(catalog: Catalog | None, bundle: Bundle, request: EvaluateRequest, display: Progress) -> Evaluation:
    source = open_source(str(request.source), fmt=request.fmt, labels=request.labels)
    photos = [photo for photo in source.photos() if photo.label is not None]
    if not photos:
        raise NotEnoughData(
            msg("There is no labelled photograph in {source}.", source=source.name),
            msg("Put the photographs of each class in a folder of its own, or give --labels FILE."),
        )
    answered = _answer(bundle, photos, request, display)
    notes = [*source.describe().notes, *_unreadable(answered), *_seen_before(catalog, answered)]
    return _judged(bundle, answered, request, subset=Path(source.name).name, notes=notes)


def _answer(bundle: Bundle, photos: list[Photo], request: EvaluateRequest, display: Progress) -> _Answered:
    predictor = Predictor.open(bundle.path, request.precision)
    display.start(msg("Classifying"), len(photos))
    probs, kept, shas, unreadable = [], list[Photo](), list[str](), list[tuple[str, str]]()
    for photo, loaded, answer in _stream(predictor, photos):
        display.advance()
        if answer is None:
            unreadable.append((photo.uri, loaded.error.code if loaded.error else "unreadable"))
        else:
            probs.append(answer)
            kept.append(photo)
            shas.append(loaded.sha256)
    display.finish()
    stacked = np.stack(probs) if probs else np.empty((0, len(bundle.class_names)), np.float32)
    return _Answered(stacked, tuple(p.uri for p in kept), tuple(p.label for p in kept), tuple(shas), tuple(unreadable))


def _stream(
    predictor: Predictor, photos: Iterable[Photo]
) -> Iterator[tuple[Photo, Loaded, NDArray[np.float32] | None]]:
    """Each photograph with its probabilities (k,), or None where it cannot be read; decoded beside the network."""
    reader = PhotoReader(limits=predictor.limits)

    def load(photo: Photo) -> tuple[Photo, Loaded]:
        try:
            data = reader.read(photo.uri)
        except DecodeError as error:
            return photo, Loaded(photo.uri, error=error)
        return photo, predictor.load((photo.uri, data))

    with LocalEngine() as pool:
        loaded = pool.map(load, photos)
        while chunk := list(islice(loaded, CHUNK)):
            pixels = [one.pixels for _, one in chunk if one.pixels is not None]
            answers = iter(predictor.predict_inputs(pixels))
            for photo, one in chunk:
                yield photo, one, None if one.pixels is None else next(answers)


def _judged(
    bundle: Bundle, answered: _Answered, request: EvaluateRequest, *, subset: str, notes: Iterable[Message]
) -> Evaluation:
    index = {name: i for i, name in enumerate(bundle.class_names)}
    y = np.array([index.get(str(label), -1) for label in answered.labels], dtype=np.int64)
    told = (*notes, *_strangers(answered.labels, index))
    if not (y >= 0).any():
        raise NotEnoughData(
            msg("None of the photographs has a class that the model knows."),
            msg("The model knows: {names}.", names=", ".join(bundle.class_names[:20])),
        )
    ids = [sample_id(subset, uri) for uri in answered.uris]
    report = judge(
        answered.probs, y, class_names=bundle.class_names, subset=subset, run_id=bundle.run_id,
        sample_ids=ids, uris=answered.uris, seed=request.seed or 0, notes=told,
    )  # fmt: skip
    path = None
    if request.html is not None:
        context = ReportContext(
            model_name=bundle.name, model_version=bundle.version, backbone=bundle.backbone,
            dataset_id=bundle.dataset_id, source=subset, n={subset: report.n}, precision=bundle.precision,
            temperature=bundle.temperature, reject_threshold=bundle.reject_threshold, notes=told,
            rejected=tuple(Rejected(uri, subset, reason) for uri, reason in answered.unreadable),
        )  # fmt: skip
        path = write_report(request.html, report, context)
    return Evaluation(f"{bundle.name}@{bundle.version}", report, told, path)


def _unreadable(answered: _Answered) -> tuple[Message, ...]:
    if not answered.unreadable:
        return ()
    uri, reason = answered.unreadable[0]
    return (
        msg_n(
            "{n} photograph could not be read: {uri}. {reason}",
            "{n} photographs could not be read, such as {uri}. {reason}",
            n=len(answered.unreadable), uri=uri, reason=REASONS.get(reason, reason),
        ),
    )  # fmt: skip


def _strangers(labels: Iterable[str | None], index: dict[str, int]) -> tuple[Message, ...]:
    unknown = Counter(str(label) for label in labels if label not in index)
    if not unknown:
        return ()
    return (
        msg(
            "{n} photographs are of classes the model does not know ({names}); they are left out of the figures.",
            n=unknown.total(), names=", ".join(sorted(unknown)[:10]),
        ),
    )  # fmt: skip


def _seen_before(catalog: Catalog | None, answered: _Answered) -> tuple[Message, ...]:
    """A second set should be new: tell how many of its photographs the model was trained on."""
    if catalog is None:
        return ()
    mine = set(answered.shas)
    trained = {s.content_sha256 for part in ("train", "val") for s in catalog.samples(split=part)} & mine
    if not trained:
        return ()
    n = sum(sha in trained for sha in answered.shas)
    return (msg("{n} of these photographs were in train or val, so the figures flatter the model.", n=n),)


def _by_folds(workspace: Workspace, catalog: Catalog, request: EvaluateRequest, display: Progress) -> Evaluation:
    """Cross-validation of a recipe, else of a head on the backbone asked for or on the model's."""
    seed = workspace.config.integer("train.seed") if request.seed is None else request.seed
    folds = int(request.folds or 5)
    way, source = _fold_subject(workspace, catalog, request, display)
    # Before anything is trained: what is wrong with it should not cost an hour.
    other = _way(workspace, request, recipe=request.against, display=display) if request.against else None
    pooled = cross_validate(workspace, catalog, way, folds=folds, seed=seed, source=source, progress=display)
    subject, samples = way.config.model_name, [pooled.data.samples[i] for i in pooled.rows]
    y = pooled.data.y[pooled.rows]
    notes, comparison = list(pooled.notes), None
    if other is not None and request.against is not None:
        rival = cross_validate(workspace, catalog, other, folds=folds, seed=seed, source=source, progress=display)
        comparison = compare_pooled(pooled, rival)
        notes.append(comparison.message(str(request.recipe or subject), request.against))
    report = judge(
        pooled.probs, y, class_names=pooled.data.class_names, subset=f"{folds}-fold", seed=seed,
        sample_ids=[s.sample_id for s in samples], uris=[s.uri for s in samples], notes=notes,
    )  # fmt: skip
    path = None
    if request.html is not None:
        context = ReportContext(
            model_name=request.recipe or subject, backbone=subject, source=source or str(workspace.path),
            n={report.subset: report.n}, seed=seed, precision=way.config.precision, notes=tuple(notes),
        )  # fmt: skip
        path = write_report(request.html, report, context)
    return Evaluation(request.recipe or subject, report, tuple(notes), path, pooled.seconds, comparison)


def _fold_subject(
    workspace: Workspace, catalog: Catalog, request: EvaluateRequest, display: Progress
) -> tuple[Way, str | None]:
    """What to judge and the source to judge it on: what was asked for, else the model's backbone and source."""
    if request.recipe is not None or request.backbone is not None:
        return _way(workspace, request, recipe=request.recipe, display=display), None
    bundle = load_manifest(Registry(workspace, catalog).resolve(request.model))
    learned = catalog.run(bundle.run_id).config
    if learned.plan:  # its features have seen the labels of the photographs that a fold would hold back
        raise UsageError(
            msg("{model} is a network: its features learned from these photographs.", model=request.model),
            msg("Train it anew in each fold: --folds N --recipe {recipe}", recipe=learned.recipe),
        )
    return head_way(workspace, bundle_backbone(bundle), precision=request.precision), learned.source


def _way(workspace: Workspace, request: EvaluateRequest, *, recipe: str | None, display: Progress) -> Way:
    trains = recipe is not None and load_recipe(recipe).kind == "network"
    epochs = request.epochs if trains else None  # a head beside a shortened network has none
    return choose_way(
        workspace, recipe=recipe, backbone=request.backbone, weights=request.weights, epochs=epochs,
        device=request.device, precision=request.precision, progress=display,
    )  # fmt: skip


def compare_runs(workspace: Workspace, run_a: str, run_b: str) -> Comparison:
    """A paired test on the test photographs that both runs answered. Raises NotFound, NotEnoughData."""
    a, b = load_predictions(workspace, run_a), load_predictions(workspace, run_b)
    position = {i: row for row, i in enumerate(b.sample_ids)}
    rows = [(row, position[i]) for row, i in enumerate(a.sample_ids) if i in position]
    if not rows or set(a.class_names) != set(b.class_names):
        raise NotEnoughData(
            msg("The runs {a} and {b} have no test photographs and classes in common.", a=run_a, b=run_b),
            msg("Compare runs of the same photographs; `mirada runs` lists them."),
        )
    rows_a, rows_b = (np.array(part) for part in zip(*rows, strict=True))
    columns = [b.class_names.index(name) for name in a.class_names]
    y = np.array([a.class_names.index(a.labels[row]) for row in rows_a], dtype=np.int64)
    return compare(a.pred_probs[rows_a], b.pred_probs[rows_b][:, columns], y)
