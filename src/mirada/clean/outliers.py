"""The check `outlier`: photographs that belong to none of the classes.

Two things make a photograph odd. Its nearest neighbours bear labels at odds with each other (entropy of their
vote): what is relevant to no class lies between all of them. And it is farther from its neighbours than is usual
in the class they vote for, which takes account of classes that are wider than others (as the local outlier factor
does: Breunig et al., SIGMOD 2000). On irrelevant photographs mixed into sports, objects, food and scenes the vote
ranked better than the entropy of out-of-fold probabilities or distance alone; distance within the class added to it.
Without labels, distance alone decides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from mirada.clean.base import Evidence, Ints, Material, Need, Scores, register
from mirada.clean.votes import MAX_NEIGHBOURS, Values, centre_and_spread, isolation, label_votes, near_others
from mirada.messages import Message, msg

DISTANCE = 0.1  # weight of one robust standard deviation beside a vote of full entropy, 1
MAX_ISOLATION = 4.0
ALONE = 6.0  # where nobody votes: robust standard deviations that count as much as a vote of full entropy
CLASS_PRIOR = 20  # a class's own distances count as much as everybody's when it has so many photographs
LEAST_ODD = 0.55
SPREADS = 1.75
STEEP = 4.0
ENOUGH_VOTES = 3
ENOUGH_SAMPLES = 5
N_SHOWN = 5
TITLE = msg("Photograph that belongs to no class")


@dataclass(frozen=True, slots=True)
class OutlierCheck:
    """Photographs that are like none of the classes."""

    name: str = "outlier"
    title: Message = TITLE
    needs: frozenset[Need] = frozenset({"neighbours", "groups"})
    threshold: float = 0.5

    def run(self, material: Material) -> Scores:
        """Score every sample; NaN for one without an embedding, or all of whose neighbours are copies of it."""
        near = near_others(material)
        closeness = near.closeness(MAX_NEIGHBOURS)
        usual, _ = centre_and_spread(closeness)
        if np.isfinite(closeness).sum() < ENOUGH_SAMPLES:
            note = msg("Too few different photographs to tell which of them belong to no class.")
            return Scores(np.full(len(closeness), np.nan, np.float32), lambda _row: {}, notes=(note,))
        votes, n_votes = label_votes(near, material.y, max(1, len(material.class_names)))
        odd = oddness(closeness, votes, n_votes)

        def evidence(row: int) -> Evidence:
            rows = [i for i in range(near.rows.shape[1]) if near.rows[row, i] >= 0][:N_SHOWN]
            shown = [(material.samples[near.rows[row, i]], float(near.similarity[row, i])) for i in rows]
            return {
                "neighbours": [
                    {"sample_id": sample.sample_id, "similarity": round(similarity, 4), "label": sample.label}
                    for sample, similarity in shown
                ],
                "similarity": round(float(closeness[row]), 4) if rows else None,
                "usual_similarity": round(usual, 4),
            }

        return Scores(_scores(odd), evidence)


def register_outliers() -> None:
    """Register the check `outlier`."""
    register(OutlierCheck())


def oddness(closeness: Values, votes: Values, n_votes: Ints) -> Values:
    """How odd each sample is, about -0.1 to 1.4; NaN where closeness is.

    closeness (n,): mean similarity to the neighbours. votes (n, k), n_votes (n,): as `label_votes` gives them.
    """
    n_classes = int((votes.max(axis=0) > 2.0 / votes.shape[1] / MAX_NEIGHBOURS).sum()) if len(votes) else 0
    voted = (n_votes >= ENOUGH_VOTES) & (n_classes > 1)
    alone = np.clip(isolation(closeness), -1.0, ALONE + 2.0) / ALONE
    full = np.log(min(max(n_classes, 2), MAX_NEIGHBOURS))
    entropy = -xlogy(votes, votes).sum(axis=1) / full
    distance = np.clip(_isolation_within(closeness, votes.argmax(axis=1)), -1.0, MAX_ISOLATION)
    return np.asarray(np.where(voted, entropy + DISTANCE * distance, alone))


def _isolation_within(closeness: Values, classes: Ints) -> Values:
    """`isolation` by the centre and spread of each class, leaning on everybody's as far as the class is small."""
    centre, spread = centre_and_spread(closeness)
    centres, spreads = np.full(int(classes.max()) + 1, centre), np.full(int(classes.max()) + 1, spread)
    for c in np.unique(classes[np.isfinite(closeness)]).tolist():
        members = closeness[(classes == c) & np.isfinite(closeness)]
        own = len(members) / (len(members) + CLASS_PRIOR)
        of_class = centre_and_spread(members)
        centres[c] += own * (of_class[0] - centre)
        spreads[c] += own * (of_class[1] - spread)
    wide = np.maximum(spreads, 1e-6)[classes]
    return np.where(spreads[classes] > 1e-6, (centres[classes] - closeness) / wide, closeness * 0.0)


def _scores(odd: Values) -> NDArray[np.float32]:
    """0.5 where oddness stands out of this data set by SPREADS standard deviations, and from LEAST_ODD at least."""
    known = odd[np.isfinite(odd)]
    limit = max(LEAST_ODD, float(known.mean() + SPREADS * known.std()))
    return np.asarray(1.0 / (1.0 + (np.maximum(odd, 0.0) / limit) ** STEEP), dtype=np.float32)
