"""What a dataset is. A module of this package, named after it, holds every fact of it as `DATASET`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import numpy as np

from src.data.splits import Split, pixel_statistics, stratified_split

DIGITS = [str(digit) for digit in range(10)]


@dataclass(frozen=True)
class Images:
    """Images and their labels: uint8 [N, 28, 28] with background 0, and uint8 [N]."""

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Parts:
    """A dataset's official training and test parts."""

    train: Images
    test: Images


@dataclass(frozen=True)
class Placement:
    """How a dataset has put what it shows into its 28×28 field.

    Attributes:
        size: the longer side of the content, in pixels.
        by_mass: whether the centre of mass is in the middle of the field, or else the content's rectangle.
        full_contrast: whether the brightest pixel is white, or nearly so, in almost every image.
    """

    size: int
    by_mass: bool
    full_contrast: bool


@dataclass(frozen=True)
class Dataset:
    """Every fact of a dataset.

    Attributes:
        class_names: one name for each label, in order.
        load: reads the images, after downloading what is missing.
        placement: of what its images show.
        mirror_symmetric: whether a mirror image is of the same class: clothes have no left and right, digits
            and letters do.
    """

    class_names: list[str]
    load: Callable[[], Parts]
    placement: Placement
    mirror_symmetric: bool = False


def dataset(name: str) -> Dataset:
    """The dataset of this name, one of `src.params.DatasetName`."""
    return import_module(f"src.data.{name.lower()}").DATASET


def split_dataset(name: str, val_fraction: float, split_seed: int) -> tuple[Split, Split, Split]:
    """The training, validation and test split of a dataset.

    The validation split is drawn from the official training part (see `stratified_split`), and the
    statistics are those of what is left of it.

    Raises:
        UserError: `val_fraction` leaves a class without a validation image, or the images cannot be had.
    """
    facts = dataset(name)
    parts = facts.load()
    rest, drawn = stratified_split(parts.train.labels, val_fraction, split_seed)
    mean, std = pixel_statistics(parts.train.images[rest])

    def split(images: np.ndarray, labels: np.ndarray) -> Split:
        return Split(name, facts.class_names, mean, std, facts.mirror_symmetric, images, labels)

    return (
        split(parts.train.images[rest], parts.train.labels[rest]),
        split(parts.train.images[drawn], parts.train.labels[drawn]),
        split(parts.test.images, parts.test.labels),
    )
