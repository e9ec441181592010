from __future__ import annotations

import itertools
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from src.errors import UserError
from src.models import (
    ACTIVATIONS,
    MONOTONE,
    POOLINGS,
    LeNet5,
    TrainedModel,
    build_lenet5,
    load_model,
    network_input,
    predict_logits,
    save_model,
)
from src.params import Params

NETWORK: dict[str, Any] = {
    "input": "pad",
    "activation": "Tanh",
    "pooling": "avg",
    "dropout": 0.1,
    "init": "default",
}


def trained(seed: int = 0) -> TrainedModel:
    shape = {key: value for key, value in NETWORK.items() if key != "input"}
    weights = build_lenet5(seed=seed, **shape).state_dict()
    return TrainedModel("Digits", list("0123456789"), 0.2, 0.3, NETWORK, weights)


def test_params_name_what_there_is() -> None:
    assert list(ACTIVATIONS) == list(Params.model_fields["activation"].annotation.__args__)
    assert list(POOLINGS) == list(Params.model_fields["pooling"].annotation.__args__)


def test_lenet5_has_its_61706_parameters() -> None:
    assert sum(parameter.numel() for parameter in LeNet5().parameters()) == 61_706


@pytest.mark.parametrize(("activation", "pooling"), list(itertools.product(ACTIVATIONS, POOLINGS)))
def test_pooling_before_a_monotone_activation_changes_nothing(activation: str, pooling: str) -> None:
    model = LeNet5(activation=activation, pooling=pooling).eval()
    images = torch.randn(5, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    logits = model(images)
    assert logits.shape == (5, 10)
    assert model.pool_first == (pooling == "max" and activation in MONOTONE)
    model.pool_first = not model.pool_first
    if pooling == "max" and activation in MONOTONE:
        assert torch.equal(model(images), logits)
    elif activation == "GELU" or (pooling == "avg" and activation != "ELU"):
        assert not torch.equal(model(images), logits)


def test_first_weights_depend_on_the_seed_alone() -> None:
    shape = {key: value for key, value in NETWORK.items() if key != "input"}
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, other = build_lenet5(seed=1, **shape), build_lenet5(seed=2, **shape)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(6)
    again = build_lenet5(seed=1, **shape)
    for name, weights in first.state_dict().items():
        assert torch.equal(weights, again.state_dict()[name])
        assert not torch.equal(weights, other.state_dict()[name])


def test_kaiming_normal_has_the_spread_that_he_et_al_derive() -> None:
    model = LeNet5(init="kaiming_normal")
    assert model.fc1.weight.std().item() == pytest.approx((2 / 400) ** 0.5, rel=0.02)
    assert not model.fc1.bias.any()


def test_input_is_padded_as_lecun_did_or_resized_bilinearly() -> None:
    images = torch.randint(0, 256, (3, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    padded = network_input(images, mean=0.25, std=0.5, mode="pad")
    resized = network_input(images, mean=0.25, std=0.5, mode="resize")
    assert padded.shape == resized.shape == (3, 1, 32, 32)
    assert padded.dtype == resized.dtype == torch.float32
    expected = (images.double() / 255 - 0.25) / 0.5
    torch.testing.assert_close(padded[:, 0, 2:30, 2:30].double(), expected, atol=1e-6, rtol=0)
    assert padded[:, 0, 0].unique().item() == pytest.approx(-0.5)
    # The mean of a picture is kept by bilinear resizing, up to its edges.
    torch.testing.assert_close(resized.mean(), expected.mean().float(), atol=0.05, rtol=0)
    flat = network_input(torch.full((1, 28, 28), 51, dtype=torch.uint8), mean=0.0, std=1.0, mode="resize")
    torch.testing.assert_close(flat, torch.full((1, 1, 32, 32), 0.2))


def test_feature_maps_are_what_the_forward_pass_computes() -> None:
    model = LeNet5(activation="ReLU").eval()
    images = torch.randn(2, 1, 32, 32)
    maps = model.feature_maps(images)
    assert {name: tuple(channels.shape) for name, channels in maps.items()} == {
        "conv1": (2, 6, 28, 28),
        "act1": (2, 6, 28, 28),
        "conv2": (2, 16, 10, 10),
        "act2": (2, 16, 10, 10),
    }
    hidden = model.act3(model.fc1(model.pool2(maps["act2"]).flatten(1)))
    torch.testing.assert_close(model.fc3(model.act4(model.fc2(hidden))), model(images))


def test_predictions_do_not_depend_on_the_batch_and_leave_dropout_as_it_was() -> None:
    model = LeNet5(dropout=0.5).train()
    inputs = torch.randn(1_003, 1, 32, 32)
    logits = predict_logits(model, inputs)
    assert model.training
    assert logits.shape == (1_003, 10)
    torch.testing.assert_close(logits[1_000:], predict_logits(model, inputs[1_000:]))


def test_saved_and_loaded_is_the_same_and_equal_bytes(tmp_path: Path) -> None:
    for name in ("model.pt", "other-name.pt"):
        save_model(trained(), tmp_path / name)
    assert (tmp_path / "model.pt").read_bytes() == (tmp_path / "other-name.pt").read_bytes()
    loaded = load_model(tmp_path / "model.pt")
    assert replace(loaded, weights={}) == replace(trained(), weights={})
    inputs = loaded.prepare_input(torch.zeros(2, 28, 28, dtype=torch.uint8))
    assert torch.equal(predict_logits(loaded.build(), inputs), predict_logits(trained().build(), inputs))


class Hostile:
    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return Path.write_text, (Path("hostile-code-ran"), "")


def test_bad_model_files_are_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.pt"
    with pytest.raises(UserError, match="no such file"):
        load_model(path)
    save_model(trained(), path)
    whole = path.read_bytes()
    weights = trained().weights
    contents: list[Any] = [b"", b"text", whole[:-100], pickle.dumps(Hostile())]
    foreign: list[Any] = [
        weights,
        [1, 2],
        Hostile(),
        {**vars(trained()), "weights": {**weights, "fc3.bias": torch.zeros(3)}},
        {**vars(trained()), "std": 0.0},
        {**vars(trained()), "network": {**NETWORK, "activation": "Step"}},
    ]
    for content in contents + foreign:
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            torch.save(content, path)
        with pytest.raises(UserError) as refusal:
            load_model(path)
        assert str(path) in str(refusal.value)
        assert "\n" not in str(refusal.value)
    assert not Path("hostile-code-ran").exists()
