"""What every network here is: photographs to features, then one linear layer to the classes.

That a bundle is a backbone and a head follows from it: `features` is exported as the backbone, `head` is the head.
"""

from __future__ import annotations

import torch
from torch import nn

from mirada.types import PreprocessSpec


class Network(nn.Module):  # type: ignore[misc]  # torch is not followed by mypy
    """A classifier of photographs. `preprocess`: what its input is made with; normalisation happens outside.

    A subclass sets `preprocess` and `head` and writes `features` and `blocks`.
    """

    preprocess: PreprocessSpec
    head: nn.Linear

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Normalised photographs (n, 3, S, S), float, to features (n, d), with everything but the last layer."""
        raise NotImplementedError

    def blocks(self) -> list[list[nn.Module]]:
        """All modules with weights but `head_modules`, from the input to the output: what is frozen or learns slower.

        Every parameter stands in exactly one block or in the head. Parameters that belong to no layer (a class token)
        come as an nn.ParameterList.
        """
        raise NotImplementedError

    def head_modules(self) -> list[nn.Module]:
        """What "head" trains: `head`, and before it new dense layers on a pretrained network, which `features` hold."""
        return [self.head]

    def heatmap_layer(self) -> nn.Module | None:
        """The last layer whose output still says where (n, c, h, w); None: there is none (an MLP, a ViT)."""
        return None

    def prepare(self, x: torch.Tensor) -> None:
        """Look once at some normalised training photographs (n, 3, S, S) before training from scratch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (n, k)."""
        return self.head(self.features(x))


class Photographs(nn.Module):  # type: ignore[misc]
    """uint8 photographs (n, S, S, 3) to normalised floats (n, 3, S, S), channels last in memory."""

    def __init__(self, spec: PreprocessSpec) -> None:
        super().__init__()
        std, mean = torch.tensor(spec.std), torch.tensor(spec.mean)
        self.register_buffer("scale", (1 / (255 * std)).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", (mean / std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, S, S, 3) uint8, or float of the same range, to (n, 3, S, S)."""
        return images.permute(0, 3, 1, 2).float() * self.scale - self.shift
