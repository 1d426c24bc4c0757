"""Many small MLPs at once: as a plain loop trains them, alone or in company, paused or not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from mirada.errors import UsageError
from mirada.models.base import Photographs
from mirada.models.freezing import parameter_groups
from mirada.models.recipe import Augment, ModelSpec, Recipe, Stage
from mirada.models.scratch import Mlp
from mirada.training.feed import epoch_rows
from mirada.training.many import (
    ManyOptions,
    can_run,
    network_of,
    prepare_inputs,
    spec_of,
    train_many,
    why_not,
)
from mirada.training.many_network import ManyNetwork, ManyPrecision, ManySpec, columns_first
from mirada.training.optim import make_optimizers
from mirada.training.outcome import LoopData

pytestmark = pytest.mark.train
STAGE = Stage(epochs=4, optimizer="adam", lr=2e-3, batch_size=48, schedule="constant", monitor="val_accuracy")
SPEC = ManySpec(hidden=(24, 16), seed=3, stage=STAGE)
F32 = ManyOptions(precision="f32", threads=1)
no_vnni = pytest.mark.skipif(not torch.cpu._is_vnni_supported(), reason="this processor has no int8 products (VNNI)")
INT8 = pytest.param("int8", marks=no_vnni)
VARIANTS = [("adam", "relu"), ("sgd", "tanh"), ("rmsprop", "sigmoid"), ("adamw", "relu")]


def data(n: int = 240, side: int = 8) -> LoopData:
    """Photographs whose class is the brightest of three colours, with noise."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, n + 80)
    images = rng.integers(0, 170, (n + 80, side, side, 3))
    images[np.arange(n + 80), :, :, labels] += 24
    pixels = images.astype(np.uint8)
    return LoopData((pixels[:n], labels[:n]), (pixels[n:], labels[n:]), 3)


def plain_loop(spec: ManySpec, photographs: LoopData, steps: int) -> Mlp:
    """The first steps of the registry's network by autograd in float32."""
    (images, labels), stage = photographs.train, spec.stage
    network = Mlp(n_classes=3, input_size=8, hidden=spec.hidden, activation=spec.activation, seed=spec.seed)
    normalise = Photographs(network.preprocess)
    optimizer = make_optimizers(network, stage, parameter_groups(network, stage))[0]
    order = epoch_rows(labels, stage, seed=spec.seed, index=0, epoch=0)
    for rows in np.array_split(order, len(order) // stage.batch_size)[:steps]:
        logits = network(normalise(torch.from_numpy(images[rows])))
        loss = functional.cross_entropy(logits, torch.from_numpy(labels[rows]), label_smoothing=stage.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network


def steps_of(spec: ManySpec, precision: ManyPrecision, steps: int) -> ManyNetwork:
    photographs = data()
    inputs = prepare_inputs(photographs, precision)
    network = ManyNetwork(spec, inputs, precision)
    order = epoch_rows(photographs.train[1], spec.stage, seed=spec.seed, index=0, epoch=0)
    for rows in torch.from_numpy(order).split(spec.stage.batch_size)[:steps]:
        network.learn(inputs.train[rows], inputs.train_labels[rows], spec.stage.lr)
    return network


@pytest.mark.parametrize(("optimizer", "activation"), VARIANTS)
def test_the_first_steps_are_those_of_a_plain_loop(optimizer: str, activation: str) -> None:
    stage = replace(STAGE, optimizer=optimizer, weight_decay=0.01, label_smoothing=0.1)
    spec = replace(SPEC, stage=stage, activation=activation)
    wanted = [value.detach() for value in plain_loop(spec, data(), 3).parameters()]
    made = steps_of(spec, "f32", 3).weights
    for want, have in zip(wanted, [columns_first(made[0]), *made[1:]], strict=True):
        assert torch.allclose(want, have, atol=1e-5), float((want - have).abs().max())


@pytest.mark.parametrize("precision", [INT8, "bf16"])
def test_the_gradient_in_narrow_numbers_is_close_to_float32(precision: ManyPrecision) -> None:
    """One step of plain SGD moves the weights by the gradient: the direction is the same within a few per cent."""
    spec = replace(SPEC, stage=replace(STAGE, optimizer="sgd", momentum=0.0, lr=1.0))
    start = ManyNetwork(spec, prepare_inputs(data(), "f32"), "f32").weights
    exact, narrow = (steps_of(spec, kind, 1).weights for kind in ("f32", precision))
    for before, a, b in zip(start, exact, narrow, strict=True):
        moved, expected = (b - before).flatten(), (a - before).flatten()
        assert functional.cosine_similarity(moved, expected, dim=0) > 0.99
        assert float(moved.norm() / expected.norm()) == pytest.approx(1, abs=0.03)


@no_vnni
def test_rounding_at_random_keeps_the_mean() -> None:
    """The mean of the int8 gradients over many draws is the gradient: what one draw adds is noise, not bias."""
    spec = replace(SPEC, hidden=(12,), stage=replace(STAGE, optimizer="sgd", momentum=0.0, lr=1.0))
    inputs = prepare_inputs(data(), "int8")
    drawn = []
    for step in range(400):
        network = ManyNetwork(spec, inputs, "int8")
        before = network.weights[0].clone()
        network.step = step
        network.learn(inputs.train[:48], inputs.train_labels[:48], 1.0)
        drawn.append(network.weights[0] - before)
    moves = torch.stack(drawn)
    noise = moves.std(0)
    half = moves[:200].mean(0) - moves[200:].mean(0)
    assert float(noise.mean() / moves.mean(0).abs().mean()) < 0.1
    assert float(half.abs().mean() / noise.mean()) < 0.15  # √(2 / 200) · √(2 / π) = 0.08 for noise alone


@pytest.mark.parametrize("precision", [INT8, "bf16", "f32"])
def test_alone_or_in_company_on_one_thread_or_two(precision: ManyPrecision) -> None:
    specs = [
        replace(SPEC, stage=replace(STAGE, optimizer=optimizer), activation=activation, dropout=dropout)
        for (optimizer, activation), dropout in zip(VARIANTS, (0.0, 0.2, 0.5, 0.0), strict=True)
    ]
    photographs = data()
    company = train_many(specs, photographs, epochs=3, options=ManyOptions(precision=precision, threads=2))
    for spec, among in zip(specs, company, strict=True):
        alone = train_many([spec], photographs, epochs=3, options=ManyOptions(precision=precision, threads=1))[0]
        assert all(torch.equal(a, b) for a, b in zip(alone.weights, among.weights, strict=True))
        assert [r.val_accuracy for r in alone.history] == [r.val_accuracy for r in among.history]
        assert np.array_equal(alone.probs, among.probs)


@pytest.mark.parametrize(("optimizer", "activation"), VARIANTS[:3])
def test_paused_and_taken_up_it_ends_the_same(optimizer: str, activation: str, tmp_path: Path) -> None:
    stage = replace(STAGE, optimizer=optimizer, schedule="cosine")
    spec = replace(SPEC, stage=stage, activation=activation, dropout=0.3)
    photographs, state = data(), [tmp_path / "state.safetensors"]
    straight = train_many([spec], photographs, epochs=4, options=F32)[0]
    first = train_many([spec], photographs, epochs=1, states=state, options=F32)[0]
    assert first.paused
    assert len(first.history) == 1
    rest = train_many([spec], photographs, epochs=4, states=state, options=F32)[0]
    assert not rest.paused
    assert [r.train_loss for r in rest.history] == [r.train_loss for r in straight.history]
    assert all(torch.equal(a, b) for a, b in zip(rest.weights, straight.weights, strict=True))


def test_the_state_of_another_network_is_refused(tmp_path: Path) -> None:
    state = [tmp_path / "state.safetensors"]
    train_many([SPEC], data(), epochs=1, states=state, options=F32)
    with pytest.raises(UsageError, match="another network"):
        train_many([replace(SPEC, seed=4)], data(), epochs=1, states=state, options=F32)
    with pytest.raises(UsageError, match="precision"):
        train_many([SPEC], data(), epochs=1, states=state, options=replace(F32, precision="bf16"))


def test_the_registry_s_network_gives_the_same_answers() -> None:
    photographs = data()
    result = train_many([replace(SPEC, activation="tanh", dropout=0.1)], photographs, epochs=2, options=F32)[0]
    network = network_of(result)
    images, labels = photographs.val or photographs.train
    with torch.no_grad():
        probs = network(Photographs(network.preprocess)(torch.from_numpy(images))).softmax(1).numpy()
    assert np.abs(probs - result.probs).max() < 1e-5
    assert result.accuracy == float((probs.argmax(1) == labels).mean())
    assert result.n_parameters == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("precision", [INT8, "f32"])
def test_it_learns(precision: ManyPrecision) -> None:
    result = train_many([SPEC], data(), epochs=4, options=replace(F32, precision=precision))[0]
    assert result.accuracy > 0.7
    assert result.history[-1].train_loss < result.history[0].train_loss
    assert result.accuracy == pytest.approx(max(record.val_accuracy or 0 for record in result.history), abs=0.03)


def test_it_stops_by_itself_and_keeps_the_best() -> None:
    stage = replace(STAGE, epochs=40, patience=3, lr=2e-2)
    result = train_many([replace(SPEC, stage=stage)], data(), epochs=40, options=F32)[0]
    best = max(range(len(result.history)), key=lambda i: (result.history[i].val_accuracy or 0, -i)) + 1
    assert len(result.history) == result.best_epoch + 3 < 40
    assert result.best_epoch == best
    assert not result.paused


def test_a_loss_that_is_no_number_ends_it() -> None:
    stage = replace(STAGE, optimizer="sgd", lr=1e30)
    result = train_many([replace(SPEC, stage=stage)], data(), epochs=4, options=F32)[0]
    assert result.diverged
    assert not result.paused
    assert all(torch.isfinite(weight).all() for weight in result.weights)


def test_which_recipes_can_be_trained_in_a_group() -> None:
    recipe = Recipe(
        name="r", summary={}, model=ModelSpec(name="mlp", hidden=(8,), activation="tanh", dropout=0.1), stages=(STAGE,)
    )
    assert can_run(recipe)
    spec = spec_of(recipe, seed=7)
    assert (spec.hidden, spec.activation, spec.dropout, spec.seed, spec.stage) == ((8,), "tanh", 0.1, 7, STAGE)
    flipped = replace(recipe, stages=(replace(STAGE, augment=Augment(flip="random")),))
    assert "augment" in str(why_not(flipped))
    assert "muon" in str(why_not(replace(recipe, stages=(replace(STAGE, optimizer="muon"),))))
    assert not can_run(replace(recipe, model=ModelSpec(name="cifar10-cnn")))
    with pytest.raises(UsageError, match="augment"):
        spec_of(flipped, seed=0)


@no_vnni
def test_cores_left_by_others_change_nothing() -> None:
    inputs = prepare_inputs(data(), "int8")
    one, two = (ManyNetwork(SPEC, inputs, "int8") for _ in range(2))
    two.threads = 2
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    for start in range(0, 192, 48):
        for network in (one, two):
            network.learn(inputs.train[start : start + 48], inputs.train_labels[start : start + 48], 1e-3)
    torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(one.weights, two.weights, strict=True))
