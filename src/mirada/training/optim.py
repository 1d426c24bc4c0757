"""The optimisers, how their rates are set, and how their state is kept and put back.

Muon (Jordan et al. 2024, "Muon: an optimizer for hidden layers") replaces a weight's momentum by the nearest
orthogonal matrix, found by a Newton-Schulz iteration. Small networks learn with it in far fewer steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import nn

from mirada.models.base import Network
from mirada.models.recipe import Stage

BESIDE_MUON = 0.1  # AdamW's rate for what is no matrix, as a share of Muon's
Groups = list[dict[str, object]]
Optimizers = list[torch.optim.Optimizer]


def orthogonalised(matrix: torch.Tensor, *, steps: int = 5) -> torch.Tensor:
    """Roughly U Vᵀ of the singular value decomposition of a (rows, columns) matrix."""
    a, b, c = 3.4445, -4.7750, 2.0315  # Jordan's quintic: steep at zero, within 0.7 to 1.2 after five steps
    x = matrix.bfloat16()
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if tall else x).to(matrix.dtype)


class Muon(torch.optim.Optimizer):  # type: ignore[misc]
    """Nesterov momentum, orthogonalised; convolutions are taken as (out, in · kh · kw) matrices."""

    def __init__(
        self,
        params: Iterable[nn.Parameter] | Groups,
        *,
        lr: float = 0.02,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def step(self) -> None:
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is None:
                    continue
                state = self.state[param]
                if not state:
                    state["momentum"] = torch.zeros_like(param)
                state["momentum"].lerp_(param.grad, 1 - group["momentum"])
                wanted = param.grad.lerp(state["momentum"], group["momentum"])
                matrix = wanted.flatten(1)
                scale = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
                param.mul_(1 - group["lr"] * group["weight_decay"])
                param.add_(orthogonalised(matrix).view(param.shape), alpha=-group["lr"] * scale)


class RMSprop(torch.optim.Optimizer):  # type: ignore[misc]
    """Keras' RMSprop: rho 0.9, and epsilon 1e-7 under the root, where torch adds it behind; weight decay decoupled."""

    def __init__(
        self,
        params: Iterable[nn.Parameter] | Groups,
        *,
        lr: float = 1e-3,
        rho: float = 0.9,
        eps: float = 1e-7,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def step(self) -> None:
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            params = [param for param in group["params"] if param.grad is not None]
            if not params:
                continue
            grads = [param.grad for param in params]
            for param in params:
                if not self.state[param]:
                    self.state[param]["velocity"] = torch.zeros_like(param)
            velocities = [self.state[param]["velocity"] for param in params]
            torch._foreach_mul_(velocities, group["rho"])
            torch._foreach_addcmul_(velocities, grads, grads, 1 - group["rho"])
            roots = torch._foreach_add(velocities, group["eps"])
            torch._foreach_sqrt_(roots)
            if group["weight_decay"]:
                torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_addcdiv_(params, grads, roots, -group["lr"])


def make_optimizers(network: Network, stage: Stage, groups: Sequence[Mapping[str, object]]) -> Optimizers:
    """The stage's optimiser over `groups` of the network's parameters, with the rate of each group as its highest.

    Defaults are Keras' where the recipe says nothing (Adam's epsilon 1e-7, RMSprop); `stage.momentum` is that of SGD
    (Nesterov's) and of Muon. Muon takes the matrices between the first layer and the head, AdamW the rest.
    """
    own = merged(groups)
    decay, lr = stage.weight_decay, stage.lr
    if stage.optimizer == "muon":
        matrices, rest = _split(own, hidden_matrices(network))
        muon = Muon(matrices, lr=lr, momentum=stage.momentum, weight_decay=decay) if matrices else None
        adam = torch.optim.AdamW(rest, lr=BESIDE_MUON * lr, weight_decay=decay, fused=True) if rest else None
        return [optimizer for optimizer in (muon, adam) if optimizer is not None]
    if stage.optimizer == "sgd":
        nesterov = stage.momentum > 0
        return [torch.optim.SGD(own, lr=lr, momentum=stage.momentum, nesterov=nesterov, weight_decay=decay, fused=True)]
    if stage.optimizer == "rmsprop":
        return [RMSprop(own, lr=lr, weight_decay=decay)]
    kind = torch.optim.Adam if stage.optimizer == "adam" else torch.optim.AdamW
    return [kind(own, lr=lr, eps=1e-7, weight_decay=decay, fused=True)]


def hidden_matrices(network: Network) -> list[nn.Parameter]:
    """Weights of dense and undivided convolutional layers but the first layer's and the head's."""
    layers = [module for module in network.modules() if isinstance(module, (nn.Linear, nn.Conv2d))]
    return [layer.weight for layer in layers[1:] if layer is not network.head and getattr(layer, "groups", 1) == 1]


def merged(groups: Sequence[Mapping[str, object]]) -> Groups:
    """Groups of the same rate and weight decay as one: an optimiser's fused step is paid once a group."""
    found: dict[tuple[object, object], list[nn.Parameter]] = {}
    for group in groups:
        params: list[nn.Parameter] = group["params"]  # type: ignore[assignment]
        found.setdefault((group["lr"], group["weight_decay"]), []).extend(params)
    return [{"params": params, "lr": lr, "weight_decay": decay} for (lr, decay), params in found.items()]


def _split(groups: Groups, wanted: Sequence[nn.Parameter]) -> tuple[Groups, Groups]:
    """The groups with the wanted parameters alone, and with the others; the others at `BESIDE_MUON` of the rate."""
    known = {id(param) for param in wanted}
    inside, outside = [], []
    for group in groups:
        params: list[nn.Parameter] = list(group["params"])  # type: ignore[call-overload]
        inside.append({**group, "params": [param for param in params if id(param) in known]})
        outside.append({**group, "params": [param for param in params if id(param) not in known]})
        outside[-1]["lr"] = BESIDE_MUON * float(str(group["lr"]))
    return [group for group in inside if group["params"]], [group for group in outside if group["params"]]


def optimizer_tensors(optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, torch.Tensor]:
    """Every tensor of the optimisers' state, by a name that `restore_optimizers` reads back."""
    return {
        f"optimizer.{i}.{index}.{key}": value
        for i, optimizer in enumerate(optimizers)
        for index, state in optimizer.state_dict()["state"].items()
        for key, value in state.items()
        if value is not None
    }


def restore_optimizers(optimizers: Sequence[torch.optim.Optimizer], tensors: Mapping[str, torch.Tensor]) -> None:
    """Put back what `optimizer_tensors` gave, laid out in memory as the parameters are (fused steps need that)."""
    for i, optimizer in enumerate(optimizers):
        params = [param for group in optimizer.param_groups for param in group["params"]]
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith(f"optimizer.{i}."):
                _, _, index, key = name.split(".")
                like = params[int(index)]
                same = tensor.shape == like.shape and key != "step"
                state.setdefault(int(index), {})[key] = torch.empty_like(like).copy_(tensor) if same else tensor
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def set_rates(optimizers: Sequence[torch.optim.Optimizer], factor: float) -> None:
    """Scale every group's learning rate to `factor` of its highest."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group.setdefault("peak_lr", group["lr"])
            group["lr"] = group["peak_lr"] * factor
