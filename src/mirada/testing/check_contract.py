"""The contract of a check, for people who add one: what it names, what it returns, and what it must survive."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirada.clean.base import NEEDS, Check, Floats, Material, Scores
from mirada.clean.duplicates import NearDuplicate
from mirada.clean.neighbours import nearest
from mirada.imaging.lookalike import describe
from mirada.imaging.statistics import measure
from mirada.intake import sample_id
from mirada.messages import Message
from mirada.testing.contracts import ContractError
from mirada.testing.quick import photo, pixels
from mirada.types import Rejected, Sample
from mirada.workflow.supply import out_of_fold

SIDE, PER_CLASS, DIM = 64, 8, 12


def check_check(check: Check) -> None:
    """A check scores every sample from 0 to 1, alike each time, whatever the photographs are like.

    It is run on an ordinary set, on one photograph, on none, on copies of one, without labels, with one class
    alone, and with statistics and embeddings missing. Raises ContractError with a sentence.
    """
    name = check.name
    _require(isinstance(name, str) and name.isidentifier(), f"A check's name is one word, got {name!r}.")
    _require(isinstance(check.title, Message), f"{name}: the title is a Message, made by msg().")
    unknown = set(check.needs) - set(NEEDS)
    _require(not unknown, f"{name}: it needs {sorted(unknown)}, which nobody supplies; there are {NEEDS}.")
    _require(0 < check.threshold <= 1, f"{name}: the threshold is above 0 and at most 1, got {check.threshold}.")
    for what, material in materials().items():
        _check_scores(check, _only(material, check), what)


def materials() -> dict[str, Material]:
    """Small sets that every check must bear, by what is particular about them."""
    ordinary = make_material([("a", 1), ("b", 2), ("c", 3)])
    n = len(ordinary.y)
    none = replace(
        ordinary, samples=(), y=ordinary.y[:0], stats=_rows(ordinary.stats, 0), lookalike=_rows(ordinary.lookalike, 0),
        embeddings=_rows(ordinary.embeddings, 0), groups=_rows(ordinary.groups, 0),
        neighbours=nearest(_rows(ordinary.embeddings, 0), 5), pred_probs=_rows(ordinary.pred_probs, 0),
    )  # fmt: skip
    gaps = replace(
        ordinary, stats=_with_gaps(_rows(ordinary.stats, n)), embeddings=_with_gaps(_rows(ordinary.embeddings, n))
    )
    gaps = replace(gaps, neighbours=nearest(_rows(gaps.embeddings, n), 5))
    return {
        "an ordinary set": ordinary,
        "no photograph": none,
        "one photograph": make_material([("a", 1)], per_class=1),
        "copies of one photograph": make_material([("a", 1), ("b", 2)], same=True),
        "no labels": replace(ordinary, y=np.full(len(ordinary.y), -1, np.int64), class_names=()),
        "one class": make_material([("a", 1)]),
        "photographs that could not be read": gaps,
    }


def make_material(classes: list[tuple[str, int]], *, per_class: int = PER_CLASS, same: bool = False) -> Material:
    """Drawn photographs, `per_class` of each (label, kind), with everything a check may need; real measures."""
    rng = np.random.default_rng(7)
    images = [
        pixels(0 if same else i, (SIDE, SIDE), look=0 if same else kind)
        for _, kind in classes
        for i in range(per_class)
    ]
    labels = [label for label, _ in classes for _ in range(per_class)]
    data = [
        photo(0 if same else i, (SIDE, SIDE), look=0 if same else kind) for _, kind in classes for i in range(per_class)
    ]
    names = tuple(sorted(set(labels)))
    y = np.array([names.index(label) for label in labels], np.int64)
    samples = tuple(_sample(i, label, same=same) for i, label in enumerate(labels))
    centres = rng.normal(size=(len(names), DIM)).astype(np.float32) * 3
    vectors = np.ones((len(y), DIM), np.float32) if same else centres[y] + rng.normal(size=(len(y), DIM))
    made = Material(
        samples, names, y, stats=np.stack([measure(image) for image in images]),
        lookalike=np.stack([describe(image) for image in images]), embeddings=vectors.astype(np.float32),
        rejected=(Rejected("/p/broken.jpg", "/p", "truncated", "ends early"),),
        read=lambda sample: data[_number(sample)],
    )  # fmt: skip
    made = replace(made, groups=NearDuplicate().run(made).found.groups)
    made = replace(made, neighbours=nearest(vectors.astype(np.float32), 5))
    return replace(made, pred_probs=out_of_fold(made)[0])


def _number(sample: Sample) -> int:
    return int(sample.uri.rpartition("/")[2].partition(".")[0])


def _sample(i: int, label: str, *, same: bool) -> Sample:
    uri, split = f"/p/{i}.jpg", ("train", "val", "test")[i % 3]
    content = f"{0 if same else i:064x}"
    return Sample(
        sample_id("/p", uri), content, uri, "/p", SIDE, SIDE, "RGB", "JPEG", 1000, label, "source",
        split=split,  # type: ignore[arg-type]
    )  # fmt: skip


def _only(material: Material, check: Check) -> Material:
    """What the check did not ask for is not there."""
    fields = ("stats", "lookalike", "embeddings", "neighbours", "groups", "pred_probs")
    hidden: dict[str, object] = {name: None for name in fields if name not in check.needs}
    if "rejected" not in check.needs:
        hidden["rejected"] = ()
    return replace(material, **hidden)  # type: ignore[arg-type]


def _check_scores(check: Check, material: Material, what: str) -> None:
    name, n = check.name, len(material.samples)
    found, again = check.run(material), check.run(material)
    _require(isinstance(found, Scores), f"{name}: run() returns Scores, got {type(found).__name__}.")
    values = np.asarray(found.values)
    _require(values.shape == (n,), f"{name}, {what}: {n} scores expected, got the shape {values.shape}.")
    inside = np.isnan(values) | ((values >= 0) & (values <= 1))
    _require(bool(inside.all()), f"{name}, {what}: scores are from 0 to 1, or NaN.")
    _require(np.array_equal(values, again.values, equal_nan=True), f"{name}, {what}: other scores the second time.")
    _require(all(isinstance(note, Message) for note in found.notes), f"{name}, {what}: notes are Messages.")
    for evidence in [found.evidence(row) for row in range(n)] + [refused.evidence for refused in found.refused]:
        try:
            json.dumps(dict(evidence), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ContractError(f"{name}, {what}: evidence is plain JSON, got {evidence!r}.") from error


def _rows(values: NDArray[Any] | None, n: int) -> NDArray[Any]:
    return np.asarray(values)[:n]


def _with_gaps(values: Floats) -> Floats:
    made = values.copy()
    made[::3] = np.nan
    return made


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise ContractError(sentence)
