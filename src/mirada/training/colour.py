"""Light and colour of a batch of photographs, float (n, 3, h, w) from 0 to 255."""

from __future__ import annotations

import torch

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's grey


def recoloured(
    x: torch.Tensor, brightness: torch.Tensor, contrast: torch.Tensor, saturation: torch.Tensor
) -> torch.Tensor:
    """Brightness, contrast about the photograph's mean grey, then saturation, each times its factor (n,).

    One 3 × 3 matrix and a bias for each photograph; what Pillow's ImageEnhance does in that order, but cut to 0–255
    only once.
    """
    n, _, height, width = x.shape
    luma = torch.tensor(LUMA, device=x.device)
    grey = x.mean((2, 3)) @ luma  # (n,)
    own = (brightness * contrast * saturation).view(n, 1, 1) * torch.eye(3, device=x.device)
    matrix = own + (brightness * contrast * (1 - saturation)).view(n, 1, 1) * luma.view(1, 3, 1)  # (n, from, to)
    bias = ((1 - contrast) * brightness * grey).view(n, 1, 1).expand(n, 1, 3)
    pixels = x.permute(0, 2, 3, 1).reshape(n, height * width, 3)
    out = torch.baddbmm(bias, pixels, matrix).clamp_(0, 255)
    return out.view(n, height, width, 3).permute(0, 3, 1, 2)
