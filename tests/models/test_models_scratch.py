"""The reports' networks: their parameters counted to the unit, and what they refuse."""

from __future__ import annotations

import pytest

from mirada.errors import UsageError

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from mirada.models.counting import ParameterCount, count_parameters  # noqa: E402
from mirada.models.scratch import (  # noqa: E402
    Cifar10Cnn,
    Cifar100Cnn,
    Mlp,
    RestaurantCnn,
    RestaurantCnnPlus,
    scratch_preprocess,
)

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("one_thread")]


@pytest.mark.parametrize(
    ("kind", "n_classes", "total", "trainable"),
    [
        (Cifar10Cnn, 10, 1_343_018, 1_342_122),
        (Cifar100Cnn, 100, 2_965_124, 2_963_204),
        (RestaurantCnnPlus, 5, 1_684_457, 1_684_457),
    ],
)
def test_counts_of_the_reports(kind: type[nn.Module], n_classes: int, total: int, trainable: int) -> None:
    with torch.device("meta"):
        network = kind(n_classes=n_classes)
    assert count_parameters(network) == ParameterCount(total, trainable)


def test_the_forerunner_has_78_million_parameters() -> None:
    with torch.device("meta"):
        count = count_parameters(RestaurantCnn(n_classes=5))
    assert abs(count.total / 78e6 - 1) < 0.01
    assert count.frozen == 0


@pytest.mark.parametrize(
    ("hidden", "total"),
    [
        ((), 3072 * 512 + 512 + 5130),
        ((512, 256), 3072 * 512 + 512 + 512 * 256 + 256 + 2570),
        ((512, 256, 256), 3072 * 512 + 512 + 512 * 256 + 256 + 256 * 256 + 256 + 2570),
    ],
)
def test_perceptrons_of_any_depth(hidden: tuple[int, ...], total: int) -> None:
    with torch.device("meta"):
        network = Mlp(n_classes=10, hidden=hidden, activation="tanh", dropout=0.2)
    assert count_parameters(network).total == total
    assert len(network.blocks()) == max(1, len(hidden))
    assert sum(isinstance(module, nn.Tanh) for module in network.modules()) == max(1, len(hidden))


def test_batches_seen_by_a_norm_are_no_parameters() -> None:
    norm = nn.BatchNorm2d(7)
    assert count_parameters(norm) == ParameterCount(28, 14)
    assert count_parameters(nn.BatchNorm2d(7, affine=False)) == ParameterCount(14, 0)
    shared = nn.Linear(3, 3, bias=False)
    assert count_parameters(nn.Sequential(shared, shared)).total == 9
    assert count_parameters(shared.requires_grad_(False)) == ParameterCount(9, 0)


def test_order_is_convolution_activation_norm() -> None:
    unit = Cifar10Cnn(n_classes=10).blocks()[0][0]
    assert [type(layer) for layer in unit] == [nn.Conv2d, nn.ReLU, nn.BatchNorm2d]


def test_weights_start_as_in_keras() -> None:
    network = Cifar10Cnn(n_classes=10, seed=3)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            area = module.weight[0, 0].numel()
            bound = (6 / (area * sum(module.weight.shape[:2]))) ** 0.5
            assert 0.95 * bound < module.weight.abs().max().item() <= bound
            assert not module.bias.any()


def test_even_kernels_keep_the_side_as_keras_does() -> None:
    network = RestaurantCnnPlus(n_classes=5, input_size=96)
    first = network.body[0]
    assert first(torch.zeros(1, 3, 96, 96)).shape == (1, 20, 96, 96)
    assert first[0].padding == (5, 6, 5, 6)  # 11 pixels, the odd one at the right and below


@pytest.mark.parametrize(("kind", "size", "least"), [(Cifar10Cnn, 7, 8), (RestaurantCnnPlus, 30, 37)])
def test_sides_that_the_pools_leave_nothing_of(kind: type[nn.Module], size: int, least: int) -> None:
    with pytest.raises(UsageError, match=rf"cannot take photographs of {size} px.* the least is {least} px"):
        kind(n_classes=5, input_size=size)
    network = kind(n_classes=5, input_size=least).eval()
    assert network(torch.zeros(2, 3, least, least)).shape == (2, 5)


def test_options_that_do_not_go_together() -> None:
    with pytest.raises(UsageError, match="got 4, 4, 4 and 3 pools"):
        RestaurantCnnPlus(n_classes=5, pools=(2, 2, 2))
    with pytest.raises(UsageError, match='"same" or "valid"; got \'full\''):
        RestaurantCnnPlus(n_classes=5, paddings=("same", "full", "same", "valid"))
    with pytest.raises(UsageError, match=r"three rates, one for each pool; got 0\.1"):
        Cifar10Cnn(n_classes=5, conv_dropout=(0.1,))
    with pytest.raises(UsageError, match="activation is one of relu, tanh, sigmoid; got 'gelu'"):
        Mlp(n_classes=5, activation="gelu")  # type: ignore[arg-type]


def test_the_search_space_of_the_restaurant_network() -> None:
    network = RestaurantCnnPlus(
        n_classes=5, input_size=64, filters=(4, 4, 6, 6, 8, 8), kernels=(5,) * 2 + (3,) * 4, paddings=("same",) * 6,
        pools=(2, 2, 4), hidden=(32,), dropout=0.1,
    ).eval()  # fmt: skip
    assert network.features(torch.zeros(2, 3, 64, 64)).shape == (2, 32)
    assert len(network.blocks()) == 7
    assert network.preprocess == scratch_preprocess(64)
