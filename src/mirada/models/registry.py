"""Networks by name: ours from scratch, those that others register, and all of timm's."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import timm
import torch

from mirada.errors import UsageError
from mirada.messages import msg
from mirada.models.backbones import PRETRAINED, TimmNetwork
from mirada.models.base import Network
from mirada.models.fast import CifarFast
from mirada.models.recipe import Option
from mirada.models.scratch import Cifar10Cnn, Cifar100Cnn, Mlp, RestaurantCnn, RestaurantCnnPlus
from mirada.models.weights import known_names, load_weights

_COMMON = {"n_classes", "input_size", "weights", "hidden", "dropout", "activation", "seed", "name"}


B = TypeVar("B", bound=Callable[..., Network])
_BUILDERS: dict[str, Callable[..., Network]] = {}


def register(name: str) -> Callable[[B], B]:
    """``@register("name")`` on a class or function that makes a network. Raises ValueError where the name is taken.

    It takes, by keyword, n_classes, input_size, hidden, dropout, activation and seed as `create_model` has them (0 and
    () being its own); its further keywords are its options, which a recipe gives by name.
    """

    def add(builder: B) -> B:
        if name in _BUILDERS or timm.is_model(name):
            raise ValueError(f"there is a network {name} already")
        _BUILDERS[name] = builder
        return builder

    return add


def create_model(
    name: str,
    *,
    n_classes: int,
    input_size: int = 0,
    weights: Path | str | None = None,
    hidden: tuple[int, ...] = (),
    dropout: float = 0.0,
    activation: str = "relu",
    seed: int = 0,
    **options: Option,
) -> Network:
    """The network `name` with a head for `n_classes`.

    input_size: side in pixels (0: the network's own). weights: a .safetensors file, "pretrained" (the hub's; timm's
    networks alone), or None: random ones, drawn from `seed`. hidden, dropout, activation: dense layers before the
    head; on a network from scratch hidden () means its own. options: further keywords of the network.
    Raises UsageError: unknown name or option, sides that do not fit; BackboneError: weights that do not fit.
    """
    if n_classes < 2:
        raise UsageError(msg("A classifier needs at least 2 classes; got {n}.", n=n_classes))
    build = _builder(name)
    _check_options(name, build, options)
    common = {"n_classes": n_classes, "input_size": input_size, "hidden": tuple(hidden), "dropout": dropout}
    common |= {"activation": activation, "seed": seed}
    if name in _BUILDERS and weights == PRETRAINED:
        raise UsageError(
            msg("{name} is trained from scratch: there are no pretrained weights of it.", name=name),
            msg('Set weights to "none" in the recipe, or name a network of timm.'),
        )
    with torch.random.fork_rng(devices=[]):  # layers draw weights as they are made, before ours replace them
        torch.manual_seed(seed)
        if name not in _BUILDERS:
            return build(name, weights=weights, **common, **options)
        network = build(**common, **options)
    if weights is not None:
        load_weights(network, Path(weights), name=name, classifier=("head",))
    return network


def known_models() -> list[str]:
    """Names that `create_model` takes: those registered, then timm's."""
    return [*sorted(_BUILDERS), *timm.list_models()]


def model_options(name: str) -> tuple[str, ...]:
    """Options that the network `name` takes beside those of every network. Raises UsageError for an unknown name."""
    return tuple(key for key in inspect.signature(_builder(name)).parameters if key not in _COMMON)


def _builder(name: str) -> Callable[..., Network]:
    if name in _BUILDERS:
        return _BUILDERS[name]
    if timm.is_model(name):
        return TimmNetwork
    known = [*_BUILDERS, *known_names()]
    by_lower = {other.lower(): other for other in known}
    wanted = name.lower().replace("-", "_")
    near = [by_lower[match] for match in difflib.get_close_matches(wanted, by_lower, n=3)]
    if near:
        hint = msg("Did you mean {names}?", names=", ".join(near))
    else:
        hint = msg("Ours are {names}; all of timm's are known too.", names=", ".join(sorted(_BUILDERS)))
    raise UsageError(msg("There is no network called {name}.", name=name), hint)


def _check_options(name: str, build: Callable[..., Network], options: dict[str, Option]) -> None:
    allowed = [key for key in inspect.signature(build).parameters if key not in _COMMON]
    for key in options:
        if key not in allowed:
            near = difflib.get_close_matches(key, allowed, n=1)
            raise UsageError(
                msg(
                    "{name} has no option {got}; its options are {allowed}.",
                    name=name,
                    got=key,
                    allowed=", ".join(allowed) or "–",
                ),
                msg("Did you mean {name}?", name=near[0]) if near else None,
            )


register("mlp")(Mlp)
register("cifar10_cnn")(Cifar10Cnn)
register("cifar100_cnn")(Cifar100Cnn)
register("restaurant_cnn")(RestaurantCnn)
register("restaurant_cnn_plus")(RestaurantCnnPlus)
register("cifar_fast")(CifarFast)
