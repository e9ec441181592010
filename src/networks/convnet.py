"""A small convolutional network with batch normalisation."""

from __future__ import annotations

from torch import Tensor, nn

from src.networks.network import Network


class ConvNet(Network):
    """Three 3×3 convolutions with batch norm, then three dense layers.

    893,546 parameters for grey images of 28×28.

    Convolutions of 32, 64 and 64 channels, each with batch norm (Ioffe & Szegedy 2015) and ReLU, the first
    two followed by 2×2 max pooling; dense layers of 256 and 128 units with batch norm, ReLU and dropout
    (Srivastava et al. 2014); and `num_classes` logits.

    Args:
        dropout: the probability, in [0, 1), that a unit after fc1 and fc2 is dropped while training.
        num_classes: the number of logits.
        channels: of the images, 1 for grey and 3 for colour.
        image_size: their height and width.
    """

    input_size = None
    accepts = ("dropout",)

    def __init__(
        self, *, dropout: float = 0.0, num_classes: int = 10, channels: int = 1, image_size: int = 28
    ) -> None:
        super().__init__()

        # Batch norm takes the mean away again: a bias before it would be a parameter without effect.
        def convolution(inputs: int, filters: int) -> nn.Conv2d:
            return nn.Conv2d(inputs, filters, kernel_size=3, padding=1, bias=False)

        self.conv1, self.norm1, self.act1, self.pool1 = (
            convolution(channels, 32),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.conv2, self.norm2, self.act2, self.pool2 = (
            convolution(32, 64),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.conv3, self.norm3, self.act3 = convolution(64, 64), nn.BatchNorm2d(64), nn.ReLU()
        self.fc1, self.norm4, self.act4 = (
            nn.Linear(64 * (image_size // 4) ** 2, 256, bias=False),
            nn.BatchNorm1d(256),
            nn.ReLU(),
        )
        self.fc2, self.norm5, self.act5 = nn.Linear(256, 128, bias=False), nn.BatchNorm1d(128), nn.ReLU()
        self.fc3 = nn.Linear(128, num_classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, float [N, num_classes], of normalised images, float [N, channels, size, size]."""
        x = self.pool1(self.act1(self.norm1(self.conv1(images))))
        x = self.pool2(self.act2(self.norm2(self.conv2(x))))
        x = self.act3(self.norm3(self.conv3(x)))
        x = self.dropout(self.act4(self.norm4(self.fc1(x.flatten(1)))))
        x = self.dropout(self.act5(self.norm5(self.fc2(x))))
        return self.fc3(x)

    def feature_maps(self, images: Tensor) -> dict[str, Tensor]:
        """What the layers before the dense ones make of images, float [N, channels, size, size].

        Returns:
            Of images of 28×28, `act1` [N, 32, 28, 28], `pool1` [N, 32, 14, 14], `act2` [N, 64, 14, 14],
            `pool2` and `act3` [N, 64, 7, 7], in this order.
        """
        act1 = self.act1(self.norm1(self.conv1(images)))
        pool1 = self.pool1(act1)
        act2 = self.act2(self.norm2(self.conv2(pool1)))
        pool2 = self.pool2(act2)
        act3 = self.act3(self.norm3(self.conv3(pool2)))
        return {"act1": act1, "pool1": pool1, "act2": act2, "pool2": pool2, "act3": act3}


NETWORK = ConvNet
