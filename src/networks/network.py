"""What all networks have in common."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Network(nn.Module):
    """A classifier of images, float32 [N, 1, `input_size`, `input_size`], whose forward pass gives logits.

    Attributes:
        input_size: 32, or 28 for a network that takes the datasets' images as they are.
        accepts: the keys of `params.yaml` that are arguments of its constructor.
    """

    input_size = 32
    accepts: tuple[str, ...] = ()

    def lay_out_for_training(self) -> None:
        """Put the weights where training is fastest; the results are the same to rounding."""
        # oneDNN's convolutions are faster on this layout than on the default one.
        self.to(memory_format=torch.channels_last)

    def training_loss(self, logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
        """What training minimises, a scalar in nats per image.

        Args:
            logits: float [N, C], of the forward pass.
            labels: int64 [N].
            label_smoothing: the share of the target that is spread over all classes (Szegedy et al. 2016).
        """
        return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)

    def feature_maps(self, images: Tensor) -> dict[str, Tensor]:
        """What the layers make of images, for looking at: float [N, channels, height, width] by layer."""
        raise NotImplementedError
