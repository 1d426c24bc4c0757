"""The check `outlier`: what belongs to no class, with and without labels; copies; bad input."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from mirada.clean.base import Material
from mirada.clean.neighbours import nearest
from mirada.clean.outliers import OutlierCheck
from mirada.types import Sample

NAMES = ("bar", "cup", "dish", "menu")
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def material(X: Floats, y: Ints, groups: Ints | None = None) -> Material:
    """As the workflow makes it."""
    samples = [
        Sample(f"s{i}", "", f"{i}.jpg", "here", 9, 9, "RGB", "JPEG", 9, label=NAMES[c] if c >= 0 else None)
        for i, c in enumerate(y.tolist())
    ]
    groups = np.arange(len(y)) if groups is None else groups
    return Material(samples, NAMES, y, embeddings=X, neighbours=nearest(X, 20), groups=groups)


def planted(seed: int = 0, n_odd: int = 12) -> tuple[Floats, Ints, NDArray[np.bool_]]:
    """Four tight classes of unequal sizes, and photographs that are like none of them, with labels at random."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(4), (120, 60, 30, 15))
    centres = rng.normal(size=(4, 24)) * 2
    X = centres[y] + rng.normal(size=(len(y), 24))
    odd = rng.normal(size=(n_odd, 24)) * 2.2
    labels = np.concatenate([y, rng.integers(0, 4, n_odd)])
    return np.concatenate([X, odd]).astype(np.float32), labels, np.arange(len(labels)) >= len(y)


@pytest.mark.parametrize("kind", ["labels", "one class", "none", "half"])
def test_what_is_like_nothing_comes_first(kind: str) -> None:
    X, y, odd = planted()
    if kind in ("one class", "none"):
        y = np.full_like(y, 0 if kind == "one class" else -1)
    if kind == "half":
        y[::2] = -1
    check = OutlierCheck()
    found = check.run(material(X, y)).values
    assert found.dtype == np.float32
    assert ((found >= 0) & (found <= 1)).all()
    assert odd[np.argsort(found, kind="stable")[:15]].sum() >= 11
    flagged = found < check.threshold
    assert odd[flagged].sum() >= 9
    assert flagged.sum() <= 22


def test_few_are_flagged_where_nothing_is_odd() -> None:
    X, y, odd = planted()
    found = OutlierCheck().run(material(X[~odd], y[~odd])).values
    assert (found < OutlierCheck().threshold).mean() < 0.05


def test_copies_of_an_outlier_do_not_vouch_for_each_other() -> None:
    X, y, odd = planted()
    rows = np.flatnonzero(odd)
    copies = np.repeat(rows, 3)
    X2, y2 = np.concatenate([X, X[copies]]), np.concatenate([y, y[copies]])
    groups = np.concatenate([np.arange(len(y)), copies])
    apart = OutlierCheck().run(material(X2, y2, groups)).values
    hidden = OutlierCheck().run(material(X2, y2)).values
    assert np.allclose(apart[len(y) :], apart[copies])
    assert (apart[rows] < 0.5).sum() > (hidden[rows] < 0.5).sum()


def test_evidence_names_neighbours_with_similarity_and_label() -> None:
    X, y, odd = planted()
    found = OutlierCheck().run(material(X, y))
    told = found.evidence(int(np.flatnonzero(odd)[0]))
    neighbours = told["neighbours"]
    assert isinstance(neighbours, list)
    assert len(neighbours) == 5
    first = neighbours[0]
    assert set(first) == {"sample_id", "similarity", "label"}
    assert first["label"] == NAMES[y[int(first["sample_id"][1:])]]
    assert [n["similarity"] for n in neighbours] == sorted((n["similarity"] for n in neighbours), reverse=True)
    assert float(str(told["similarity"])) < float(str(told["usual_similarity"]))
    json.dumps(told)


def test_no_embedding_no_score_and_nobodys_neighbour() -> None:
    X, y, _ = planted()
    X[3] = np.nan
    found = OutlierCheck().run(material(X, y))
    assert np.flatnonzero(np.isnan(found.values)).tolist() == [3]
    assert found.evidence(3)["neighbours"] == []
    json.dumps(found.evidence(3), allow_nan=False)


@pytest.mark.parametrize("n", [0, 1, 2, 4])
def test_too_few_are_told(n: int) -> None:
    X, y, _ = planted()
    found = OutlierCheck().run(material(X[:n], y[:n]))
    assert np.isnan(found.values).all()
    assert len(found.values) == n
    assert "Too few" in found.notes[0].render("en")
    assert found.evidence(0) == {}


def test_identical_photographs_are_no_outliers() -> None:
    y = np.repeat(np.arange(4), 10)
    found = OutlierCheck().run(material(np.ones((40, 8), np.float32), y)).values
    assert (found >= OutlierCheck().threshold - 1e-6).all()


def test_copies_of_one_photograph_alone_are_told() -> None:
    y = np.zeros(30, np.int64)
    found = OutlierCheck().run(material(np.ones((30, 8), np.float32), y, np.zeros(30, np.int64)))
    assert np.isnan(found.values).all()
    assert found.notes
