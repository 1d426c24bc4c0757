"""What paints over photographs, or mixes two of them and their labels: cutout, mixup, cutmix."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

GREY = 128.0


def erased(x: torch.Tensor, share: float, rng: np.random.Generator) -> torch.Tensor:
    """A grey square of `share` of the side somewhere in each photograph (DeVries & Taylor 2017), in place.

    x: (n, 3, s, s) from 0 to 255. The square lies wholly inside.
    """
    n, side = len(x), x.shape[-1]
    edge = min(side, round(share * side))
    corner = torch.from_numpy(rng.integers(0, side - edge + 1, (2, n, 1))).to(x.device)
    rows, columns = corner + torch.arange(edge, device=x.device)  # (n, edge) each
    photo = torch.arange(n, device=x.device)[:, None, None]
    x.permute(0, 2, 3, 1)[photo, rows[:, :, None], columns[:, None, :]] = GREY
    return x


def mixed(
    x: torch.Tensor, labels: torch.Tensor, *, n_classes: int, mixup: float, cutmix: float, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each photograph and its label (n,) mixed with those of another one: (n, 3, s, s) and targets (n, n_classes).

    mixup (Zhang et al. 2018) and cutmix (Yun et al. 2019): alpha of the beta distribution that the batch's share is
    drawn from; 0: not this one. With both, each batch gets one or the other.
    """
    targets = functional.one_hot(labels.long(), n_classes).float()
    if len(x) < 2:
        return x, targets
    cut = cutmix > 0 and (mixup <= 0 or rng.random() < 0.5)
    alpha = cutmix if cut else mixup
    kept = float(rng.beta(alpha, alpha))
    by = int(rng.integers(1, len(x)))  # nobody is mixed with himself
    if cut:
        kept = _paste(x, by, kept, rng)
    else:
        pixels = x.permute(0, 2, 3, 1)  # contiguous: rolled as it lies
        x = torch.lerp(pixels.roll(by, 0), pixels, kept).permute(0, 3, 1, 2)
    return x, torch.lerp(targets.roll(by, 0), targets, kept)


def _paste(x: torch.Tensor, by: int, kept: float, rng: np.random.Generator) -> float:
    """A window of the photograph `by` places before, in place. The share of x that is still seen: edges may cut it."""
    side = x.shape[-1]
    half = side * (1 - kept) ** 0.5 / 2
    corners = np.rint(rng.uniform(0, side, 2) + np.array([[-half], [half]])).clip(0, side)
    (top, left), (bottom, right) = ((int(down), int(along)) for down, along in corners)
    window = x[:, :, top:bottom, left:right]
    window.copy_(window.roll(by, 0))
    n_pasted = (bottom - top) * (right - left)
    return 1.0 - n_pasted / int(side) ** 2
