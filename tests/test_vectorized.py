from __future__ import annotations

from typing import Any

import pytest
import torch

from src.data.splits import Split
from src.params import Params, TrainParams, choices
from src.runtime.errors import UserError
from src.training.from_splits import train_on_splits
from src.training.history import DivergenceError, Epoch, TrainingResult
from src.tune.vectorized import train_together
from tests.conftest import bright_squares, changed, coloured_squares

CPU = torch.device("cpu")
TRAIN, VAL = bright_squares(30), bright_squares(10, seed=1)

# Of three networks that are trained together.
VARIED: list[dict[str, Any]] = [
    {"lr": 0.002, "dropout": 0.3},
    {"lr": 0.004, "dropout": 0.0, "momentum": 0.5, "weight_decay": 0.1},
    {"lr": 0.001, "dropout": 0.1, "label_smoothing": 0.2},
]


@pytest.fixture(autouse=True)
def threads() -> Any:  # noqa: ANN401
    """As many threads as on a laptop: stacks of two networks and of one."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    assert torch.get_num_threads() == 2, "left as it was"
    torch.set_num_threads(before)


def configurations(params: Params, **values: object) -> list[Params]:
    return [changed(params, **{"epochs": 3, "batch_size": 50} | values | varied) for varied in VARIED]


def alone(params: TrainParams, train: Split = TRAIN, val: Split = VAL) -> TrainingResult:
    return train_on_splits(train, val, params.network(), params, CPU)[1]


def assert_alike(together: TrainingResult | DivergenceError, single: TrainingResult) -> None:
    """But for the rounding of sums."""
    assert isinstance(together, TrainingResult)
    assert together.best.epoch == single.best.epoch
    assert len(together.history) == len(single.history)
    for row, expected in zip(together.history, single.history, strict=True):
        for key, value in vars(expected).items():
            assert getattr(row, key) == pytest.approx(value, rel=1e-3, abs=1e-5), (row.epoch, key)
    for name, weight in single.weights.items():
        torch.testing.assert_close(together.weights[name], weight, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    ("shared", "seeds"),
    [
        ({}, (0, 0, 0)),
        ({}, (3, 4, 3)),
        ({"optimizer": "SGD", "schedule": "cosine", "warmup_epochs": 1, "augment": "affine"}, (3, 4, 3)),
        ({"optimizer": "RMSprop", "schedule": "constant", "pooling": "avg", "activation": "Tanh"}, (3, 4, 3)),
        ({"optimizer": "Adam", "activation": "PReLU", "clip_norm": 0.1, "augment": "shift_flip"}, (3, 4, 3)),
        ({"activation": "GELU", "ema": 0.9, "init": "kaiming_normal", "input": "resize"}, (0, 0, 0)),
    ],
    ids=lambda given: "-".join(map(str, given.values() if isinstance(given, dict) else given)) or "defaults",
)
def test_together_as_alone(params: Params, shared: dict[str, Any], seeds: tuple[int, ...]) -> None:
    given = [
        changed(each, seed=seed) for each, seed in zip(configurations(params, **shared), seeds, strict=True)
    ]
    for together, each in zip(train_together(TRAIN, VAL, given, CPU), given, strict=True):
        assert_alike(together, alone(each))


def test_together_as_alone_on_colours(params: Params) -> None:
    train, val = coloured_squares(30), coloured_squares(10, seed=1)
    given = configurations(params, augment="affine")
    for together, each in zip(train_together(train, val, given, CPU), given, strict=True):
        assert_alike(together, alone(each, train, val))


def test_each_stops_by_its_own_patience(params: Params) -> None:
    given = configurations(params, epochs=30, patience=2, schedule="constant")[:2]
    results = train_together(TRAIN, VAL, given, CPU)
    lengths = [len(result.history) for result in results if isinstance(result, TrainingResult)]
    assert lengths == [len(alone(each).history) for each in given]
    assert len(set(lengths)) > 1
    assert max(lengths) < 31


def test_one_that_diverges_does_not_disturb_the_others(params: Params) -> None:
    given = configurations(params, optimizer="SGD", dropout=0.0)
    # In the same stack as the first.
    given[2] = changed(given[2], lr=1e30)
    results = train_together(TRAIN, VAL, given, CPU)
    assert isinstance(results[2], DivergenceError)
    assert "try a smaller lr" in str(results[2])
    assert_alike(results[0], alone(given[0]))
    assert_alike(results[1], alone(given[1]))


def test_every_epoch_is_reported_and_may_stop_the_training(params: Params) -> None:
    reported: list[tuple[int, int]] = []
    rows: list[list[Epoch]] = [[], [], []]

    def on_epoch(index: int, row: Epoch, best: Epoch) -> None:
        reported.append((index, row.epoch))
        rows[index].append(row)
        assert best.val_accuracy >= row.val_accuracy
        if row.epoch == 2 and stopping:
            raise KeyboardInterrupt

    stopping = False
    results = train_together(TRAIN, VAL, configurations(params), CPU, on_epoch=on_epoch)
    assert sorted(reported) == [(index, epoch) for index in range(3) for epoch in range(4)]
    assert rows == [result.history for result in results if isinstance(result, TrainingResult)]
    stopping = True
    reported.clear()
    with pytest.raises(KeyboardInterrupt):
        train_together(TRAIN, VAL, configurations(params, epochs=1000), CPU, on_epoch=on_epoch)
    assert max(epoch for _, epoch in reported) < 1000, "the other thread has stopped too"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batch_size": 20}, "batch_size: 50 and 20 cannot be trained together; expected one value; "),
        ({"activation": "Tanh"}, "activation: ReLU and Tanh cannot be trained together; "),
    ],
)
def test_configurations_that_differ_in_more_are_refused(
    params: Params, values: dict[str, Any], message: str
) -> None:
    given = configurations(params)
    other = configurations(params, **values)
    with pytest.raises(UserError, match=message):
        train_together(TRAIN, VAL, [given[0], other[1]], CPU)


@pytest.mark.parametrize(
    ("key", "value", "accepted"),
    [
        ("model", "convnet", "lenet5"),
        ("activation", "RReLU", ", ".join(name for name in choices("activation") if name != "RReLU")),
    ],
)
def test_networks_that_cannot_be_stacked_are_refused(
    params: Params, key: str, value: str, accepted: str
) -> None:
    with pytest.raises(UserError) as refused:
        train_together(TRAIN, VAL, configurations(params, **{key: value}), CPU)
    assert str(refused.value) == f"{key}: {value} cannot be trained together; expected one of {accepted}"
