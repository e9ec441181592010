"""What finding a user's images gives, before they are read, and how long lists of it are shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from src.data.dataset import Parts
from src.data.splits import ImageFormat

# What the parts of a dataset are called, in folders and in arrays.
PARTS = ("train", "val", "test")


def first_few(words: list[str]) -> str:
    """The first three of them, and how many more there are."""
    return ", ".join(words[:3]) + (f" and {len(words) - 3:,} more" if len(words) > 3 else "")


@dataclass(frozen=True)
class Source:
    """Images that have been found, and not yet been read.

    Attributes:
        class_names: one name for each label, in order.
        sizes: (height, width) of the pictures.
        colour: whether any picture's file can hold colours.
        load: reads all of them as images of a format; gives the sizes, too, of those that it did not skip.
    """

    class_names: list[str]
    sizes: set[tuple[int, int]]
    colour: bool
    load: Callable[[ImageFormat], tuple[Parts, set[tuple[int, int]]]]
