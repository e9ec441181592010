"""The networks, what feeds them, and the file that a trained one is kept in."""

from __future__ import annotations

import io
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.errors import UserError, reason
from src.files import replacing

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "Tanh": nn.Tanh,
    "ReLU": nn.ReLU,
    "LeakyReLU": nn.LeakyReLU,
    "PReLU": nn.PReLU,
    "RReLU": nn.RReLU,
    "ELU": nn.ELU,
    "SELU": nn.SELU,
    "GELU": nn.GELU,
}
POOLINGS: dict[str, type[nn.Module]] = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}

INPUT_MODES = ("resize", "pad")

# Non-decreasing functions commute with taking a maximum: act(max(x)) == max(act(x)). Pooling first then
# spares three quarters of the activations. PReLU's slope is learnt and may turn negative, RReLU draws its
# slopes at random, and GELU falls before it rises, so these three keep the written order.
MONOTONE = {"Tanh", "ReLU", "LeakyReLU", "ELU", "SELU"}


# Large enough to keep two cores busy, small enough for the activations to stay in cache.
EVALUATION_BATCH = 1000


class LeNet5(nn.Module):
    """LeNet-5 as it is built today: 61,706 parameters without `PReLU`'s.

    Two 5×5 convolutions of 6 and 16 channels, each followed by an activation and 2×2 pooling, then
    fully connected layers of 120, 84 and `num_classes` units.

    After Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document
    recognition", Proc. IEEE 86(11), 1998, with full connections from S2 to C3, parameter-free pooling
    and a softmax output.

    Args:
        activation: a key of `ACTIVATIONS`.
        pooling: a key of `POOLINGS`.
        dropout: the probability, in [0, 1), that a unit after fc1 and fc2 is dropped while training.
        init: `default` for PyTorch's, `kaiming_normal` for He et al. 2015 (fan-in, biases zero).
        num_classes: the number of logits.
    """

    def __init__(
        self,
        *,
        activation: str = "ReLU",
        pooling: str = "max",
        dropout: float = 0.0,
        init: str = "default",
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        act = ACTIVATIONS[activation]
        self.conv1 = nn.Conv2d(1, 6, kernel_size=5)
        self.act1 = act()
        self.pool1 = POOLINGS[pooling](2)
        self.conv2 = nn.Conv2d(6, 16, kernel_size=5)
        self.act2 = act()
        self.pool2 = POOLINGS[pooling](2)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.act3 = act()
        self.fc2 = nn.Linear(120, 84)
        self.act4 = act()
        self.fc3 = nn.Linear(84, num_classes)
        self.dropout = nn.Dropout(dropout)
        self.pool_first = pooling == "max" and activation in MONOTONE
        if init == "kaiming_normal":
            for layer in (self.conv1, self.conv2, self.fc1, self.fc2, self.fc3):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, float [N, num_classes], of normalised images, float [N, 1, 32, 32]."""
        if self.pool_first:
            x = self.act1(self.pool1(self.conv1(images)))
            x = self.act2(self.pool2(self.conv2(x)))
        else:
            x = self.pool1(self.act1(self.conv1(images)))
            x = self.pool2(self.act2(self.conv2(x)))
        x = self.dropout(self.act3(self.fc1(x.flatten(1))))
        x = self.dropout(self.act4(self.fc2(x)))
        return self.fc3(x)

    def feature_maps(self, images: Tensor) -> dict[str, Tensor]:
        """What each convolution and its activation make of images, float [N, 1, 32, 32].

        Returns:
            `conv1`, `act1` [N, 6, 28, 28] and `conv2`, `act2` [N, 16, 10, 10], in this order.
        """
        conv1 = self.conv1(images)
        act1 = self.act1(conv1)
        conv2 = self.conv2(self.pool1(act1))
        return {"conv1": conv1, "act1": act1, "conv2": conv2, "act2": self.act2(conv2)}


def build_lenet5(
    *, seed: int, activation: str, pooling: str, dropout: float, init: str, num_classes: int = 10
) -> LeNet5:
    """A `LeNet5` whose first weights depend on `seed` alone; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LeNet5(
            activation=activation, pooling=pooling, dropout=dropout, init=init, num_classes=num_classes
        )


def network_input(images: Tensor, *, mean: float, std: float, mode: str) -> Tensor:
    """What a network is fed: 28×28 pictures brought to 32×32 and normalised.

    Args:
        images: uint8 [N, 28, 28], background 0.
        mean: of the training images' pixels, in units of full intensity (0 to 1).
        std: the standard deviation of the same pixels, same units.
        mode: `resize` for bilinear resizing, `pad` for a border of 2 background pixels (LeCun et al. 1998).

    Returns:
        float32 [N, 1, 32, 32] on the device of `images`.
    """
    pixels = images.unsqueeze(1)
    if mode == "pad":
        pixels = F.pad(pixels, (2, 2, 2, 2)).float()
    else:
        pixels = F.interpolate(pixels.float(), size=(32, 32), mode="bilinear", align_corners=False)
    return pixels.sub_(255 * mean).div_(255 * std)


@torch.inference_mode()
def predict_logits(model: nn.Module, inputs: Tensor) -> Tensor:
    """Logits, float32 [N, classes], of network inputs, float32 [N, 1, H, W]; dropout is off."""
    was_training = model.training
    model.eval()
    logits = torch.cat([model(batch) for batch in inputs.split(EVALUATION_BATCH)])
    model.train(was_training)
    return logits


@dataclass(frozen=True)
class TrainedModel:
    """A network's weights with all that is needed to rebuild and feed it.

    Attributes:
        dataset: the name of the dataset it was trained on.
        class_names: the class names, in the order of the logits.
        mean: of the training images' pixels, in units of full intensity.
        std: the standard deviation of the same pixels.
        network: `input`, `activation`, `pooling`, `dropout` and `init`, as in `params.yaml`.
        weights: the network's state dict, contiguous and on the CPU.
    """

    dataset: str
    class_names: list[str]
    mean: float
    std: float
    network: dict[str, Any]
    weights: dict[str, Tensor]

    def build(self) -> LeNet5:
        """The network with its trained weights, in evaluation mode."""
        settings = {key: value for key, value in self.network.items() if key != "input"}
        model = build_lenet5(seed=0, num_classes=len(self.class_names), **settings)
        model.load_state_dict(self.weights)
        return model.eval()

    def prepare_input(self, images: Tensor) -> Tensor:
        """`network_input` with this model's statistics and input mode."""
        return network_input(images, mean=self.mean, std=self.std, mode=self.network["input"])


def save_model(model: TrainedModel, path: Path) -> None:
    """Write `model` to `path`, whole or not at all; equal models give equal bytes."""
    # torch.save names the archive inside after the file; a buffer keeps a temporary name out of the bytes.
    buffer = io.BytesIO()
    torch.save(asdict(model), buffer)
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def load_model(path: Path) -> TrainedModel:
    """Read what `save_model` wrote; nothing in the file is executed (`weights_only=True`).

    Raises:
        UserError: the file is missing, damaged, or is not a model of this project.
    """
    try:
        content = path.read_bytes()
        # torch.load does not look at the checksums in the archive that it reads.
        if damaged := zipfile.ZipFile(io.BytesIO(content)).testzip():
            raise ValueError(f"{damaged} is damaged")
        model = TrainedModel(**torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))
        _check_types(model)
        model.build()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `dvc repro train` writes it") from None
    except Exception as error:  # torch.load and load_state_dict raise many types for a damaged file
        raise UserError(f"{path}: not a model written by this project ({reason(error)})") from None
    return model


def _check_types(model: TrainedModel) -> None:
    texts = [model.dataset, *model.class_names, *model.network]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("its dataset, class names and settings must be text")
    if model.network.get("input") not in INPUT_MODES:
        raise ValueError(f"input: {model.network.get('input')!r} is not one of {', '.join(INPUT_MODES)}")
    if not (0 <= model.mean <= 1 and 0 < model.std <= 1):
        raise ValueError(f"mean {model.mean!r} and std {model.std!r} cannot normalise an image")
    for name, tensor in model.weights.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{name} holds a value that is not finite")
