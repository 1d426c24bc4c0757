"""A network through torch.compile, and without it where the machine has no compiler."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from mirada.messages import Message, msg


class Compiled:
    """Calls the compiled network; where compiling fails, says so once and calls the network as it is."""

    def __init__(self, network: nn.Module, tell: Callable[[Message], None]) -> None:
        from torch._dynamo.exc import TorchDynamoException  # loads the compiler, which is slow

        self._failures, self._network, self._tell = TorchDynamoException, network, tell
        self._call: Callable[[torch.Tensor], torch.Tensor] = torch.compile(network, dynamic=False)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (n, k)."""
        if self._call is self._network:
            return self._call(x)
        try:
            return self._call(x)
        except self._failures as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            self._tell(msg("torch.compile does not work here; going on without it: {reason}", reason=reason[0]))
            self._call = self._network
        return self._network(x)
