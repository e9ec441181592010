from __future__ import annotations

import re
from typing import get_args

import pytest
import torch

from src.networks.build import (
    build_model,
    count_parameters,
    network_input,
    predict_logits,
    summary,
)
from src.params import ModelName
from tests.conftest import NETWORK


@pytest.mark.parametrize("name", get_args(ModelName))
def test_initial_weights_depend_on_the_seed_alone(name: str) -> None:
    network = NETWORK | {"model": name}
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, other = build_model(network, seed=1), build_model(network, seed=2)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(6)
    again = build_model(network, seed=1)
    for key, weights in first.state_dict().items():
        assert torch.equal(weights, again.state_dict()[key])
    weights = zip(first.parameters(), other.parameters(), strict=True)
    assert not all(torch.equal(ours, theirs) for ours, theirs in weights)


def test_input_is_padded_as_lecun_did_or_resized_bilinearly() -> None:
    images = torch.randint(0, 256, (3, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    padded = network_input(images, NETWORK | {"input": "pad"}, mean=0.25, std=0.5)
    resized = network_input(images, NETWORK | {"input": "resize"}, mean=0.25, std=0.5)
    assert padded.shape == resized.shape == (3, 1, 32, 32)
    assert padded.dtype == resized.dtype == torch.float32
    expected = (images.double() / 255 - 0.25) / 0.5
    torch.testing.assert_close(padded[:, 0, 2:30, 2:30].double(), expected, atol=1e-6, rtol=0)
    assert padded[:, 0, 0].unique().item() == pytest.approx(-0.5)
    # The mean of a picture is kept by bilinear resizing, up to its edges.
    torch.testing.assert_close(resized.mean(), expected.mean().float(), atol=0.05, rtol=0)
    # The middle of the second pixel of 32 lies at 1.5 · 28 / 32 - 0.5 = 0.8125 between the first two of 28.
    by_hand = 0.1875 * expected[:, 0, 0] + 0.8125 * expected[:, 0, 1]
    torch.testing.assert_close(resized[:, 0, 0, 1].double(), by_hand, atol=1e-6, rtol=0)
    grey = torch.full((1, 28, 28), 51, dtype=torch.uint8)
    flat = network_input(grey, NETWORK | {"input": "resize"}, mean=0.0, std=1.0)
    torch.testing.assert_close(flat, torch.full((1, 1, 32, 32), 0.2))


def test_predictions_do_not_depend_on_the_batch_and_leave_dropout_as_it_was() -> None:
    model = build_model(NETWORK | {"dropout": 0.5}, seed=0).train()
    inputs = torch.randn(1_003, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    logits = predict_logits(model, inputs)
    assert model.training
    assert logits.shape == (1_003, 10)
    torch.testing.assert_close(logits[1_000:], predict_logits(model, inputs[1_000:]))


def test_a_network_of_28_by_28_gets_the_images_as_they_are() -> None:
    images = torch.randint(0, 256, (3, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    fed = network_input(images, NETWORK | {"model": "convnet"}, mean=0.25, std=0.5)
    torch.testing.assert_close(fed[:, 0].double(), (images.double() / 255 - 0.25) / 0.5, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", get_args(ModelName))
def test_the_summary_names_every_layer_with_its_shape_and_parameters(name: str) -> None:
    model = build_model(NETWORK | {"model": name}, seed=0).train()
    lines = summary(model).splitlines()
    assert model.training
    assert lines[0].split() == ["layer", "kind", "output", "parameters"]
    leaves = {key for key, module in model.named_modules() if key and not list(module.children())}
    assert {line.split()[0] for line in lines[1:-1]} == leaves
    counts = {line.split()[0]: int(line.split()[-1].replace(",", "")) for line in lines[1:-1]}
    assert sum(counts.values()) == count_parameters(model)
    assert lines[-1] == f"{count_parameters(model):,} trainable parameters"
    assert re.fullmatch(r"[\w.]+ +\w+ +\d+( × \d+)* +[\d,]+", lines[1])


@pytest.mark.parametrize(("name", "first"), [("lenet5", 6), ("lenet5_1998", 6), ("convnet", 32)])
def test_the_summary_has_shapes_without_the_batch(name: str, first: int) -> None:
    line = summary(build_model(NETWORK | {"model": name}, seed=0)).splitlines()[1]
    assert line.split()[2:7] == [str(first), "×", "28", "×", "28"]
