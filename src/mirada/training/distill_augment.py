"""From a batch of uint8 views to a student's input: slight crop, flip, light and colour.

Everything is drawn from the seed and the step, so that a resumed run sees the same pictures.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
GROUPS = 8  # the crop is shared by an eighth of the batch: one resize for many images


def augmented(images: NDArray[np.uint8], size: int, *, seed: int, step: int) -> torch.Tensor:
    """uint8 (n, s, s, 3) to normalised float32 (n, 3, size, size) in channels-last memory."""
    rng = np.random.default_rng((seed, step))
    batch = torch.from_numpy(images).permute(0, 3, 1, 2)  # channels last without a copy
    side = batch.shape[-1]
    parts = []
    for part in batch.tensor_split(min(GROUPS, len(batch))):
        window = int(rng.integers(round(0.8 * side), side + 1))
        top, left = (int(rng.integers(0, side - window + 1)) for _ in range(2))
        cut = part[:, :, top : top + window, left : left + window].contiguous(memory_format=torch.channels_last)
        cut = functional.interpolate(cut, (size, size), mode="bilinear", antialias=True)
        parts.append(cut.flip(3) if rng.random() < 0.5 else cut)
    x = torch.cat(parts).float().div_(255)
    return normalised(_coloured(x, rng))


def normalised(x: torch.Tensor) -> torch.Tensor:
    """(n, 3, h, w) in 0–1 to the range that the student learns from."""
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    return x.sub(mean).div_(std).contiguous(memory_format=torch.channels_last)


def _coloured(x: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Each image's saturation, contrast and brightness changed by up to 30 %; in place."""
    n = len(x)
    saturation, contrast, brightness = (
        torch.from_numpy(rng.uniform(0.7, 1.3, n).astype(np.float32)).view(n, 1, 1, 1) for _ in range(3)
    )
    grey = x.mean(1, keepdim=True)
    x.mul_(saturation).add_(grey * (1 - saturation))
    level = x.mean((1, 2, 3), keepdim=True)
    x.mul_(contrast).add_(level * (1 - contrast))
    return x.mul_(brightness).clamp_(0, 1)
