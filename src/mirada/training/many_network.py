"""One small MLP as plain tensors: forward, backward and step written out, the first layer's products in int8.

Photographs are bytes, so a pixel less 128 is an int8 exactly. With W' = W · a (a: what normalisation multiplies a
pixel by) the first layer is x W'ᵀ plus a constant, and nearly all of the work of an MLP is this product and that of
its gradient. Both are made in int8 where the processor has instructions for it (twice the rate of bf16):

- forward, W' is rounded to 127 steps of the largest weight of each neuron (the master copy stays float32; the
  gradient passes straight through, Bengio et al. 2013);
- backward, the gradient of each neuron is rounded up or down at random so that its mean is kept (stochastic rounding,
  Gupta et al. 2015): against the noise of a batch what this adds is below a per cent.

Sums are exact int32, so that the products do not depend on how they are cut up. Elsewhere they are bf16 or float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from mirada.models.recipe import Stage
from mirada.training.losses import class_weights

ManyPrecision = Literal["int8", "bf16", "f32"]
Activation = Literal["relu", "tanh", "sigmoid"]
TENSOR_TYPES = {"int8": torch.bfloat16, "bf16": torch.bfloat16, "f32": torch.float32}
Tensors = list[torch.Tensor]
BLOCK = (
    128  # neurons of the first layer whose weights are changed at a time: 3,072 floats each, a small part of the cache
)
STEPS = 127.0  # of an int8, either way
TINY = 1e-20


@dataclass(frozen=True, slots=True, kw_only=True)
class ManySpec:
    """A network and how it is trained: dense layers of `hidden` units, each followed by activation and dropout.

    `stage` says optimiser, rates, batch size, epochs and stopping; what it may ask for, `many.why_not` tells.
    """

    hidden: tuple[int, ...] = (512,)
    activation: Activation = "relu"
    dropout: float = 0.0
    seed: int = 0
    stage: Stage


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """Training photographs (n, d) as int8 (pixel less 128) or in the products' type, with labels, and val's.

    Normalised they are (x + shift) · scale.
    """

    train: torch.Tensor
    train_labels: torch.Tensor
    val: torch.Tensor
    val_labels: torch.Tensor
    scale: float
    shift: float
    n_classes: int

    @property
    def device(self) -> torch.device:
        """Where they lie."""
        return self.train.device


def initial_weights(spec: ManySpec, n_inputs: int, n_classes: int) -> list[torch.Tensor]:
    """W₁, b₁, W₂, b₂, …, drawn from the seed as `models.scratch.Mlp` draws them; W₁'s columns as `Inputs` has them."""
    generator = torch.Generator().manual_seed(spec.seed)
    sizes, drawn = (n_inputs, *spec.hidden, n_classes), []
    for n_in, n_out in pairwise(sizes):
        drawn += [nn.init.xavier_uniform_(torch.empty(n_out, n_in), generator=generator), torch.zeros(n_out)]
    return [columns_last(drawn[0]), *drawn[1:]]


def columns_last(weight: torch.Tensor) -> torch.Tensor:
    """W₁ (out, 3 · S · S) of a network, whose inputs are planes, for photographs with channels last."""
    return weight.view(len(weight), 3, -1).transpose(1, 2).reshape(weight.shape).contiguous()


def columns_first(weight: torch.Tensor) -> torch.Tensor:
    """The way back from `columns_last`."""
    return weight.view(len(weight), -1, 3).transpose(1, 2).reshape(weight.shape).contiguous()


class ManyNetwork:
    """Weights, optimiser state and buffers of one network; `learn` makes a step. `threads`: for its int8 products."""

    def __init__(
        self, spec: ManySpec, inputs: Inputs, precision: ManyPrecision, *, weights: Sequence[torch.Tensor] | None = None
    ) -> None:
        device, n_inputs = inputs.device, inputs.train.shape[1]
        weights = initial_weights(spec, n_inputs, inputs.n_classes) if weights is None else weights
        self.spec, self.inputs, self.precision = spec, inputs, precision
        self.weights = [weight.to(device, torch.float32, copy=True).contiguous() for weight in weights]
        self.moments = first_moments(spec.stage, self.weights)
        self.step = 0
        self.threads = 1
        self._masks: dict[int, torch.Tensor] = {}
        n_first = len(self.weights[0])
        self._blocks = [slice(i, min(i + BLOCK, n_first)) for i in range(0, n_first, BLOCK)]
        self._buffer = torch.empty(BLOCK, n_inputs, device=device)
        self._gradients = [torch.empty_like(weight if i else self._buffer) for i, weight in enumerate(self.weights)]
        self._type = TENSOR_TYPES[precision]
        kind = torch.int8 if precision == "int8" else self._type
        self._cast = torch.empty(self.weights[0].shape, dtype=kind, device=device)
        self._product = torch.empty(self.weights[0].shape if precision == "int8" else 0, dtype=torch.int32)
        self._factor = torch.ones(len(self._cast), device=device)
        self._offset = torch.zeros(len(self._cast), device=device)
        self._class_weights: torch.Tensor | None = None
        if spec.stage.class_weight == "balanced":
            weighed = class_weights(inputs.train_labels.cpu().numpy(), inputs.n_classes)
            self._class_weights = torch.from_numpy(weighed).to(device)
        self.refresh()

    def refresh(self) -> None:
        """Make the first layer's cast weights anew from the master copy."""
        for rows in self._blocks:
            self._cast_rows(rows, self._buffer[: rows.stop - rows.start])

    def _cast_rows(self, rows: slice, buffer: torch.Tensor) -> None:
        """The cast of some neurons' weights; `buffer` (rows, d) is spent."""
        weight, scale, shift = self.weights[0][rows], self.inputs.scale, self.inputs.shift
        if self.precision == "int8":
            peak = torch.maximum(weight.amax(1), -weight.amin(1)).clamp_(min=TINY)
            torch.mul(weight, (STEPS / peak)[:, None], out=buffer).round_()
            torch.mul(peak, scale / STEPS, out=self._factor[rows])
        else:
            torch.mul(weight, scale, out=buffer)
        self._cast[rows].copy_(buffer)
        # The constant goes with the rounded weights: then their error meets x less its mean, not all of x.
        torch.mul(buffer.sum(1), self._factor[rows], out=self._offset[rows]).mul_(shift)

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """(n, d) of `Inputs` to (n, k), in float32, without dropout."""
        hidden = self._first(x)
        for layer in range(1, len(self.spec.hidden)):
            hidden = self._activated(self._dense(hidden, layer))
        return self._dense(hidden, len(self.spec.hidden))

    def learn(self, x: torch.Tensor, labels: torch.Tensor, rate: float) -> torch.Tensor:
        """One step at learning rate `rate` on rows `x` (n, d); gives the batch's mean loss before it."""
        spec = self.spec
        hidden = [self._first(x)]
        for layer in range(1, len(spec.hidden)):
            hidden.append(self._activated(self._dense(self._kept(hidden[-1], layer), layer)))
        top = len(spec.hidden)
        logits = self._dense(self._kept(hidden[-1], top), top)
        loss, delta = self._loss(logits, labels)
        for layer in range(top, 0, -1):
            below = self._kept(hidden[layer - 1], layer)
            self._gradient(layer, delta, below)
            delta = self._through(self._kept(delta.to(self._type) @ self._narrow(layer), layer), hidden[layer - 1])
        self._learn_first(delta, x, rate)
        each = len(self.moments) // len(self.weights)
        update(spec.stage, self.weights[1:], self._gradients[1:], self.moments[each:], rate=rate, step=self.step + 1)
        self.step += 1
        self._masks.clear()
        return loss

    def _first(self, x: torch.Tensor) -> torch.Tensor:
        product = self._whole(x, self._cast.t()) if self.precision == "int8" else x @ self._cast.t()
        return self._activated(torch.mul(product, self._factor).add_(self._offset + self.weights[1]))

    def _whole(self, a: torch.Tensor, b: torch.Tensor, *, out: torch.Tensor | None = None) -> torch.Tensor:
        """The product of int8 matrices in int32, on `threads` cores: whole numbers come out the same on any number."""
        if self.threads == 1:
            return torch._int_mm(a, b, out=out)
        torch.set_num_threads(self.threads)
        product = torch._int_mm(a, b, out=out)
        torch.set_num_threads(1)
        return product

    def _activated(self, z: torch.Tensor) -> torch.Tensor:
        """The activation of z (float32, spent), in the products' type."""
        if self.spec.activation == "relu":
            return z.relu_().to(self._type)
        if self.spec.activation == "sigmoid":
            return z.sigmoid_().to(self._type)
        # tanh z = 2 σ(2z) − 1: torch's own is four times as slow.
        return z.mul_(2).sigmoid_().mul_(2).sub_(1).to(self._type)

    def _dense(self, hidden: torch.Tensor, layer: int) -> torch.Tensor:
        return (hidden @ self._narrow(layer).t()).float() + self.weights[2 * layer + 1]

    def _narrow(self, layer: int) -> torch.Tensor:
        return self.weights[2 * layer].to(self._type)

    def _kept(self, values: torch.Tensor, layer: int) -> torch.Tensor:
        """Dropout before dense layer `layer`, the same whenever it is asked for within a step."""
        share = self.spec.dropout
        if not share:
            return values
        if layer not in self._masks:
            kept = self._bits(values.shape, layer) >= round(share * 65536) - 32768
            mask = np.multiply(kept, np.float32(1 / (1 - share)), dtype=np.float32)
            self._masks[layer] = torch.from_numpy(mask).to(values.device)
        return (values * self._masks[layer]).to(values.dtype)

    def _bits(self, shape: Sequence[int], purpose: int) -> NDArray[np.int16]:
        """Random bits, a function of seed, step and purpose."""
        n = math.prod(shape)
        raw = np.random.SFC64((self.spec.seed, self.step, purpose)).random_raw(-(-n // 4))
        return np.asarray(raw).view(np.int16)[:n].reshape(shape)

    def _loss(self, logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean cross-entropy with label smoothing and class weights, and its gradient by the logits."""
        smoothing, k = self.spec.stage.label_smoothing, logits.shape[1]
        log_p = functional.log_softmax(logits, 1)
        target = torch.full_like(log_p, smoothing / k)
        target[torch.arange(len(labels), device=labels.device), labels] += 1 - smoothing
        if self._class_weights is not None:
            target *= self._class_weights[labels][:, None]
        loss = -(target * log_p).sum() / len(labels)
        return loss, (log_p.exp() * target.sum(1, keepdim=True) - target) / len(labels)

    def _gradient(self, layer: int, delta: torch.Tensor, below: torch.Tensor) -> None:
        torch.sum(delta, 0, out=self._gradients[2 * layer + 1])
        self._gradients[2 * layer].copy_(delta.to(self._type).t() @ below)

    def _through(self, delta: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """The gradient before the activation, in float32."""
        delta, hidden = delta.float(), hidden.float()
        if self.spec.activation == "relu":
            return torch.ops.aten.threshold_backward(delta, hidden, 0)
        if self.spec.activation == "sigmoid":
            return torch.ops.aten.sigmoid_backward(delta, hidden)
        return torch.ops.aten.tanh_backward(delta, hidden)

    def _learn_first(self, delta: torch.Tensor, x: torch.Tensor, rate: float) -> None:
        """The first layer's step: gradient, optimiser and new cast, some neurons at a time, while they are in cache."""
        torch.sum(delta, 0, out=self._gradients[1])
        product, sums, factor = self._first_product(delta, x)
        factor, sums = (factor * self.inputs.scale)[:, None], sums[:, None]
        constant = sums * factor * self.inputs.shift
        each = len(self.moments) // len(self.weights)
        for rows in self._blocks:
            gradient = self._buffer[: rows.stop - rows.start]
            gradient.copy_(product[rows])
            gradient.mul_(factor[rows]).add_(constant[rows])
            moments = [moment[rows] for moment in self.moments[:each]]
            update(self.spec.stage, [self.weights[0][rows]], [gradient], moments, rate=rate, step=self.step + 1)
            self._cast_rows(rows, gradient)

    def _first_product(self, delta: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Deltaᵀ x (out, d) in narrow numbers, the sums (out,) of the narrowed delta, and what to scale both by."""
        if self.precision != "int8":
            narrow = delta.to(self._type)
            return narrow.t() @ x, narrow.float().sum(0), torch.ones_like(self._factor)
        peak = torch.maximum(delta.amax(0), -delta.amin(0)).clamp_(min=TINY)
        noise = torch.from_numpy(self._bits(delta.shape, 0)).float().mul_(2**-16).add_(0.5)
        rounded = noise.addcmul_(delta, STEPS / peak).floor_()
        self._whole(rounded.to(torch.int8).t(), x, out=self._product)
        return self._product, rounded.sum(0), peak / STEPS


RMS_DECAY, ADAM_BETAS = 0.9, (0.9, 0.999)
EPSILON = 1e-7
LATE = 1e9  # a step at which Adam's corrections of the start are 1


def first_moments(stage: Stage, weights: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The optimiser's tensors before the first step: a momentum, or first and second moment, for each weight."""
    if stage.optimizer == "sgd":
        return [torch.zeros_like(weight) for weight in weights]
    start = EPSILON if stage.optimizer == "rmsprop" else 0.0
    return [torch.full_like(weight, value) for weight in weights for value in (0.0, start)]


def update(stage: Stage, weights: Tensors, slopes: Tensors, moments: Tensors, *, rate: float, step: int) -> None:
    """One step as `training.optim` makes it, in torch's fused kernels; biases, which are vectors, get no weight decay.

    `moments`: one for each weight (SGD), or two. `step` counts from 1.
    """
    each = len(moments) // len(weights)
    rows = [(weight, slopes[i], moments[each * i : each * (i + 1)]) for i, weight in enumerate(weights)]
    decayed = [row for row in rows if stage.weight_decay and row[0].ndim > 1]
    others = [row for row in rows if not stage.weight_decay or row[0].ndim == 1]
    for part, decay in ((decayed, stage.weight_decay), (others, 0.0)):
        values, gradients, held = ([row[i] for row in part] for i in range(3))
        if part and stage.optimizer == "sgd":
            _sgd(values, gradients, [one for (one,) in held], stage=stage, rate=rate, decay=decay)
        elif part:
            _adam(values, gradients, held, stage=stage, rate=rate, decay=decay, step=step)


def _sgd(weights: Tensors, slopes: Tensors, momenta: Tensors, *, stage: Stage, rate: float, decay: float) -> None:
    torch._fused_sgd_(
        weights, slopes, momenta if stage.momentum else [], lr=rate, momentum=stage.momentum, weight_decay=decay,
        dampening=0.0, nesterov=stage.momentum > 0, maximize=False, is_first_step=False,
    )  # fmt: skip


def _adam(
    weights: Tensors, slopes: Tensors, moments: list[Tensors], *, stage: Stage, rate: float, decay: float, step: int
) -> None:
    """Adam, AdamW, and RMSprop, which is AdamW's kernel without first moment and corrections of the start.

    RMSprop's ε stands under the root: v + ε is what is kept, and ε (1 − ρ) put in at each step holds it there.
    """
    rms, firsts, seconds = stage.optimizer == "rmsprop", [m for m, _ in moments], [v for _, v in moments]
    if rms:
        torch._foreach_add_(seconds, EPSILON * (1 - RMS_DECAY) / RMS_DECAY)
    at = torch.tensor(LATE if rms else float(step), device=weights[0].device)
    fused = torch._fused_adam_ if stage.optimizer == "adam" else torch._fused_adamw_
    fused(
        weights, slopes, firsts, seconds, [], [at] * len(weights), lr=rate, beta1=0.0 if rms else ADAM_BETAS[0],
        beta2=RMS_DECAY if rms else ADAM_BETAS[1], weight_decay=decay, eps=0.0 if rms else EPSILON, amsgrad=False,
        maximize=False,
    )  # fmt: skip
