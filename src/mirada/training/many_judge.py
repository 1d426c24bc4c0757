"""What small networks say of val: on the way in the numbers they are trained in, in the end in float32."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from mirada.training.many_network import Inputs, ManyNetwork, ManySpec

JUDGED_AT_ONCE = 1000


def judge(network: ManyNetwork) -> tuple[float | None, float | None]:
    """Mean log loss and accuracy on val, as it is trained; None where there is no val."""
    inputs = network.inputs
    if not len(inputs.val):
        return None, None
    loss, right = 0.0, 0
    for x, y in zip(inputs.val.split(JUDGED_AT_ONCE), inputs.val_labels.split(JUDGED_AT_ONCE), strict=True):
        logits = network.logits(x)
        loss += float(functional.cross_entropy(logits, y, reduction="sum"))
        right += int((logits.argmax(1) == y).sum())
    return loss / len(inputs.val), right / len(inputs.val)


def answers(spec: ManySpec, weights: Sequence[torch.Tensor], inputs: Inputs) -> NDArray[np.float32]:
    """Probabilities (n_val, k) by weights, all in float32: what the exported network says."""
    activate = {"relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}[spec.activation]
    parts = []
    for x in inputs.val.split(JUDGED_AT_ONCE):
        hidden = (x.float() + inputs.shift) * inputs.scale
        for layer in range(0, len(weights) - 2, 2):
            hidden = activate(functional.linear(hidden, weights[layer], weights[layer + 1]))
        parts.append(functional.linear(hidden, weights[-2], weights[-1]).softmax(1).cpu().numpy())
    return np.concatenate(parts) if parts else np.zeros((0, inputs.n_classes), np.float32)
