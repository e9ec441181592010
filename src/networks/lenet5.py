"""LeNet-5 as it is built today."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.networks.network import Network

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

# Non-decreasing functions commute with taking a maximum: act(max(x)) == max(act(x)). Pooling first then
# spares three quarters of the activations. PReLU's slope is learnt and may turn negative, RReLU draws its
# slopes at random, and GELU falls before it rises, so these three keep the written order.
MONOTONE = {"Tanh", "ReLU", "LeakyReLU", "ELU", "SELU"}

# With AVX2, PyTorch pools eight channels at once and the rest one by one: with two channels of zeros beside
# conv1's six, a tenth of a training step is saved.
IDLE_CHANNELS = 2


class LeNet5(Network):
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
        self.whole_vectors = False
        if init == "kaiming_normal":
            for layer in (self.conv1, self.conv2, self.fc1, self.fc2, self.fc3):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)

    def lay_out_for_training(self) -> None:
        """See `Network`; with ReLU they are the same bit for bit.

        Where that is faster, the convolutions are then computed without calling `conv1` and `conv2`.
        """
        super().lay_out_for_training()
        on_cpu = self.conv1.weight.device.type == "cpu"
        avx2 = torch.backends.cpu.get_cpu_capability() == "AVX2"
        self.whole_vectors = self.pool_first and on_cpu and avx2

    def forward(self, images: Tensor) -> Tensor:
        """Logits, float [N, num_classes], of normalised images, float [N, 1, 32, 32]."""
        if self.whole_vectors:
            x = self.act1(self.pool1(F.conv2d(images, *self._with_idle_outputs(self.conv1))))
            x = self.act2(self.pool2(F.conv2d(x, *self._with_idle_inputs(self.conv2))))
        elif self.pool_first:
            x = self.act1(self.pool1(self.conv1(images)))
            x = self.act2(self.pool2(self.conv2(x)))
        else:
            x = self.pool1(self.act1(self.conv1(images)))
            x = self.pool2(self.act2(self.conv2(x)))
        x = self.dropout(self.act3(self.fc1(x.flatten(1))))
        x = self.dropout(self.act4(self.fc2(x)))
        return self.fc3(x)

    def _with_idle_outputs(self, layer: nn.Conv2d) -> tuple[Tensor, Tensor]:
        """Weight and bias of a convolution with further output channels, which are zero."""
        assert layer.bias is not None
        weight = F.pad(layer.weight, (0, 0, 0, 0, 0, 0, 0, IDLE_CHANNELS))
        return weight, F.pad(layer.bias, (0, IDLE_CHANNELS))

    def _with_idle_inputs(self, layer: nn.Conv2d) -> tuple[Tensor, Tensor]:
        """Weight and bias of a convolution with further input channels, which it ignores."""
        assert layer.bias is not None
        return F.pad(layer.weight, (0, 0, 0, 0, 0, IDLE_CHANNELS)), layer.bias

    def feature_maps(self, images: Tensor) -> dict[str, Tensor]:
        """What each convolution and its activation make of images, float [N, 1, 32, 32].

        Returns:
            `conv1`, `act1` [N, 6, 28, 28] and `conv2`, `act2` [N, 16, 10, 10], in this order.
        """
        conv1 = self.conv1(images)
        act1 = self.act1(conv1)
        conv2 = self.conv2(self.pool1(act1))
        return {"conv1": conv1, "act1": act1, "conv2": conv2, "act2": self.act2(conv2)}
