"""The loop on small rendered photographs: it learns, and each part of it does what its formula says."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from mirada.models.recipe import Augment, ModelSpec, Optimizer, Recipe, Schedule, Stage
from mirada.testing import pixels

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from mirada.models.base import Network  # noqa: E402
from mirada.models.scratch import Mlp, start_as_keras  # noqa: E402
from mirada.training.devices import choose_machine  # noqa: E402
from mirada.training.judge import predict_logits  # noqa: E402
from mirada.training.loop import fit  # noqa: E402
from mirada.training.losses import kernels, l2_penalty  # noqa: E402
from mirada.training.optim import hidden_matrices, make_optimizers  # noqa: E402
from mirada.training.outcome import ALL_EPOCHS, EARLY, EpochRecord, FitOptions, Fitted, LoopData  # noqa: E402
from mirada.training.rate_finder import find_rate  # noqa: E402
from mirada.training.schedules import rate_at  # noqa: E402
from mirada.types import PreprocessSpec  # noqa: E402

pytestmark = pytest.mark.train

F32 = FitOptions(precision="f32", threads=1)
HALF = (0.5, 0.5, 0.5)


class Tiny(Network):
    """Two convolutions, the second with a batch norm, and a mean over places: takes photographs of any side."""

    def __init__(self, n_classes: int = 3, *, side: int = 16) -> None:
        super().__init__()
        self.preprocess = PreprocessSpec(input_size=side, resize=side, mean=HALF, std=HALF)
        self.first = nn.Sequential(nn.Conv2d(3, 12, 3, 2, 1), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(12, 24, 3, 1, 1), nn.BatchNorm2d(24), nn.ReLU())
        self.head = nn.Linear(24, n_classes)
        self.seen: list[tuple[int, int]] = []
        start_as_keras(self, seed=0)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.seen.append((len(x), x.shape[-1]))
        return self.second(self.first(x)).mean((2, 3))

    def blocks(self) -> list[list[nn.Module]]:
        return [[self.first], [self.second]]


def photographs(n: int, *, first: int = 0, side: int = 16, n_classes: int = 3) -> tuple[NDArray[np.uint8], NDArray]:
    images = [pixels(first + i, (side, side), look=i % n_classes, n_looks=n_classes) for i in range(n)]
    return np.stack(images), np.arange(n, dtype=np.int64) % n_classes


@pytest.fixture(scope="module")
def data() -> LoopData:
    return LoopData(photographs(120), photographs(45, first=1000), 3)


@pytest.fixture(scope="module")
def few() -> LoopData:
    return LoopData(photographs(24, side=8), photographs(9, first=500, side=8), 3)


def mlp() -> Network:
    return Mlp(n_classes=3, input_size=8, hidden=(12, 8))


def recipe(*stages: Stage, l2: float = 0.0, tta: bool = False) -> Recipe:
    return Recipe(name="test", summary={}, model=ModelSpec(name="tiny", l2=l2), stages=stages, tta=tta)


def weights_of(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def assert_same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


@pytest.fixture(scope="module")
def learned(data: LoopData) -> Fitted:
    stage = Stage(epochs=8, lr=0.02, batch_size=24, warmup=0.1, augment=Augment(flip="random", translate=0.1))
    return fit(Tiny(), data, recipe(stage), options=FitOptions(threads=1))


def test_it_learns(learned: Fitted, data: LoopData) -> None:
    assert data.val is not None
    best = learned.history[learned.best_epoch - 1]
    assert best.val_accuracy is not None
    assert best.val_accuracy >= 0.95
    assert best.val_loss == min(record.val_loss for record in learned.history if record.val_loss is not None)
    assert learned.history[-1].train_loss < 0.5 * learned.history[0].train_loss
    assert (learned.stop_reason, learned.batch_size, learned.notes) == (ALL_EPOCHS, 24, ())


def test_what_was_judged_is_what_the_network_says(learned: Fitted, data: LoopData) -> None:
    assert data.val is not None
    images, labels = data.val
    logits = predict_logits(learned.network, images)
    best = learned.history[learned.best_epoch - 1]
    assert logits.shape == (45, 3)
    assert logits.dtype == np.float32
    assert float((logits.argmax(1) == labels).mean()) == pytest.approx(best.val_accuracy)
    assert float(nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels))) == pytest.approx(
        best.val_loss, rel=1e-4
    )


def test_tta_is_the_mean_with_the_mirror_images(learned: Fitted, data: LoopData) -> None:
    machine = choose_machine("cpu", "f32")
    images = data.train[0][:10]
    plain = predict_logits(learned.network, images, machine=machine)
    mirrored = predict_logits(learned.network, np.ascontiguousarray(images[:, :, ::-1]), machine=machine)
    both = predict_logits(learned.network, images, machine=machine, tta=True)
    assert np.abs(plain - mirrored).max() > 1e-3
    np.testing.assert_allclose(both, (plain + mirrored) / 2, atol=1e-5)


def test_every_epoch_tells_what_it_took(learned: Fitted) -> None:
    assert [record.epoch for record in learned.history] == list(range(1, 9))
    for record in learned.history:
        assert record.seconds > 0
        assert record.cpu_percent is not None
        assert record.cpu_percent > 0
        assert record.rss_mb is not None
        assert record.rss_mb > 50


@pytest.mark.parametrize(("optimizer", "schedule"), list(product(get_args(Optimizer), get_args(Schedule))))
def test_each_optimiser_with_each_schedule(optimizer: Optimizer, schedule: Schedule, few: LoopData) -> None:
    stage = Stage(
        epochs=2, lr=1e-3, batch_size=8, optimizer=optimizer, schedule=schedule, warmup=0.2, weight_decay=0.01,
        clip_norm=1.0, label_smoothing=0.1, layer_decay=0.5, augment=Augment(mixup=0.4),
    )  # fmt: skip
    network = mlp()
    before = weights_of(network)
    fitted = fit(network, few, recipe(stage), options=F32)
    assert all(np.isfinite(record.train_loss) for record in fitted.history)
    assert all(not torch.equal(before[name], value) for name, value in fitted.network.state_dict().items())
    values = [record.val_loss for record in fitted.history[:1] if record.val_loss is not None]
    wanted = [rate_at(stage, 2, 6) * 1e-3, rate_at(stage, 5, 6, values=values) * 1e-3]
    assert [record.lr for record in fitted.history] == pytest.approx(wanted)


def test_the_same_seed_gives_the_same_weights(data: LoopData) -> None:
    stage = Stage(epochs=2, batch_size=24, lr=0.01, augment=Augment(flip="alternating", cutmix=1.0))
    ways = [F32, replace(F32, prefetch=False), replace(F32, seed=1)]
    first, unthreaded, other = (weights_of(fit(Tiny(), data, recipe(stage), options=way).network) for way in ways)
    assert_same(first, unthreaded)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_early_stopping_restores_the_weights_of_the_best_epoch(few: LoopData) -> None:
    network, seen = mlp(), []

    def keep(record: EpochRecord) -> None:
        seen.append((record.is_best, weights_of(network)))

    stage = Stage(epochs=60, lr=0.2, batch_size=8, optimizer="sgd", schedule="constant", patience=3)
    fitted = fit(network, few, recipe(stage), options=replace(F32, on_epoch=keep))
    assert fitted.stop_reason == EARLY
    assert len(fitted.history) == fitted.best_epoch + 3 < 60
    assert [record.is_best for record in fitted.history] == [is_best for is_best, _ in seen]
    assert_same(weights_of(fitted.network), seen[fitted.best_epoch - 1][1])
    assert not torch.equal(seen[-1][1]["head.weight"], fitted.network.head.weight)
    told = f"train: val_loss has not improved for 3 epochs; epoch {fitted.best_epoch} is kept."
    assert str(fitted.stops[0].message) == told


def test_a_frozen_stage_leaves_the_rest_alone_and_stages_follow_each_other(data: LoopData) -> None:
    network = Tiny()
    before = weights_of(network)
    head, last = Stage(name="a", epochs=1, trainable="head"), Stage(name="b", epochs=1, trainable="last:1", lr=0.1)
    fitted = fit(network, data, recipe(head), options=F32)
    after = weights_of(fitted.network)
    assert {name for name in before if not torch.equal(before[name], after[name])} == {"head.weight", "head.bias"}
    fitted = fit(Tiny(), data, recipe(head, last), options=F32)
    after = weights_of(fitted.network)
    assert [(stop.stage, stop.n_epochs) for stop in fitted.stops] == [("a", 1), ("b", 1)]
    assert [record.stage for record in fitted.history] == ["a", "b"]
    assert torch.equal(before["first.0.weight"], after["first.0.weight"])
    assert not torch.equal(before["second.0.weight"], after["second.0.weight"])


def test_accumulated_batches_are_one_large_batch(few: LoopData) -> None:
    stage = Stage(epochs=2, batch_size=12, lr=0.05, optimizer="sgd", label_smoothing=0.1, class_weight="balanced")
    whole = fit(mlp(), few, recipe(stage, l2=1e-3), options=F32)
    parts = fit(mlp(), few, recipe(replace(stage, batch_size=4, accumulate=3), l2=1e-3), options=F32)
    for ours, theirs in zip(whole.network.parameters(), parts.network.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    assert [r.train_loss for r in whole.history] == pytest.approx([r.train_loss for r in parts.history], abs=1e-5)


def test_progressive_sizes_are_what_the_network_sees(data: LoopData) -> None:
    network = Tiny()
    stage = Stage(epochs=2, batch_size=60, sizes=((0.0, 8), (0.5, 12)))
    fit(network, data, recipe(stage), options=F32)
    assert network.seen == [(60, 8), (60, 8), (60, 12), (60, 12)]


def test_pixels_with_a_margin_reach_the_network_at_its_side() -> None:
    network = Tiny()
    wide = LoopData(photographs(30, side=24), photographs(9, first=99, side=24), 3)
    fitted = fit(network, wide, recipe(Stage(epochs=1, batch_size=30, augment=Augment(crop=0.5))), options=F32)
    assert network.seen == [(30, 16)]
    assert fitted.history[0].val_loss is not None


def test_the_average_is_what_is_judged_and_kept(data: LoopData) -> None:
    assert data.val is not None
    network, raw = Tiny(), {}
    stage = Stage(epochs=2, batch_size=24, lr=0.05, ema=0.9, restore_best=False)
    options = replace(F32, on_epoch=lambda _: raw.update(weights_of(network)))
    fitted = fit(network, data, recipe(stage), options=options)
    assert not torch.equal(raw["head.weight"], fitted.network.head.weight)
    logits = predict_logits(fitted.network, data.val[0], machine=choose_machine("cpu", "f32"))
    loss = nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(data.val[1]))
    assert float(loss) == pytest.approx(fitted.history[-1].val_loss, rel=1e-5)


def test_val_is_judged_when_it_is_its_turn(few: LoopData) -> None:
    stage = Stage(epochs=5, batch_size=8, restore_best=False)
    ways = [(stage, 2), (stage, 100), (replace(stage, patience=9), 2)]
    runs = [fit(mlp(), few, recipe(plan), options=replace(F32, judge_every=every)) for plan, every in ways]
    judged = [[record.epoch for record in run.history if record.val_accuracy is not None] for run in runs]
    assert judged == [[2, 4, 5], [5], [1, 2, 3, 4, 5]]


def test_the_penalty_is_keras_own(few: LoopData) -> None:
    network = mlp()
    found = kernels(network)
    assert [tuple(weight.shape) for weight in found] == [(12, 192), (8, 12), (3, 8)]
    by_hand = 0.01 * sum(float((weight.detach().double() ** 2).sum()) for weight in found)
    assert float(l2_penalty(found, 0.01).detach()) == pytest.approx(by_hand, rel=1e-6)
    stage = Stage(epochs=1, batch_size=8, lr=1e-12, optimizer="sgd")
    with_it, without = (fit(mlp(), few, recipe(stage, l2=l2), options=F32).history[0] for l2 in (0.01, 0.0))
    assert with_it.train_loss - without.train_loss == pytest.approx(by_hand, rel=1e-4)
    assert with_it.val_loss == pytest.approx(without.val_loss)


def test_muon_takes_the_hidden_matrices_alone() -> None:
    network = Tiny()
    assert [id(weight) for weight in hidden_matrices(network)] == [id(network.second[0].weight)]
    groups = [{"params": [param], "lr": 0.02, "weight_decay": 0.0} for param in network.parameters()]
    muon, adam = make_optimizers(network, Stage(optimizer="muon", lr=0.02), groups)
    assert [len(group["params"]) for group in muon.param_groups] == [1]
    assert [(len(group["params"]), group["lr"]) for group in adam.param_groups] == [(7, pytest.approx(0.002))]


def test_the_rate_finder_leaves_the_network_and_finds_a_rate_that_learns(data: LoopData) -> None:
    network = Tiny()
    before, modes = weights_of(network), [module.training for module in network.modules()]
    curve = find_rate(network, data, recipe(Stage(batch_size=24)), options=F32, n_steps=60)
    assert_same(before, weights_of(network))
    assert modes == [module.training for module in network.modules()]
    assert list(curve.rates) == sorted(curve.rates)
    assert 1e-4 < curve.suggested < 1
    fitted = fit(Tiny(), data, recipe(Stage(batch_size=24, epochs=3, lr=curve.suggested)), options=F32)
    assert fitted.history[-1].train_loss < 0.8 * fitted.history[0].train_loss


@pytest.mark.long
def test_compiling_changes_nothing_but_the_time(data: LoopData, long_run: bool) -> None:
    if not long_run:
        pytest.skip("the compiler takes a minute; make test-long runs it")
    stage = Stage(epochs=2, batch_size=24, lr=0.01)
    plain = fit(Tiny(), data, recipe(stage), options=F32)
    made = fit(Tiny(), data, recipe(replace(stage, compile=True)), options=F32)
    assert made.history[-1].train_loss == pytest.approx(plain.history[-1].train_loss, rel=0.05)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here")
def test_it_learns_on_a_gpu(data: LoopData) -> None:
    stage = Stage(epochs=8, lr=0.02, batch_size=24, optimizer="muon", ema=0.9, augment=Augment(flip="random"))
    fitted = fit(Tiny(), data, recipe(stage), options=FitOptions(device="cuda"))
    best = fitted.history[fitted.best_epoch - 1]
    assert best.val_accuracy is not None
    assert best.val_accuracy >= 0.95
    assert best.gpu_mb is not None
