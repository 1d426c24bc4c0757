"""A network of ours to a backbone and a head, so that it becomes a bundle like any other.

`features`, with normalisation in front, is written as a backbone's ONNX; `head` is one layer of `training.head.Head`.
"""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mirada.embed.backbone import Backbone, backbone_metadata, load_backbone
from mirada.embed.network import EMBEDDING
from mirada.errors import BackboneError
from mirada.messages import msg
from mirada.models.base import Network, Photographs
from mirada.release.export import check_parity, to_onnx
from mirada.workspace import storage_errors, write_atomic


class Features(nn.Module):  # type: ignore[misc]  # torch is not followed by mypy
    """uint8 photographs (n, S, S, 3) to the features (n, d) of a network, as it predicts: no dropout, float32, CPU.

    A copy: the network itself stays where and as it was.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        # Channels last is right for training; the exporter would write transposes for it.
        self.network = copy.deepcopy(network).to("cpu", torch.float32).to(memory_format=torch.contiguous_format)
        self.photographs = Photographs(network.preprocess)
        self.eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Features (n, d)."""
        return self.network.features(self.photographs(images))


def export_network(
    network: Network,
    path: Path,
    *,
    name: str,
    licence: str,
    trained_on: str = "",
    photographs: NDArray[np.uint8] | None = None,
) -> Backbone:
    """Write the features of `network` as a backbone's ONNX file and load it.

    trained_on: what is told of it in the file's metadata (a dataset id, a run). photographs: real ones, uint8
    (n, S, S, 3), on which the file must agree too.
    The file is written only where OpenVINO in float32 agrees with torch within 1e-3 of the features' scale, on
    noise, smooth pictures and `photographs`; its size does not follow from a batch. Raises BackboneError.
    """
    module, spec = Features(network), network.preprocess
    width = _width(name, module, spec.input_size, network.head.in_features)
    metadata = backbone_metadata(name, licence, spec, width, trained_on=trained_on)
    data = to_onnx(module, spec.input_size, [EMBEDDING], metadata)
    check_parity(name, data, module, spec.input_size, photographs=photographs)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, data)
    return load_backbone(path)


def head_of(network: Network) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The last layer as `training.head.Head` has it: weight (d, k), bias (k,), float32."""
    head = network.head
    weight = head.weight.detach().to("cpu", torch.float32).numpy().T
    bias = np.zeros(head.out_features) if head.bias is None else head.bias.detach().to("cpu", torch.float32).numpy()
    return np.array(weight, np.float32, order="C"), np.array(bias, np.float32)


def _width(name: str, module: Features, size: int, expected: int) -> int:
    with torch.inference_mode():
        answer = module(torch.zeros(2, size, size, 3, dtype=torch.uint8))
    if answer.shape != (2, expected):
        raise BackboneError(
            msg(
                "{name} gives features {shape} for two photographs; its last layer takes {wanted}.",
                name=name,
                shape=tuple(answer.shape),
                wanted=(2, expected),
            )
        )
    return expected
