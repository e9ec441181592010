"""Small datasets of a user's own, as files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

# Names that CSV, TeX, shells, YAML and fonts have their difficulties with.
AWKWARD = ["a, b", 'the "best"', "it's", "$x$", "snail \N{SPIRAL SHELL}", "NA", "100 %", "# 1"]


def picture(number: int, size: tuple[int, int] = (28, 28), colour: bool = False) -> Image.Image:
    """A picture like no other of its kind."""
    generator = np.random.default_rng([number, *size, colour])
    shape = (size[1], size[0], 3) if colour else (size[1], size[0])
    return Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8))


def write_pictures(
    folder: Path,
    counts: Mapping[str, int],
    *,
    first: int = 0,
    size: tuple[int, int] = (28, 28),
    colour: bool = False,
    suffix: str = "png",
) -> None:
    """Write a folder of different pictures for each class.

    Args:
        folder: that the classes' folders are in.
        counts: the number of pictures of each class.
        first: the number of the first of them; pictures with different numbers are different.
        size: width and height.
        colour: whether they have colours.
        suffix: of the files' names.
    """
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            picture(number, size, colour).save(folder / name / f"{number:05}.{suffix}")
        first += count


# Red, green and blue; the inks are of the same grey, which is 0.299 red + 0.587 green + 0.114 blue.
INKS = {"red": np.array([150.0, 25, 40]), "green": np.array([12.0, 95, 41])}
PAPERS = np.array([[200.0, 200, 235], [235, 225, 190]])


def digits_in_ink(per_class: int, *, rare: int = 0) -> dict[str, list[Image.Image]]:
    """Digits in two inks on two papers, 32×32: twenty classes by digit and ink, with awkward names.

    Args:
        per_class: the number of pictures of each class, drawn with replacement and changed a little.
        rare: how many fewer there are of each further class.
    """
    from sklearn.datasets import load_digits

    digits, generator = load_digits(), np.random.default_rng(0)
    found: dict[str, list[Image.Image]] = {}
    for digit in range(10):
        members = np.flatnonzero(digits.target == digit)
        for ink in INKS:
            name = f"{digit} {ink} {AWKWARD[digit % len(AWKWARD)]}"
            count = per_class - rare * len(found)
            found[name] = [
                _in_ink(digits.images[generator.choice(members)], INKS[ink], generator) for _ in range(count)
            ]
    return found


def _in_ink(digit: np.ndarray, ink: np.ndarray, generator: np.random.Generator) -> Image.Image:
    """A digit, shades from 0 to 16, somewhere on paper."""
    shades = Image.fromarray((digit * 15.9).astype(np.uint8)).resize((28, 28), Image.Resampling.BILINEAR)
    cover = np.asarray(shades)[..., None] / 255.0
    image = np.tile(PAPERS[generator.integers(2)], (32, 32, 1))
    top, left = generator.integers(0, 5, 2)
    window = image[top : top + 28, left : left + 28]
    # Inks are lighter and darker by more than their greys differ.
    window[:] = window * (1 - cover) + (ink + generator.normal(0, 12)) * cover
    return Image.fromarray((image + generator.normal(0, 4, image.shape)).clip(0, 255).astype(np.uint8))


def save_classes(classes: Mapping[str, list[Image.Image]], folder: Path) -> None:
    """Write pictures as PNG files in a folder for each class."""
    for name, pictures in classes.items():
        (folder / name).mkdir(parents=True)
        for number, each in enumerate(pictures):
            each.save(folder / name / f"{number:04}.png", compress_level=1)
