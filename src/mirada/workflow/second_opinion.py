"""Did cleaning help? The model from before the decisions and the one from after, on the same corrected test ids.

Both are scored on the test photographs as the catalogue has them now: labels as decided, dropped ones left out. A
model that learned from wrong labels is thus not rewarded for repeating them, and McNemar's test on the pairs (see
`evaluate.compare`) says "tie" where it is one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mirada.catalog.catalog import Catalog
from mirada.catalog.records import HistoryRow
from mirada.errors import BundleError, DecodeError, NotFound
from mirada.evaluate.compare import Comparison, compare
from mirada.evaluate.intervals import wilson
from mirada.messages import Message, msg, msg_n
from mirada.predict.manifest import load_manifest
from mirada.release.registry import Registry
from mirada.types import Bundle, Metric, Run, Split, TrainConfig
from mirada.workflow.champion import Answers
from mirada.workflow.runs import TestPredictions, load_predictions
from mirada.workspace import Workspace

Outcome = Literal["helped", "hurt", "tie"]
_OUTCOMES: Mapping[str, Outcome] = {"a better": "hurt", "b better": "helped", "tie": "tie"}  # a: before, b: after


@dataclass(frozen=True, slots=True)
class After:
    """The model that was just trained, its run and split, and its answers on test."""

    bundle: Bundle
    run: Run
    split: Split
    predictions: TestPredictions


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two models, and its accuracy on the corrected test photographs."""

    run_id: str
    model: str
    version: int
    dataset_id: str
    accuracy: Metric


@dataclass(frozen=True, slots=True)
class SecondOpinion:
    """Whether cleaning helped. difference: accuracy after less accuracy before, with its interval.

    only_before, only_after: photographs that one model alone gets right. n_decisions: in force since the run before,
    `by_action` of which kind ("undo": of a decision from before it).
    """

    outcome: Outcome
    before: Side
    after: Side
    difference: Metric
    p_value: float
    only_before: int
    only_after: int
    n: int
    n_decisions: int
    by_action: Mapping[str, int]

    def message(self) -> Message:
        """The verdict as a sentence."""
        values: dict[str, object] = {
            "decisions": self.n_decisions, "n": self.n, "p": self.p_value,
            "before": 100 * self.before.accuracy.value, "after": 100 * self.after.accuracy.value,
            "version": self.before.version,
        }  # fmt: skip
        if self.outcome == "helped":
            return msg(
                "Second opinion: cleaning helped. After {decisions} decisions, {after:.1f} % of the same {n} corrected "
                "test photographs are right; version {version}, from before, has {before:.1f} % (p = {p:.2g}).",
                **values,
            )
        if self.outcome == "hurt":
            return msg(
                "Second opinion: cleaning hurt. After {decisions} decisions, {after:.1f} % of the same {n} corrected "
                "test photographs are right; version {version}, from before, has {before:.1f} % (p = {p:.2g}).",
                **values,
            )
        return msg(
            "Second opinion: a tie. After {decisions} decisions, {after:.1f} % of the same {n} corrected test "
            "photographs are right; version {version}, from before, has {before:.1f} % (p = {p:.2g}).",
            **values,
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """The second opinion, or None where there is nothing to compare; what has to be told, its sentence first."""

    opinion: SecondOpinion | None = None
    notes: tuple[Message, ...] = field(default=())


def second_opinion(workspace: Workspace, catalog: Catalog, after: After, answers: Answers) -> Asked:
    """Compare the model just trained with the last one of its name and settings, where decisions lie between them.

    `answers` asks the earlier model about photographs that it was not tested on. Never raises for an earlier model
    that is gone or damaged: it is told.
    """
    before = _before(workspace, catalog, after)
    if before is None or before.dataset_id == after.run.dataset_id:
        return Asked()
    decisions = _decisions_between(catalog, before, after.run.config)
    if not decisions:
        return Asked()
    old_split = catalog.split(before.split_id)
    rows, notes = _comparable(after.predictions, old_split)
    if not rows:
        return Asked(None, tuple(notes))
    test = _only(after.predictions, rows)
    try:
        bundle = _bundle_of(workspace, catalog, after.bundle.name, before)
        probs = _answers(workspace, bundle, test, answers)
    except (NotFound, BundleError, DecodeError) as error:
        told = msg("No second opinion: the model from before cannot be asked. {reason}", reason=error.message)
        return Asked(None, (told,))
    opinion = _opinion(after, before, bundle, test, probs, decisions)
    notes += _added_notes(catalog, after, before, old_split, decisions)
    return Asked(opinion, (opinion.message(), *notes))


def _before(workspace: Workspace, catalog: Catalog, after: After) -> Run | None:
    """The run of the newest earlier version of this name with the same settings, but for seed and source.

    `mirada train photos/`, then decisions, then `mirada train` is the usual way.
    """
    wanted = _settings(after.run.config)
    for model in reversed(Registry(workspace, catalog).versions(after.bundle.name)):
        if model.version >= after.bundle.version:
            continue
        try:
            run = catalog.run(model.run_id)
        except NotFound:
            continue
        if _settings(run.config) == wanted:
            return run
    return None


def _settings(config: TrainConfig) -> TrainConfig:
    return replace(config, seed=0, source=None)


def _decisions_between(catalog: Catalog, before: Run, config: TrainConfig) -> list[HistoryRow]:
    """What was decided since `before` on the photographs of this training, and holds; and undos of what held then."""
    last = catalog.last_decision(before.dataset_id)
    rows = [
        row
        for row in catalog.history(after=last)
        if row.undone_by is None and row.action != "keep" and (row.undoes is None or row.undoes <= last)
    ]
    held = catalog.samples_by_id(row.sample_id for row in rows)  # what cannot be read is not in it: no data changed
    if config.source is not None:
        held = {key: sample for key, sample in held.items() if sample.source == config.source}
    if config.subset is not None:
        mine = set(catalog.subset_ids(config.subset.partition("@")[0]))
        held = {key: sample for key, sample in held.items() if key in mine}
    return [row for row in rows if row.sample_id in held]


def _comparable(test: TestPredictions, old: Split) -> tuple[list[int], list[Message]]:
    """Rows of `test` that the model from before did not learn from, and what to tell of the others."""
    learned = {*old.train, *old.val}
    rows = [row for row, sample_id in enumerate(test.sample_ids) if sample_id not in learned]
    n = len(test.sample_ids) - len(rows)
    if not rows:
        return rows, [msg("No second opinion: the test set was drawn anew, and the model from before learned from it.")]
    if not n:
        return rows, []
    return rows, [
        msg_n(
            "{n} test photograph is not in the second opinion: the model from before learned from it.",
            "{n} test photographs are not in the second opinion: the model from before learned from them.",
            n=n,
        )
    ]


def _only(test: TestPredictions, rows: Sequence[int]) -> TestPredictions:
    ids, labels = (tuple(values[row] for row in rows) for values in (test.sample_ids, test.labels))
    return TestPredictions(ids, labels, test.class_names, test.pred_probs[np.array(rows)])


def _bundle_of(workspace: Workspace, catalog: Catalog, name: str, run: Run) -> Bundle:
    registry = Registry(workspace, catalog)
    model = next(model for model in registry.versions(name) if model.run_id == run.run_id)
    return load_manifest(registry.resolve(f"{model.name}@{model.version}"))


def _answers(workspace: Workspace, bundle: Bundle, test: TestPredictions, answers: Answers) -> NDArray[np.float32]:
    """Probabilities (n, k) of the model from before on `test`, in its own classes: what it said then, else now."""
    try:
        kept = load_predictions(workspace, bundle.run_id)
    except NotFound:
        return answers(bundle, test.sample_ids)
    columns = [kept.class_names.index(name) for name in bundle.class_names]
    said = dict(zip(kept.sample_ids, kept.pred_probs[:, columns], strict=True))
    missing = [sample_id for sample_id in test.sample_ids if sample_id not in said]
    if missing:
        said.update(zip(missing, answers(bundle, missing), strict=True))
    return np.stack([said[sample_id] for sample_id in test.sample_ids])


def _opinion(
    after: After, before: Run, bundle: Bundle, test: TestPredictions, probs: NDArray[np.float32],
    decisions: Sequence[HistoryRow],
) -> SecondOpinion:  # fmt: skip
    # A class that one of the two does not know has probability 0 there: cleaning may make and unmake classes.
    names = sorted({*bundle.class_names, *test.class_names})
    y = np.array([names.index(label) for label in test.labels], dtype=np.int64)
    old, new = _widened(probs, bundle.class_names, names), _widened(test.pred_probs, test.class_names, names)
    made = compare(old, new, y)
    by_action = Counter("undo" if row.undoes is not None else row.action for row in decisions)
    return SecondOpinion(
        outcome=_OUTCOMES[made.verdict],
        before=_side(bundle, before, old, y),
        after=_side(after.bundle, after.run, new, y),
        difference=_reversed(made),
        p_value=made.p_value,
        only_before=made.only_a,
        only_after=made.only_b,
        n=made.n,
        n_decisions=len(decisions),
        by_action=dict(sorted(by_action.items())),
    )


def _widened(probs: NDArray[np.float32], of: Sequence[str], names: Sequence[str]) -> NDArray[np.float32]:
    wide = np.zeros((len(probs), len(names)), np.float32)
    wide[:, [names.index(name) for name in of]] = probs
    return wide


def _side(bundle: Bundle, run: Run, probs: NDArray[np.float32], y: NDArray[np.int64]) -> Side:
    accuracy = wilson(int((probs.argmax(axis=1) == y).sum()), len(y))
    return Side(run.run_id, bundle.name, bundle.version, run.dataset_id, accuracy)


def _reversed(made: Comparison) -> Metric:
    """After less before, of a comparison of before with after."""
    metric = made.difference
    return Metric(0.0 - metric.value, 0.0 - metric.high, 0.0 - metric.low, metric.n)


def _added_notes(
    catalog: Catalog, after: After, before: Run, old: Split, decisions: Sequence[HistoryRow]
) -> list[Message]:
    """Photographs that came later changed the model too: the decisions are not all there is between the two."""
    known = {*old.train, *old.val, *old.test}
    if before.config.source is not None and after.run.config.source is None:  # a split tells of every source
        known &= {sample.sample_id for sample in catalog.samples(source=before.config.source, status=None)}
    known |= {row.sample_id for row in decisions}
    n = len({*after.split.train, *after.split.val} - known)
    if not n:
        return []
    return [
        msg_n(
            "{n} photograph was added in between, so the second opinion is not on the decisions alone.",
            "{n} photographs were added in between, so the second opinion is not on the decisions alone.",
            n=n,
        )
    ]
