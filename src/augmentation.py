"""Training images changed a little at random, batch by batch, on the device they lie on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

# Datasets whose classes a mirror image keeps: clothes have no left and right, digits and letters do.
MIRRORED_ALIKE = {"FashionMNIST"}

# In the range of the distortions of LeCun et al. 1998, and of P. Simard, D. Steinkraus, J. Platt, "Best
# practices for convolutional neural networks applied to visual document analysis", ICDAR 2003.
ROTATION_DEGREES = 10.0
SCALING = 0.12
SHEAR = 0.15
SHIFT_PIXELS = 2.0


@dataclass(frozen=True)
class Augmentation:
    """How to change the images of a batch.

    Attributes:
        kind: `none`; `affine`: rotation, scaling, shear and shift, each drawn anew for every image; or
            `shift_flip`: a shift by whole pixels and, where `mirrored`, left-right mirroring of every
            other image.
        background: the value that comes in from outside the image.
        mirrored: whether a mirror image is of the same class.
    """

    kind: str
    background: float
    mirrored: bool

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Changed copies of images, float [N, 1, H, W]; what is drawn comes from a generator on the CPU."""
        if self.kind == "none":
            return images
        if self.kind == "affine":
            return self._resampled(images, _affine_maps(len(images), images.shape[-1], generator))
        return self._shifted(images, generator)

    def _resampled(self, images: Tensor, maps: Tensor) -> Tensor:
        grid = F.affine_grid(maps.to(images.device), list(images.shape), align_corners=False)
        # Zeros come in from outside; the background is made zero for the time being.
        moved = F.grid_sample(images - self.background, grid, align_corners=False)
        return moved.add_(self.background)

    def _shifted(self, images: Tensor, generator: torch.Generator) -> Tensor:
        reach, size = int(SHIFT_PIXELS), images.shape[-1]
        count = len(images)
        offsets = torch.randint(2 * reach + 1, (2, count, 1), generator=generator)
        flipped = torch.rand(count, 1, generator=generator) < (0.5 if self.mirrored else 0.0)
        places = torch.arange(size)
        rows = (offsets[0] + places).to(images.device)
        columns = (offsets[1] + torch.where(flipped, places.flip(0), places)).to(images.device)
        padded = F.pad(images, (reach, reach, reach, reach), value=self.background)
        image = torch.arange(count, device=images.device).view(-1, 1, 1)
        return padded[image, 0, rows.unsqueeze(2), columns.unsqueeze(1)].unsqueeze(1)


def _affine_maps(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Affine maps, float32 [count, 2, 3], in the coordinates of `torch.nn.functional.affine_grid`."""
    drawn = torch.rand(6, count, generator=generator) * 2 - 1
    angle = drawn[0] * math.radians(ROTATION_DEGREES)
    wide, high = 1 + SCALING * drawn[1], 1 + SCALING * drawn[2]
    shear = SHEAR * drawn[3]
    shift = drawn[4:6] * (SHIFT_PIXELS * 2 / size)
    cos, sin = angle.cos(), angle.sin()
    rows = [
        torch.stack([cos * wide, (shear * cos - sin) * high, shift[0]], dim=1),
        torch.stack([sin * wide, (shear * sin + cos) * high, shift[1]], dim=1),
    ]
    return torch.stack(rows, dim=1)
