"""Images in a .npz archive in the layout of MedMNIST, or in four idx archives named as those of MNIST."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from src.data.dataset import MAX_CLASSES, Images, Parts
from src.data.idx import read_idx
from src.data.splits import ImageFormat, label_type
from src.own_images.pictures import prepare_picture
from src.own_images.source import PARTS, Source
from src.runtime.errors import UserError, reason
from src.runtime.progress import with_progress

# Images and labels, uint8 [N, H, W] or [N, H, W, 3] and integers [N], by part.
Arrays = dict[str, tuple[np.ndarray, np.ndarray]]

IDX_NAMES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def found_in(folder: Path) -> list[Path]:
    """The archives of arrays in a folder."""
    return [*_npz_files(folder), *folder.glob("[!.]*-ubyte*")]


def read(folder: Path, class_names: list[str] | None) -> Source:
    """Read the archives of a dataset.

    Args:
        folder: with one .npz file (`train_images`, `train_labels`, and perhaps `val_…` and `test_…`), or with
            the four idx archives of MNIST, compressed with gzip or not.
        class_names: one for each label; None for the labels themselves.

    Raises:
        UserError: names the file, and what is wrong with it.
    """
    npz = _npz_files(folder)
    if len(npz) > 1:
        raise UserError(f"{folder}: {len(npz)} .npz files; expected one")
    arrays = _read_npz(npz[0]) if npz else _read_idx_archives(folder)
    lowest, highest = (int(end([end(labels) for _, labels in arrays.values()])) for end in (np.min, np.max))
    if lowest:
        raise UserError(f"{folder}: labels from {lowest} to {highest}; expected the first class to be 0")
    most = len(class_names) if class_names else MAX_CLASSES
    if highest >= most:
        named = ", as class_names says" if class_names else ""
        raise UserError(f"{folder}: holds the label {highest}; expected 0 to {most - 1}{named}")
    names = class_names or [str(label) for label in range(highest + 1)]
    sizes = {images.shape[1:3] for images, _ in arrays.values()}
    colour = any(images.ndim == 4 for images, _ in arrays.values())
    return Source(names, sizes, colour, lambda image_format: (_load(arrays, len(names), image_format), sizes))


def _npz_files(folder: Path) -> list[Path]:
    # Not `._images.npz`, which macOS writes beside it.
    return sorted(path for path in folder.glob("[!.]*") if path.suffix.lower() == ".npz")


def _read_npz(path: Path) -> Arrays:
    if not zipfile.is_zipfile(path):  # NumPy would take it for a pickled object
        raise UserError(f"{path}: not an archive of arrays; expected what np.savez writes")
    try:
        with np.load(path, allow_pickle=False) as content:
            parts = [part for part in PARTS if {f"{part}_images", f"{part}_labels"} & {*content}]
            others = {*content} - {f"{part}_{kind}" for part in PARTS for kind in ("images", "labels")}
            arrays = {part: (content[f"{part}_images"], content[f"{part}_labels"]) for part in parts}
    except KeyError as error:
        raise UserError(f"{path}: {error.args[0]}; expected images and labels of each part") from None
    except Exception as error:  # zip, zlib, NumPy's header parser: each raises its own for a damaged file
        raise UserError(f"{path}: not an archive of arrays ({reason(error)})") from None
    if "train" not in arrays:
        raise UserError(f"{path}: train_images is missing; expected train_images and train_labels")
    if others:
        shown = ", ".join(sorted(others))
        raise UserError(
            f"{path}: {shown} beside train_images; expected train_…, val_… and test_… "
            "(names of classes go into dataset.yaml)"
        )
    return {part: _checked(f"{path}: {part}", *both) for part, both in arrays.items()}


def _read_idx_archives(folder: Path) -> Arrays:
    arrays: Arrays = {}
    for part, names in IDX_NAMES.items():
        paths = [_existing(folder, name) for name in names]
        images, labels = (read_idx(path, dimensions) for path, dimensions in zip(paths, (3, 1), strict=True))
        arrays[part] = _checked(f"{folder}: {part}", images, labels)
    return arrays


def _existing(folder: Path, name: str) -> Path:
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    expected = ", ".join(f"{name}[.gz]" for names in IDX_NAMES.values() for name in names)
    raise UserError(f"{folder}: {name} is missing; expected {expected}")


def _checked(where: str, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels that belong together; labels of shape [N, 1] become [N]."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    grey = images.ndim == 3
    if images.dtype != np.uint8 or not (grey or (images.ndim == 4 and images.shape[3] == 3)):
        raise UserError(
            f"{where}_images: {images.dtype} {images.shape}; expected uint8 [N, H, W] or [N, H, W, 3]"
        )
    if not images.size:
        raise UserError(f"{where}_images: {images.shape}; expected at least one image, of at least one pixel")
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise UserError(f"{where}_labels: {labels.dtype} {labels.shape}; expected integers [N] or [N, 1]")
    if len(labels) != len(images):
        raise UserError(f"{where}_labels: {len(labels):,} for {len(images):,} images; expected one for each")
    if labels.min() < 0:
        raise UserError(f"{where}_labels: holds the label {labels.min()}; expected integers ≥ 0")
    return images, labels


def _load(arrays: Arrays, classes: int, image_format: ImageFormat) -> Parts:
    parts = {part: _images(part, *both, classes, image_format) for part, both in arrays.items()}
    return Parts(parts["train"], parts.get("test"), parts.get("val"))


def _images(
    part: str, images: np.ndarray, labels: np.ndarray, classes: int, image_format: ImageFormat
) -> Images:
    """The images of a part in the format."""
    if image_format.channels == 3 and images.ndim == 3:
        images = np.repeat(images[..., None], 3, axis=3)
    elif image_format.channels == 1 and images.ndim == 4:
        images = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in images])
    names = [f"{part}_images[{number}]" for number in range(len(labels))]
    if image_format.placement is not None or images.shape[1:] != image_format.shape:
        shown = zip(names, with_progress(images, len(images), f"{part} images"), strict=True)
        images = np.stack([_prepared(name, image, image_format) for name, image in shown])
    return Images(images, labels.astype(label_type(classes)), names)


def _prepared(name: str, image: np.ndarray, image_format: ImageFormat) -> np.ndarray:
    try:
        return prepare_picture(image, image_format).image
    except UserError as error:
        raise UserError(f"{name}: {error}; expected something to cut out, or fit: whole") from None
