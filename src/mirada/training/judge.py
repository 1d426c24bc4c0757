"""What a network says of photographs, and how good that is."""

from __future__ import annotations

import logging

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from mirada.models.base import Network, Photographs
from mirada.training.augment import views_for_tta
from mirada.training.devices import Machine, choose_machine, is_out_of_memory
from mirada.training.feed import Store
from mirada.training.geometry import resized
from mirada.training.pixels import Images

LOG = logging.getLogger("mirada.training")
PIXELS_AT_ONCE = 1 << 22
MOST_AT_ONCE = 1024


def predict_logits(
    network: Network, images: Images, *, tta: bool = False, machine: Machine | None = None
) -> NDArray[np.float32]:
    """Logits (n, k) of photographs uint8 (n, S, S, 3); with `tta` the mean of theirs and their mirror images'.

    In batches, halved where memory is short; the network is left in evaluation mode, on the machine's device.
    """
    machine = machine or choose_machine()
    logits = logits_of(network.to(machine.device), Store(images, machine), machine, tta=tta)
    return np.asarray(logits.cpu().numpy(), dtype=np.float32)


def judge(
    network: Network, store: Store, labels: torch.Tensor, *, machine: Machine, tta: bool = False
) -> tuple[float, float]:
    """Mean log loss and accuracy on photographs whose labels (n,) lie on the device."""
    logits = logits_of(network, store, machine, tta=tta)
    right = (logits.argmax(1) == labels).float().mean()
    return float(functional.cross_entropy(logits, labels)), float(right)


@torch.inference_mode()  # type: ignore[untyped-decorator]
def logits_of(network: Network, store: Store, machine: Machine, *, tta: bool = False) -> torch.Tensor:
    """Logits float32 (n, k) on the device. Raises MemoryError where not even one photograph fits."""
    network.eval()
    side = network.preprocess.input_size
    normalise = Photographs(network.preprocess).to(machine.device)

    def of(rows: NDArray[np.int64]) -> torch.Tensor | None:
        """None where memory does not suffice; what was held is free again once this returns."""
        try:
            return _forward(network, _input(store.rows(rows), normalise, side), machine, tta=tta)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        return None

    size = max(1, min(MOST_AT_ONCE, PIXELS_AT_ONCE // side**2, len(store)))
    parts: list[torch.Tensor] = []
    done = 0
    while done < len(store):
        rows = np.arange(done, min(done + size, len(store)))
        made = of(rows)
        if made is not None:
            parts.append(made)
            done += len(rows)
        elif size > 1:
            size = -(-size // 2)
            LOG.warning("evaluation does not fit in memory: going on with batches of %d", size)
        else:
            raise MemoryError("not even one photograph fits in memory")
    return torch.cat(parts)


def _input(images: torch.Tensor, normalise: nn.Module, side: int) -> torch.Tensor:
    """uint8 (n, S, S, 3) to (n, 3, side, side); pixels kept with a margin for crops are made smaller."""
    if images.shape[1] != side:
        images = resized(images, side).permute(0, 2, 3, 1)
    x: torch.Tensor = normalise(images)
    return x


def _forward(network: nn.Module, x: torch.Tensor, machine: Machine, *, tta: bool) -> torch.Tensor:
    views = views_for_tta(x) if tta else (x,)
    with machine.autocast():
        return torch.stack([network(view).float() for view in views]).mean(0)
