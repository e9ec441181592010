"""ASHA's first comparison against the learning rates that the schedule really gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from src.params import Params
from src.training.optimization import build_optimizer, build_schedule
from src.tune.early_stopping import grace_epochs
from src.tune.search_space import Domain

STEPS = 7


def rates(params: Params) -> list[float]:
    """The learning rate of every step of a training with 7 steps in each epoch."""
    optimizer = build_optimizer([torch.zeros(1, requires_grad=True)], params)
    schedule = build_schedule(optimizer, params, STEPS)
    seen = []
    for _ in range(params.epochs * STEPS):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


TRAININGS = [
    (schedule, warmup, epochs)
    for schedule in ("onecycle", "cosine", "constant")
    for warmup in (0, 1, 5)
    for epochs in (2, 3, 7, 10, 12, 40)
    if warmup < epochs
]


@pytest.mark.parametrize(("schedule", "warmup", "epochs"), TRAININGS)
def test_nothing_is_stopped_while_the_learning_rate_rises(
    params: Params, schedule: str, warmup: int, epochs: int
) -> None:
    params = params.model_copy(update={"schedule": schedule, "warmup_epochs": warmup, "epochs": epochs})
    grace = grace_epochs(params.model_dump(), {})
    seen = rates(params)
    peak = seen.index(max(seen)) // STEPS + 1  # the epoch in which it is reached
    if grace is None:
        assert peak + 1 >= epochs, "an epoch after the peak and before the last one would do"
        return
    assert peak <= grace < epochs
    assert max(seen[grace * STEPS :]) <= seen[grace * STEPS - 1], "it rises no more"
    assert epochs // 4 <= grace <= max(1, epochs // 4, peak + 1), "and no later than need be"


@pytest.mark.parametrize(
    ("space", "grace"),
    [
        ({}, 4),
        ({"warmup_epochs": Domain("integer", (0, 6))}, 7),
        ({"schedule": Domain("choice", ("constant", "cosine"))}, 3),
        ({"schedule": Domain("choice", ("constant", "onecycle"))}, 4),
        ({"warmup_epochs": Domain("choice", (0, 11))}, None),
    ],
)
def test_the_longest_rise_of_the_space_counts(
    params: Params, space: dict[str, Domain], grace: int | None
) -> None:
    base: dict[str, Any] = params.model_dump() | {"epochs": 12, "schedule": "onecycle", "warmup_epochs": 0}
    assert grace_epochs(base, space) == grace
