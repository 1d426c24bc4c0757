"""What copies that cross train and test are worth: the score with them and without."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mirada.clean.base import Material
from mirada.errors import NotEnoughData
from mirada.evaluate.leakage import find_leakage, score_leakage
from mirada.messages import Message
from mirada.training.head import fit_head
from mirada.types import SPLIT_NAMES, Split


def leakage_notes(material: Material) -> tuple[Message, ...]:
    """Sentences on groups that cross the parts that samples have now; empty where nothing crosses.

    Where there are embeddings and labels, a head fitted on train is scored on test with the copies and without.
    """
    if material.groups is None:
        return ()
    samples = [replace(s, group_id=str(g)) for s, g in zip(material.samples, material.groups.tolist(), strict=True)]
    parts = {name: tuple(s.sample_id for s in samples if s.split == name) for name in SPLIT_NAMES}
    leakage = find_leakage(samples, Split("", "", "given", 0, **parts))
    if not leakage.test_ids:
        return leakage.messages()
    return (*leakage.messages(), *_scored(material, leakage.test_ids))


def _scored(material: Material, affected: frozenset[str]) -> tuple[Message, ...]:
    X = material.embeddings
    if X is None:
        return ()
    usable = (material.y >= 0) & np.isfinite(X).all(axis=1)
    part = np.array([sample.split or "" for sample in material.samples])
    train, test = np.flatnonzero(usable & (part == "train")), np.flatnonzero(usable & (part == "test"))
    try:
        head = fit_head(X[train], material.y[train], n_classes=len(material.class_names), seed=material.seed)
    except NotEnoughData:
        return ()
    ids = [material.samples[row].sample_id for row in test.tolist()]
    return score_leakage(head.probs(X[test]), material.y[test], sample_ids=ids, affected_ids=affected).messages()
