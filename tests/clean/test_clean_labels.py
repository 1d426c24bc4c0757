"""The check `label`: order, copies, outliers, small classes, bad input; beside cleanlab."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from mirada.clean.base import Material, Neighbours
from mirada.clean.labels import LabelCheck, judge_labels
from mirada.clean.votes import label_votes, near_others
from mirada.training.head import out_of_fold_probs
from mirada.types import Sample

NAMES = ("bar", "cup", "dish", "menu")


def exact_neighbours(X: NDArray[np.float32], k: int = 20) -> Neighbours:
    """Neighbours from all products; NaN rows have none."""
    ok = np.isfinite(X).all(axis=1)
    unit = np.where(ok[:, None], X, 0) / np.maximum(np.linalg.norm(np.where(ok[:, None], X, 0), axis=1), 1e-9)[:, None]
    products = unit @ unit.T
    np.fill_diagonal(products, -9)
    products[:, ~ok] = products[~ok] = -9
    rows = np.argsort(-products, axis=1, kind="stable")[:, :k]
    similarity = np.take_along_axis(products, rows, 1)
    there = similarity > -2
    return Neighbours(np.where(there, rows, -1), np.where(there, similarity, -1).astype(np.float32))


def material(X: NDArray[np.float32], y: NDArray[np.int64], groups: NDArray[np.int64] | None = None) -> Material:
    """As the workflow makes it, for classes NAMES."""
    groups = np.arange(len(y)) if groups is None else groups
    probs = np.full((len(y), len(NAMES)), np.nan, np.float32)
    rows = np.flatnonzero((y >= 0) & np.isfinite(X).all(axis=1))
    if len(np.unique(y[rows])) > 1:
        probs[rows] = out_of_fold_probs(X[rows], y[rows], groups=groups[rows], n_classes=len(NAMES)).probs
    samples = [
        Sample(f"s{i}", "", f"{i}.jpg", "here", 9, 9, "RGB", "JPEG", 9, label=NAMES[c] if c >= 0 else None)
        for i, c in enumerate(y.tolist())
    ]
    return Material(samples, NAMES, y, embeddings=X, neighbours=exact_neighbours(X), groups=groups, pred_probs=probs)


def cloud(
    seed: int = 0, sizes: tuple[int, ...] = (120, 60, 30, 12), d: int = 24
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Embeddings of four classes that overlap a little, of unequal sizes."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(len(sizes)), sizes)
    centres = rng.normal(size=(len(sizes), d)) * 1.1
    return (centres[y] + rng.normal(size=(len(y), d))).astype(np.float32), y


def flip(y: NDArray[np.int64], n: int, seed: int = 1) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    rows = rng.choice(np.flatnonzero(y < 3), n, replace=False)
    out = y.copy()
    out[rows] = (y[rows] + rng.integers(1, 3, n)) % 3
    return out, rows


def test_flipped_labels_come_first_with_the_right_suggestion_and_witnesses() -> None:
    X, y = cloud()
    given, rows = flip(y, 10)
    made = material(X, given)
    found = LabelCheck().run(made)
    first = np.argsort(found.values)[:12]
    assert set(rows) <= set(first)
    assert found.values.dtype == np.float32
    assert ((found.values >= 0) & (found.values <= 1)).all()
    assert (found.values[rows] < LabelCheck().threshold).all()
    assert (np.delete(found.values, rows) < LabelCheck().threshold).mean() < 0.05
    told = [found.evidence(int(row)) for row in rows]
    assert [t["suggested"] for t in told] == [NAMES[c] for c in y[rows]]
    assert [t["label"] for t in told] == [NAMES[c] for c in given[rows]]
    assert all(float(str(t["p_suggested"])) > float(str(t["p_label"])) for t in told)
    for t in told:
        witnesses = t["neighbours"]
        assert isinstance(witnesses, list)
        assert witnesses
        assert all(given[int(w[1:])] == NAMES.index(str(t["suggested"])) for w in witnesses)
    json.dumps(told)
    assert not found.notes


def test_the_same_material_gives_the_same_scores() -> None:
    X, y = cloud()
    made = material(X, flip(y, 8)[0])
    assert np.array_equal(LabelCheck().run(made).values, LabelCheck().run(made).values)


def test_a_copy_does_not_vouch_for_a_wrong_label() -> None:
    X, y = cloud()
    given, rows = flip(y, 8)
    copies = np.repeat(rows, 6)
    X2, y2 = np.concatenate([X, X[copies]]), np.concatenate([given, given[copies]])
    groups = np.concatenate([np.arange(len(y)), copies])
    near = near_others(material(X2, y2, groups))
    assert all(groups[i] != groups[row] for row in rows for i in near.rows[row] if i >= 0)
    found = LabelCheck().run(material(X2, y2, groups)).values
    assert np.allclose(found[len(y) :], found[copies])
    assert (found[rows] < 0.5).sum() >= 7


def test_outliers_do_not_crowd_the_queue() -> None:
    X, y = cloud()
    given, rows = flip(y, 8)
    rng = np.random.default_rng(5)
    odd = rng.normal(size=(12, X.shape[1])).astype(np.float32) * 3
    labels = np.concatenate([given, rng.integers(0, 3, len(odd))])
    made = material(np.concatenate([X, odd]), labels)
    confidence = np.asarray(made.pred_probs)[np.arange(len(labels)), labels]
    queue, plain = np.argsort(LabelCheck().run(made).values)[:10], np.argsort(confidence)[:10]
    assert set(rows) <= set(queue)
    assert (queue >= len(y)).sum() < (plain >= len(y)).sum()


def test_a_label_is_not_judged_without_an_embedding_a_label_or_others_of_its_class() -> None:
    X, y = cloud(sizes=(40, 30, 3, 1))
    X[5] = np.nan
    y[6] = -1
    found = LabelCheck().run(material(X, y))
    assert np.flatnonzero(np.isnan(found.values)).tolist() == [5, 6, len(y) - 1]
    told = " ".join(note.render("en") for note in found.notes)
    assert "menu" in told.split(".")[0]
    assert "one photograph" in told
    assert "fewer than 5 photographs" in told
    assert "dish" in told
    assert found.evidence(6) == {"label": None}


def test_copies_do_not_make_a_class_big_enough() -> None:
    X, y = cloud(sizes=(40, 30, 1, 1))
    X, y = np.concatenate([X, X[[70, 70]]]), np.concatenate([y, [2, 2]])
    groups = np.concatenate([np.arange(72), [70, 70]])
    values = LabelCheck().run(material(X, y, groups)).values
    assert np.isnan(values[[70, 71, 72, 73]]).all()
    assert np.isfinite(values[:70]).all()


@pytest.mark.parametrize(("label", "words"), [(0, "of one class"), (-1, "no photograph has both")])
def test_one_class_and_no_labels_are_told(label: int, words: str) -> None:
    X, y = cloud()
    made = material(X, np.full_like(y, label))
    if label == 0:
        made = replace(made, pred_probs=np.eye(4, dtype=np.float32)[made.y])
    found = LabelCheck().run(made)
    assert np.isnan(found.values).all()
    assert words in found.notes[0].render("en")


def test_identical_photographs_get_scores_and_no_warning() -> None:
    y = np.repeat(np.arange(4), 10)
    found = LabelCheck().run(material(np.ones((40, 8), np.float32), y))
    assert np.isfinite(found.values).all()


def test_votes_are_shares_of_the_labelled_neighbours() -> None:
    X, y = cloud()
    y[::2] = -1
    near = near_others(material(X, y))
    votes, n = label_votes(near, y, 4)
    assert np.allclose(votes.sum(axis=1), 1)
    assert n.max() < 20
    row = 0
    labelled = [i for i in near.rows[row] if y[i] >= 0]
    assert n[row] == len(labelled)
    assert votes[row].argmax() in y[labelled]


def test_ranks_at_least_as_well_as_cleanlab_on_flips() -> None:
    rank = pytest.importorskip("cleanlab.rank")
    ours, theirs = [], []
    for seed in range(5):
        X, y = cloud(seed)
        given, rows = flip(y, 12, seed)
        made = material(X, given)
        wrong = np.isin(np.arange(len(y)), rows)
        ours.append(average_precision_score(wrong, -judge_labels(made, near_others(made)).scores))
        quality = rank.get_label_quality_scores(given, np.asarray(made.pred_probs, np.float64))
        theirs.append(average_precision_score(wrong, -quality))
    assert np.mean(ours) >= np.mean(theirs) - 0.005
    assert np.mean(ours) > 0.85


def test_wrong_labels_of_sports(shared: Callable[[str], Path]) -> None:
    from mirada.embed.backbone import default_backbone
    from mirada.embed.network import Network
    from mirada.imaging.decode import read_file
    from mirada.imaging.preprocess import load_input

    folders = sorted(shared("data/sports15/train").iterdir())[:4]
    paths = [path for folder in folders for path in sorted(folder.glob("*.jpg"))[:40]]
    backbone = default_backbone()
    inputs = (load_input(read_file(path), backbone.preprocess) for path in paths)
    X = np.stack(list(Network(backbone.onnx_path).run(inputs))).astype(np.float32)
    y = np.array([folders.index(path.parent) for path in paths])
    given, rows = flip(y, 8)
    made = material(X, given)
    wrong = np.isin(np.arange(len(y)), rows)
    found = average_precision_score(wrong, -LabelCheck().run(made).values)
    assert found >= 0.6  # 5 % would be chance
