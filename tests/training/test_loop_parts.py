"""The loop's parts by themselves, against their formulas: losses, averages, orders, optimisers."""

from __future__ import annotations

import numpy as np
import pytest

from mirada.models.recipe import Stage

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from mirada.training.averaging import Average, decay_at  # noqa: E402
from mirada.training.feed import epoch_rows, n_steps_of_epoch, pieces_of_epoch  # noqa: E402
from mirada.training.losses import class_weights, sum_of_losses  # noqa: E402
from mirada.training.optim import RMSprop  # noqa: E402
from mirada.training.rate_finder import rate_curve  # noqa: E402

pytestmark = pytest.mark.train


def weights_of(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def test_the_average_follows_its_formula() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = Average(network, 0.9)
    wanted = weights_of(network)
    for step in range(12):
        with torch.no_grad():
            network[0].weight.add_(1.0)
            network[1].running_mean.add_(0.5)
            network[1].num_batches_tracked.add_(1)
        average.follow(step)
        decay = min(0.9, (step + 1) / (step + 10))
        assert decay_at(step, 0.9) == decay
        for name in ("0.weight", "1.running_mean"):
            wanted[name] = decay * wanted[name] + (1 - decay) * network.state_dict()[name]
    kept = average.network.state_dict()
    torch.testing.assert_close(kept["0.weight"], wanted["0.weight"])
    torch.testing.assert_close(kept["1.running_mean"], wanted["1.running_mean"])
    assert int(kept["1.num_batches_tracked"]) == 12


def test_class_weights_and_their_loss() -> None:
    labels = np.array([0, 0, 0, 1], dtype=np.int64)
    weights = class_weights(labels, 2)
    np.testing.assert_allclose(weights, [4 / 6, 2.0])
    assert class_weights(labels, 3)[:2] == pytest.approx(weights)
    logits, targets = torch.randn(4, 2), torch.from_numpy(labels)
    each = nn.functional.cross_entropy(logits, targets, reduction="none", label_smoothing=0.2)
    wanted = (each * torch.from_numpy(weights)[targets]).sum()
    given = torch.from_numpy(weights)
    torch.testing.assert_close(sum_of_losses(logits, targets, smoothing=0.2, weights=given), wanted)
    soft = nn.functional.one_hot(targets, 2).float()
    torch.testing.assert_close(sum_of_losses(logits, soft, smoothing=0.2, weights=given), wanted)
    torch.testing.assert_close(sum_of_losses(logits, targets, smoothing=0.2), each.sum())


def test_balanced_sampling_draws_rare_classes_as_often() -> None:
    labels = np.repeat(np.arange(2, dtype=np.int64), [900, 100])
    rows = epoch_rows(labels, Stage(sampling="balanced"), seed=0, index=0, epoch=0)
    assert len(rows) == 1000
    assert 0.44 < labels[rows].mean() < 0.56
    plain = [epoch_rows(labels, Stage(), seed=0, index=0, epoch=epoch) for epoch in (0, 0, 1)]
    assert sorted(plain[0].tolist()) == list(range(1000))
    assert plain[0].tolist() == plain[1].tolist() != plain[2].tolist()


def test_an_epoch_is_cut_into_steps_and_parts() -> None:
    assert [n_steps_of_epoch(n, 16) for n in (5, 16, 17, 18, 31, 32)] == [1, 1, 1, 2, 2, 2]
    pieces = list(pieces_of_epoch(np.arange(40), per_step=16, micro=6, start=1))
    assert [(piece.step, len(piece.rows), piece.n_step, piece.last, piece.first) for piece in pieces] == [
        (1, 6, 16, False, 16), (1, 5, 16, False, 22), (1, 5, 16, True, 27), (2, 4, 8, False, 32), (2, 4, 8, True, 36),
    ]  # fmt: skip
    assert np.concatenate([piece.rows for piece in pieces]).tolist() == list(range(16, 40))


def test_rmsprop_is_keras_own() -> None:
    param = nn.Parameter(torch.tensor([1.0, 2.0]))
    optimizer, value, velocity = RMSprop([param], lr=0.1), np.array([1.0, 2.0]), np.zeros(2)
    for grad in ([0.5, 1e-4], [0.2, -1e-4]):
        param.grad = torch.tensor(grad)
        optimizer.step()
        velocity = 0.9 * velocity + 0.1 * np.square(grad)
        value = value - 0.1 * np.array(grad) / np.sqrt(velocity + 1e-7)
    np.testing.assert_allclose(param.detach().numpy(), value, rtol=1e-5)


def test_the_suggested_rate_is_where_the_loss_falls_fastest() -> None:
    rates = np.geomspace(1e-6, 10, 200)
    losses = 2 - 1.5 / (1 + np.exp(-4 * (np.log10(rates) + 2))) + np.maximum(0, rates - 3)
    curve = rate_curve(list(zip(rates.tolist(), losses.tolist(), strict=True)))
    assert 10**-2.2 < curve.suggested < 10**-1.2  # the running mean lags by some steps
