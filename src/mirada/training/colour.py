"""Light and colour of a batch of photographs, float (n, 3, h, w) from 0 to 255."""

from __future__ import annotations

import torch

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's grey


def recoloured(
    x: torch.Tensor, brightness: torch.Tensor, contrast: torch.Tensor, saturation: torch.Tensor
) -> torch.Tensor:
    """Brightness, contrast about the photograph's mean grey, then saturation, each times its factor (n,).

    What Pillow's ImageEnhance does in that order, but cut to 0–255 only once: together they are a 3 × 3 matrix and a
    bias for each photograph, the matrix being so much of the pixel itself and so much of its grey.
    """
    pixels = x.permute(0, 2, 3, 1)  # (n, h, w, 3)
    grey = (pixels.reshape(-1, 3) @ torch.tensor(LUMA, device=x.device)).view(pixels.shape[:3])
    mean = grey.mean((1, 2))
    bias = ((1 - contrast) * brightness * mean).view(-1, 1, 1)
    grey = grey * (brightness * contrast * (1 - saturation)).view(-1, 1, 1) + bias
    own = (brightness * contrast * saturation).view(-1, 1, 1, 1)
    return torch.addcmul(grey[..., None], pixels, own).clamp_(0, 255).permute(0, 3, 1, 2)
