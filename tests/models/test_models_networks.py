"""One suite that every network by name must pass, and the errors of the registry."""

from __future__ import annotations

import warnings
from functools import cache

import pytest

from mirada.errors import UsageError
from mirada.models.recipe import Stage
from mirada.models.recipes import all_recipes

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # timm's own insides
    torch = pytest.importorskip("torch")
    timm = pytest.importorskip("timm")
    from mirada.models.base import Network
    from mirada.models.counting import count_parameters
    from mirada.models.freezing import divide, parameter_groups, set_train_mode, trainable_part
    from mirada.models.registry import create_model, known_models, model_options, register

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("one_thread")]

SIZES = {"restaurant_cnn": 40, "restaurant_cnn_plus": 64}
OURS = [name for name in known_models() if not timm.is_model(name)]
THEIRS = ["mobilenetv2_100", "resnet18", "deit_tiny_patch16_224", "vit_tiny_patch16_224", "test_convnext"]
CASES = [*((name, ()) for name in OURS + THEIRS), ("mobilenetv2_100", (256,)), ("vit_tiny_patch16_224", (32, 16))]
TOKENS = {"mlp", "deit_tiny_patch16_224", "vit_tiny_patch16_224"}  # their features do not say where


@cache
def built(name: str, hidden: tuple[int, ...] = ()) -> Network:
    size = SIZES.get(name, 0) if name in OURS else 64
    return create_model(name, n_classes=5, input_size=size, hidden=hidden, dropout=0.3)


@pytest.fixture(params=CASES, ids=lambda case: "-".join(map(str, (case[0], *case[1]))))
def network(request: pytest.FixtureRequest) -> Network:
    network = built(*request.param)
    network.requires_grad_(True)
    return network.eval()


def photographs(network: Network, n: int = 2) -> torch.Tensor:
    side = network.preprocess.input_size
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(0))


def ids(parameters: object) -> list[int]:
    return [id(parameter) for parameter in parameters]  # type: ignore[attr-defined]


def in_head(network: Network) -> set[int]:
    return {id(p) for module in network.head_modules() for p in module.parameters()}


def test_features_then_head_are_the_network(network: Network) -> None:
    x = photographs(network)
    with torch.no_grad():
        features, logits = network.features(x), network(x)
        torch.testing.assert_close(network.head(features), logits)
        torch.testing.assert_close(network(x.to(memory_format=torch.channels_last)), logits, atol=1e-4, rtol=1e-4)
    assert logits.shape == (2, 5)
    assert features.shape == (2, network.head.in_features)


def test_blocks_and_head_hold_every_parameter_once(network: Network) -> None:
    blocks = [module for block in network.blocks() for module in block]
    held = [id(p) for module in blocks for p in module.parameters()]
    assert len(held) == len(set(held))
    assert set(held) & in_head(network) == set()
    assert set(held) | in_head(network) == set(ids(network.parameters()))
    assert all(block and any(True for module in block for _ in module.parameters()) for block in network.blocks())
    # From the input to the output: the network's first parameters stand in the first block.
    assert ids(network.parameters())[0] in {id(p) for module in network.blocks()[0] for p in module.parameters()}


@pytest.mark.parametrize("trainable", ["all", "head", "last:1"])
def test_exactly_the_wanted_part_learns(network: Network, trainable: str) -> None:
    learning = trainable_part(network, trainable)
    wanted = in_head(network)
    blocks = {"all": network.blocks(), "head": [], "last:1": network.blocks()[-1:]}[trainable]
    wanted |= {id(p) for block in blocks for module in block for p in module.parameters()}
    assert set(ids(learning)) == wanted == {id(p) for p in network.parameters() if p.requires_grad}


def test_a_frozen_network_is_the_same_after_a_step(network: Network) -> None:
    stage = Stage(trainable="head", lr=0.1, optimizer="sgd")
    optimizer = torch.optim.SGD(parameter_groups(network, stage), lr=1.0)
    set_train_mode(network, stage)
    head = in_head(network)
    names = {name for name, p in network.named_parameters() if id(p) in head}
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network(photographs(network)).square().sum().backward()
    optimizer.step()
    after = network.state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    network.zero_grad()
    network.load_state_dict(before)
    assert changed
    assert changed <= names


def test_the_heatmap_layer_says_where(network: Network, request: pytest.FixtureRequest) -> None:
    layer = network.heatmap_layer()
    if request.node.callspec.params["network"][0] in TOKENS:
        assert layer is None
        return
    assert layer is not None
    seen: list[torch.Tensor] = []
    hook = layer.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    logits = network(photographs(network))
    hook.remove()
    assert seen[0].ndim == 4
    assert min(seen[0].shape[2:]) >= 2
    gradient = torch.autograd.grad(logits[:, 0].sum(), seen[0])[0]
    assert gradient.shape == seen[0].shape
    assert gradient.any()


def test_batches_of_one_photograph_and_gradients_everywhere(network: Network) -> None:
    assert network(photographs(network, 1)).shape == (1, 5)
    network(photographs(network)).square().sum().backward()
    missing = [name for name, p in network.named_parameters() if p.grad is None]
    network.zero_grad()
    assert not missing


@pytest.mark.parametrize("name", ["mlp", "cifar10_cnn", "test_vit"])
def test_weights_follow_from_the_seed_alone(name: str) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, again, other = (create_model(name, n_classes=3, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    for key, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[key])
    assert not torch.equal(first.head.weight, other.head.weight)
    kernels = [p for block in first.blocks() for module in block for p in module.parameters() if p.ndim > 1]
    others = [p for block in other.blocks() for module in block for p in module.parameters() if p.ndim > 1]
    assert not any(torch.equal(*pair) for pair in zip(kernels, others, strict=True))


@pytest.mark.parametrize("name", ["resnetv2_152", "resnet152"])
def test_a_head_on_152_layers_has_513_505_parameters(name: str) -> None:
    with torch.device("meta"):
        network = create_model(name, n_classes=5, hidden=(250,), dropout=0.5)
        trainable_part(network, "head")
        count = count_parameters(network)
    assert count.trainable == 513_505
    assert count.total > 58_000_000


def test_a_model_that_timm_does_not_group() -> None:
    with torch.device("meta"):
        network = create_model("pit_ti_224", n_classes=5)
    held = [id(p) for block in network.blocks() for module in block for p in module.parameters()]
    assert sorted([*held, *in_head(network)]) == sorted(ids(network.parameters()))


def test_rates_fall_from_the_head_to_the_input() -> None:
    network = built("mobilenetv2_100", (256,))
    stage = Stage(trainable="last:3", lr=0.1, head_lr=5.0, layer_decay=0.5, weight_decay=0.01)
    groups = parameter_groups(network, stage)
    rates = {group["name"]: group["lr"] for group in groups}
    assert list(rates.values()) == pytest.approx([0.0125, 0.025, 0.05, 0.5])
    assert list(rates)[-1] == "head"
    for group in groups:
        decays = {p.ndim > 1 for p in group["params"]}
        assert decays == {group["weight_decay"] > 0}
    together = [id(p) for group in groups for p in group["params"]]
    assert sorted(together) == sorted(id(p) for p in network.parameters() if p.requires_grad)


def test_tokens_and_position_embeddings_do_not_decay() -> None:
    network = built("vit_tiny_patch16_224")
    groups = parameter_groups(network, Stage(weight_decay=0.1))
    free = {id(p) for group in groups if not group["weight_decay"] for p in group["params"]}
    model = network.model
    assert {id(model.cls_token), id(model.pos_embed), id(model.norm.weight)} <= free
    assert id(model.patch_embed.proj.weight) not in free
    assert groups[0]["name"] == "block 0"
    assert id(model.cls_token) in {id(p) for group in groups if group["name"] == "block 0" for p in group["params"]}


def test_frozen_batch_norms_stay_as_they_are() -> None:
    network = built("mobilenetv2_100")
    set_train_mode(network, Stage(trainable="last:2"))
    part = divide(network, "last:2")
    assert not any(m.training for block in part.frozen for module in block for m in module.modules())
    assert all(m.training for block in part.learning for module in block for m in module.modules())
    set_train_mode(network, Stage(bn_frozen=True))
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training for norm in norms)
    assert network.head.training


def test_parts_that_there_are_not() -> None:
    network = built("mlp")
    for asked in ("last:0", "tail", "last:"):
        with pytest.raises(UsageError, match=f'"last:N" with N from 1; got {asked!r}'):
            trainable_part(network, asked)
    with pytest.raises(UsageError, match="has 1 blocks before its head; 'last:9' asks for more"):
        trainable_part(network, "last:9")


@pytest.mark.parametrize(
    ("name", "near"),
    [("cifar10_cn", "cifar10_cnn"), ("Restaurant-CNN", "restaurant_cnn"), ("mobilenetv2_10", "mobilenetv2_100")],
)
def test_unknown_names_get_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UsageError, match=rf"There is no network called {name}\. Did you mean .*{near}"):
        create_model(name, n_classes=5)


def test_what_cannot_be_made() -> None:
    with pytest.raises(UsageError, match=r"mlp has no option filters; its options are –"):
        create_model("mlp", n_classes=5, filters=(1,))
    with pytest.raises(UsageError, match=r"no option kernel; .*kernels.* Did you mean kernels\?"):
        create_model("restaurant_cnn_plus", n_classes=5, kernel=(3,))
    with pytest.raises(UsageError, match=r"no option drop_pat; its options are drop_path\. Did you mean drop_path\?"):
        create_model("resnet18", n_classes=5, drop_pat=0.1)
    with pytest.raises(UsageError, match="at least 2 classes; got 1"):
        create_model("mlp", n_classes=1)
    with pytest.raises(UsageError, match=r"test_vit cannot take photographs of 50 px\. It was made for 160 px"):
        create_model("test_vit", n_classes=5, input_size=50)


def test_names_are_registered_once() -> None:
    for taken in ("mlp", "resnet18"):
        with pytest.raises(ValueError, match=f"there is a network {taken} already"):
            register(taken)(type(built("mlp")))
    assert {"mlp", "cifar10_cnn", "cifar100_cnn", "restaurant_cnn", "restaurant_cnn_plus"} <= set(OURS)


def test_recipes_ask_for_options_that_there_are() -> None:
    for recipe in all_recipes():
        if recipe.kind == "network" and recipe.model.name in known_models():
            assert set(recipe.model.options) <= set(model_options(recipe.model.name)), recipe.name
