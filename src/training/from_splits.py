"""Splits and parameters in, a trained model and its history out: what the training loop is fed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from src.data.splits import Split
from src.networks.build import build_model, network_input
from src.networks.model_file import TrainedModel
from src.training.augmentation import Augmentation
from src.training.history import TrainingResult
from src.training.loop import Progress, Snapshot, Tensors, train

if TYPE_CHECKING:
    from src.params import OptimizationParams


def train_on_splits(
    train_split: Split,
    val_split: Split,
    network: dict[str, Any],
    settings: OptimizationParams,
    device: torch.device,
    *,
    snapshot: Snapshot | None = None,
    on_epoch: Callable[[Progress], None] = lambda progress: None,
    on_step: Callable[[], None] = lambda: None,
) -> tuple[TrainedModel, TrainingResult]:
    """Build a network, feed it the splits, and `train` it.

    Args:
        train_split, val_split: as `prepare` writes them.
        network: the keys of `NetworkParams`.
        settings: see `train`; its seed also gives the initial weights.
        device: where to compute.
        snapshot, on_epoch, on_step: see `train`.

    Raises:
        DivergenceError, UserError: see `train`; or the network cannot classify such images.
    """
    model = build_model(
        network,
        seed=settings.seed,
        num_classes=len(train_split.class_names),
        image_format=train_split.format,
    )
    result = train(
        model.to(device),
        *network_tensors(train_split, val_split, network, device),
        settings,
        augmentation=augmentation_of(train_split, settings),
        snapshot=snapshot,
        on_epoch=on_epoch,
        on_step=on_step,
    )
    trained = TrainedModel(
        dataset=train_split.dataset,
        class_names=train_split.class_names,
        mean=train_split.mean,
        std=train_split.std,
        format=train_split.format,
        network=network,
        seed=settings.seed,
        weights=result.weights,
    )
    return trained, result


def network_tensors(
    train_split: Split, val_split: Split, network: dict[str, Any], device: torch.device
) -> Tensors:
    """What `train` is fed: inputs and labels of the training split, then of the validation split."""
    tensors: list[Tensor] = []
    for split in (train_split, val_split):
        images = torch.from_numpy(split.images).to(device)
        tensors += [
            network_input(images, network, mean=train_split.mean, std=train_split.std),
            torch.from_numpy(split.labels.astype(np.int64)).to(device),
        ]
    return tensors[0], tensors[1], tensors[2], tensors[3]


def augmentation_of(train_split: Split, settings: OptimizationParams) -> Augmentation:
    """What `settings.augment` names, for the inputs that a network is fed of this split."""
    return Augmentation(
        kind=settings.augment,
        background=-train_split.mean / train_split.std,
        mirrored=train_split.mirror_symmetric,
    )
