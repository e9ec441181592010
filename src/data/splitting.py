"""A dataset's training, validation and test split."""

from __future__ import annotations

from dataclasses import replace

from src.data.dataset import Dataset, Images, Parts, dataset
from src.data.splits import Split, pixel_statistics, stratified_split
from src.params import PrepareParams
from src.runtime.errors import UserError


def split_dataset(params: PrepareParams) -> tuple[Split, Split, Split]:
    """The training, validation and test split of a built-in dataset.

    Args:
        params: the dataset, and the share of its training images that validates.

    Raises:
        UserError: the images cannot be found, downloaded or read.
    """
    facts = dataset(params.dataset)
    return make_splits(params.dataset, facts, draw_validation(facts.load(), params))


def draw_validation(parts: Parts, params: PrepareParams) -> Parts:
    """Parts with a validation part: their own, or one drawn of the training part by `stratified_split`."""
    if parts.val is not None:
        return parts
    rest, drawn = stratified_split(parts.train.labels, params.val_fraction, params.split_seed)
    return replace(parts, train=parts.train.subset(rest), val=parts.train.subset(drawn))


def make_splits(name: str, facts: Dataset, parts: Parts) -> tuple[Split, Split, Split]:
    """The three parts of a dataset as splits, with the statistics of the training images.

    Raises:
        UserError: every pixel of the training images is the same.
    """
    mean, std = pixel_statistics(parts.train.images)
    if not std:
        raise UserError(f"{name}: every pixel of the training images is the same; expected pictures")

    def split(images: Images | None) -> Split:
        assert images is not None
        described = (facts.class_names, mean, std, facts.mirror_symmetric)
        return Split(name, *described, images.images, images.labels, facts.format)

    return split(parts.train), split(parts.val), split(parts.test)
