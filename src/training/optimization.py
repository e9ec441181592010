"""How weights are changed: the optimizer and its learning rate."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
    SequentialLR,
)

if TYPE_CHECKING:
    from src.params import OptimizationParams

# The share of all epochs in which `onecycle` rises where there is no `warmup_epochs`.
ONECYCLE_RISE = 0.3


def build_optimizer(parameters: Iterable[Tensor], settings: OptimizationParams) -> Optimizer:
    """The optimizer that `settings` names, over `parameters`."""
    lr, decay, momentum = settings.lr, settings.weight_decay, settings.momentum
    # Fused kernels: a tenth of a step is saved where the network is this small (there is none for RMSprop).
    if settings.optimizer == "SGD":
        return torch.optim.SGD(
            parameters, lr, momentum=momentum, weight_decay=decay, nesterov=momentum > 0, fused=True
        )
    if settings.optimizer == "RMSprop":
        return torch.optim.RMSprop(parameters, lr, momentum=momentum, weight_decay=decay)
    if settings.optimizer == "Adam":
        return torch.optim.Adam(parameters, lr, weight_decay=decay, fused=True)
    return torch.optim.AdamW(parameters, lr, weight_decay=decay, fused=True)


def build_schedule(optimizer: Optimizer, settings: OptimizationParams, steps_per_epoch: int) -> LRScheduler:
    """The learning-rate schedule that `settings` names, to be stepped after each batch."""
    total, warmup = settings.epochs * steps_per_epoch, settings.warmup_epochs * steps_per_epoch
    if settings.schedule == "onecycle":
        # PyTorch puts the only step of a one-step cycle at its end, where nothing is learnt. Momentum is
        # left to `momentum`: cycling it too would make that key mean something else under this schedule.
        # It also divides by the number of steps that rise, less one, and by that of those that fall.
        rising = max(warmup, 2)
        total = max(total, rising + 1 if warmup else 2)
        rise = rising / total if warmup else ONECYCLE_RISE
        return OneCycleLR(optimizer, settings.lr, total_steps=total, pct_start=rise, cycle_momentum=False)
    main: LRScheduler = (
        CosineAnnealingLR(optimizer, T_max=total - warmup)
        if settings.schedule == "cosine"
        else ConstantLR(optimizer, factor=1.0)
    )
    if not warmup:
        return main
    return SequentialLR(
        optimizer, [LinearLR(optimizer, start_factor=1e-3, total_iters=warmup), main], milestones=[warmup]
    )
