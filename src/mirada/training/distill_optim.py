"""The optimiser of distillation: Muon for the convolutions, AdamW for everything else.

Muon (Jordan et al. 2024, "Muon: an optimizer for hidden layers") replaces a weight's momentum by the nearest
orthogonal matrix, found by a Newton-Schulz iteration. Small networks learn with it in far fewer steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import nn


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

    def __init__(self, params: Iterable[nn.Parameter], *, lr: float, momentum: float, weight_decay: float) -> None:
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


def make_optimizers(
    student: nn.Module, heads: nn.Module, *, muon_lr: float, adam_lr: float, weight_decay: float
) -> list[torch.optim.Optimizer]:
    """Muon for every convolution but the first, AdamW for the rest and the heads."""
    convs = [module.weight for module in student.modules() if isinstance(module, nn.Conv2d)][1:]
    known = {id(weight) for weight in convs}
    rest = [param for param in student.parameters() if id(param) not in known]
    return [
        Muon(convs, lr=muon_lr, momentum=0.95, weight_decay=weight_decay),
        torch.optim.AdamW(
            [{"params": rest, "weight_decay": 0.0}, {"params": list(heads.parameters()), "weight_decay": weight_decay}],
            lr=adam_lr,
            betas=(0.9, 0.99),
        ),
    ]


def optimizer_tensors(optimizers: list[torch.optim.Optimizer]) -> dict[str, torch.Tensor]:
    """Every tensor of the optimisers' state, by a name that `restore_optimizers` reads back."""
    return {
        f"optimizer.{i}.{index}.{key}": value
        for i, optimizer in enumerate(optimizers)
        for index, state in optimizer.state_dict()["state"].items()
        for key, value in state.items()
    }


def restore_optimizers(optimizers: list[torch.optim.Optimizer], tensors: Mapping[str, torch.Tensor]) -> None:
    """Put back what `optimizer_tensors` gave."""
    for i, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith(f"optimizer.{i}."):
                _, _, index, key = name.split(".")
                state.setdefault(int(index), {})[key] = tensor
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def set_learning_rate(optimizers: list[torch.optim.Optimizer], factor: float) -> None:
    """Scale every group's learning rate to `factor` of its highest."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group.setdefault("peak_lr", group["lr"])
            group["lr"] = group["peak_lr"] * factor
