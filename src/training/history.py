"""The history of one network's training: its epochs, the best of them, and whether it has ended."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from src.runtime.errors import UserError
from src.training.stack import copy_weights

if TYPE_CHECKING:
    from src.params import OptimizationParams


@dataclass(frozen=True)
class Epoch:
    """One row of `plots/history.csv`; losses in nats per image, accuracies as fractions.

    Attributes:
        epoch: 0 before any training.
        lr: the learning rate of the epoch's last step; of the first step for epoch 0.
        train_loss: what training minimises, `training_loss` of the network: with label smoothing, and with
            a criterion of its own for `lenet5_1998`.
        train_accuracy: as the loss, over the steps of the epoch, with augmentation, dropout and the weights
            of each step; for epoch 0 over all training images without either.
        val_loss, val_accuracy: the cross-entropy and the accuracy over all validation images with the weights
            at the end of the epoch, or with their moving average.
    """

    epoch: int
    lr: float
    train_loss: float
    val_loss: float
    train_accuracy: float
    val_accuracy: float

    def better_than(self, other: Epoch) -> bool:
        """Higher validation accuracy; between equals, lower validation loss."""
        return (self.val_accuracy, -self.val_loss) > (other.val_accuracy, -other.val_loss)


@dataclass(frozen=True)
class Step:
    """One row of `plots/steps.csv`: a batch's mean loss, in nats per image, before its step was taken."""

    epoch: int
    step: int
    train_loss: float


@dataclass(frozen=True)
class TrainingResult:
    """What `train` returns.

    Attributes:
        history: one row per epoch, epoch 0 first.
        best: the best epoch.
        weights: the network's state dict at the end of `best`, contiguous and on the CPU.
    """

    history: list[Epoch]
    best: Epoch
    weights: dict[str, Tensor]


class DivergenceError(UserError):
    """A loss that is not finite."""


def has_ended(last: Epoch, best: Epoch, settings: OptimizationParams) -> bool:
    """Whether training stops after the epoch `last`: it is the last one, or `patience` is exhausted."""
    waited = last.epoch - best.epoch
    return last.epoch >= settings.epochs or 0 < settings.patience <= waited


class History:
    """The epochs of one network so far.

    Attributes:
        rows, steps: every epoch and every step so far.
        best: the best epoch so far.
        best_weights: the weights at its end.
        divergence: why training stopped, where its loss was not finite; the epoch that it names is not in
            `rows`.
    """

    def __init__(self, settings: OptimizationParams) -> None:
        self.settings = settings
        self.rows: list[Epoch] = []
        self.steps: list[Step] = []
        self.best: Epoch
        self.best_weights: dict[str, Tensor]
        self.divergence: DivergenceError | None = None

    @property
    def has_ended(self) -> bool:
        if self.divergence or not self.rows:
            return self.divergence is not None
        return has_ended(self.rows[-1], self.best, self.settings)

    @property
    def result(self) -> TrainingResult | DivergenceError:
        return self.divergence or TrainingResult(self.rows, self.best, self.best_weights)

    def add(self, row: Epoch, steps: list[Step], network: nn.Module) -> None:
        """Add an epoch, and keep the weights of `network` where it is the best so far."""
        for name, loss in (("training", row.train_loss), ("validation", row.val_loss)):
            if not math.isfinite(loss):
                self.divergence = DivergenceError(
                    f"epoch {row.epoch}: the {name} loss is {loss} with lr: {self.settings.lr:g} "
                    f"(a rate of {row.lr:.3g} at the epoch's last step); try a smaller lr"
                )
                return
        self.rows.append(row)
        self.steps += steps
        if len(self.rows) == 1 or row.better_than(self.best):
            self.best, self.best_weights = row, copy_weights(network)
