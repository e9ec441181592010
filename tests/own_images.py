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


def digits_in_ink(per_class: int, *, rare: int = 0) -> dict[str, list[Image.Image]]:
    """Digits in two inks on papers of any colour, 32×32: twenty classes by digit and ink.

    Inks and papers are equally bright on average, so that grey pictures do not tell the inks apart.

    Args:
        per_class: the number of pictures of each class, drawn with replacement and changed a little.
        rare: how many fewer there are of each further class.
    """
    from sklearn.datasets import load_digits

    digits, generator = load_digits(), np.random.default_rng(0)
    found: dict[str, list[Image.Image]] = {}
    for label in range(20):
        digit, ink = divmod(label, 2)
        members = np.flatnonzero(digits.target == digit)
        name = f"{digit} {('red', 'green')[ink]} {AWKWARD[digit % len(AWKWARD)]}"
        found[name] = []
        for _ in range(per_class - rare * label):
            shade = Image.fromarray((digits.images[generator.choice(members)] * 15.9).astype(np.uint8))
            mask = np.asarray(shade.resize((28, 28), Image.Resampling.BILINEAR))[..., None] / 255.0
            paper = np.full(
                (32, 32, 3), (np.array([200, 200, 235]), np.array([235, 225, 190]))[generator.integers(2)]
            )
            # Of the same grey: 0.299 red + 0.587 green + 0.114 blue.
            colour = (np.array([150.0, 25, 40]), np.array([12.0, 95, 41]))[ink] + generator.normal(0, 12)
            top, left = generator.integers(0, 5, 2)
            image = paper.astype(float)
            window = image[top : top + 28, left : left + 28]
            window[:] = window * (1 - mask) + colour * mask
            image += generator.normal(0, 4, image.shape)
            found[name].append(Image.fromarray(image.clip(0, 255).astype(np.uint8)))
    return found


def save_classes(classes: Mapping[str, list[Image.Image]], folder: Path) -> None:
    """Write pictures as PNG files in a folder for each class."""
    for name, pictures in classes.items():
        (folder / name).mkdir(parents=True)
        for number, each in enumerate(pictures):
            each.save(folder / name / f"{number:04}.png", compress_level=1)
