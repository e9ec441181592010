from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch

from src.params import OptimizationParams, Params, choices
from src.training.optimization import build_optimizer, build_schedule
from tests.conftest import changed

SCHEDULES = choices("schedule")


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


@pytest.mark.parametrize("name", choices("optimizer"))
def test_an_optimizer_is_the_one_that_is_named(settings: OptimizationParams, name: str) -> None:
    weights = [torch.nn.Parameter(torch.zeros(1))]
    assert type(build_optimizer(weights, changed(settings, optimizer=name))).__name__ == name


def test_every_schedule_has_other_rates(settings: OptimizationParams) -> None:
    for first, second in combinations(SCHEDULES, 2):
        found = [rates(changed(settings, schedule=name)) for name in (first, second)]
        assert found[0] != found[1], f"{first} and {second} are the same"


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


GRADIENTS = (0.5, -0.2, 0.3)


def weights_after(settings: OptimizationParams) -> list[float]:
    """A weight that begins as 2, after a step with each of `GRADIENTS`."""
    weight = torch.nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    optimizer = build_optimizer([weight], settings)
    found = []
    for gradient in GRADIENTS:
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        found.append(weight.item())
    return found


def test_weight_decay_is_decoupled_for_adamw_and_part_of_the_gradient_for_adam(
    settings: OptimizationParams,
) -> None:
    settings = changed(settings, lr=0.01, weight_decay=0.1)
    for optimizer, decoupled in (("AdamW", True), ("Adam", False)):
        weight, mean, square, expected = 2.0, 0.0, 0.0, []
        for step, loss_gradient in enumerate(GRADIENTS, start=1):
            gradient = loss_gradient if decoupled else loss_gradient + 0.1 * weight
            mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
            if decoupled:
                weight -= 0.01 * 0.1 * weight
            weight -= 0.01 * (mean / (1 - 0.9**step)) / (math.sqrt(square / (1 - 0.999**step)) + 1e-8)
            expected.append(weight)
        assert weights_after(changed(settings, optimizer=optimizer)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_has_nesterov_momentum(settings: OptimizationParams, momentum: float) -> None:
    weight, velocity, expected = 2.0, 0.0, []
    for loss_gradient in GRADIENTS:
        gradient = loss_gradient + 0.1 * weight
        velocity = momentum * velocity + gradient
        # Where the velocity is about to lead, as Sutskever et al. 2013 look ahead.
        weight -= 0.01 * (gradient + momentum * velocity)
        expected.append(weight)
    chosen = changed(settings, optimizer="SGD", lr=0.01, weight_decay=0.1, momentum=momentum)
    assert weights_after(chosen) == pytest.approx(expected, rel=1e-9)


def test_rmsprop_has_heavy_ball_momentum(settings: OptimizationParams) -> None:
    weight, square, velocity, expected = 2.0, 0.0, 0.0, []
    for loss_gradient in GRADIENTS:
        gradient = loss_gradient + 0.1 * weight
        square = 0.99 * square + 0.01 * gradient**2
        velocity = 0.9 * velocity + gradient / (math.sqrt(square) + 1e-8)
        weight -= 0.01 * velocity
        expected.append(weight)
    chosen = changed(settings, optimizer="RMSprop", lr=0.01, weight_decay=0.1, momentum=0.9)
    assert weights_after(chosen) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("warmup_epochs", "peak"), [(0, 29), (5, 49), (1, 9)])
def test_onecycle_peaks_at_the_end_of_the_warmup(
    settings: OptimizationParams, warmup_epochs: int, peak: int
) -> None:
    """Of 100 steps; without a warm-up, after three tenths of them."""
    found = rates(changed(settings, schedule="onecycle", warmup_epochs=warmup_epochs))
    start, end = 0.1 / 25, 0.1 / 25 / 1e4
    rise = [start + (0.1 - start) * (1 - math.cos(math.pi * step / peak)) / 2 for step in range(peak + 1)]
    left = 99 - peak
    fall = [end + (0.1 - end) * (1 + math.cos(math.pi * step / left)) / 2 for step in range(1, left + 1)]
    assert found == pytest.approx(rise + fall, rel=1e-9)
    assert found.index(max(found)) == peak
    assert found[peak] == pytest.approx(0.1, rel=1e-12)


@pytest.mark.parametrize("epochs", [2, 3, 10])
def test_onecycle_may_rise_in_a_single_step(settings: OptimizationParams, epochs: int) -> None:
    """As where the batch holds all training images."""
    found = rates(changed(settings, schedule="onecycle", warmup_epochs=1, epochs=epochs), steps_per_epoch=1)
    assert found[0] == pytest.approx(0.1 / 25)
    assert found[1] == max(found) == pytest.approx(0.1, rel=1e-12)
    assert found[1:] == sorted(found[1:], reverse=True)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize("warmup", [0, 20])
def test_warmup_is_a_line_and_cosine_half_a_wave(
    settings: OptimizationParams, schedule: str, warmup: int
) -> None:
    found = rates(changed(settings, schedule=schedule, warmup_epochs=warmup // 10))
    line = [0.1 * (0.001 + 0.999 * step / warmup) for step in range(warmup)]
    wave = [0.1 * (1 + math.cos(math.pi * step / (100 - warmup))) / 2 for step in range(100 - warmup)]
    expected = line + (wave if schedule == "cosine" else [0.1] * (100 - warmup))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
