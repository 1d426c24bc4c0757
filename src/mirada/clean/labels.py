"""The check `label`: photographs whose label is probably wrong.

Confident learning (Northcutt, Jiang and Chuang, JAIR 70, 2021) asks whether a classifier that has not seen a
photograph believes another class more than the given one. The queue is ordered by four things, in logarithms:
the odds of the given label against the likeliest other; how sure that other is; the same odds in the vote of the
nearest photographs; and, against it, how far the photograph is from all others: what is like nothing is an
outlier, not a wrong label. The weights were chosen on flipped labels of sports, objects, food and scenes, balanced
and not, with and without irrelevant photographs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mirada.clean.base import Evidence, Ints, Material, Need, Scores, register
from mirada.clean.votes import Near, Values, isolation, label_votes, near_others
from mirada.messages import Message, msg

SURENESS, VOTE, LONELINESS = 0.5, 0.25, 0.5  # weights beside the odds, which have 1
MAX_ISOLATION = 6.0
EVEN = -1.0  # log odds that score 0.5
SLOPE = 3.0
LEAST = 1e-6
TITLE = msg("Label that is probably wrong")
ENOUGH_GROUPS = 5
N_CLOSE, N_WITNESSES = 10, 5


@dataclass(frozen=True, slots=True, eq=False)
class LabelJudgement:
    """scores: float32 (n,), NaN where a label cannot be judged; suggested (n,): the likeliest other class, or -1."""

    scores: NDArray[np.float32]
    suggested: Ints
    notes: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelCheck:
    """Labels that the photographs themselves speak against."""

    name: str = "label"
    title: Message = TITLE
    needs: frozenset[Need] = frozenset({"neighbours", "groups", "pred_probs"})
    threshold: float = 0.5

    def run(self, material: Material) -> Scores:
        """Score every labelled sample; NaN for those without a label, an embedding or others of their class."""
        near = near_others(material)
        found = judge_labels(material, near)
        probs = _probs(material)

        def evidence(row: int) -> Evidence:
            given, other = int(material.y[row]), int(found.suggested[row])
            if other < 0:
                return {"label": material.samples[row].label}
            witnesses = [i for i in near.rows[row].tolist() if i >= 0 and material.y[i] == other][:N_WITNESSES]
            return {
                "label": material.class_names[given],
                "suggested": material.class_names[other],
                "p_label": round(float(probs[row, given]), 4),
                "p_suggested": round(float(probs[row, other]), 4),
                "neighbours": [material.samples[i].sample_id for i in witnesses],
            }

        return Scores(found.scores, evidence, notes=found.notes)


def register_labels() -> None:
    """Register the check `label`."""
    register(LabelCheck())


def judge_labels(material: Material, near: Near) -> LabelJudgement:
    """Scores of all labels of `material`, whose neighbours that are no copies are `near`."""
    probs, y = _probs(material), material.y
    n, k = len(y), len(material.class_names)
    scores, suggested = np.full(n, np.nan, np.float32), np.full(n, -1, np.int64)
    n_groups = _groups_per_class(material, k)
    if np.count_nonzero(n_groups) < 2:
        return LabelJudgement(scores, suggested, (_too_few_classes(int(np.count_nonzero(n_groups))),))
    rows = np.flatnonzero(_judgeable(material) & (n_groups[np.maximum(y, 0)] >= 2))
    votes, _ = label_votes(near, y, k)
    given, p, v = y[rows], probs[rows].astype(np.float64), votes[rows]
    at = np.arange(len(rows))
    others = np.where(n_groups > 0, p, -1.0)
    others[at, given] = -1.0
    other = others.argmax(axis=1)
    lonely = np.clip(np.nan_to_num(isolation(near.closeness(N_CLOSE)))[rows], 0.0, MAX_ISOLATION)
    sure = np.log(p[at, other] + LEAST)
    odds = np.log(p[at, given] + LEAST) - sure
    of_votes = np.log(v[at, given]) - np.log(v[at, other])
    evidence = odds - SURENESS * sure + VOTE * of_votes + LONELINESS * lonely
    scores[rows] = _squashed((evidence - EVEN) / SLOPE)
    suggested[rows] = other
    return LabelJudgement(scores, suggested, _notes(material.class_names, n_groups))


def _probs(material: Material) -> NDArray[np.float32]:
    if material.pred_probs is None:
        raise ValueError("material.pred_probs is missing; a check that uses it names it in `needs`")
    return material.pred_probs


def _judgeable(material: Material) -> NDArray[np.bool_]:
    return np.asarray((material.y >= 0) & np.isfinite(_probs(material)).all(axis=1))


def _groups_per_class(material: Material, k: int) -> Ints:
    """How many different photographs each class has, copies counted once."""
    rows = np.flatnonzero(_judgeable(material))
    groups = np.arange(len(material.y)) if material.groups is None else material.groups
    _, dense = np.unique(groups[rows], return_inverse=True)
    different = np.unique(dense * max(k, 1) + material.y[rows])
    return np.bincount(different % max(k, 1), minlength=k).astype(np.int64)


def _squashed(values: Values) -> NDArray[np.float32]:
    return (1.0 / (1.0 + np.exp(-np.clip(values, -50.0, 50.0)))).astype(np.float32)


def _too_few_classes(n: int) -> Message:
    if n == 0:
        return msg("Labels were not judged: no photograph has both a label and predictions to compare it with.")
    return msg("Labels were not judged: all labelled photographs are of one class.")


def _notes(names: tuple[str, ...], n_groups: Ints) -> tuple[Message, ...]:
    """What classes were too small to judge, or all but."""
    alone = [name for name, n in zip(names, n_groups.tolist(), strict=True) if n == 1]
    few = [name for name, n in zip(names, n_groups.tolist(), strict=True) if 1 < n < ENOUGH_GROUPS]
    notes: list[Message] = []
    if alone:
        notes.append(
            msg(
                "Labels were not judged in classes that have one photograph: {names}. Add more of them.",
                names=", ".join(alone),
            )
        )
    if few:
        notes.append(
            msg(
                "Classes of fewer than {n} photographs are judged on very few photographs: {names}.",
                n=ENOUGH_GROUPS,
                names=", ".join(few),
            )
        )
    return tuple(notes)
