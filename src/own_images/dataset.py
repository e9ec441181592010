"""A user's own images in `data/own/<name>`: class folders of pictures, a .npz file, or four idx archives."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from src.data.dataset import MAX_CLASSES, Dataset, Parts
from src.data.splits import ImageFormat, Placement, image_digests
from src.own_images import array_archives, class_folders
from src.own_images.source import first_few
from src.runtime.errors import UserError, printable
from src.runtime.paths import OWN_DATA
from src.runtime.yaml_text import read_yaml

FACTS_FILE = "dataset.yaml"
MIN_CLASSES = 2
# Where a test split is drawn from them: one for it, and two others.
MIN_IMAGES = 3
# Of 255: twelve bits in a file of sixteen reach 16.
DARK = 32


# An accent may be a character of its own, as Macs write it.
ClassName = Annotated[str, AfterValidator(partial(unicodedata.normalize, "NFC"))]


class DatasetFacts(BaseModel):
    """What a `dataset.yaml` may say; the images say what it leaves out."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    class_names: Annotated[list[ClassName], Field(min_length=1)] | None = Field(
        None, description="a list of names, in the order of the labels"
    )
    mirror_symmetric: bool = Field(
        False, description="true where a mirror image is of the same class, or false"
    )
    fit: Literal["whole", "centred"] = Field(
        "whole",
        description="whole (the whole picture, scaled) or centred (cut out and centred, bright on black, "
        "like MNIST's digits)",
    )
    colour: Literal["grey", "colour"] | None = Field(None, description="grey or colour")
    size: Literal[28, 32] | None = Field(None, description="28 or 32 (pixels)")


def own_dataset(dataset: str) -> Dataset:
    """A dataset of the user's own, its images read.

    Raises:
        UserError: names the file, folder or fact that is wrong, and what is expected.
    """
    folder = OWN_DATA / dataset
    refuse_unread_facts(folder)
    facts = read_facts(folder / FACTS_FILE)
    refuse_links_out(folder)
    archives = array_archives.found_in(folder)
    if archives and (beside := class_folders.folders(folder)):
        raise UserError(
            f"{folder}: {archives[0].name} beside the folder {beside[0].name}; expected one of both"
        )
    found = (array_archives.read if archives else class_folders.find)(folder, facts.class_names)
    if not MIN_CLASSES <= (count := len(found.class_names)) <= MAX_CLASSES:
        classes = f"{count:,} classes" if count > 1 else f"1 class, {found.class_names[0]!r}"
        raise UserError(f"{folder}: {classes}; expected {MIN_CLASSES} to {MAX_CLASSES:,}")
    for name in found.class_names:
        if not name.isprintable():  # no table and no page could hold it
            raise UserError(f"{folder}: the class {printable(name)!r}; expected a name that can be printed")
    image_format = choose_format(found.sizes, found.colour, facts)
    parts, sizes = found.load(image_format)
    # Files that could hold colours may hold none, and pictures that are skipped have no say.
    colour = image_format.channels == 3 and not is_grey(parts)
    if (better := choose_format(sizes, colour, facts)) != image_format:
        image_format = better
        parts, _ = found.load(image_format)
    refuse_small_classes(parts, found.class_names, folder)
    notes = (f"{folder}: {len(found.class_names):,} classes, {describe_sizes(sizes)}", *parts.notes)
    if (brightest := max(int(images.images.max()) for images in parts.splits().values())) < DARK:
        notes += (
            f"warning: no pixel of any picture is brighter than {brightest} of 255; "
            "expected pictures that use all shades (are they of 12 bits, in files of 16?)",
        )
    parts = replace(parts, notes=notes)
    return Dataset(found.class_names, lambda: parts, image_format, facts.mirror_symmetric)


def refuse_unread_facts(folder: Path) -> None:
    """Raise a `UserError` for a file that is called nearly as `FACTS_FILE`, and would not be read."""
    for path in sorted(folder.glob("*.[yY]*")):
        # Windows hides the last ending.
        if path.name != FACTS_FILE and path.name.lower().removesuffix(".txt") in (FACTS_FILE, "dataset.yml"):
            raise UserError(f"{path}: would not be read; expected the name {FACTS_FILE}")


def read_facts(path: Path) -> DatasetFacts:
    """Read a `dataset.yaml`; a missing one says nothing.

    Raises:
        UserError: one line that names the key, its value and what is expected.
    """
    values = read_yaml(path) if path.exists() else {}
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected `key: value` lines, found {type(values).__name__}")
    try:
        facts = DatasetFacts.model_validate(values)
    except ValidationError as error:
        key = error.errors()[0]["loc"][0]
        if key not in DatasetFacts.model_fields:
            raise UserError(
                f"{path}: unknown key {key!r}; expected {', '.join(DatasetFacts.model_fields)}"
            ) from None
        expected = DatasetFacts.model_fields[str(key)].description
        raise UserError(f"{path}: {key}: {values[key]!r} is invalid; expected {expected}") from None
    names = facts.class_names or []
    if len(set(names)) < len(names) or not all(map(str.strip, names)):
        raise UserError(
            f"{path}: class_names: {names!r} is invalid; expected different names, none of them blank"
        )
    if facts.fit == "centred" and facts.colour == "colour":
        raise UserError(f"{path}: fit: 'centred' is invalid with colour; expected whole")
    return facts


def refuse_links_out(folder: Path) -> None:
    """Raise a `UserError` for a link to nothing, or elsewhere, where neither DVC nor a copy follows it."""
    inside = folder.resolve()
    if folder.is_symlink():
        raise UserError(f"{folder}: a link; expected the folder itself")
    for path in folder.rglob("*"):
        if not path.is_symlink():
            continue
        if not path.exists():
            raise UserError(f"{path}: a link to nothing; expected the file itself")
        if not (target := path.resolve()).is_relative_to(inside):
            # So DVC leaves files where `dvc config cache.type` is symlink.
            is_cached = target.parts[-4:-2] == ("files", "md5")
            remedy = " (`dvc config cache.type copy`, then `dvc checkout --relink`)" if is_cached else ""
            raise UserError(f"{path}: a link out of the dataset's folder; expected the file itself{remedy}")


def choose_format(sizes: set[tuple[int, int]], colour: bool, facts: DatasetFacts) -> ImageFormat:
    """The format that the facts name; where they are silent, what suits the pictures found.

    Args:
        sizes: (height, width) of the pictures.
        colour: whether any picture's file can hold colours.
        facts: see `DatasetFacts`.
    """
    channels = 1 if facts.colour == "grey" or facts.fit == "centred" else 3 if colour or facts.colour else 1
    size: int | None = facts.size
    if size is None:
        same = next(iter(sizes)) if len(sizes) == 1 else None
        size = same[0] if same in ((28, 28), (32, 32)) else 28 if channels == 1 else 32
    # MNIST's digits: 20 of 28 pixels.
    centred = Placement(round(size * 20 / 28), by_mass=True, full_contrast=True)
    return ImageFormat(size, channels, centred if facts.fit == "centred" else None)


def describe_sizes(sizes: set[tuple[int, int]]) -> str:
    """The smallest and the largest of the pictures' sizes, (height, width)."""
    ordered = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    shown = [f"{width:,} × {height:,}" for height, width in ordered]
    several = f" to {shown[-1]} ({len(shown):,} sizes)" if len(shown) > 1 else ""
    return f"pictures of {shown[0]}{several} pixels" if shown else "no picture that can be read"


def is_grey(parts: Parts) -> bool:
    """Whether no image, uint8 [N, H, W, 3], has a colour."""
    return all((images.images == images.images[..., :1]).all() for images in parts.splits().values())


def refuse_small_classes(parts: Parts, class_names: list[str], folder: Path) -> None:
    """Raise a `UserError` for classes with fewer training images than the parts to be drawn from them.

    Copies of an image count once: they stay together where a test split is drawn.
    """
    needed = MIN_IMAGES if parts.test is None else 1 + (parts.val is None)
    different = set(zip(parts.train.labels.tolist(), image_digests(parts.train.images), strict=True))
    counts = np.bincount([label for label, _ in different], minlength=len(class_names))
    small = [f"{class_names[label]!r} has {counts[label]}" for label in np.flatnonzero(counts < needed)]
    if small:
        raise UserError(
            f"{folder}: too few different images of a class: {first_few(small)}; "
            f"expected at least {needed} of each" + (f" ({parts.notes[0]})" if parts.notes else "")
        )
