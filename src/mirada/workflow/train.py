"""The main job: add, split, learn, evaluate, bundle, register, mirror."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from mirada.catalog.catalog import Catalog
from mirada.catalog.records import ModelVersion
from mirada.engine.base import Progress, Silent
from mirada.errors import NotEnoughData, StorageError
from mirada.evaluate.leakage import score_leakage
from mirada.evaluate.metrics import evaluate
from mirada.evaluate.report import ReportContext
from mirada.messages import Message, msg
from mirada.predict.manifest import load_manifest
from mirada.release.bundle import BundleFacts, ParityCheck, write_bundle
from mirada.release.registry import Registry, checked_name, safe_name
from mirada.sources.base import Source
from mirada.training.head import Head
from mirada.training.trained import CHECKPOINT_FOLDER, Device, TrainedNetwork
from mirada.types import Bundle, EvalReport, Precision, Run, TrainConfig
from mirada.workflow.champion import Verdict, judge
from mirada.workflow.data import Added, Dataset, add, load_dataset, open_source
from mirada.workflow.heatmaps import heatmaps_of_worst
from mirada.workflow.learning import Learned, Way, Work
from mirada.workflow.material import Material
from mirada.workflow.mirroring import mirror_run
from mirada.workflow.reporting import training_curves, write_report
from mirada.workflow.resuming import check_resumed, resumed_request, save_request
from mirada.workflow.runs import Stopwatch, TestPredictions, environment, git_sha, new_run_id, save_predictions
from mirada.workflow.second_opinion import After, SecondOpinion, second_opinion
from mirada.workflow.splitting import Divided, divide
from mirada.workflow.stronger import stronger_note
from mirada.workflow.subsetting import Subset, find_subset, narrow, refuse_both
from mirada.workflow.ways import choose_way
from mirada.workspace import Workspace

PARITY_SAMPLES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest:
    """What `mirada train` was asked. None: the workspace's setting, or the default that the help tells."""

    source: str | None = None
    format: str | None = None
    labels: Path | None = None
    backbone: str | None = None
    weights: Path | None = None
    name: str | None = None
    ratios: str | None = None
    seed: int | None = None
    head: Literal["logistic", "mlp"] = "logistic"
    class_weight: Literal["none", "balanced"] = "none"
    flips: bool = False
    precision: Precision | None = None
    subset: str | None = None
    recipe: str | None = None
    epochs: int | None = None
    device: Device = "auto"
    resume: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """What came of it. `n`: photographs in train, val and test, and those rejected."""

    run_id: str
    bundle: Bundle
    class_names: tuple[str, ...]
    n: Mapping[str, int]
    val: EvalReport | None
    test: EvalReport
    seconds: Mapping[str, float]
    report_path: Path
    added: Added | None
    verdict: Verdict
    notes: tuple[Message, ...]
    second_opinion: SecondOpinion | None = None
    trained: TrainedNetwork | None = None


def train(workspace: Workspace, request: TrainRequest, *, progress: Progress | None = None) -> TrainResult:
    """Run the main job. Raises a MiradaError; killed at any point, the next call finishes the work."""
    if request.name is not None:
        checked_name(request.name)
    refuse_both(request.source, request.subset)
    with Catalog.open(workspace.catalog_url) as catalog:
        catalog.mark_interrupted()
        if request.resume is not None:
            request = resumed_request(workspace, catalog, request)
        return _Training(workspace, catalog, request, progress or Silent()).execute()


class _Training:
    """One run of the main job, stage by stage."""

    def __init__(self, workspace: Workspace, catalog: Catalog, request: TrainRequest, display: Progress) -> None:
        self.workspace, self.catalog, self.request, self.display = workspace, catalog, request, display
        self.config = workspace.config
        self.seed = self.config.integer("train.seed") if request.seed is None else request.seed
        self.clock = Stopwatch()
        self.run_id = new_run_id()
        self.notes: list[Message] = []
        self.source: str | None = None
        self.subset: Subset | None = None

    def execute(self) -> TrainResult:
        """Everything, in order. What can be wrong by its name is looked at first: it should not cost an hour."""
        source = self._source()
        if self.request.subset is not None:
            self.subset = find_subset(self.catalog, self.request.subset)
        way = self._way()
        self.clock.lap("prepare")
        added = self._add(source)
        self.source = added.source if added else None
        data = load_dataset(self.catalog, self.source)
        dataset_id = self.catalog.freeze_dataset().dataset_id
        ratios = self.request.ratios or way.ratios or self.config.text("split.ratios")
        divided = divide(self.catalog, data, ratios=ratios, seed=self.seed, dataset_id=dataset_id)
        self.notes += divided.notes
        if self.subset is not None:
            narrowed = narrow(self.subset, data, divided)
            data, divided = narrowed.data, narrowed.divided
            self.notes += narrowed.notes
        self.clock.lap("add")
        run = self._begin(way, dataset_id, divided)
        try:
            return self._learn(run, added, way, data, divided)
        except BaseException as error:
            status: Literal["interrupted", "failed"] = (
                "interrupted" if isinstance(error, KeyboardInterrupt | StorageError) else "failed"
            )
            reason = f"{type(error).__name__}: {error}"[:500]
            self.catalog.save_run(replace(run, status=status, stop_reason=reason))
            raise

    def _way(self) -> Way:
        request, grey = self.request, self.subset is not None and self.subset.recipe.grey
        return choose_way(
            self.workspace, recipe=request.recipe, backbone=request.backbone, weights=request.weights,
            epochs=request.epochs, device=request.device, precision=request.precision, head=request.head,
            class_weight=request.class_weight, flips=request.flips, grey=grey, progress=self.display,
        )  # fmt: skip

    def _source(self) -> Source | None:
        if self.request.source is None:
            return None
        return open_source(self.request.source, fmt=self.request.format, labels=self.request.labels)

    def _add(self, source: Source | None) -> Added | None:
        return None if source is None else add(self.workspace, self.catalog, source, progress=self.display)

    def _begin(self, way: Way, dataset_id: str, divided: Divided) -> Run:
        subset = self.subset.reference if self.subset else None
        config = replace(way.config, seed=self.seed, source=self.source, subset=subset)
        taken_up = self._interrupted_run(config, dataset_id, divided.saved_id)
        check_resumed(self.request, taken_up)
        self.run_id = taken_up or self.run_id
        run = Run(
            run_id=self.run_id,
            status="running",
            stop_reason="",
            dataset_id=dataset_id,
            split_id=divided.saved_id,
            config=config,
            git_sha=git_sha(self.workspace.path),
            environment=environment(),
            seconds={},
        )
        self.catalog.save_run(run)
        save_request(self.workspace.runs_path / self.run_id, self.request)
        return run

    def _interrupted_run(self, config: TrainConfig, dataset_id: str, split_id: str) -> str | None:
        """The id of a run that was killed at this very work, or was named: it is taken up instead of begun anew."""
        asked, named = (config, dataset_id, split_id), self.request.resume
        for run in reversed(self.catalog.runs()):
            is_open = run.status == "interrupted" if named is None else run.run_id == named
            if is_open and (run.config, run.dataset_id, run.split_id) == asked:
                return run.run_id
        return None

    def _learn(self, run: Run, added: Added | None, way: Way, data: Dataset, divided: Divided) -> TrainResult:
        work = Work(
            workspace=self.workspace, data=data, divided=divided, run_folder=self.workspace.runs_path / self.run_id,
            seed=self.seed, clock=self.clock, progress=self.display,
        )  # fmt: skip
        learned = way.learn(work)
        material, head = learned.material, learned.head
        self.notes += learned.notes
        reports, predictions = self._judge(material, head)
        self.clock.lap("evaluate")
        bundle, verdict = self._release(run, material, head, reports, predictions)
        self.notes.insert(0, verdict.message)
        opinion = self._second_opinion(run, bundle, material, predictions)
        self.clock.lap("bundle")
        report_path = self._report(run, learned, bundle, reports["test"])
        self.clock.lap("report")
        run = replace(run, status="done", stop_reason=learned.stop_reason, seconds=self.clock.total())
        self.catalog.save_run(run)
        shutil.rmtree(work.run_folder / CHECKPOINT_FOLDER, ignore_errors=True)  # nothing is left to resume
        mirror_run(
            self.workspace, self.catalog, run, bundle, reports=reports, artifacts=(report_path,),
            is_champion=verdict.is_better, curves=learned.curves,
        )  # fmt: skip
        return TrainResult(
            run_id=run.run_id,
            bundle=bundle,
            class_names=data.class_names,
            n={**material.counts(), "rejected": self._n_rejected()},
            val=reports.get("val"),
            test=reports["test"],
            seconds=run.seconds,
            report_path=report_path,
            added=added,
            verdict=verdict,
            notes=(*self.notes, *self._stronger(learned, len(data.samples), run)),
            second_opinion=opinion,
            trained=learned.trained,
        )

    def _stronger(self, learned: Learned, n: int, run: Run) -> tuple[Message, ...]:
        """What a stronger backbone would take; nothing where a network was trained."""
        if learned.trained is not None:
            return ()
        material = learned.material
        return stronger_note(material.backbone, n, run.seconds["embed"], material.embedded.precision)

    def _judge(self, material: Material, head: Head) -> tuple[dict[str, EvalReport], TestPredictions]:
        """Figures on val and test, and the answers on test that later models are compared with."""
        if not material.divided.split.test:
            raise NotEnoughData(
                msg("No photograph is left to test on: each class has only one."),
                msg("A class needs at least two photographs, better twenty."),
            )
        reports: dict[str, EvalReport] = {}
        names = material.data.class_names
        for subset in ("val", "test"):
            X, y = material.part(subset)
            if subset == "val" and len(y) == 0:
                continue
            probs = head.probs(X)
            samples = material.samples(subset)
            leakage = material.divided.leakage
            affected = leakage.test_ids if subset == "test" else leakage.val_ids
            ids = [s.sample_id for s in samples]
            notes = score_leakage(probs, y, sample_ids=ids, affected_ids=affected).messages() if len(y) else ()
            reports[subset] = evaluate(
                probs, y, class_names=names, subset=subset, run_id=self.run_id, seed=self.seed,
                sample_ids=ids, uris=[s.uri for s in samples], notes=notes,
            )  # fmt: skip
            self.notes += [msg("{subset}: {note}", subset=subset, note=note) for note in notes]
        predictions = TestPredictions(tuple(ids), tuple(names[i] for i in y), names, probs)
        save_predictions(self.workspace.runs_path / self.run_id, predictions)
        return reports, predictions

    def _release(
        self, run: Run, material: Material, head: Head, reports: dict[str, EvalReport], predictions: TestPredictions
    ) -> tuple[Bundle, Verdict]:
        registry = Registry(self.workspace, self.catalog)
        name = self.request.name or self._default_name()
        if (done := next((m for m in registry.versions(name) if m.run_id == run.run_id), None)) is not None:
            return self._registered(registry, done)
        verdict = judge(self.workspace, registry.champion(name), predictions, material.ask)
        parity_ids = (material.divided.split.val or material.divided.split.test)[:PARITY_SAMPLES]
        rows = material.rows(parity_ids)
        parity = ParityCheck(material.inputs(rows), head.probs(material.embedded.vectors[rows]))

        def write(path: Path, version: int) -> Bundle:
            facts = BundleFacts(
                name=name, version=version, class_names=material.data.class_names,
                precision=material.embedded.precision, metrics=reports["test"].metrics, run_id=run.run_id,
                dataset_id=run.dataset_id, n=material.counts(),
            )  # fmt: skip
            return write_bundle(path, backbone=material.backbone, head=head, facts=facts, parity=parity)

        return registry.add(name, write, is_better=verdict.is_better), verdict

    def _registered(self, registry: Registry, model: ModelVersion) -> tuple[Bundle, Verdict]:
        """The version that a killed run had registered before it could say so."""
        champion = registry.champion(model.name)
        if champion is None:
            registry.promote(f"{model.name}@{model.version}", reason="first")
        bundle = load_manifest(registry.resolve(f"{model.name}@{model.version}"))
        told = msg("An interrupted run had registered this model already: it is the same.")
        return bundle, Verdict(champion is None or champion.version == model.version, told)

    def _second_opinion(
        self, run: Run, bundle: Bundle, material: Material, predictions: TestPredictions
    ) -> SecondOpinion | None:
        """Whether the decisions since the last run of this name helped."""
        after = After(bundle, run, material.divided.split, predictions)
        asked = second_opinion(self.workspace, self.catalog, after, material.ask)
        self.notes[1:1] = asked.notes
        return asked.opinion

    def _report(self, run: Run, learned: Learned, bundle: Bundle, report: EvalReport) -> Path:
        source, head = self.source, learned.head
        context = ReportContext(
            model_name=bundle.name,
            model_version=bundle.version,
            backbone=bundle.backbone,
            dataset_id=bundle.dataset_id,
            source=source or str(self.workspace.path),
            n=learned.material.counts(),
            seed=self.seed,
            precision=bundle.precision,
            seconds=self.clock.seconds,
            temperature=head.temperature,
            reject_threshold=head.reject_threshold,
            rejected=tuple(self.catalog.rejected(source)),
            notes=tuple(self.notes),
            training=training_curves(learned.trained),
        )
        maps = heatmaps_of_worst(self.workspace, run, bundle, report.worst) if learned.trained else {}
        return write_report(self.workspace.runs_path / self.run_id / "report.html", report, context, heatmaps=maps)

    def _default_name(self) -> str:
        if self.request.source is not None:
            return safe_name(Path(self.request.source).absolute().name)
        if self.request.subset is not None:
            return safe_name(self.request.subset)
        # Without a word, the model that was trained last on more than a subset.
        of_subsets = {run.run_id for run in self.catalog.runs() if run.config.subset is not None}
        models = [model for model in self.catalog.models() if model.run_id not in of_subsets]
        return max(models, key=lambda model: model.made_at).name if models else "classifier"

    def _n_rejected(self) -> int:
        return sum(1 for _ in self.catalog.rejected(self.source))
