"""Which labels the photographs themselves contradict: a first look, by probabilities out of fold.

Score: the probability that heads which never saw a photograph (nor its copies) give to its label. This is the
self-confidence of confident learning (Northcutt et al., JAIR 2021).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mirada.catalog.catalog import Catalog
from mirada.engine.base import Progress
from mirada.training.head import out_of_fold_probs
from mirada.types import Bundle, Sample
from mirada.workflow.backbones import bundle_backbone
from mirada.workflow.data import load_dataset
from mirada.workflow.embedding import embed
from mirada.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Doubt:
    """A label that looks wrong: the probability of it out of fold (0–1), and the class that looks right."""

    sample: Sample
    score: float
    suggested: str


def label_doubts(
    workspace: Workspace, catalog: Catalog, bundle: Bundle, *, source: str | None, progress: Progress, seed: int = 0
) -> list[Doubt]:
    """Every labelled sample of `source` that another class fits better, the most doubtful label first."""
    data = load_dataset(catalog, source)
    embedded = embed(workspace, data.samples, bundle_backbone(bundle), progress=progress, precision=bundle.precision)
    rows, of_all = np.flatnonzero(embedded.ok), data.groups
    groups = [of_all[i] for i in rows]
    y = data.y[rows]
    probs = out_of_fold_probs(
        embedded.vectors[rows], y, groups=groups, seed=seed, n_classes=len(data.class_names)
    ).probs
    own, best = probs[np.arange(len(y)), y], probs.argmax(axis=1)
    order = [i for i in np.argsort(own, kind="stable") if best[i] != y[i]]
    return [Doubt(data.samples[rows[i]], float(own[i]), data.class_names[best[i]]) for i in order]
