"""A split of a dataset as `prepare` writes it and the other stages read it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from src.runtime.errors import UserError
from src.runtime.files import read_arrays, write_arrays

IMAGE_SIZE = 28


@dataclass(frozen=True)
class Split:
    """Labelled images, and the training part's statistics to normalise them with.

    Attributes:
        dataset: the dataset's name.
        class_names: one name for each label, in order.
        mean: of the pixels of the training part, in units of full intensity (0 to 1).
        std: the standard deviation of the same pixels, same units.
        mirror_symmetric: whether a mirror image is of the same class.
        images: uint8 [N, 28, 28], background 0.
        labels: uint8 [N], indices into `class_names`.
    """

    dataset: str
    class_names: list[str]
    mean: float
    std: float
    mirror_symmetric: bool
    images: np.ndarray
    labels: np.ndarray


def stratified_split(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a fraction of the images so that every class keeps its share.

    Args:
        labels: integers [N].
        fraction: of the images to draw, in (0, 0.5]; the count is rounded to the nearest integer.
        seed: of the draw.

    Returns:
        The indices of the rest and of those drawn, int64, each in ascending order.

    Raises:
        UserError: the fraction leaves a class without a drawn image.
    """
    # scikit-learn's draw is the one that readers know and can repeat.
    from sklearn.model_selection import train_test_split

    classes = len(np.unique(labels))
    drawn = round(fraction * len(labels))
    if drawn < classes:
        raise UserError(
            f"val_fraction: {fraction:g} of {len(labels)} images is {drawn}, "
            f"fewer than the {classes} classes; expected here: at least {classes / len(labels):.2g}"
        )
    rest, part = train_test_split(np.arange(len(labels)), test_size=drawn, stratify=labels, random_state=seed)
    return np.sort(rest), np.sort(part)


def pixel_statistics(images: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of uint8 pixels, in units of full intensity."""
    # Sums of integers are exact, and so the same on every machine; those of fractions follow the processor.
    counts = np.bincount(images.reshape(-1), minlength=256).tolist()
    total = sum(counts)
    first = sum(count * value for value, count in enumerate(counts))
    second = sum(count * value**2 for value, count in enumerate(counts))
    return first / (255 * total), math.sqrt((second * total - first**2) / (255 * total) ** 2)


def save_split(split: Split, path: Path) -> None:
    """Write `split` to a .npz file; equal splits give equal bytes."""
    arrays = {
        "dataset": np.array(split.dataset),
        "class_names": np.array(split.class_names),
        "mean": np.array(split.mean),
        "std": np.array(split.std),
        "mirror_symmetric": np.array(split.mirror_symmetric),
        "images": split.images,
        "labels": split.labels,
    }
    write_arrays(path, arrays)


def load_split(path: Path) -> Split:
    """Read what `save_split` wrote.

    Raises:
        UserError: the file is missing, damaged, or its arrays do not fit together.
    """
    arrays = read_arrays(path, tuple(field.name for field in fields(Split)))
    images, labels, class_names = arrays["images"], arrays["labels"], arrays["class_names"]
    mean, std = arrays["mean"], arrays["std"]
    fits = (
        arrays["dataset"].shape == ()
        and arrays["dataset"].dtype.kind == class_names.dtype.kind == "U"
        and class_names.ndim == 1
        and mean.shape == std.shape == ()
        and mean.dtype == std.dtype == np.float64
        and 0 <= mean <= 1
        and 0 < std <= 1
        and arrays["mirror_symmetric"].shape == ()
        and arrays["mirror_symmetric"].dtype == np.bool_
        and images.dtype == labels.dtype == np.uint8
        and labels.ndim == 1
        and images.shape == (len(labels), IMAGE_SIZE, IMAGE_SIZE)
        and len(labels) > 0
        and labels.max() < len(class_names)
    )
    if not fits:
        found = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in arrays.items())
        raise UserError(
            f"{path}: damaged (not the arrays of a split, or values out of range: {found}); "
            "`dvc repro --force` writes it anew"
        )
    return Split(
        dataset=str(arrays["dataset"]),
        class_names=class_names.tolist(),
        mean=float(mean),
        std=float(std),
        mirror_symmetric=bool(arrays["mirror_symmetric"]),
        images=images,
        labels=labels,
    )
