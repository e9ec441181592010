"""How weights are changed: the optimizer and its learning rate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

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

# The share of all epochs in which `onecycle` rises where there is no `warmup_epochs`.
ONECYCLE_RISE = 0.3


@dataclass(frozen=True)
class Optimization:
    """How to train; the keys and their meaning are those of `params.yaml`.

    Attributes:
        optimizer: `SGD` (with Nesterov momentum, Sutskever et al. 2013), `RMSprop`, `Adam` or `AdamW`.
        lr: the learning rate; for `onecycle` its peak, for `cosine` its start.
        momentum: for `SGD` and `RMSprop`; the others ignore it.
        weight_decay: L2 penalty; decoupled for `AdamW` (Loshchilov & Hutter 2019).
        schedule: `constant`, `cosine` (Loshchilov & Hutter 2017, no restarts) or `onecycle`
            (Smith & Topin 2019), stepped once per batch.
        batch_size: images per step; a last, smaller batch is used, not dropped.
        epochs: passes over the training images.
        warmup_epochs: in which the learning rate rises from nearly 0 (Goyal et al. 2017); for `onecycle`,
            the length of its rise, which is three tenths of all epochs where this is 0.
        label_smoothing: the share of the target spread over all classes (Szegedy et al. 2016).
        clip_norm: the largest norm of the gradient, beyond which it is scaled down (Pascanu et al. 2013);
            0 for none.
        augment: `none`, `affine` or `shift_flip`; see `src.training.augmentation`.
        ema: the decay of an exponential moving average of the weights, which is then what is evaluated and
            kept (Polyak & Juditsky 1992); 0 for none.
        patience: epochs without a better one after which training stops; 0 for never.
        seed: of the batch order, of dropout and of augmentation.
    """

    optimizer: str
    lr: float
    momentum: float
    weight_decay: float
    schedule: str
    batch_size: int
    epochs: int
    warmup_epochs: int
    label_smoothing: float
    clip_norm: float
    augment: str
    ema: float
    patience: int
    seed: int


def build_optimizer(parameters: Iterable[Tensor], settings: Optimization) -> Optimizer:
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


def build_schedule(optimizer: Optimizer, settings: Optimization, steps_per_epoch: int) -> LRScheduler:
    """The learning-rate schedule that `settings` names, to be stepped after each batch."""
    total, warmup = settings.epochs * steps_per_epoch, settings.warmup_epochs * steps_per_epoch
    if settings.schedule == "onecycle":
        # PyTorch puts the only step of a one-step cycle at its end, where nothing is learnt. Momentum is
        # left to `momentum`: cycling it too would make that key mean something else under this schedule.
        rise = warmup / total if warmup else ONECYCLE_RISE
        return OneCycleLR(
            optimizer, settings.lr, total_steps=max(total, 2), pct_start=rise, cycle_momentum=False
        )
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
