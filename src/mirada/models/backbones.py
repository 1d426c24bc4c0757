"""Any network of timm as a `Network`: its features up to the classifier, new dense layers where asked, a new head."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import group_parameters
from torch import nn

from mirada.errors import BackboneError, UsageError
from mirada.messages import msg
from mirada.models.base import Network
from mirada.models.scratch import dense_unit, start_as_keras
from mirada.models.weights import classifier_names, from_hub, load_weights, preprocess_of, splits_head

log = logging.getLogger("mirada.models")
PRETRAINED = "pretrained"


class TimmNetwork(Network):
    """A timm model without its classifier; `hidden` dense layers, each with activation and dropout; then the head.

    weights: a .safetensors file, "pretrained" (the hub's) or None. input_size: 0 is the pretrained one; a
    transformer's position embeddings are resampled to another. drop_path: stochastic depth. seed: of the new layers;
    `create_model` sees to the others.
    The file's own classifier becomes the head where it has as many classes and there is no hidden layer.
    Raises UsageError for a side or option that the model cannot take, BackboneError for weights that do not fit.
    """

    def __init__(
        self,
        name: str,
        *,
        n_classes: int,
        input_size: int = 0,
        weights: Path | str | None = None,
        hidden: tuple[int, ...] = (),
        dropout: float = 0.0,
        activation: str = "relu",
        seed: int = 0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.name = name
        self.model = _timm_model(name, drop_path=drop_path)
        self.splits_head = splits_head(self.model)
        width = int(self.model.head_hidden_size or self.model.num_features)
        self.hidden = nn.Sequential(*(dense_unit(a, b, activation, dropout) for a, b in pairwise((width, *hidden))))
        self.dropout = nn.Dropout(0.0 if hidden else dropout)
        self.head = nn.Linear(hidden[-1] if hidden else width, n_classes)
        start_as_keras(self.hidden, seed=seed)
        start_as_keras(self.head, seed=seed + 1)
        cfg = self.model.pretrained_cfg
        if weights is not None:
            file = from_hub(name)[0] if weights == PRETRAINED else Path(weights)
            heads = classifier_names(timm.get_pretrained_cfg(name))
            self._keep_classifier(load_weights(self.model, file, name=name, classifier=heads), heads)
        own_size = int(cfg["input_size"][1])
        size = input_size or own_size
        self.preprocess = preprocess_of({**cfg, "input_size": (cfg["input_size"][0], size, size)})
        if size != own_size:
            self._take_size(size, own_size)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """(n, 3, S, S) to (n, d): the model's features, pooled, through the hidden layers."""
        if self.splits_head:
            pooled = self.model.forward_head(self.model.forward_features(x), pre_logits=True)
        else:
            pooled = self.model(x)
        return self.dropout(self.hidden(pooled))  # n, d

    def blocks(self) -> list[list[nn.Module]]:
        """Blocks as timm has them: the stem, every block of every stage; a last norm goes with the block before it.

        A ViT's class token and position embeddings belong to the stem.
        """
        block_of = _block_numbers(self.model)
        blocks: list[list[nn.Module]] = [[] for _ in range(max(block_of.values()) + 1)]
        _share_out(self.model, "", block_of, blocks)
        return [block for block in blocks if block]

    def head_modules(self) -> list[nn.Module]:
        """The hidden layers and the head: both are new, so that both learn where only the head does."""
        return [self.hidden, self.head]

    def heatmap_layer(self) -> nn.Module | None:
        """The module whose output is the last feature map (n, c, h, w); None where features are tokens."""
        outputs: list[tuple[nn.Module, object]] = []
        hooks = [
            module.register_forward_hook(lambda module, _, output: outputs.append((module, output)))
            for module in self.model.modules()
        ]
        try:
            last = self._try_out()
        finally:
            for hook in hooks:
                hook.remove()
        if last is None or last.ndim != 4 or last.shape[1] != self.model.num_features:
            return None
        return next((module for module, output in reversed(outputs) if output is last), None)

    def _try_out(self) -> torch.Tensor:
        """The last feature map of a black photograph; changes nothing."""
        training = {module: module.training for module in self.model.modules()}
        size = self.preprocess.input_size
        like = next(self.model.parameters())
        self.model.eval()
        try:
            with torch.no_grad():
                return self.model.forward_features(torch.zeros(1, 3, size, size, device=like.device, dtype=like.dtype))
        finally:
            for module, was in training.items():
                module.training = was

    def _take_size(self, size: int, own_size: int) -> None:
        # What a model says of the sides it takes is scattered over timm, so it is tried.
        try:
            if hasattr(self.model, "set_input_size"):
                self.model.set_input_size(img_size=(size, size))
            self._try_out()
        except (AssertionError, RuntimeError, ValueError, ZeroDivisionError) as error:
            raise UsageError(
                msg("{name} cannot take photographs of {got} px.", name=self.name, got=size),
                msg("It was made for {size} px; leave out input_size to use that.", size=own_size),
            ) from error

    def _keep_classifier(self, given: Mapping[str, torch.Tensor], heads: tuple[str, ...]) -> None:
        weight, bias = (given.get(f"{heads[0]}.{part}") if len(heads) == 1 else None for part in ("weight", "bias"))
        if weight is not None and bias is not None and weight.shape == self.head.weight.shape:
            self.head.load_state_dict({"weight": weight, "bias": bias})
        elif given:
            log.info("%s gets a new head for %d classes", self.name, self.head.out_features)


def _timm_model(name: str, *, drop_path: float) -> Any:
    options = {"drop_path_rate": drop_path} if drop_path else {}
    try:
        model = timm.create_model(name, num_classes=0, **options)
    except TypeError as error:
        if not options:
            raise
        raise UsageError(
            msg("{name} has no stochastic depth.", name=name), msg("Leave out the option drop_path.")
        ) from error
    if not hasattr(model, "forward_features"):
        raise BackboneError(
            msg("{name} has no features apart from its classes.", name=name),
            msg("Choose a model of timm that classifies photographs."),
        )
    return model


def _block_numbers(model: Any) -> Mapping[str, int]:
    """Which block each parameter stands in: as timm groups them for layer decay, else by the model's own children."""
    if hasattr(model, "group_matcher"):
        grouped: Mapping[str, int] = group_parameters(model, model.group_matcher(coarse=False), reverse=True)
        return grouped
    order = {name: i for i, (name, _) in enumerate(model.named_children())}
    return {name: order.get(name.split(".")[0], 0) for name, _ in model.named_parameters()}


def _share_out(module: nn.Module, prefix: str, block_of: Mapping[str, int], blocks: list[list[nn.Module]]) -> None:
    """Put into `blocks` the largest modules whose parameters stand in one block; lone parameters as a list."""
    names = [f"{prefix}{name}" for name, _ in module.named_parameters()]
    indices = {block_of.get(name, 0) for name in names}
    if prefix and len(indices) == 1:
        blocks[indices.pop()].append(module)
        return
    lone: dict[int, list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters(recurse=False):
        lone.setdefault(block_of.get(f"{prefix}{name}", 0), []).append(parameter)
    for index, parameters in lone.items():
        blocks[index].append(nn.ParameterList(parameters))
    for name, child in module.named_children():
        if any(True for _ in child.parameters()):
            _share_out(child, f"{prefix}{name}.", block_of, blocks)
