"""The optimiser of distillation: Muon for the convolutions, AdamW for everything else."""

from __future__ import annotations

import torch
from torch import nn

from mirada.training.optim import Muon


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
