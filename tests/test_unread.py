"""A key that is said to be unread changes no weight; each of the others changes some."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from src.params import NetworkParams, Params, choices, parse
from src.training.from_splits import train_on_splits
from src.training.unread import unread_keys
from tests.conftest import bright_squares

TINY: dict[str, Any] = {"epochs": 2, "batch_size": 10, "lr": 0.002, "warmup_epochs": 1, "clip_norm": 1e-3}

# Another valid value of every key that decides a training, but for the data's.
OTHER: dict[str, Any] = {
    "input": "resize",
    "activation": "Tanh",
    "pooling": "avg",
    "dropout": 0.5,
    "init": "kaiming_normal",
    "optimizer": "RMSprop",
    "lr": 0.001,
    "momentum": 0.5,
    "weight_decay": 0.5,
    "schedule": "constant",
    "batch_size": 6,
    "epochs": 3,
    "warmup_epochs": 0,
    "label_smoothing": 0.3,
    "clip_norm": 0.0,
    "augment": "none",
    "ema": 0.5,
    "seed": 7,
    "folds": 3,
}


def last_weights(params: Params) -> torch.Tensor:
    """All weights after the last epoch, in one vector."""
    train, val = bright_squares(2, classes=10), bright_squares(1, seed=1, classes=10)
    weights: dict[str, torch.Tensor] = {}

    def on_epoch(progress: Any) -> None:  # noqa: ANN401
        state = progress.snapshot().state
        weights.update({name: tensor.clone() for name, tensor in (state.ema_model or state.model).items()})

    train_on_splits(
        train,
        val,
        params.network(),
        params,
        torch.device("cpu"),
        on_epoch=on_epoch,
    )
    return torch.cat([tensor.double().flatten() for tensor in weights.values()])


@pytest.mark.parametrize(
    ("model", "optimizer"),
    [
        *(("lenet5", optimizer) for optimizer in choices("optimizer")),
        *(("lenet5_1998", "AdamW"), ("convnet", "RMSprop")),
    ],
)
def test_exactly_the_unread_keys_change_nothing(params: Params, model: str, optimizer: str) -> None:
    base = params.model_dump() | TINY | {"model": model, "optimizer": optimizer}
    if (
        model != "lenet5"
    ):  # a forward pass through the others is slow; the rules are of one epoch's steps, too
        base |= {"epochs": 2}
    reference = last_weights(parse(base, Params))
    unread = unread_keys(parse(base, Params))
    for key, value in OTHER.items():
        other = base | {key: value}
        if value == optimizer:
            continue
        assert other != base, key
        weights = last_weights(parse(other, Params))
        assert torch.equal(weights, reference) == (key in unread), key


def test_every_key_of_a_training_is_tried() -> None:
    names = set(Params.model_fields) - {
        "dataset",
        "val_fraction",
        "split_seed",
        "test_fraction",
        "model",
        "patience",
    }
    assert set(OTHER) == names


def test_the_reasons(params: Params) -> None:
    # Parameters of networks that somebody has added are none of these networks'.
    added = NetworkParams.model_fields.keys() - {"model", "input", "activation", "pooling", "dropout", "init"}

    def reasons(**values: object) -> dict[str, str]:
        unread = unread_keys(parse(params.model_dump() | values, Params))
        assert added <= unread.keys()
        return {key: why for key, why in unread.items() if key not in added}

    study = {
        "folds": "only the cross-validation study reads it",
        "test_fraction": "Digits comes with a test split",
    }
    assert reasons(optimizer="SGD") == reasons(optimizer="RMSprop") == study
    assert reasons(optimizer="Adam") == study | {"momentum": "Adam does not read it"}
    assert reasons(optimizer="SGD", model="convnet") == study | {
        "input": "convnet is fed the images in their own size"
    } | dict.fromkeys(("activation", "pooling", "init"), "convnet does not read it")
    assert reasons(optimizer="SGD", model="lenet5_1998") == study | dict.fromkeys(
        ("activation", "pooling", "dropout", "init"), "lenet5_1998 does not read it"
    )
