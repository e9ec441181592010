"""The training, validation and test split of a user's own images."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import numpy as np

from src.data.dataset import Dataset, Images, Parts
from src.data.splits import Split, image_digests
from src.data.splitting import draw_validation, make_splits
from src.own_images.dataset import own_dataset
from src.own_images.source import first_few
from src.params import PrepareParams
from src.runtime.errors import UserError

SHOWN = 3
# Classes that are counted in a line each.
MAX_LISTED = 40


def split_own_images(params: PrepareParams, *, report: Callable[[str], None]) -> tuple[Split, Split, Split]:
    """The training, validation and test split of the images in `data/own/<dataset>`.

    A part that they do not come with is drawn from their training part: the test split by content (see
    `share_by_content`), the validation split with `split_seed`.

    Args:
        params: the dataset, and how it is divided.
        report: called with each line that a person should know: what was guessed, skipped or found twice.

    Raises:
        UserError: the images cannot be read or are too few, or the same picture is in two classes.
    """
    facts = own_dataset(params.dataset)
    parts = facts.load()
    for note in parts.notes:
        report(note)
    refuse_contradictions(parts, facts.class_names)
    if parts.test is None:
        rest, drawn = share_by_content(parts.train, params.test_fraction, seed=params.dataset)
        parts = replace(parts, train=parts.train.subset(rest), test=parts.train.subset(drawn))
    parts = draw_validation(parts, params)
    report(describe(facts))
    for note in (
        *counts(parts, facts.class_names),
        *unmeasured(parts, facts.class_names),
        *duplicates(parts),
    ):
        report(note)
    return make_splits(params.dataset, facts, parts)


def describe(facts: Dataset) -> str:
    """What the images of a dataset are taken for, in a line."""
    size, colour = facts.format.size, "grey" if facts.format.channels == 1 else "colour"
    fit = "whole pictures" if facts.format.placement is None else "cut out and centred"
    mirrored = "a mirror image keeps" if facts.mirror_symmetric else "a mirror image may change"
    return f"{size} × {size} pixels, {colour}, {fit}; {mirrored} the class"


def counts(parts: Parts, class_names: list[str]) -> list[str]:
    """How many images of each class there are in each split: a line each, or one line for many classes."""
    columns = {
        split: np.bincount(images.labels, minlength=len(class_names))
        for split, images in parts.splits().items()
    }
    if len(class_names) > MAX_LISTED:
        ranges = [f"{each.min():,} to {each.max():,} of the {split} split" for split, each in columns.items()]
        return [f"images of a class: {', '.join(ranges)}"]
    width = max(map(len, ["class", *class_names]))
    header = "  ".join([f"{'class':<{width}}", *columns])
    rows = [
        "  ".join([f"{name:<{width}}", *(f"{each[label]:>{len(split)},}" for split, each in columns.items())])
        for label, name in enumerate(class_names)
    ]
    return [header, *rows]


def unmeasured(parts: Parts, class_names: list[str]) -> list[str]:
    """A line for the classes without a validation image, and one for those without a test image."""
    lines = []
    for split, images in list(parts.splits().items())[1:]:  # of training images each class has some
        missing = [repr(class_names[label]) for label in set(range(len(class_names))) - set(images.labels)]
        if missing:
            what = f"the {split} accuracy is of the other classes"
            if split == "test":
                what += "; in macro precision, recall and F1 a class without images counts as 0"
            lines.append(f"warning: no {split} image of {first_few(missing)}; {what}")
    return lines


def share_by_content(images: Images, fraction: float, seed: str) -> tuple[np.ndarray, np.ndarray]:
    """Draw about a fraction of the images of each class, by their content.

    Each image has a number from 0 to 1, a hash of its pixels, and is drawn where that is below `fraction`. An
    image that is added later therefore moves no other one, and copies of an image stay together. A class of
    which none is drawn, or of which fewer than two are left, gives the image with the lowest number, or keeps
    those with the two highest.

    Args:
        images: at least three different ones of each class.
        fraction: of the images to draw, in (0, 0.5].
        seed: of the hash.

    Returns:
        The indices of the rest and of those drawn, int64, each in ascending order.
    """
    key = hashlib.blake2b(seed.encode(), digest_size=32).digest()
    numbers = np.array(
        [int.from_bytes(value) / 2**64 for value in image_digests(images.images, size=8, key=key)]
    )
    drawn = numbers < fraction
    for label in np.unique(images.labels):
        of_class = np.flatnonzero(images.labels == label)
        ordered = np.unique(numbers[of_class])
        drawn[of_class] |= numbers[of_class] == ordered[0]
        drawn[of_class] &= numbers[of_class] < ordered[-2]
    return np.flatnonzero(~drawn), np.flatnonzero(drawn)


def refuse_contradictions(parts: Parts, class_names: list[str]) -> None:
    """Raise a `UserError` where the same picture is in two classes."""
    seen: dict[bytes, tuple[str, int]] = {}
    clashes: list[str] = []
    for images in parts.splits().values():
        for index, digest in enumerate(image_digests(images.images)):
            name, label = images.name(index), int(images.labels[index])
            other, other_label = seen.setdefault(digest, (name, label))
            if label != other_label:
                clashes.append(f"{other} ({class_names[other_label]}) = {name} ({class_names[label]})")
    if clashes:
        size = parts.train.images.shape[1]
        raise UserError(
            f"the same picture, at {size} × {size} pixels, is in two classes: {first_few(clashes)}; "
            "expected it in one"
        )


def duplicates(parts: Parts) -> list[str]:
    """A line for each two splits that share pictures, with how many and the first of them."""
    found = {
        split: {digest: images.name(index) for index, digest in enumerate(image_digests(images.images))}
        for split, images in parts.splits().items()
    }
    lines = []
    for first, second in combinations(found, 2):
        if shared := [digest for digest in found[first] if digest in found[second]]:
            pairs = "; ".join(f"{found[first][each]} = {found[second][each]}" for each in shared[:SHOWN])
            more = "; …" if len(shared) > SHOWN else ""
            plural = "" if len(shared) == 1 else "s"
            lines.append(
                f"warning: the {first} and the {second} split share {len(shared):,} picture{plural}: "
                f"{pairs}{more}"
            )
    return lines
