"""What a dataset is. A module of this package, named after it, holds every fact of it as `DATASET`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module

import numpy as np

from src.data.splits import ImageFormat

MAX_CLASSES = 1000

DIGITS = [str(digit) for digit in range(10)]


@dataclass(frozen=True)
class Images:
    """Images and their labels.

    Attributes:
        images: uint8 [N, *shape of the dataset's format].
        labels: unsigned integers [N].
        names: of each image, for messages; none where numbers do.
    """

    images: np.ndarray
    labels: np.ndarray
    names: Sequence[str] | None = None

    def name(self, index: int) -> str:
        """What to call an image in a message."""
        return self.names[index] if self.names else f"image {index}"

    def subset(self, indices: np.ndarray) -> Images:
        """The images at some indices, int64 [M], in their order."""
        names = self.names and [self.names[index] for index in indices]
        return Images(self.images[indices], self.labels[indices], names)


@dataclass(frozen=True)
class Parts:
    """The parts that a dataset comes in.

    Attributes:
        train: the training part.
        test: the official test part; None where the share `test_fraction` of `train` is to become one.
        val: the official validation part; None where the share `val_fraction` of `train` is to become one.
        notes: what a person should know of how the images were read, a line each.
    """

    train: Images
    test: Images | None
    val: Images | None = None
    notes: tuple[str, ...] = ()

    def splits(self) -> dict[str, Images]:
        """Those that there are, by the names of their splits."""
        named = {"training": self.train, "validation": self.val, "test": self.test}
        return {split: images for split, images in named.items() if images is not None}


@dataclass(frozen=True)
class Dataset:
    """Every fact of a dataset.

    Attributes:
        class_names: one name for each label, in order.
        load: gives the images; those of a built-in dataset are read then, after downloading what is missing.
        format: of its images.
        mirror_symmetric: whether a mirror image is of the same class: clothes have no left and right, digits
            and letters do.
    """

    class_names: list[str]
    load: Callable[[], Parts]
    format: ImageFormat
    mirror_symmetric: bool = False


def dataset(name: str) -> Dataset:
    """A built-in dataset by its name."""
    return import_module(f"src.data.{name.lower()}").DATASET
