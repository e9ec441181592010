from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor

from src.params import Params, choices
from src.training.augmentation import SHIFT_PIXELS, Augmentation
from src.training.from_splits import augmentation_of, network_tensors, train_on_splits
from tests.conftest import bright_squares, changed

BACKGROUND = -0.4


def pictures(count: int = 400) -> Tensor:
    """A bright bar left of the middle on a background that is not zero."""
    images = torch.full((count, 1, 32, 32), BACKGROUND)
    images[:, 0, 8:24, 10:14] = 2.0
    return images


def centres(images: Tensor) -> Tensor:
    """Of mass, [N, 2]: row and column."""
    mass = (images[:, 0] - BACKGROUND).double()
    mass = mass / mass.sum((1, 2), keepdim=True)
    places = torch.arange(images.shape[-1], dtype=torch.float64)
    return torch.stack([(mass.sum(2) * places).sum(1), (mass.sum(1) * places).sum(1)], dim=1)


def augment(kind: str, seed: int = 0, mirrored: bool = False) -> Tensor:
    augmentation = Augmentation(kind, BACKGROUND, mirrored)
    images = pictures()
    return augmentation(images, augmentation.draw(len(images), torch.Generator().manual_seed(seed)))


def test_none_leaves_images_and_generator_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    images = pictures(3)
    augmentation = Augmentation("none", BACKGROUND, mirrored=True)
    assert augmentation(images, augmentation.draw(3, generator)) is images
    assert torch.equal(generator.get_state(), before)


def test_every_augmentation_makes_other_images() -> None:
    for first, second in combinations(choices("augment"), 2):
        assert not torch.equal(augment(first), augment(second)), f"{first} and {second} are the same"


@pytest.mark.parametrize("kind", ["affine", "shift_flip"])
def test_every_image_is_drawn_for_anew_and_the_seed_decides(kind: str) -> None:
    changed = augment(kind)
    assert changed.shape == pictures().shape
    assert torch.equal(changed, augment(kind))
    assert not torch.equal(changed, augment(kind, seed=1))
    assert len(changed.flatten(1).unique(dim=0)) >= (400 if kind == "affine" else 9)
    assert torch.equal(pictures()[0], pictures()[-1]), "the images were alike before"


@pytest.mark.parametrize("kind", ["affine", "shift_flip"])
def test_changes_are_small_and_the_background_stays_what_it_was(kind: str) -> None:
    changed = augment(kind)
    moved = centres(changed) - centres(pictures())
    assert moved.abs().max().item() < 2 * SHIFT_PIXELS
    assert moved.mean(0).abs().max().item() < 0.3, "in no direction more than in another"
    assert moved.std(0).min().item() > 0.5
    torch.testing.assert_close(changed[:, 0, 0], torch.full((400, 32), BACKGROUND))
    mass = (changed - BACKGROUND).sum((1, 2, 3)) / (pictures() - BACKGROUND).sum((1, 2, 3))
    assert 0.7 < mass.min().item() <= mass.max().item() < 1.4


def test_shifts_are_by_whole_pixels_in_a_square() -> None:
    moved = (centres(augment("shift_flip")) - centres(pictures())).round().int()
    assert {tuple(move) for move in moved.tolist()} == {
        (row, column) for row in (-1, 0, 1) for column in (-1, 0, 1)
    }


def test_only_where_it_keeps_the_class_every_other_image_is_mirrored() -> None:
    column = centres(augment("shift_flip", mirrored=True))[:, 1]
    flipped = column > 16
    assert 0.4 < flipped.double().mean().item() < 0.6
    # The bar's middle is column 11.5; in the mirror 19.5.
    assert column[flipped].mean().item() == pytest.approx(19.5, abs=0.3)
    assert column[~flipped].mean().item() == pytest.approx(11.5, abs=0.3)
    assert (centres(augment("shift_flip", mirrored=False))[:, 1] < 16).all()
    drawn = Augmentation("shift_flip", BACKGROUND, mirrored=True).draw(
        100_000, torch.Generator().manual_seed(0)
    )
    assert drawn[:, 2].double().mean().item() == pytest.approx(0.5, abs=0.01)


def test_a_map_that_moves_nothing_leaves_every_pixel() -> None:
    images = torch.rand(3, 1, 32, 32)
    unchanged = torch.eye(2, 3).expand(3, 2, 3)
    moved = Augmentation("affine", BACKGROUND, mirrored=False)(images, unchanged)
    torch.testing.assert_close(moved, images, rtol=0, atol=1e-5)


def test_the_shifts_of_a_map_are_in_pixels() -> None:
    maps = torch.eye(2, 3).repeat(1, 1, 1)
    maps[:, 0, 2], maps[:, 1, 2] = 2, -1
    moved = Augmentation("affine", BACKGROUND, mirrored=False)(pictures(1), maps)
    # A map says for a pixel of the result where it comes from: the bar moves the other way.
    assert (centres(moved) - centres(pictures(1)))[0].tolist() == pytest.approx([1, -2], abs=1e-3)


def test_the_ranges_of_affine_maps() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = Augmentation("affine", BACKGROUND, mirrored=False).draw(100_000, generator).double()
    # A map turns, after it has sheared and scaled: the columns are (w, 0) and (s h, h), turned.
    wide = maps[:, :, 0].norm(dim=1)
    cos, sin = maps[:, 0, 0] / wide, maps[:, 1, 0] / wide
    high = cos * maps[:, 1, 1] - sin * maps[:, 0, 1]
    shear = (cos * maps[:, 0, 1] + sin * maps[:, 1, 1]) / high
    ranges = (
        (torch.rad2deg(torch.atan2(sin, cos)), 0, 10),
        (wide, 1, 0.12),
        (high, 1, 0.12),
        (shear, 0, 0.15),
        (maps[:, 0, 2], 0, 2),
        (maps[:, 1, 2], 0, 2),
    )
    for values, middle, reach in ranges:
        ends = [values.min().item(), values.max().item()]
        assert ends == pytest.approx([middle - reach, middle + reach], abs=0.01 * reach)
    correlations = torch.corrcoef(torch.stack([values for values, *_ in ranges]))
    assert correlations.fill_diagonal_(0).abs().max().item() < 0.02, "each is drawn on its own"


def test_affine_turns_scales_and_shears_to_either_side() -> None:
    images = augment("affine")[:, 0] - BACKGROUND
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    mass = images.sum((1, 2))
    middle = [(images * places).sum((1, 2)) / mass for places in (rows, columns)]
    offsets = [places - at.view(-1, 1, 1) for places, at in zip((rows, columns), middle, strict=True)]
    spread = [(images * offset**2).sum((1, 2)) / mass for offset in offsets]
    mixed = (images * offsets[0] * offsets[1]).sum((1, 2)) / mass
    tilt = mixed / spread[0]
    assert tilt.min().item() < -0.1
    assert tilt.max().item() > 0.1
    assert 0.05 < (spread[0].sqrt().std() / spread[0].sqrt().mean()).item() < 0.15


@pytest.mark.parametrize("kind", ["affine", "shift_flip"])
@pytest.mark.parametrize(("model", "size"), [("lenet5", "pad"), ("lenet5", "resize"), ("convnet", "pad")])
def test_nothing_can_be_seen_of_a_change_to_an_image_of_background_alone(
    params: Params, kind: str, model: str, size: str
) -> None:
    squares = bright_squares(25)
    split = replace(squares, images=np.zeros_like(squares.images), mirror_symmetric=True)
    settings = changed(params, model=model, input=size, augment=kind)
    inputs, *_ = network_tensors(split, split, settings.network(), torch.device("cpu"))
    augmentation = augmentation_of(split, settings)
    drawn = augmentation.draw(len(inputs), torch.Generator().manual_seed(0))
    torch.testing.assert_close(augmentation(inputs, drawn), inputs)


@pytest.mark.parametrize("mirror_symmetric", [False, True])
def test_training_mirrors_images_only_where_the_dataset_says_that_it_keeps_the_class(
    params: Params, mirror_symmetric: bool
) -> None:
    """Two classes that are mirror images of each other can be learnt only as long as none is mirrored."""
    part = replace(bright_squares(60, classes=2), mirror_symmetric=mirror_symmetric)
    settings = changed(params, augment="shift_flip", epochs=6, lr=0.002)
    _, result = train_on_splits(part, part, settings.network(), settings, torch.device("cpu"))
    assert (result.history[-1].train_accuracy > 0.95) == (not mirror_symmetric)
    assert (result.history[-1].train_accuracy < 0.7) == mirror_symmetric
