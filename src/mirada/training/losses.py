"""What is minimised: cross-entropy with smoothing, class weights and soft targets, and Keras' penalty on kernels."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

KERNELS = (nn.Linear, nn.Conv1d, nn.Conv2d)


def class_weights(labels: NDArray[np.int64], n_classes: int) -> NDArray[np.float32]:
    """For each class n / (k · n_c), scikit-learn's "balanced": the mean over the photographs is 1."""
    counts = np.bincount(labels, minlength=n_classes)
    present = max(1, int((counts > 0).sum()))
    return np.asarray(len(labels) / (present * np.maximum(counts, 1)), dtype=np.float32)


def sum_of_losses(
    logits: torch.Tensor, targets: torch.Tensor, *, smoothing: float = 0.0, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Sum over the rows of the cross-entropy, in float32; a row counts as much as its class weighs.

    `targets`: classes (n,) or probabilities (n, k). As Keras' class_weight: a batch's mean is over its rows, not
    over their weights, so that batches of any size add up.
    """
    if weights is None:
        return functional.cross_entropy(logits.float(), targets, label_smoothing=smoothing, reduction="sum")
    losses = functional.cross_entropy(logits.float(), targets, label_smoothing=smoothing, reduction="none")
    return (losses * (weights[targets] if targets.ndim == 1 else targets @ weights)).sum()


def kernels(network: nn.Module) -> list[nn.Parameter]:
    """Weights of dense and convolutional layers that learn: what Keras' `kernel_regularizer` is put on."""
    found = [module.weight for module in network.modules() if isinstance(module, KERNELS)]
    return [weight for weight in found if weight.requires_grad]


def l2_penalty(weights: Iterable[torch.Tensor], strength: float) -> torch.Tensor:
    """Keras' `regularizers.L2`: strength · Σ w², without a half."""
    return strength * torch.stack([weight.square().sum() for weight in weights]).sum()
