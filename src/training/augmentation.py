"""Training images changed a little at random, batch by batch, on the device they lie on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

# In the range of the distortions of LeCun et al. 1998, and of P. Simard, D. Steinkraus, J. Platt, "Best
# practices for convolutional neural networks applied to visual document analysis", ICDAR 2003.
ROTATION_DEGREES = 10.0
SCALING = 0.12
SHEAR = 0.15
SHIFT_PIXELS = 2.0
# Of `shift_flip`: of 0, 1 and 2 the best for LeNet-5 on the validation split of Fashion-MNIST.
WHOLE_PIXELS = 1


@dataclass(frozen=True)
class Augmentation:
    """How to change the images of an epoch.

    What is drawn and what is done with it are apart, so that an epoch's draws can be moved to another device
    at once: a copy at each step would wait for the device each time.

    Attributes:
        kind: `none`; `affine`: rotation, scaling, shear and shift, each drawn anew for every image; or
            `shift_flip`: a shift by whole pixels and, where `mirrored`, left-right mirroring of a
            random half of the images.
        background: the value that comes in from outside the image.
        mirrored: whether a mirror image is of the same class.
    """

    kind: str
    background: float
    mirrored: bool

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """What happens to each of `count` images, [count, …], drawn from a generator on the CPU.

        Affine maps, float32 [count, 2, 3], of coordinates from -1 to 1 but with shifts in pixels; or how
        far up and to the left, plus `WHOLE_PIXELS`, and whether to mirror, int64 [count, 3]; or nothing,
        [count, 0].
        """
        if self.kind == "affine":
            return _affine_maps(count, generator)
        if self.kind == "shift_flip":
            shifts = torch.randint(2 * WHOLE_PIXELS + 1, (count, 2), generator=generator)
            mirrored = torch.rand(count, 1, generator=generator) < (0.5 if self.mirrored else 0.0)
            return torch.cat([shifts, mirrored.long()], dim=1)
        return torch.empty(count, 0)

    def __call__(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Changed copies of images, float [N, C, H, W]; `drawn` is on their device."""
        if self.kind == "affine":
            return self._resampled(images, drawn)
        if self.kind == "shift_flip":
            return self._shifted(images, drawn)
        return images

    def _resampled(self, images: Tensor, maps: Tensor) -> Tensor:
        maps = torch.cat([maps[:, :, :2], maps[:, :, 2:] * (2 / images.shape[-1])], dim=2)
        grid = F.affine_grid(maps, list(images.shape), align_corners=False)
        # Zeros come in from outside; the background is made zero for the time being.
        moved = F.grid_sample(images - self.background, grid, align_corners=False)
        return moved.add_(self.background)

    def _shifted(self, images: Tensor, drawn: Tensor) -> Tensor:
        reach, size = WHOLE_PIXELS, images.shape[-1]
        down, right, mirrored = drawn.unsqueeze(2).unbind(1)
        places = torch.arange(size, device=images.device)
        columns = torch.where(mirrored == 1, places.flip(0), places) + right
        padded = F.pad(images, (reach, reach, reach, reach), value=self.background)
        image = torch.arange(len(images), device=images.device).view(-1, 1, 1)
        moved = padded.permute(0, 2, 3, 1)[image, (places + down).unsqueeze(2), columns.unsqueeze(1)]
        return moved.permute(0, 3, 1, 2)


def _affine_maps(count: int, generator: torch.Generator) -> Tensor:
    """Affine maps for `torch.nn.functional.affine_grid`, but with shifts in pixels, float32 [count, 2, 3]."""
    drawn = torch.rand(6, count, generator=generator) * 2 - 1
    angle = drawn[0] * math.radians(ROTATION_DEGREES)
    wide, high = 1 + SCALING * drawn[1], 1 + SCALING * drawn[2]
    shear = SHEAR * drawn[3]
    shift = drawn[4:6] * SHIFT_PIXELS
    cos, sin = angle.cos(), angle.sin()
    rows = [
        torch.stack([cos * wide, (shear * cos - sin) * high, shift[0]], dim=1),
        torch.stack([sin * wide, (shear * sin + cos) * high, shift[1]], dim=1),
    ]
    return torch.stack(rows, dim=1)
