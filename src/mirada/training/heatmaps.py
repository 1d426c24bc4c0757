"""Where a network looks: what part of a photograph speaks for a class.

Convolutional networks: Grad-CAM (Selvaraju et al. 2017) on the last layer that still says where. Transformers:
gradient-weighted attention roll-out (Chefer et al. 2021, "Generic attention-model explainability"): in each block the
attention is weighted by the class score's gradient with respect to it and only what speaks for the class is kept,
then the blocks are multiplied through with their skip connections. The plain roll-out (Abnar and Zuidema 2020) knows
no class: it gives the same map whatever was asked.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.nn import functional

from mirada.errors import UsageError
from mirada.messages import msg
from mirada.models.base import Network, Photographs

BATCH = 16
JPEG_QUALITY = 85
STRENGTH = 0.7  # how much of the photograph the strongest colour hides
_LEVELS = 256


def heatmap(network: Network, images: NDArray[np.uint8], classes: NDArray[np.integer]) -> NDArray[np.float32]:
    """Maps (n, S, S) from 0 to 1 of photographs uint8 (n, S, S, 3): what speaks for the class indices (n,).

    Each map's largest value is 1; all 0 where nothing speaks for the class. The network keeps its weights, its
    gradients and its mode. Raises UsageError for a network that does not keep places apart (an MLP).
    """
    if len(images) == 0:
        return np.zeros((0, *images.shape[1:3]), np.float32)
    explain = _explainer(network)
    was_training, device = network.training, network.head.weight.device
    photographs = Photographs(network.preprocess).to(device)
    network.eval()
    try:
        maps = [
            _finished(
                explain(photographs(torch.from_numpy(images[i : i + BATCH]).to(device)), classes[i : i + BATCH]),
                images.shape[1],
            )
            for i in range(0, len(images), BATCH)
        ]
    finally:
        network.train(was_training)
    return np.concatenate(maps)


class _GradCam:
    """Grad-CAM on one layer."""

    def __init__(self, network: Network, layer: nn.Module) -> None:
        self.network, self.layer = network, layer

    def __call__(self, x: torch.Tensor, classes: NDArray[np.integer]) -> torch.Tensor:
        """(n, h, w), not normalised."""
        seen: list[torch.Tensor] = []
        handle = self.layer.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
        try:
            score = _score(self.network, x, classes)
        finally:
            handle.remove()
        (gradient,) = torch.autograd.grad(score, seen[-1:])
        weights = gradient.mean(dim=(2, 3), keepdim=True)  # n, c, 1, 1
        return (weights * seen[-1]).sum(1).clamp(min=0)


class _RollOut:
    """Gradient-weighted attention roll-out through timm's VisionTransformer `vit`."""

    def __init__(self, network: Network, vit: Any) -> None:
        self.network, self.vit = network, vit

    def __call__(self, x: torch.Tensor, classes: NDArray[np.integer]) -> torch.Tensor:
        """(n, h, w), not normalised."""
        with _open_attention(self.vit) as attention:
            score = _score(self.network, x, classes)
        gradients = torch.autograd.grad(score, attention)
        flow = torch.eye(attention[0].shape[-1], device=x.device)  # from the photograph's tokens to a block's
        for weights, gradient in zip(attention, gradients, strict=True):
            flow = flow + (weights * gradient).clamp(min=0).mean(1) @ flow  # n, t, t
        prefix = self.vit.num_prefix_tokens
        pooled = flow[:, 0] if self.vit.global_pool == "token" and prefix else flow[:, prefix:].mean(1)
        return pooled[:, prefix:].reshape(len(x), *self.vit.patch_embed.grid_size)


def overlay(image: NDArray[np.uint8], heat: NDArray[np.floating]) -> NDArray[np.uint8]:
    """The photograph (h, w, 3) in grey with its map (h, w), 0 to 1, over it in colour; uint8 (h, w, 3)."""
    level = np.clip(np.nan_to_num(heat), 0, 1)
    colour = colours()[(level * (_LEVELS - 1)).round().astype(np.intp)].astype(np.float32)
    grey = (image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
    share = STRENGTH * np.sqrt(level)[..., None]
    return np.asarray(((1 - share) * grey + share * colour).round(), np.uint8)


def heatmap_pictures(
    network: Network, images: NDArray[np.uint8], classes: NDArray[np.integer], *, side: int = 224
) -> list[bytes]:
    """What the report shows beside each photograph (n, S, S, 3): its overlay as a JPEG of at most `side` pixels."""
    made = []
    for image, heat in zip(images, heatmap(network, images, classes), strict=True):
        picture, out = Image.fromarray(overlay(image, heat)), io.BytesIO()
        picture.thumbnail((side, side), Image.Resampling.BICUBIC)
        picture.save(out, "JPEG", quality=JPEG_QUALITY)
        made.append(out.getvalue())
    return made


def pictures_of_run(
    folder: Path,
    document: str,
    images: NDArray[np.uint8],
    classes: NDArray[np.integer],
    *,
    n_classes: int,
    grey: bool = False,
    side: int = 224,
) -> list[bytes]:
    """`heatmap_pictures` by the network that a run kept in its `folder`; document: the run's recipe as JSON."""
    from mirada.training.networks import load_trained

    network = load_trained(folder, document, n_classes=n_classes, grey=grey)
    return heatmap_pictures(network, images, classes, side=side)


@cache
def colours() -> NDArray[np.uint8]:
    """A colour map (256, 3), sRGB: equal steps look equal, from dark violet over red to light yellow.

    Lightness rises and hue turns evenly in Oklab (Ottosson 2020); read as grey, it is still in order.
    """
    at = np.linspace(0, 1, _LEVELS)
    lightness, hue = 0.28 + 0.64 * at, np.deg2rad(-50 + 155 * at)
    chroma = 0.115 + 0.055 * np.sin(np.pi * at)
    lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=1)
    table = (_srgb(lab).clip(0, 1) * 255).round().astype(np.uint8)
    table.setflags(write=False)  # everybody gets the same one
    return np.asarray(table)


def _srgb(lab: NDArray[np.floating]) -> NDArray[np.floating]:
    """Oklab (n, 3) to sRGB (n, 3), 0 to 1 within the gamut."""
    to_lms = np.array(
        [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
    )
    to_rgb = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = ((lab @ to_lms.T) ** 3) @ to_rgb.T
    bright = np.maximum(linear, 0.0031308)
    return np.asarray(np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * bright ** (1 / 2.4) - 0.055))


def _explainer(network: Network) -> _GradCam | _RollOut:
    layer = network.heatmap_layer()
    if layer is not None:
        return _GradCam(network, layer)
    vit = next((module for module in network.modules() if _is_plain_vit(module)), None)
    if vit is None:
        raise UsageError(
            msg("A network such as {kind} does not keep places apart: it has no heatmap.", kind=type(network).__name__),
            msg("Convolutional networks and timm's VisionTransformer have one."),
        )
    return _RollOut(network, vit)


def _is_plain_vit(module: nn.Module) -> bool:
    from timm.layers import Attention
    from timm.models.vision_transformer import VisionTransformer

    return isinstance(module, VisionTransformer) and all(
        isinstance(getattr(block, "attn", None), Attention) for block in module.blocks
    )


@contextmanager
def _open_attention(vit: Any) -> Iterator[list[torch.Tensor]]:
    """While it lasts, a pass through `vit` leaves each block's attention (n, heads, t, t) in the list, in order.

    The fused kernel never holds that matrix: the blocks take timm's written-out way, whose dropout it passes through.
    """
    seen: list[torch.Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        seen.append(output)
        return output

    blocks = [block.attn for block in vit.blocks]
    fused = [attn.fused_attn for attn in blocks]
    handles = [attn.attn_drop.register_forward_hook(keep) for attn in blocks]
    try:
        for attn in blocks:
            attn.fused_attn = False
        yield seen
    finally:
        for attn, was in zip(blocks, fused, strict=True):
            attn.fused_attn = was
        for handle in handles:
            handle.remove()


def _score(network: Network, x: torch.Tensor, classes: NDArray[np.integer]) -> torch.Tensor:
    """The sum over photographs of the logit that was asked for: none reaches another's gradient."""
    # Frozen layers ask for no gradient: the photographs must.
    with torch.enable_grad():
        logits = network(x.detach().requires_grad_())
        wanted = torch.as_tensor(np.asarray(classes, np.int64), device=logits.device)
        return logits.gather(1, wanted[:, None]).sum()


def _finished(maps: torch.Tensor, side: int) -> NDArray[np.float32]:
    """Raw maps (n, h, w) to (n, side, side) from 0 to 1: least value 0, largest 1."""
    raw = maps.detach().float()
    raw = raw - raw.amin(dim=(1, 2), keepdim=True)
    up = functional.interpolate(raw[:, None], (side, side), mode="bilinear", align_corners=False)[:, 0]
    most = up.amax(dim=(1, 2), keepdim=True)
    scaled = torch.where(most > 0, up / most.clamp(min=torch.finfo(up.dtype).tiny), torch.zeros_like(up))
    return np.asarray(scaled.cpu().numpy(), np.float32)
