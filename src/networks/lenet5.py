"""LeNet-5 as it is built today."""

from __future__ import annotations

from torch import Tensor, nn

from src.networks.network import Network

POOLINGS: dict[str, type[nn.Module]] = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}


class LeNet5(Network):
    """LeNet-5 as it is built today: 61,706 parameters for grey images and ten classes, without `PReLU`'s.

    Two 5×5 convolutions of 6 and 16 channels, each followed by an activation and 2×2 pooling, then
    fully connected layers of 120, 84 and `num_classes` units.

    After Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document
    recognition", Proc. IEEE 86(11), 1998, with full connections from S2 to C3, parameter-free pooling
    and a softmax output.

    Args:
        activation: the name of an activation of `torch.nn`, such as `ReLU`.
        pooling: a key of `POOLINGS`.
        dropout: the probability, in [0, 1), that a unit after fc1 and fc2 is dropped while training.
        init: `default` for PyTorch's, `kaiming_normal` for He et al. 2015 (fan-in, biases zero).
        num_classes: the number of logits.
        channels: of the images, 1 for grey and 3 for colour.
    """

    accepts = ("activation", "pooling", "dropout", "init")

    def __init__(
        self,
        *,
        activation: str = "ReLU",
        pooling: str = "max",
        dropout: float = 0.0,
        init: str = "default",
        num_classes: int = 10,
        channels: int = 1,
    ) -> None:
        super().__init__()
        act: type[nn.Module] = getattr(nn, activation)
        self.conv1 = nn.Conv2d(channels, 6, kernel_size=5)
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
        if init == "kaiming_normal":
            for layer in (self.conv1, self.conv2, self.fc1, self.fc2, self.fc3):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, float [N, num_classes], of normalised images, float [N, channels, 32, 32]."""
        x = self.pool1(self.act1(self.conv1(images)))
        x = self.pool2(self.act2(self.conv2(x)))
        x = self.dropout(self.act3(self.fc1(x.flatten(1))))
        x = self.dropout(self.act4(self.fc2(x)))
        return self.fc3(x)

    def feature_maps(self, images: Tensor) -> dict[str, Tensor]:
        """What the layers before the dense ones make of images, float [N, channels, 32, 32].

        Returns:
            `conv1`, `act1` [N, 6, 28, 28], `pool1` [N, 6, 14, 14], `conv2`, `act2` [N, 16, 10, 10] and
            `pool2` [N, 16, 5, 5], in this order.
        """
        maps: dict[str, Tensor] = {}
        for name in ("conv1", "act1", "pool1", "conv2", "act2", "pool2"):
            images = maps[name] = self.get_submodule(name)(images)
        return maps


NETWORK = LeNet5
