"""Small datasets as the real ones are published: gzip-compressed idx files under their real names."""

from __future__ import annotations

import gzip
import hashlib
import struct

import numpy as np

from src.data.archives import Archive
from src.data.torchvision_archives import IdxSource

NAMES = {
    "MNIST": (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ),
    "QMNIST": (
        "qmnist-train-images-idx3-ubyte",
        "qmnist-train-labels-idx2-int",
        "qmnist-test-images-idx3-ubyte",
        "qmnist-test-labels-idx2-int",
    ),
}
NAMES["FashionMNIST"] = NAMES["KMNIST"] = NAMES["MNIST"]


def idx(array: np.ndarray) -> bytes:
    """The bytes of an idx file of uint8 or int32 elements."""
    kind = {"uint8": 0x08, "int32": 0x0C}[array.dtype.name]
    header = struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def compressed(content: bytes, level: int = 9) -> bytes:
    """`content` compressed by gzip, without the time of day: the same bytes whenever it is made."""
    return gzip.compress(content, level, mtime=0)


def archives(name: str, train: int = 40, test: int = 20) -> dict[str, bytes]:
    """The four archives of a dataset of so many images, in the exact format of the dataset `name`."""
    generator = np.random.default_rng(len(name))
    files = {}
    image_and_label_names = NAMES[name]
    for part, count in enumerate((train, test)):
        images = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        if name == "QMNIST":  # class, NIST series, writer, image, NIST class, global index, and two zeros
            columns = generator.integers(0, 10**6, (count, 8), dtype=np.int32)
            columns[:, 0] = labels
            labels = columns
        for file, array in zip(image_and_label_names[2 * part : 2 * part + 2], (images, labels), strict=True):
            files[f"{file}.gz"] = compressed(idx(array))
    return files


def source(name: str, files: dict[str, bytes], *mirrors: str) -> IdxSource:
    """What the registry would say of `files`, served at `mirrors`."""
    listed = tuple(Archive(file, hashlib.md5(content).hexdigest()) for file, content in files.items())
    return IdxSource(listed, mirrors, label_dimensions=2 if name == "QMNIST" else 1)
