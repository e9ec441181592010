"""A split of a dataset as `prepare` writes it and the other stages read it."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from src.runtime.errors import UserError
from src.runtime.files import read_arrays, write_arrays

# Heights and widths that the networks take, and numbers of channels: grey, and red, green and blue.
SIZES, CHANNELS = (28, 32), (1, 3)


@dataclass(frozen=True)
class Placement:
    """How what a picture shows is cut out and put into the image's field.

    Attributes:
        size: the longer side of the content, in pixels.
        by_mass: whether the centre of mass is in the middle of the field, or else the content's rectangle.
        full_contrast: whether the brightest pixel is white, or nearly so, in almost every image.
    """

    size: int
    by_mass: bool
    full_contrast: bool


@dataclass(frozen=True)
class ImageFormat:
    """What the images of a dataset look like, and how any picture is made like them.

    Attributes:
        size: height and width in pixels, one of `SIZES`.
        channels: 1 for grey, 3 for red, green and blue.
        placement: of what a picture shows; None where the whole picture is scaled to fit.
    """

    size: int = 28
    channels: int = 1
    placement: Placement | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image: [size, size] for grey, [size, size, 3] for colour."""
        return (self.size, self.size) if self.channels == 1 else (self.size, self.size, self.channels)

    @classmethod
    def from_json(cls, text: str) -> ImageFormat:
        """Read what `json` wrote.

        Raises:
            ValueError, TypeError, KeyError: the text is something else.
        """
        values: dict[str, Any] = dict(json.loads(text))
        placement = values["placement"]
        image_format = cls(**values | {"placement": None if placement is None else Placement(**placement)})
        if image_format.size not in SIZES or image_format.channels not in CHANNELS:
            raise ValueError(f"images of {image_format.size} pixels and {image_format.channels} channels")
        return image_format

    def json(self) -> str:
        """The same as text, for the files of splits and models."""
        return json.dumps(asdict(self))


# Of images like MNIST's, whole.
DEFAULT_FORMAT = ImageFormat()


@dataclass(frozen=True)
class Split:
    """Labelled images, and the training part's statistics to normalise them with.

    Attributes:
        dataset: the dataset's name.
        class_names: one name for each label, in order.
        mean: of the pixels of the training part, over all channels, in units of full intensity (0 to 1).
        std: the standard deviation of the same pixels, same units.
        mirror_symmetric: whether a mirror image is of the same class.
        images: uint8 [N, *format.shape].
        labels: indices into `class_names`, uint8 [N], or uint16 for more than 256 classes.
        format: of the images.
    """

    dataset: str
    class_names: list[str]
    mean: float
    std: float
    mirror_symmetric: bool
    images: np.ndarray
    labels: np.ndarray
    format: ImageFormat = DEFAULT_FORMAT


def stratified_split(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a fraction of the images so that every class keeps its share.

    Args:
        labels: integers [N].
        fraction: of the images to draw, in (0, 0.5]; the count is rounded to the nearest integer.
        seed: of the draw.

    Returns:
        The indices of the rest and of those drawn, int64, each in ascending order.

    Raises:
        UserError: fewer images would be drawn than there are classes. A small class may still get none.
    """
    # scikit-learn's draw is the one that readers know and can repeat.
    from sklearn.model_selection import train_test_split

    classes = len(np.unique(labels))
    drawn = round(fraction * len(labels))
    if drawn < classes:
        least = math.ceil(1000 * classes / len(labels)) / 1000
        raise UserError(
            f"val_fraction: {fraction:g} of {len(labels)} images is {drawn}, "
            f"fewer than the {classes} classes; expected here: at least {least:g}"
        )
    rest, part = train_test_split(np.arange(len(labels)), test_size=drawn, stratify=labels, random_state=seed)
    return np.sort(rest), np.sort(part)


def label_type(classes: int) -> np.dtype:
    """The type of labels: uint8, or uint16 for more than 256 classes."""
    return np.dtype(np.uint8 if classes <= 256 else np.uint16)


def image_digests(images: np.ndarray, *, size: int = 16, key: bytes = b"") -> list[bytes]:
    """A digest of `size` bytes of each image's pixels: the same for the same picture."""
    return [hashlib.blake2b(image.tobytes(), digest_size=size, key=key).digest() for image in images]


def pixel_statistics(images: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of uint8 pixels, in units of full intensity."""
    # Sums of integers are exact, and so the same on every machine; those of fractions follow the processor.
    # In parts: np.bincount makes 64 bits of each pixel.
    parts = np.array_split(images, math.ceil(len(images) / 1000))
    counts = np.sum([np.bincount(part.reshape(-1), minlength=256) for part in parts], axis=0).tolist()
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
        "format": np.array(split.format.json()),
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
    try:
        image_format = ImageFormat.from_json(str(arrays["format"]))
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: damaged ({error}); `dvc repro --force` writes it anew") from None
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
        and images.dtype == np.uint8
        and labels.dtype == label_type(len(class_names))
        and labels.ndim == 1
        and images.shape == (len(labels), *image_format.shape)
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
        format=image_format,
    )


class Trained(Protocol):
    """What a trained model says of the images that it was trained on."""

    @property
    def dataset(self) -> str: ...

    @property
    def class_names(self) -> list[str]: ...

    @property
    def format(self) -> ImageFormat: ...


def load_split_of(trained: Trained, path: Path, *, model: Path) -> Split:
    """`load_split`, of the data that a model was trained on.

    Args:
        trained: the model, read from the file `model`.
        path: of the split.

    Raises:
        UserError: see `load_split`; or the split is of another dataset, or of another state of it.
    """
    split = load_split(path)
    if split.dataset != trained.dataset:
        raise UserError(f"{model} was trained on {trained.dataset}, {path} holds {split.dataset}")
    if (split.class_names, split.format) != (trained.class_names, trained.format):
        raise UserError(
            f"{model} was trained on other classes or another format of {split.dataset} than {path} holds"
        )
    return split
