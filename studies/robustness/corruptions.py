"""Images made worse in measured steps, and how many a network still tells apart.

In the manner of D. Hendrycks, T. Dietterich, "Benchmarking neural network robustness to common corruptions
and perturbations", ICLR 2019, with corruptions that make sense for small grey pictures, as in N. Mu,
J. Gilmer, "MNIST-C", 2019.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from src.networks.build import channels_first


@dataclass(frozen=True)
class Corruption:
    """A way to make images worse.

    Attributes:
        unit: of `amounts`, for readers.
        amounts: one for each strength from 1 to 5.
        apply: from images, float32 [N, channels, H, W] in 0 to 1 with background 0, an amount and a seeded
            generator on the CPU, to images of the same kind, which may leave 0 to 1.
    """

    unit: str
    amounts: tuple[float, float, float, float, float]
    apply: Callable[[Tensor, float, torch.Generator], Tensor]


def _shift(images: Tensor, pixels: float, generator: torch.Generator) -> Tensor:
    directions = ((0, 1), (1, 0), (0, -1), (-1, 0))
    drawn = torch.randint(len(directions), (len(images),), generator=generator)
    shifted = torch.empty_like(images)
    for number, (down, right) in enumerate(directions):
        chosen = (drawn == number).to(images.device)
        move = [right * pixels, down * pixels]
        shifted[chosen] = transforms.affine(images[chosen], angle=0, translate=move, scale=1, shear=[0, 0])
    return shifted


def _rotation(images: Tensor, degrees: float, generator: torch.Generator) -> Tensor:
    left = (torch.randint(2, (len(images),), generator=generator) == 0).to(images.device)
    rotated = torch.empty_like(images)
    for chosen, angle in ((left, degrees), (~left, -degrees)):
        rotated[chosen] = transforms.rotate(images[chosen], angle, InterpolationMode.BILINEAR)
    return rotated


def _noise(images: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    return images + deviation * torch.randn(images.shape, generator=generator).to(images.device)


def _blur(images: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    reach = 2 * round(3 * deviation) + 1
    return transforms.gaussian_blur(images, [reach, reach], [deviation, deviation])


def _contrast(images: Tensor, kept: float, generator: torch.Generator) -> Tensor:
    return transforms.adjust_contrast(images, kept)


CORRUPTIONS: dict[str, Corruption] = {
    "shift": Corruption("pixels, up, down, left or right", (1, 2, 3, 4, 5), _shift),
    "rotation": Corruption("degrees, to either side", (10, 20, 30, 40, 50), _rotation),
    "noise": Corruption("standard deviation, of full intensity", (0.1, 0.2, 0.3, 0.4, 0.5), _noise),
    "blur": Corruption("standard deviation, in pixels", (0.5, 1, 1.5, 2, 2.5), _blur),
    "contrast": Corruption("of the contrast kept", (0.8, 0.6, 0.4, 0.2, 0.1), _contrast),
}


def corrupt(images: Tensor, name: str, strength: int, seed: int) -> Tensor:
    """Images made worse.

    Args:
        images: uint8 [N, H, W] or [N, H, W, 3], background 0.
        name: a key of `CORRUPTIONS`.
        strength: 1 to 5.
        seed: of directions and noise; the same at every strength, so that strengths are comparable.

    Returns:
        uint8 of the same shape, on the same device.
    """
    corruption = CORRUPTIONS[name]
    generator = torch.Generator().manual_seed(seed)
    pixels = channels_first(images).float() / 255
    worse = corruption.apply(pixels, corruption.amounts[strength - 1], generator)
    return worse.clamp(0, 1).mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).squeeze(3)


def robustness(
    classify: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor, seed: int
) -> pd.DataFrame:
    """Accuracy under every corruption at every strength.

    Args:
        classify: predicted labels, integers [N], of such images.
        images: uint8 [N, H, W] or [N, H, W, 3].
        labels: integers [N].
        seed: see `corrupt`.

    Returns:
        corruption, strength, amount, unit, images, accuracy; the first row, of strength 0, is of the
        images as they are.
    """

    def row(corruption: str, strength: int, amount: float, unit: str, shown: Tensor) -> dict[str, object]:
        accuracy = (classify(shown) == labels).sum().item() / len(labels)
        facts = {"corruption": corruption, "strength": strength, "amount": amount, "unit": unit}
        return facts | {"images": len(labels), "accuracy": accuracy}

    rows = [row("none", 0, 0, "", images)]
    for name, corruption in CORRUPTIONS.items():
        for strength, amount in enumerate(corruption.amounts, start=1):
            rows.append(row(name, strength, amount, corruption.unit, corrupt(images, name, strength, seed)))
    return pd.DataFrame(rows)
