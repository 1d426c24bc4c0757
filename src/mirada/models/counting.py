"""How many parameters a network has, counted as Keras does."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _NormBase


@dataclass(frozen=True, slots=True)
class ParameterCount:
    """`total` holds the running means and variances of batch norms, `trainable` what gradients change now."""

    total: int
    trainable: int

    @property
    def frozen(self) -> int:
        """What no gradient changes."""
        return self.total - self.trainable


def count_parameters(module: nn.Module) -> ParameterCount:
    """Parameters of `module`, each once, and batch norms' running statistics (not their count of batches).

    Works on torch's meta device too, where a network takes no memory.
    """
    parameters = list(module.parameters())
    statistics = sum(
        buffer.numel()
        for norm in module.modules()
        if isinstance(norm, _NormBase)
        for buffer in (norm.running_mean, norm.running_var)
        if buffer is not None
    )
    return ParameterCount(
        total=sum(parameter.numel() for parameter in parameters) + statistics,
        trainable=sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
    )
