"""Results of trainings and their order: by validation accuracy, then by validation loss, then by name."""

from __future__ import annotations

from typing import NamedTuple

# Means of the same numbers in another order differ in their last bits; those are ties.
DECIMALS = 12
# The most runs of one setting that a command takes or advises.
MAX_SEEDS = 1000


class Run(NamedTuple):
    """One training: validation accuracy (a fraction) and validation loss (nats per image), both finite."""

    val_accuracy: float
    val_loss: float


def rank(val_accuracy: float, val_loss: float, name: str) -> tuple[float, float, str]:
    """A sort key, the best first.

    Args:
        val_accuracy: a fraction; higher is better.
        val_loss: nats per image; lower is better between equal accuracies.
        name: decides between results that are equal in both.
    """
    return -round(val_accuracy, DECIMALS), round(val_loss, DECIMALS), name
