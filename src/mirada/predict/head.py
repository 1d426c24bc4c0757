"""The head of a bundle's network in float32, whatever precision the backbone runs in.

`release.bundle` appends the head to the backbone's ONNX graph under the names below; here it is read back from
the same file, so that what runs is what was checked by its SHA-256.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mirada.errors import BundleError
from mirada.messages import msg

Activation = Literal["relu", "tanh"]
ACTIVATIONS: tuple[Activation, ...] = ("relu", "tanh")
PREFIX = "mirada.head"
TEMPERATURE = f"{PREFIX}.temperature"

Layer = tuple[NDArray[np.float32], NDArray[np.float32]]


def weight_name(i: int) -> str:
    """Initialiser of layer `i`: (inputs, outputs)."""
    return f"{PREFIX}.{i}.weight"


def bias_name(i: int) -> str:
    """Initialiser of layer `i`: (outputs,)."""
    return f"{PREFIX}.{i}.bias"


def hidden_name(i: int, activation: Activation) -> str:
    """Output of the activation after layer `i`; the name says which one it is."""
    return f"{PREFIX}.{i}.{activation}"


@dataclass(frozen=True, slots=True)
class FloatHead:
    """Dense layers with an activation between them, then softmax(logits / temperature)."""

    layers: tuple[Layer, ...]
    activation: Activation
    temperature: float

    @property
    def n_classes(self) -> int:
        """How many classes it tells apart."""
        return int(self.layers[-1][1].shape[0])

    def probs(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (n, k) of `embeddings` (n, d); a row does not depend on the rows beside it."""
        out = np.empty((len(embeddings), self.n_classes), np.float32)
        # Row by row: the matrix product of a whole batch rounds differently for different batch sizes.
        for i, row in enumerate(embeddings.astype(np.float32, copy=False)):
            out[i] = self._one(row)
        return out

    def _one(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        for W, b in self.layers[:-1]:
            x = x @ W + b
            x = np.maximum(x, np.float32(0)) if self.activation == "relu" else np.tanh(x)
        W, b = self.layers[-1]
        logits = (x @ W + b) / np.float32(self.temperature)
        exp = np.exp(logits - logits.max())
        probs: NDArray[np.float32] = exp / exp.sum()
        return probs


def read_head(onnx: bytes) -> FloatHead:
    """The head inside a bundle's ONNX file. Raises BundleError where there is none."""
    # OpenVINO keeps initialisers by name and is loaded anyway; importing onnx would cost another 0.2 s.
    import openvino

    operations = openvino.Core().read_model(onnx).get_ordered_ops()
    constants = {op.friendly_name: op for op in operations if op.get_type_name() == "Constant"}
    names = {op.friendly_name for op in operations}
    layers: list[Layer] = []
    while weight_name(len(layers)) in constants and bias_name(len(layers)) in constants:
        i = len(layers)
        layers.append((_array(constants[weight_name(i)]), _array(constants[bias_name(i)])))
    if not layers or TEMPERATURE not in constants:
        raise BundleError(
            msg("The model file holds a network without Mirada's head."),
            msg("Train the model again, or give a bundle that Mirada wrote."),
        )
    activation: Activation = "tanh" if hidden_name(0, "tanh") in names else "relu"
    return FloatHead(tuple(layers), activation, float(_array(constants[TEMPERATURE]).item()))


def _array(constant: object) -> NDArray[np.float32]:
    # A copy: the constant's memory goes with the OpenVINO model.
    return np.array(constant.data, np.float32)  # type: ignore[attr-defined]
