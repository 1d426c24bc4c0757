"""Train, val and test of one training: drawn, or kept from what is given and what was drawn before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from mirada.catalog.catalog import Catalog
from mirada.evaluate.leakage import Leakage, find_leakage
from mirada.messages import Message
from mirada.split import make_split, parse_ratios
from mirada.types import SPLIT_NAMES, Split
from mirada.workflow.data import Dataset


@dataclass(frozen=True, slots=True)
class Divided:
    """The split of a training's own samples, and what crosses it.

    `saved_id` names the split in the catalogue, which tells the place of samples of other sources too. `is_kept`:
    there was a split before, so only later samples were placed.
    """

    split: Split
    saved_id: str
    leakage: Leakage
    left_out: Mapping[str, str]
    notes: tuple[Message, ...]
    is_kept: bool = False

    def counts(self) -> dict[str, int]:
        """Photographs in each part."""
        return {name: len(getattr(self.split, name)) for name in SPLIT_NAMES}


def divide(
    catalog: Catalog, data: Dataset, *, ratios: str, seed: int, dataset_id: str, new_test: bool = False
) -> Divided:
    """Divide `data`, keeping what earlier splits and the sources say; the catalogue remembers it.

    `new_test` forgets the earlier splits: figures before and after can then not be compared.
    """
    latest = catalog.latest_split()
    mine = set(data.ids)
    known = latest is not None and any(mine.intersection(getattr(latest, name)) for name in SPLIT_NAMES)
    previous = (latest,) if latest is not None and known and not new_test else ()
    samples = data.samples if previous or not new_test else tuple(replace(s, split=None) for s in data.samples)
    made = make_split(
        samples,
        ratios=parse_ratios(ratios),
        seed=seed,
        previous=previous,
        strategy="stratified" if previous and previous[0].strategy == "stratified" else "auto",
        dataset_id=dataset_id,
    )
    saved = _merged(latest, made.split, mine)
    catalog.save_split(saved)
    leakage = find_leakage(data.samples, made.split)
    notes = (*made.notes, *leakage.messages())
    return Divided(made.split, saved.split_id, leakage, made.left_out, notes, is_kept=bool(previous))


def _merged(latest: Split | None, made: Split, mine: set[str]) -> Split:
    """`made`, and the places of samples of other sources as they were: one split tells the whole catalogue."""
    if latest is None or not any(set(getattr(latest, name)) - mine for name in SPLIT_NAMES):
        return made
    parts = {name: tuple(sorted({*getattr(made, name), *(set(getattr(latest, name)) - mine)})) for name in SPLIT_NAMES}
    split_id = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]
    return replace(made, split_id=split_id, train=parts["train"], val=parts["val"], test=parts["test"])
