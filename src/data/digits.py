"""Digits: 1,797 handwritten digits inside scikit-learn's wheel."""

from __future__ import annotations

import numpy as np

from src.data.dataset import DIGITS, Dataset, Images, Parts
from src.data.splits import ImageFormat, Placement


def load_digits() -> Parts:
    """The 1,797 handwritten digits in scikit-learn's wheel (E. Alpaydin, C. Kaynak, 1998; UCI repository).

    The 8×8 pictures of 17 grey levels are enlarged three times and set into MNIST's 28×28 field. The test
    part is a fifth of them, stratified, always the same.
    """
    import sklearn.datasets
    from PIL import Image
    from sklearn.model_selection import train_test_split

    digits = sklearn.datasets.load_digits()
    images = np.zeros((len(digits.images), 28, 28), np.uint8)
    for field, picture in zip(images, digits.images, strict=True):
        grey = Image.fromarray(np.round(picture * (255 / 16)).astype(np.uint8))
        field[2:26, 2:26] = np.asarray(grey.resize((24, 24), Image.Resampling.BILINEAR))
    labels = digits.target.astype(np.uint8)
    train, test = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=0)
    return Parts(Images(images[train], labels[train]), Images(images[test], labels[test]))


FORMAT = ImageFormat(placement=Placement(24, by_mass=False, full_contrast=True))
DATASET = Dataset(DIGITS, load_digits, FORMAT)
