"""`mirada clean`: what the checks need is made once, each check scores every sample, issues go to the catalogue."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mirada.catalog.catalog import Catalog
from mirada.catalog.records import Totals
from mirada.clean.base import Check, Ints, Material, Scores, checks
from mirada.clean.builtin import register_builtin
from mirada.clean.store import StoredScores, load_scores, save_scores, state_of
from mirada.embed.backbone import Backbone
from mirada.embed.looks import BOTH, Want
from mirada.engine.base import Progress, Silent
from mirada.errors import NotEnoughData, UsageError
from mirada.messages import Message, msg
from mirada.types import Issue, Precision
from mirada.workflow.backbones import resolve_backbone
from mirada.workflow.leaks import leakage_notes
from mirada.workflow.supply import Supply, all_needs, supply
from mirada.workflow.thresholds import move_threshold
from mirada.workspace import Workspace

NEAR_MISSES = 100  # at least so many samples above a threshold keep their evidence, should it be moved


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanRequest:
    """What `mirada clean` was asked. checks (): all. thresholds: by check, instead of its own."""

    checks: Sequence[str] = ()
    backbone: str | None = None
    weights: Path | None = None
    precision: Precision | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class CheckOutcome:
    """What one check found. seconds: its own work, without what was made for all."""

    name: str
    title: Message
    n_issues: int
    threshold: float
    seconds: float
    notes: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True)
class CleanResult:
    """What came of it. seconds: by stage; what was made for all checks has stages of its own."""

    n_samples: int
    n_rejected: int
    checks: Mapping[str, CheckOutcome]
    seconds: Mapping[str, float]
    notes: tuple[Message, ...]


def clean(workspace: Workspace, request: CleanRequest, *, progress: Progress | None = None) -> CleanResult:
    """Run the checks on all live photographs of the workspace and store what they find.

    Raises UsageError for an unknown check or threshold, NotEnoughData for a workspace without photographs. A
    photograph that vanished or changed is told and left out. Killed at any point, the next call goes on.
    """
    register_builtin()
    chosen = checks(request.checks)
    _check_thresholds(request.thresholds)
    with Catalog.open(workspace.catalog_url) as catalog, workspace.lock("clean"):
        return _Cleaning(workspace, catalog, request, chosen, progress or Silent()).run()


def wanted_looks(names: Sequence[str]) -> list[Want]:
    """What `data.add` should make on the way for these checks (none: all). Raises UsageError for an unknown one."""
    register_builtin()
    needs = all_needs([need for check in checks(names) for need in check.needs])
    return [kind for kind in BOTH if kind in needs]


def _check_thresholds(thresholds: Mapping[str, float]) -> None:
    checks(tuple(thresholds))
    for name, value in thresholds.items():
        if not 0 <= value <= 1:
            raise UsageError(msg("The threshold of {name} must be from 0 to 1; got {value}.", name=name, value=value))


class _Cleaning:
    """One run of `clean`."""

    def __init__(
        self,
        workspace: Workspace,
        catalog: Catalog,
        request: CleanRequest,
        chosen: Sequence[Check],
        display: Progress,
    ) -> None:
        self.workspace, self.catalog, self.request = workspace, catalog, request
        self.chosen, self.display = chosen, display
        self.seed = workspace.config.integer("train.seed") if request.seed is None else request.seed
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()
        self._begun = self._last

    def run(self) -> CleanResult:
        """Supply, score, store, tell."""
        totals = self.catalog.counts()
        if not totals["samples"] and not totals["rejected"]:
            raise NotEnoughData(
                msg("There are no photographs in {path} yet.", path=self.workspace.path),
                msg("Add some first: mirada add PHOTOS"),
            )
        self.state = self._state()
        if (stored := self._stored()) is not None:
            return self._moved(totals, stored)
        made = supply(
            self.workspace, self.catalog, [need for check in self.chosen for need in check.needs],
            backbone=self._backbone, progress=self.display, lap=self._lap, precision=self.request.precision,
            seed=self.seed,
        )  # fmt: skip
        self._keep_groups(made.material)
        outcomes = {check.name: self._run_check(check, made) for check in self.chosen}
        notes = (*made.notes, *leakage_notes(made.material))
        self.seconds["total"] = time.perf_counter() - self._begun
        return CleanResult(totals["samples"], totals["rejected"], outcomes, self.seconds, notes)

    def _backbone(self) -> Backbone:
        request = self.request
        return resolve_backbone(self.workspace, request.backbone, request.weights, progress=self.display)

    def _lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now

    def _keep_groups(self, material: Material) -> None:
        """Tell the catalogue which samples are copies of one photograph: splits and folds keep them together."""
        if material.groups is None:
            return
        wanted = _group_ids(material)
        changed = {s.sample_id: wanted[i] for i, s in enumerate(material.samples) if s.group_id != wanted[i]}
        if changed:
            self.catalog.set_groups(changed)

    def _run_check(self, check: Check, made: Supply) -> CheckOutcome:
        threshold = self.request.thresholds.get(check.name, check.threshold)
        self.display.start(msg("Checking: {title}", title=check.title))
        try:
            found = made.scores.get(check.name) or check.run(made.material)
            _refuse_bad_scores(check, found, made.material)
            issues = list(_issues(check, found, made.material, threshold))
            self.catalog.replace_issues(check.name, issues)
            ids = np.array([sample.sample_id for sample in made.material.samples], dtype=np.str_)
            save_scores(self.workspace.checks_path, check.name, StoredScores(ids, found.values, self.state))
        finally:
            self.display.finish()
        self._lap(check.name)
        n_issues = sum(issue.is_issue for issue in issues)
        return CheckOutcome(check.name, check.title, n_issues, threshold, self.seconds[check.name], found.notes)

    def _state(self) -> str:
        request = self.request
        asked = f"{request.backbone} {request.weights} {request.precision} {self.seed}"
        samples = self.catalog.samples()
        return state_of([asked, *(f"{s.sample_id} {s.content_sha256} {s.label} {s.split}" for s in samples)])

    def _stored(self) -> dict[str, StoredScores] | None:
        """The scores of an earlier run, where thresholds alone are asked for and nothing has changed since."""
        if not self.request.thresholds or {check.name for check in self.chosen} != set(self.request.thresholds):
            return None
        found = {check.name: load_scores(self.workspace.checks_path, check.name) for check in self.chosen}
        kept = {name: scores for name, scores in found.items() if scores is not None and scores.state == self.state}
        return kept if len(kept) == len(found) else None

    def _moved(self, totals: Totals, stored: Mapping[str, StoredScores]) -> CleanResult:
        outcomes = {}
        for check in self.chosen:
            threshold = self.request.thresholds[check.name]
            n_issues = move_threshold(self.catalog, check.name, stored[check.name], threshold)
            self._lap(check.name)
            outcomes[check.name] = CheckOutcome(
                check.name, check.title, n_issues, threshold, self.seconds[check.name]
            )  # fmt: skip
        self.seconds["total"] = time.perf_counter() - self._begun
        return CleanResult(totals["samples"], totals["rejected"], outcomes, self.seconds, ())


def _group_ids(material: Material) -> list[str | None]:
    """A group's id is the least of its members' ids, so that it stays while they stay; None for a single one."""
    numbers: Ints = np.empty(0, np.int64) if material.groups is None else material.groups
    first: dict[int, str] = {}
    sizes: dict[int, int] = {}
    for sample, number in zip(material.samples, numbers.tolist(), strict=True):
        first[number] = min(first.get(number, sample.sample_id), sample.sample_id)
        sizes[number] = sizes.get(number, 0) + 1
    return [first[number] if sizes[number] > 1 else None for number in numbers.tolist()]


def _refuse_bad_scores(check: Check, found: Scores, material: Material) -> None:
    values = np.asarray(found.values)
    inside = np.isnan(values) | ((values >= 0) & (values <= 1))
    if values.shape != (len(material.samples),) or not inside.all():
        raise UsageError(
            msg(
                "The check {name} must give one score from 0 to 1 for each of {n} samples.",
                name=check.name, n=len(material.samples),
            )
        )  # fmt: skip


def _issues(check: Check, found: Scores, material: Material, threshold: float) -> Iterator[Issue]:
    """What is flagged, then as many near misses as keep their evidence; worst first."""
    for refused in found.refused:
        is_issue = refused.score < threshold
        yield Issue(refused.sample_id, check.name, refused.score, is_issue, threshold, refused.evidence)
    values = np.where(np.isnan(found.values), np.inf, found.values)
    n_flagged = int((values < threshold).sum())
    n_kept = min(len(values), n_flagged + max(NEAR_MISSES, n_flagged))
    for row in np.argsort(values, kind="stable")[:n_kept].tolist():
        if not np.isfinite(values[row]) or (values[row] >= 1.0 and values[row] >= threshold):
            return
        score = float(values[row])
        sample_id = material.samples[row].sample_id
        yield Issue(sample_id, check.name, score, score < threshold, threshold, found.evidence(row))
