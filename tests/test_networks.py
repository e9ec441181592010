from __future__ import annotations

import copy
import itertools
import re
from typing import get_args

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from src.data.splits import ImageFormat
from src.networks.build import (
    INPUT_MODES,
    build_model,
    count_parameters,
    network_class,
    network_input,
    summary,
)
from src.networks.convnet import ConvNet
from src.networks.lenet5 import POOLINGS, LeNet5
from src.networks.lenet5_1998 import (
    C3_INPUTS,
    RUBBISH_PENALTY,
    LeNet1998,
    ScaledTanh,
    Subsampling,
    digit_codes,
)
from src.networks.network import Network
from src.params import Activation, InputMode, ModelName, Pooling, choices
from src.runtime.errors import UserError
from tests.conftest import NETWORK


def normal(*shape: int) -> Tensor:
    """Normally distributed numbers, the same ones every time."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_params_name_what_there_is() -> None:
    assert tuple(POOLINGS) == get_args(Pooling)
    assert get_args(InputMode) == INPUT_MODES
    for name in get_args(ModelName):
        assert issubclass(network_class(name), Network)


def test_lenet5_has_its_61706_parameters() -> None:
    assert sum(parameter.numel() for parameter in LeNet5().parameters()) == 61_706


@pytest.mark.parametrize(("activation", "pooling"), list(itertools.product(get_args(Activation), POOLINGS)))
def test_every_activation_and_pooling_gives_logits(activation: str, pooling: str) -> None:
    network = NETWORK | {"model": "lenet5", "activation": activation, "pooling": pooling}
    logits = build_model(network, seed=0).eval()(normal(5, 1, 32, 32))
    assert logits.shape == (5, 10)
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", get_args(ModelName))
def test_laid_out_for_training_logits_and_gradients_are_the_same(name: str) -> None:
    plain = build_model(NETWORK | {"model": name}, seed=0).eval()
    laid_out = copy.deepcopy(plain)
    laid_out.lay_out_for_training()
    assert laid_out.state_dict().keys() == plain.state_dict().keys()
    generator = torch.Generator().manual_seed(0)
    for count in (1, 7, 64):
        images = torch.randn(count, *plain.input_shape, generator=generator)
        labels = torch.randint(10, (count,), generator=generator)
        for model in (plain, laid_out):
            model.zero_grad()
            F.cross_entropy(model(images), labels).backward()
        torch.testing.assert_close(laid_out(images), plain(images), rtol=1e-4, atol=1e-5)
        for mine, theirs in zip(laid_out.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-5)


def test_the_layout_is_for_the_cpu_on_which_it_was_measured() -> None:
    for device, fast in (("cpu", True), ("meta", False)):
        model = build_model(NETWORK | {"model": "convnet"}, seed=0).to(device)
        model.lay_out_for_training()
        weights = [weight for weight in model.parameters() if weight.ndim == 4 and weight.shape[1] > 1]
        assert all(weight.is_contiguous() != fast for weight in weights)
        assert weights


def test_every_initialisation_gives_other_weights() -> None:
    for first, second in itertools.combinations(choices("init"), 2):
        models = [
            build_model(NETWORK | {"model": "lenet5", "init": name}, seed=0) for name in (first, second)
        ]
        weights, other = (model.state_dict()["conv1.weight"] for model in models)
        assert not torch.equal(weights, other), f"{first} and {second} are the same"


def test_kaiming_normal_has_the_spread_that_he_et_al_derive() -> None:
    model = build_model(NETWORK | {"model": "lenet5", "init": "kaiming_normal"}, seed=0)
    assert model.fc1.weight.std().item() == pytest.approx((2 / 400) ** 0.5, rel=0.02)
    layers = (model.conv1, 25), (model.conv2, 150), (model.fc1, 400), (model.fc2, 120), (model.fc3, 84)
    for layer, inputs in layers:
        assert layer.weight.std().item() == pytest.approx((2 / inputs) ** 0.5, rel=0.1)
        assert not layer.bias.any()


def test_feature_maps_are_what_the_forward_pass_computes() -> None:
    model = build_model(NETWORK | {"model": "lenet5"}, seed=0).eval()
    images = normal(2, 1, 32, 32)
    maps = model.feature_maps(images)
    assert {name: tuple(channels.shape) for name, channels in maps.items()} == {
        "conv1": (2, 6, 28, 28),
        "act1": (2, 6, 28, 28),
        "pool1": (2, 6, 14, 14),
        "conv2": (2, 16, 10, 10),
        "act2": (2, 16, 10, 10),
        "pool2": (2, 16, 5, 5),
    }
    hidden = model.act3(model.fc1(maps["pool2"].flatten(1)))
    torch.testing.assert_close(model.fc3(model.act4(model.fc2(hidden))), model(images))


def test_lenet5_of_1998_has_its_60000_trainable_parameters() -> None:
    model = LeNet1998()
    assert count_parameters(model) == 60_000
    layers = {"c1": 156, "s2": 12, "c3": 1_516, "s4": 32, "c5": 48_120, "f6": 10_164, "output": 0}
    assert {name: count_parameters(getattr(model, name)) for name in layers} == layers


def test_connections_of_c3_are_those_of_table_1() -> None:
    assert [len(sources) for sources in C3_INPUTS] == [3] * 6 + [4] * 9 + [6]
    assert len(set(C3_INPUTS)) == 16
    # Every map of S2 is used equally often: ten times.
    assert [sum(source in sources for sources in C3_INPUTS) for source in range(6)] == [10] * 6
    neighbours = [{(first + more) % 6 for more in range(n)} for n in (3, 4) for first in range(6)]
    others = [{0, 1, 3, 4}, {1, 2, 4, 5}, {0, 2, 3, 5}, {0, 1, 2, 3, 4, 5}]
    assert [set(sources) for sources in C3_INPUTS] == neighbours + others
    layer = build_model(NETWORK | {"model": "lenet5_1998"}, seed=0).c3
    for source in range(6):
        images = torch.zeros(1, 6, 14, 14, requires_grad=True)
        touched = layer(images.index_fill(1, torch.tensor([source]), 1.0)) - layer(images)
        seen = touched.abs().sum((0, 2, 3)) > 1e-6
        assert seen.tolist() == [source in sources for sources in C3_INPUTS]


def test_subsampling_sums_four_neighbours_times_a_coefficient_plus_a_bias() -> None:
    layer = Subsampling(2)
    torch.nn.init.constant_(layer.coefficient, 0.5)
    torch.nn.init.constant_(layer.bias, -1.0)
    images = torch.arange(32.0).view(1, 2, 4, 4)
    expected = 0.5 * (0 + 1 + 4 + 5) - 1
    assert layer(images)[0, 0, 0, 0].item() == expected
    assert layer(images).shape == (1, 2, 2, 2)


def test_scaled_tanh_maps_one_to_one() -> None:
    squash = ScaledTanh()
    assert squash(torch.tensor([1.0, -1.0])).tolist() == pytest.approx([1, -1], abs=1e-4)
    assert squash(torch.tensor([1e3])).item() == pytest.approx(1.7159)


def test_codes_are_ten_different_bitmaps_of_7_by_12() -> None:
    codes = digit_codes()
    assert codes.shape == (10, 84)
    assert codes.unique().tolist() == [-1, 1]
    # Digits that look alike have codes that are alike, as the paper wants it: 8 is nearest to 6, then to 9.
    distances = torch.cdist(codes, codes).square()
    assert distances[8].argsort()[:3].tolist() == [8, 6, 9]
    one = codes[1].view(12, 7)
    assert one[:, 3].tolist() == [1] * 10 + [-1] * 2


def test_the_output_is_the_distance_to_the_codes_and_the_loss_is_equation_9() -> None:
    model = LeNet1998().eval()
    f6 = digit_codes()[[3, 7]] + 0.5
    logits = model.output(f6)
    assert logits[0, 3].item() == pytest.approx(-84 * 0.25)
    assert logits.argmax(1).tolist() == [3, 7]
    labels = torch.tensor([3, 1])
    distances = -logits.double()
    competing = torch.exp(torch.tensor(-RUBBISH_PENALTY).double()) + torch.exp(-distances).sum(1)
    expected = (distances[[0, 1], labels] + competing.log()).mean()
    assert model.training_loss(logits, labels, 0.0).item() == pytest.approx(expected.item(), rel=1e-5)
    smoothed = model.training_loss(logits, labels, 0.1).item()
    even = (distances.mean(1) + competing.log()).mean()
    assert smoothed == pytest.approx((0.9 * expected + 0.1 * even).item(), rel=1e-5)


def test_initial_weights_of_1998_are_uniform_within_their_bound() -> None:
    model = build_model(NETWORK | {"model": "lenet5_1998"}, seed=0)
    for weights, inputs in ((model.c1.weight, 25), (model.c5.weight, 400), (model.f6.weight, 120)):
        assert 0.9 * 2.4 / inputs < weights.abs().max().item() <= 2.4 / inputs
    kernels = model.c3.kernels
    assert kernels[:18].abs().max().item() <= 2.4 / 75
    assert kernels[:18].min().item() < -0.9 * 2.4 / 75
    assert kernels[:18].max().item() > 0.9 * 2.4 / 75
    assert kernels[-6:].abs().max().item() <= 2.4 / 150
    for layer in (model.s2, model.s4):
        assert 0.7 * 2.4 / 4 < layer.coefficient.abs().max().item() <= 2.4 / 4
    for layer in (model.c1, model.s2, model.c3, model.s4, model.c5, model.f6):
        assert not layer.bias.any()


def test_convnet_has_its_layers() -> None:
    model = ConvNet()
    assert count_parameters(model) == 893_546
    assert sum(isinstance(layer, torch.nn.BatchNorm2d) for layer in model.modules()) == 3
    images = normal(4, 1, 28, 28)
    assert {name: tuple(maps.shape) for name, maps in model.feature_maps(images).items()} == {
        "act1": (4, 32, 28, 28),
        "pool1": (4, 32, 14, 14),
        "act2": (4, 64, 14, 14),
        "pool2": (4, 64, 7, 7),
        "act3": (4, 64, 7, 7),
    }
    with pytest.raises(ValueError, match="more than 1 value"):
        model.train()(images[:1])


@pytest.mark.parametrize(("name", "units"), [("lenet5", [120, 84]), ("convnet", [256, 128])])
def test_dropout_follows_both_dense_layers(name: str, units: list[int]) -> None:
    model = build_model(NETWORK | {"model": name, "dropout": 0.25}, seed=0)
    dropped: list[Tensor] = []
    model.dropout.register_forward_hook(lambda _, __, output: dropped.append((output == 0).float().mean()))
    seen: list[int] = []
    model.dropout.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[1]))
    model.eval()(normal(50, *model.input_shape))
    kept = torch.stack(dropped)
    dropped.clear()
    model.train()(normal(50, *model.input_shape))
    assert seen == units * 2
    # ReLU has left some zeros of its own.
    torch.testing.assert_close(torch.stack(dropped), kept + 0.25 * (1 - kept), atol=0.05, rtol=0)


@pytest.mark.parametrize("name", ["lenet5", "lenet5_1998", "convnet"])
def test_feature_maps_belong_to_the_forward_pass(name: str) -> None:
    model = build_model(NETWORK | {"model": name}, seed=0).eval()
    images = normal(3, *model.input_shape)
    maps = model.feature_maps(images)
    last = list(maps.values())[-1]
    if name == "convnet":
        x = model.act4(model.norm4(model.fc1(last.flatten(1))))
        logits = model.fc3(model.act5(model.norm5(model.fc2(x))))
    elif name == "lenet5_1998":
        logits = model.output(model.act6(model.f6(model.act5(model.c5(last.flatten(1))))))
    else:
        logits = model.fc3(model.act4(model.fc2(model.act3(model.fc1(last.flatten(1))))))
    torch.testing.assert_close(logits, model(images))
    printed = dict(re.findall(r"^(\w+) +\w+ +([\d ×]+?)  ", summary(model), re.MULTILINE))
    shapes = {layer: " × ".join(map(str, each.shape[1:])) for layer, each in maps.items()}
    assert shapes == {layer: printed[layer] for layer in maps}


@pytest.mark.parametrize("name", ["lenet5", "convnet"])
def test_the_loss_is_cross_entropy_with_label_smoothing(name: str) -> None:
    model = build_model(NETWORK | {"model": name}, seed=0)
    logits, labels = normal(5, 10), torch.arange(5)
    assert model.training_loss(logits, labels, 0.0) == F.cross_entropy(logits, labels)
    even = -logits.log_softmax(1).mean()
    expected = 0.8 * F.cross_entropy(logits, labels) + 0.2 * even
    torch.testing.assert_close(model.training_loss(logits, labels, 0.2), expected)


@pytest.mark.parametrize(
    ("classes", "channels", "found"),
    [(10, 3, "10 classes of colour images"), (26, 1, "26 classes of grey images")],
)
def test_a_network_refuses_images_that_it_cannot_classify(classes: int, channels: int, found: str) -> None:
    with pytest.raises(UserError, match=f"^model: lenet5_1998 is invalid with {found}; expected 10 classes"):
        build_model(
            NETWORK | {"model": "lenet5_1998"},
            seed=0,
            num_classes=classes,
            image_format=ImageFormat(28, channels),
        )


@pytest.mark.parametrize(
    ("name", "size", "channels", "classes"),
    [("lenet5", 28, 3, 2), ("lenet5", 32, 3, 1000), ("convnet", 32, 1, 26), ("convnet", 32, 3, 1000)],
)
def test_networks_of_any_images_and_number_of_classes(
    name: str, size: int, channels: int, classes: int
) -> None:
    image_format = ImageFormat(size, channels)
    model = build_model(
        NETWORK | {"model": name}, seed=0, num_classes=classes, image_format=image_format
    ).eval()
    images = torch.zeros((2, *image_format.shape), dtype=torch.uint8)
    inputs = network_input(images, NETWORK | {"model": name, "input": "pad"}, mean=0.5, std=0.5)
    assert inputs.shape[1:] == model.input_shape
    assert model(inputs).shape == (2, classes)
    assert all(maps.dim() == 4 for maps in model.feature_maps(inputs).values())
