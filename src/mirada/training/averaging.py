"""An exponential moving average of a network's weights."""

from __future__ import annotations

import copy

import torch
from torch import nn


def decay_at(step: int, decay: float) -> float:
    """min(decay, (step + 1) / (step + 10)): short at first, so that the beginning is soon forgotten."""
    return min(decay, (step + 1) / (step + 10))


class Average:
    """A copy of a network that follows it: average ← decay · average + (1 - decay) · network, statistics too."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        ours, theirs = self.network.state_dict(keep_vars=True), network.state_dict(keep_vars=True)
        # frozen parameters stay as they are; counters are copied
        moving = [name for name, value in theirs.items() if value.requires_grad or not isinstance(value, nn.Parameter)]
        floats = [name for name in moving if theirs[name].is_floating_point()]
        self._floats = [ours[name] for name in floats], [theirs[name].detach() for name in floats]
        self._others = [(ours[name], theirs[name]) for name in moving if name not in set(floats)]

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def follow(self, step: int) -> None:
        """Take in the network's weights after `step`."""
        torch._foreach_lerp_(self._floats[0], self._floats[1], 1 - decay_at(step, self.decay))
        for own, its in self._others:
            own.copy_(its)
