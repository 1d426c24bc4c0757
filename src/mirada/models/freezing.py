"""What of a network learns, at which rate, and what stays as it is."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypedDict

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mirada.errors import UsageError
from mirada.messages import msg
from mirada.models.base import Network
from mirada.models.recipe import Stage


class Group(TypedDict):
    """A group of parameters as torch's optimisers take it. `lr` is the group's highest rate."""

    params: list[nn.Parameter]
    lr: float
    weight_decay: float
    name: str


@dataclass(frozen=True, slots=True)
class Part:
    """Modules of a network from the input to the output; `learning` ends with those of the head."""

    frozen: tuple[tuple[nn.Module, ...], ...]
    learning: tuple[tuple[nn.Module, ...], ...]


def divide(network: Network, trainable: str) -> Part:
    """Which blocks stay and which learn where a stage trains "all", "head" or "last:N". Raises UsageError: another."""
    blocks = [tuple(block) for block in network.blocks()]
    head = tuple(network.head_modules())
    found = re.fullmatch(r"all|head|last:([1-9]\d*)", trainable)
    if not found:
        raise UsageError(
            msg('trainable is "all", "head" or "last:N" with N from 1; got {got!r}.', got=trainable),
            msg('For example "last:3": the three last blocks and the head.'),
        )
    n_learning = {"all": len(blocks), "head": 0}.get(trainable, int(found[1] or 0))
    if n_learning > len(blocks):
        raise UsageError(
            msg("The network has {n} blocks before its head; {got!r} asks for more.", n=len(blocks), got=trainable),
            msg('"all" trains them all.'),
        )
    border = len(blocks) - n_learning
    return Part(tuple(blocks[:border]), (*blocks[border:], head))


def trainable_part(network: Network, trainable: str) -> list[nn.Parameter]:
    """Let that part alone learn ("all", "head", "last:N"): gradients on there, off elsewhere. Gives its parameters."""
    part = divide(network, trainable)
    network.requires_grad_(False)
    learning = _parameters(module for block in part.learning for module in block)
    for parameter in learning:
        parameter.requires_grad_(True)
    return learning


def parameter_groups(network: Network, stage: Stage) -> list[Group]:
    """What the stage trains, in groups from the input to the head: each block with its rate; turns gradients on or off.

    The head learns at lr * head_lr, the last block at lr * layer_decay, the one before at lr * layer_decay², and so
    on. Biases, norms and parameters that stand alone (class token, position embeddings) get no weight decay.
    """
    trainable_part(network, stage.trainable)
    part = divide(network, stage.trainable)
    groups: list[Group] = []
    for i, block in enumerate(part.learning):
        depth = len(part.learning) - 1 - i
        name = f"block {len(part.frozen) + i}" if depth else "head"
        rate = stage.lr * (stage.layer_decay**depth if depth else stage.head_lr)
        lone = {id(p) for module in block if isinstance(module, nn.ParameterList) for p in module}
        parameters = _parameters(block)
        kernels = [p for p in parameters if p.ndim > 1 and id(p) not in lone]
        kept = {id(p) for p in kernels}
        rest = [p for p in parameters if id(p) not in kept]
        groups += [
            Group(params=params, lr=rate, weight_decay=decay, name=name)
            for params, decay in ((kernels, stage.weight_decay), (rest, 0.0))
            if params
        ]
    return groups


def set_train_mode(network: Network, stage: Stage) -> None:
    """`network.train()`, but frozen blocks stay in eval mode, as do all batch norms where the stage says so.

    A frozen block drops nothing out and its running statistics stay, so that its output is a function of the
    photograph alone.
    """
    network.train()
    for block in divide(network, stage.trainable).frozen:
        for module in block:
            module.eval()
    if stage.bn_frozen:
        for module in network.modules():
            if isinstance(module, _BatchNorm):
                module.eval()


def _parameters(modules: Iterable[nn.Module]) -> list[nn.Parameter]:
    """Each parameter once, in order."""
    found = {id(parameter): parameter for module in modules for parameter in module.parameters()}
    return list(found.values())
