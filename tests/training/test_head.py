from __future__ import annotations

import math
import time

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from mirada.errors import InputError, NotEnoughData
from mirada.training import _regularise
from mirada.training._solver import solve
from mirada.training.folds import group_classes, grouped_folds
from mirada.training.head import Head, calibrate_head, fit_head, out_of_fold_probs, softmax

Floats = NDArray[np.float32]
Labels = NDArray[np.intp]


def blobs(n: int, d: int, k: int, *, seed: int = 0, spread: float = 1.0) -> tuple[Floats, Labels]:
    """Overlapping classes around `k` centres, on features of unequal scale and offset."""
    centres = np.random.default_rng(123).standard_normal((k, d))
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    X = centres[y] + spread * np.sqrt(d) / 3 * rng.standard_normal((n, d))
    return (X * np.linspace(0.1, 5, d) + np.linspace(-3, 9, d)).astype(np.float32), y.astype(np.intp)


def accuracy(head: Head, X: Floats, y: Labels) -> float:
    return float((head.logits(X).argmax(axis=1) == y).mean())


@pytest.mark.parametrize(
    ("n", "d", "k", "weight"), [(400, 20, 5, "none"), (60, 200, 3, "none"), (300, 10, 2, "balanced")]
)
def test_the_solution_is_scikit_learns(n: int, d: int, k: int, weight: str) -> None:
    X, y = blobs(n, d, k)
    if weight == "balanced":
        y[y == 1] = np.where(np.arange((y == 1).sum()) % 4 == 0, 1, 0)
    head = fit_head(X, y, class_weight=weight)  # type: ignore[arg-type]
    scaler = StandardScaler().fit(X.astype(np.float64))
    peer = LogisticRegression(
        C=head.info.C, tol=1e-9, max_iter=20_000, class_weight=None if weight == "none" else weight
    ).fit(scaler.transform(X.astype(np.float64)), y)
    if k == 2:  # scikit-learn fits one column for two classes; two, each of half the size, are penalised half as much
        peer.set_params(C=head.info.C * 2).fit(scaler.transform(X.astype(np.float64)), y)
    assert head.info.converged
    assert softmax(head.logits(X)) == pytest.approx(
        peer.predict_proba(scaler.transform(X.astype(np.float64))), abs=3e-3
    )


def test_logits_are_one_product_on_raw_features() -> None:
    X, y = blobs(200, 12, 4)
    head = fit_head(X, y, class_names=["a", "b", "c", "d"])
    ((W, b),) = head.layers
    assert (W.dtype, b.dtype, W.shape, b.shape) == (np.float32, np.float32, (12, 4), (4,))
    assert np.array_equal(head.logits(X), X @ W + b)
    assert head.probs(X).sum(axis=1) == pytest.approx(np.ones(200), abs=1e-6)
    assert head.probs(X) == pytest.approx(softmax(head.logits(X) / np.float32(head.temperature)), abs=1e-6)
    assert head.class_names == ("a", "b", "c", "d")


@pytest.mark.parametrize("kind", ["logistic", "mlp"])
def test_the_same_seed_gives_the_same_head_whatever_the_threads(kind: str) -> None:
    X, y = blobs(300, 40, 4)
    fits = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            fits.append(fit_head(X, y, seed=4, kind=kind))  # type: ignore[arg-type]
    for (W1, b1), (W2, b2) in zip(fits[0].layers, fits[1].layers, strict=True):
        assert np.array_equal(W1, W2)
        assert np.array_equal(b1, b2)
    assert fits[0].temperature == fits[1].temperature


def test_held_out_weightings_solved_together_equal_those_solved_alone() -> None:
    X, y = blobs(150, 8, 3)
    Z = np.column_stack([(X - X.mean(axis=0)) / X.std(axis=0), np.ones(150)]).astype(np.float32)
    weights = (np.arange(150) % 3 != np.arange(3)[:, None]).astype(np.float32)
    start = np.zeros((3, 3, 9), dtype=np.float32)
    together = solve(Z, y, sample_weights=weights, penalty=2.0, start=start)
    for i in range(3):
        kept = weights[i] > 0
        alone = solve(Z[kept], y[kept], sample_weights=np.ones((1, 100), np.float32), penalty=2.0, start=start[:1])
        assert together.weights[i] == pytest.approx(alone.weights[0], abs=2e-3)
    assert together.converged.all()


def test_noise_is_shrunk_harder_than_signal() -> None:
    X, y = blobs(400, 30, 4, spread=0.5)
    noise = np.random.default_rng(1).permutation(y)
    assert fit_head(X, noise).info.C < fit_head(X, y).info.C
    assert fit_head(X, noise).probs(X).max() < 0.6


def test_the_penalty_chosen_has_the_least_log_loss() -> None:
    info = fit_head(*blobs(500, 30, 4)).info
    best = min(info.candidates, key=lambda candidate: candidate.log_loss)
    assert pytest.approx(best.C) == info.C
    assert len(info.candidates) >= 3
    assert (info.folds, info.n_cv) == (5, 500)


def test_embeddings_that_are_not_finite_are_refused_with_their_number() -> None:
    X, y = blobs(50, 5, 2)
    X[3, 1], X[7, 0], X[7, 4] = np.nan, np.inf, np.nan
    with pytest.raises(InputError, match="2 of 50 embeddings"):
        fit_head(X, y)


def test_one_class_is_refused() -> None:
    with pytest.raises(NotEnoughData, match="two classes; got 1"):
        fit_head(np.ones((4, 3)), np.zeros(4))


@pytest.mark.parametrize("bad", [(np.ones((4, 3)), np.zeros(5)), (np.ones(4), np.zeros(4)), (np.ones((2, 3)), [0, 9])])
def test_wrong_shapes_and_labels_are_refused(bad: tuple[object, object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        fit_head(*bad, n_classes=3)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["logistic", "mlp"])
@pytest.mark.parametrize("each", [1, 2, 3])
def test_a_handful_of_photographs_is_enough(each: int, kind: str) -> None:
    y = np.repeat(np.arange(3), each).astype(np.intp)
    X = (np.eye(3)[y] * 4 + np.random.default_rng(0).standard_normal((len(y), 3)) * 0.1).astype(np.float32)
    head = fit_head(X, y, kind=kind)  # type: ignore[arg-type]
    assert accuracy(head, X, y) == 1.0
    assert math.isfinite(head.temperature)
    assert bool(head.info.notes) == (each == 1)
    calibrated, _ = calibrate_head(head, X, y)
    assert 0 <= calibrated.reject_threshold < 1


@pytest.mark.parametrize("kind", ["logistic", "mlp"])
def test_a_class_without_photographs_is_never_predicted(kind: str) -> None:
    X, y = blobs(200, 10, 3)
    y = np.where(y == 1, 4, y)  # classes 0, 2 and 4 of five
    head = fit_head(X, y, n_classes=5, kind=kind)  # type: ignore[arg-type]
    probs = head.probs(X)
    assert probs.shape == (200, 5)
    assert probs[:, [1, 3]].max() < 1e-3
    assert accuracy(head, X, y) > 0.7


def test_features_that_do_not_vary_are_harmless() -> None:
    X, y = blobs(200, 10, 3)
    plain = fit_head(X, y)
    padded = fit_head(np.column_stack([X, np.full(200, 7.0)]), y)
    assert padded.layers[0][0][-1] == pytest.approx(np.zeros(3))
    assert accuracy(padded, np.column_stack([X, np.full(200, 7.0, np.float32)]), y) == accuracy(plain, X, y)
    nothing = fit_head(np.ones((20, 3)), np.arange(20) % 4)
    assert nothing.probs(np.ones((1, 3))) == pytest.approx(np.full((1, 4), 0.25), abs=1e-3)


def test_many_photographs_choose_the_penalty_on_a_part_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_regularise, "MAX_CV_SAMPLES", 300)
    X, y = blobs(1_000, 10, 4)
    info = fit_head(X, y).info
    assert 200 <= info.n_cv <= 300
    assert str(info.notes[0]) == f"The regularisation was chosen on {info.n_cv} of 1000 photographs."


def copies(n: int) -> tuple[Floats, Labels, NDArray[np.intp]]:
    """Groups of five all but equal embeddings, with labels that nothing but a copy could tell."""
    rng = np.random.default_rng(0)
    X = np.repeat(rng.standard_normal((n, 100)), 5, axis=0) + 0.01 * rng.standard_normal((5 * n, 100))
    return X.astype(np.float32), np.repeat(rng.integers(0, 2, n), 5).astype(np.intp), np.repeat(np.arange(n), 5)


def test_out_of_fold_heads_never_saw_the_group() -> None:
    X, y, groups = copies(60)
    apart = out_of_fold_probs(X, y, groups=groups)
    torn = out_of_fold_probs(X, y)
    assert (apart.probs.argmax(axis=1) == y).mean() < 0.65
    assert (torn.probs.argmax(axis=1) == y).mean() > 0.9
    assert all(len(np.unique(apart.folds[groups == g])) == 1 for g in range(60))
    assert set(apart.folds) == set(range(5))


def test_out_of_fold_probabilities_predict_new_photographs() -> None:
    X, y = blobs(600, 20, 4)
    fresh_X, fresh_y = blobs(4_000, 20, 4, seed=9)
    out = out_of_fold_probs(X, y, n_classes=4, seed=1)
    assert out.probs.dtype == np.float32
    assert out.probs.sum(axis=1) == pytest.approx(np.ones(600), abs=1e-5)
    assert (out.probs.argmax(axis=1) == y).mean() == pytest.approx(accuracy(fit_head(X, y), fresh_X, fresh_y), abs=0.04)
    again = out_of_fold_probs(X, y, n_classes=4, seed=1)
    assert np.array_equal(out.probs, again.probs)


def test_the_only_photograph_of_a_class_is_judged_without_it() -> None:
    X, y = blobs(100, 6, 2)
    y[17] = 2
    out = out_of_fold_probs(X, y, n_classes=3)
    assert out.probs[17, 2] < 1e-3
    with pytest.raises(NotEnoughData, match="copies of one"):
        out_of_fold_probs(X[:4], [0, 1, 0, 1], groups=["same"] * 4)


def test_folds_are_even_whole_and_seeded() -> None:
    rng = np.random.default_rng(0)
    y = rng.choice(4, size=400, p=[0.5, 0.3, 0.15, 0.05]).astype(np.intp)
    groups = rng.integers(0, 300, 400).astype(np.intp)
    groups = np.unique(groups, return_inverse=True)[1]
    folds = grouped_folds(y, groups=groups, n_folds=5, n_classes=4, seed=0)
    classes = group_classes(y, groups, 4)
    for c in range(4):
        counts = np.bincount(folds[classes[groups] == c], minlength=5)
        assert counts.max() - counts.min() <= np.bincount(groups).max()
    assert all(len(np.unique(folds[groups == g])) == 1 for g in range(groups.max() + 1))
    assert not np.array_equal(folds, grouped_folds(y, groups=groups, n_folds=5, n_classes=4, seed=1))


def test_the_class_of_a_group_is_its_commonest() -> None:
    y = np.array([2, 2, 0, 1, 0, 1, 1], dtype=np.intp)
    groups = np.array([0, 0, 0, 1, 1, 2, 2], dtype=np.intp)
    assert group_classes(y, groups, 3).tolist() == [2, 0, 1]


def test_calibration_takes_a_small_val_with_the_predictions_out_of_fold() -> None:
    X, y = blobs(400, 20, 4)
    few_X, few_y = blobs(40, 20, 4, seed=2)
    head = fit_head(X, y)
    small, notes = calibrate_head(head, few_X, few_y, target=0.9)
    assert small.temperature == pytest.approx(head.temperature, rel=0.5)
    assert any("Val holds 40 photographs" in str(note) and "400 predictions" in str(note) for note in notes)
    many_X, many_y = blobs(2_000, 20, 4, seed=3)
    large, notes = calibrate_head(head, many_X, many_y, target=0.9)
    assert notes == ()
    probs = large.probs(many_X)
    kept = probs.max(axis=1) >= large.reject_threshold
    assert (probs.argmax(axis=1) == many_y)[kept].mean() >= 0.9
    assert large.layers is head.layers


def test_the_mlp_learns_what_no_plane_divides() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((600, 4)).astype(np.float32) * 3 + 5
    y = ((X[:, 0] > 5) ^ (X[:, 1] > 5)).astype(np.intp)
    assert accuracy(fit_head(X[:400], y[:400]), X[400:], y[400:]) < 0.7
    mlp = fit_head(X[:400], y[:400], kind="mlp")
    assert accuracy(mlp, X[400:], y[400:]) > 0.85
    (W1, b1), (W2, b2) = mlp.layers
    assert mlp.logits(X) == pytest.approx(np.maximum(X @ W1 + b1, 0) @ W2 + b2, abs=1e-4)


@pytest.mark.parametrize(("d", "limit_s"), [(192, 1.0), (1280, 3.0)])
def test_two_thousand_embeddings_are_fitted_in_about_a_second(d: int, limit_s: float) -> None:
    X, y = blobs(2_110, d, 15, spread=0.8)
    best = math.inf
    for _ in range(2):
        begin = time.process_time()
        head = fit_head(X, y)
        best = min(best, time.process_time() - begin)
    assert best < limit_s  # processor time on one thread; see docs/adr/0004-head.md for measured wall times
    assert head.info.converged


@pytest.mark.long
def test_sixty_thousand_embeddings_are_fitted_in_half_a_minute() -> None:
    X, y = blobs(60_000, 1280, 10)
    begin = time.process_time()
    assert fit_head(X, y).info.converged
    assert time.process_time() - begin < 30
