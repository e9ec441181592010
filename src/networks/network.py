"""What all networks have in common."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Network(nn.Module):
    """A classifier of images, float32 [N, *input_shape], whose forward pass gives logits.

    The constructor takes the number of classes, `num_classes`, and of channels, `channels`; a network without
    `input_size` also takes `image_size`, the height and width.

    Attributes:
        input_size: the height and width of the images that it takes; None where it takes those of the
            dataset as they are.
        accepts: the keys of `params.yaml` that are arguments of its constructor.
        input_shape: channels, height and width of what it is fed; set by `build_model`.
    """

    input_size: int | None = 32
    accepts: tuple[str, ...] = ()
    input_shape: tuple[int, int, int]

    def lay_out_for_training(self) -> None:
        """Store the weights in the memory layout that trains fastest; results are the same to rounding."""
        # oneDNN's convolutions are faster on this layout than on the default one; it was measured on no GPU.
        if next(self.parameters()).device.type == "cpu":
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
        """What the layers make of images, for looking at: float [N, channels, height, width] by layer.

        Of every convolution, in the order of the forward pass; a network may choose others.
        """
        maps: dict[str, Tensor] = {}
        hooks = [
            # A copy: an activation may work in place.
            layer.register_forward_hook(lambda _, __, output, name=name: maps.update({name: output.clone()}))
            for name, layer in self.named_modules()
            if isinstance(layer, nn.Conv2d)
        ]
        try:
            self(images)
        finally:
            for hook in hooks:
                hook.remove()
        return maps
