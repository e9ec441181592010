"""Datasets in four idx archives, fetched through the mirrors that torchvision lists."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from src.data.archives import Archive, ensure_archives
from src.data.dataset import Images, Parts
from src.data.idx import read_idx
from src.data.splits import ImageFormat
from src.runtime.errors import UserError
from src.runtime.workspace import repository

ROOT_VARIABLE = "LENET_DATA_ROOT"


def from_torchvision(
    name: str, class_names: list[str], source: Callable[[], IdxSource] | None = None
) -> Callable[[], Parts]:
    """Loads the dataset that torchvision calls `name`, from where it lists it or from another `source`."""
    find = source or partial(torchvision_source, name)
    return lambda: load_idx_dataset(name, len(class_names), find(), data_root())


@dataclass(frozen=True)
class IdxSource:
    """Where four idx archives come from.

    Attributes:
        archives: training images, training labels, test images, test labels.
        mirrors: base URLs, ending in `/`, in the order in which they are tried.
        label_dimensions: 1 for a plain list of labels; 2 where they are the first of several columns.
    """

    archives: tuple[Archive, Archive, Archive, Archive]
    mirrors: tuple[str, ...]
    label_dimensions: int = 1


def data_root() -> Path:
    """The folder of raw data: `LENET_DATA_ROOT`, else a folder in the user's cache directory.

    The cache directory is outside the repository, so that DVC's temporary workspaces share a download.
    """
    from platformdirs import user_cache_path

    named = os.environ.get(ROOT_VARIABLE)
    if not named:
        return user_cache_path("lenet5-dvc") / "datasets"
    try:
        folder = Path(named).expanduser()
    except RuntimeError:
        raise UserError(f"{ROOT_VARIABLE}: {named!r} is invalid; expected a folder") from None
    # A relative folder is meant as seen from the repository, whatever copy of it the stage runs in.
    return repository() / folder


def torchvision_source(name: str) -> IdxSource:
    """The archives, MD5s and mirrors that torchvision lists for its dataset `name`."""
    # Imported here, since it costs seconds that the embedded dataset need not pay.
    from torchvision import datasets

    listed = getattr(datasets, name)
    return idx_source(listed.resources, listed.mirrors)


def idx_source(
    entries: Sequence[tuple[str, str]], mirrors: Sequence[str], label_dimensions: int = 1
) -> IdxSource:
    """The source of four archives, each with its MD5, as torchvision lists them.

    Args:
        entries: names, or whole addresses, and MD5s, in the order of `IdxSource`.
        mirrors, label_dimensions: see `IdxSource`; each host is tried over HTTPS first.
    """
    train_images, train_labels, test_images, test_labels = (
        Archive(PurePosixPath(url).name, md5) for url, md5 in entries
    )
    archives = (train_images, train_labels, test_images, test_labels)
    return IdxSource(archives, encrypted_first(mirrors), label_dimensions)


def encrypted_first(mirrors: Sequence[str]) -> tuple[str, ...]:
    """The same hosts over HTTPS, then those that were listed without it, should a host refuse.

    Amazon's buckets offer HTTPS at their own address, not at the one of a website made of them.
    """
    plain = [mirror for mirror in mirrors if mirror.startswith("http:")]
    encrypted = [
        mirror.replace("http:", "https:").replace(".s3-website.", ".s3.") if mirror in plain else mirror
        for mirror in mirrors
    ]
    return (*encrypted, *plain)


def load_idx_dataset(name: str, classes: int, source: IdxSource, root: Path) -> Parts:
    """Read a dataset from `<root>/<name>/raw`, after downloading what is missing there.

    Raises:
        UserError: an archive cannot be found or downloaded, or something is wrong with it.
    """
    folder = root / name / "raw"
    ensure_archives(name, source.archives, source.mirrors, folder)
    train_images, train_labels, test_images, test_labels = (
        folder / archive.name for archive in source.archives
    )
    return Parts(
        read_images(train_images, train_labels, source.label_dimensions, classes),
        read_images(test_images, test_labels, source.label_dimensions, classes),
    )


def read_images(images_file: Path, labels_file: Path, label_dimensions: int, classes: int) -> Images:
    """Read a pair of idx archives and check that they belong together.

    Raises:
        UserError: names the file that is malformed, of another size, or has a label out of range.
    """
    images = read_idx(images_file, dimensions=3)
    labels = read_idx(labels_file, dimensions=label_dimensions)
    if images.dtype != np.uint8 or images.shape[1:] != ImageFormat().shape:
        size = " × ".join(map(str, images.shape[1:]))
        raise UserError(f"{images_file}: holds {images.dtype} images of {size}, expected uint8 of 28 × 28")
    if len(labels) != len(images) or labels.size == 0:
        raise UserError(
            f"{labels_file}: holds {len(labels):,} labels, {images_file.name} holds {len(images):,} images"
        )
    if label_dimensions == 2:
        labels = labels[:, 0]
    if labels.min() < 0 or labels.max() >= classes:
        wrong = labels.max() if labels.max() >= classes else labels.min()
        raise UserError(f"{labels_file}: holds the label {wrong}; expected 0 to {classes - 1}")
    return Images(images, labels.astype(np.uint8))
