from __future__ import annotations

import pytest
import torch

from src.params import OptimizationParams, Params
from src.training.optimization import build_optimizer, build_schedule
from tests.conftest import changed

SCHEDULES = list(Params.model_fields["schedule"].annotation.__args__)


@pytest.fixture
def settings(params: Params) -> OptimizationParams:
    return changed(params, optimizer="SGD", lr=0.1, momentum=0.5, epochs=10)


def rates(settings: OptimizationParams, steps_per_epoch: int = 10) -> list[float]:
    """The learning rate of every step."""
    optimizer = build_optimizer([torch.nn.Parameter(torch.zeros(1))], settings)
    scheduler = build_schedule(optimizer, settings, steps_per_epoch)
    found = []
    for _ in range(settings.epochs * steps_per_epoch):
        found.append(optimizer.param_groups[0]["lr"])
        assert optimizer.param_groups[0]["momentum"] == 0.5
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_have_their_shape(settings: OptimizationParams, schedule: str) -> None:
    found = rates(changed(settings, schedule=schedule))
    peak = found.index(max(found))
    assert max(found) == pytest.approx(0.1, rel=0.01)
    if schedule == "constant":
        assert set(found) == {0.1}
    elif schedule == "cosine":
        assert found == sorted(found, reverse=True)
        assert found[-1] < 0.001
    else:
        assert 20 < peak < 40
        assert found[:peak] == sorted(found[:peak])
        assert found[peak:] == sorted(found[peak:], reverse=True)
        assert found[-1] < 0.001


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_rate_rises_over_the_warmup_epochs(settings: OptimizationParams, schedule: str) -> None:
    found = rates(changed(settings, schedule=schedule, warmup_epochs=5))
    assert found[0] < 0.01
    assert found[:49] == sorted(found[:49])
    assert max(found) == pytest.approx(0.1, rel=0.01)
    assert 47 <= found.index(max(found)) <= 51
    assert found[-1] == pytest.approx(0.1) if schedule == "constant" else found[-1] < 0.001
