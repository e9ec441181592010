"""Pictures in a folder for each class, optionally below `train/`, `val/` and `test/`."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from src.data.dataset import Images, Parts
from src.data.splits import ImageFormat, label_type
from src.own_images.pictures import FORMATS, SUFFIXES, prepare_picture, read_picture
from src.own_images.source import PARTS, Source, first_few
from src.runtime.errors import UserError, printable
from src.runtime.processor import cores
from src.runtime.progress import with_progress

# What people call parts: also `Training`, `test1` or `train_images`, but not `trainer`.
CALLED_A_PART = re.compile(r"(train|val|test)(ing|id|idation)?([\W\d_].*)?", re.IGNORECASE)

# A few damaged pictures of many are skipped; more of them mean that something else is wrong.
MAX_DAMAGED = 0.01
SHOWN = 5
# Pictures that a core reads at a time: handing over one costs more than to read it where it is small.
CHUNK = 256


@dataclass(frozen=True)
class Picture:
    """A file, and the class whose folder it is in."""

    path: Path
    label: int


@dataclass(frozen=True)
class Header:
    """What the beginning of a picture's file says; the size is (height, width)."""

    size: tuple[int, int]
    colour: bool


def find(folder: Path, class_names: list[str] | None) -> Source:
    """Find the pictures of a dataset.

    Args:
        folder: with a folder for each class; or with `train`, and perhaps `val` and `test`, that hold them.
        class_names: the names of these folders in the order of the labels; None for alphabetical order.

    Raises:
        UserError: there is no such folder, no class, a class without a picture, or folders that are not the
            classes named.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected pictures in a folder for each class")
    parts = _parts(folder)
    classes = _classes(parts["train"])
    names = class_names or list(classes)
    if wrong := set(names) ^ set(classes):
        raise UserError(
            f"{folder}: class_names and folders differ by {', '.join(map(repr, sorted(wrong)))}; "
            "expected a folder for each name"
        )
    notes: list[str] = []
    loose = [path for place in {folder, *parts.values()} for path in place.iterdir() if _is_picture(path)]
    if loose:
        notes.append(f"skipped in {folder}: {len(loose):,} pictures that are in no folder of a class")
    pictures = {part: _pictures(path, names, notes) for part, path in parts.items()}
    for part, path in parts.items():
        if not pictures[part] and any(map(_is_picture, path.iterdir())):
            raise UserError(
                f"{path}: pictures directly in it; expected a folder for each class, or no {part}"
            )
    in_training = {picture.label for picture in pictures["train"]}
    for label, name in enumerate(names):
        if label not in in_training:
            raise UserError(_nothing_in(classes[name]))
    headers = {picture.path: _header(picture.path) for part in pictures.values() for picture in part}
    sizes = {header.size for header in headers.values() if header}
    colour = any(header.colour for header in headers.values() if header)
    return Source(names, sizes, colour, partial(_load, folder, names, pictures, headers, notes))


def _parts(folder: Path) -> dict[str, Path]:
    """The folders of classes by the part that they are of; all of them may be for training."""
    if not ((folder / "train").is_dir() and folders(folder / "train")):
        return {"train": folder}
    if others := [path.name for path in folders(folder) if path.name not in PARTS]:
        raise UserError(f"{folder}: {', '.join(others)} beside train; expected {', '.join(PARTS)}")
    return {part: folder / part for part in PARTS if (folder / part).is_dir()}


def _classes(folder: Path) -> dict[str, Path]:
    """The folder of each class, in alphabetical order of the classes."""
    found = sorted((_class_of(path), path) for path in folders(folder))
    if not found:
        raise UserError(
            f"{folder}: no images; expected a folder of pictures for each class, one .npz file, "
            "or four idx archives"
        )
    classes = dict(found)
    if len(classes) < len(found):
        name = next(name for name, count in Counter(name for name, _ in found).items() if count > 1)
        raise UserError(f"{folder}: two folders are called {name!r}; expected one for each class")
    called = {name: match for name in classes if (match := CALLED_A_PART.fullmatch(name))}
    kinds = {match[1].lower() for match in called.values()}
    # A class may be called `train` or `test tube`, but hardly `test`.
    held_out = any(match[1].lower() != "train" and not match[3] for match in called.values())
    if held_out or len(kinds) > 1 or called.keys() == classes.keys():
        raise UserError(
            f"{folder}: {', '.join(called)}: parts, not classes; expected train, and where there are such "
            "parts val and test, with a folder for each class in each"
        )
    return classes


def folders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted; hidden ones are left out, and what a Mac puts into a zip file."""
    found = (path for path in folder.iterdir() if path.is_dir() and path.name != "__MACOSX")
    return sorted(path for path in found if not path.name.startswith("."))


def _class_of(folder: Path) -> str:
    """The class of a folder, in whose name an accent may be a character of its own, as Macs write it."""
    return unicodedata.normalize("NFC", folder.name)


def _is_picture(path: Path) -> bool:
    # A hidden file may be called like a picture: macOS writes `._1.png` beside `1.png`.
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def _nothing_in(folder: Path) -> str:
    """What to say of a class without training pictures."""
    if nested := folders(folder):
        if folders(folder.parent) == [folder] and {path.name for path in nested} <= {*PARTS}:
            return (
                f"{folder}: holds {', '.join(path.name for path in nested)}; expected them in {folder.parent}"
            )
        return (
            f"{folder}: no pictures in it, but the folder {nested[0].name}; "
            f"expected pictures in the folder of each class, and parts called {', '.join(PARTS)}"
        )
    return f"{folder}: no pictures in it; expected {', '.join(SUFFIXES)}"


def _pictures(folder: Path, names: list[str], notes: list[str]) -> list[Picture]:
    """The pictures of a part, by class and name; what is no picture goes into `notes`."""
    found: list[Picture] = []
    skipped: Counter[str] = Counter()
    for path in folders(folder):
        if _class_of(path) not in names:
            shown = ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
            raise UserError(f"{path}: a class without training pictures; expected one of {shown}")
        label = names.index(_class_of(path))
        for inside in sorted(path.glob("[!.]*")):
            if _is_picture(inside):
                found.append(Picture(inside, label))
            else:
                kind = "(folder)" if inside.is_dir() else inside.suffix.lower() or "(no suffix)"
                skipped[kind] += 1
    if skipped:
        kinds = first_few([f"{count:,} {kind}" for kind, count in skipped.most_common()])
        notes.append(f"skipped in {folder}, where {', '.join(SUFFIXES)} are read: {kinds}")
    return found


def _header(path: Path) -> Header | None:
    """What a picture's file begins with; None where it is not one that can be read."""
    try:
        with Image.open(path, formats=FORMATS) as picture:
            colour = picture.mode not in ("1", "L", "LA", "F") and not picture.mode.startswith("I")
            # Of a TIFF, Pillow gives the turned size; a PNG it would decode to look for EXIF data behind it.
            may_turn = picture.format != "TIFF" and (picture.format != "PNG" or "exif" in picture.info)
            is_turned = may_turn and picture.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            size = (picture.width, picture.height) if is_turned else (picture.height, picture.width)
            return Header(size, colour)
    except Exception:  # reading it in full will say what is wrong with it
        return None


def _load(
    folder: Path,
    names: list[str],
    pictures: dict[str, list[Picture]],
    headers: dict[Path, Header | None],
    notes: list[str],
    image_format: ImageFormat,
) -> tuple[Parts, set[tuple[int, int]]]:
    damaged: dict[Path, UserError] = {}
    parts = {part: _read(part, found, len(names), image_format, damaged) for part, found in pictures.items()}
    total = sum(map(len, pictures.values()))
    problems = [f"{printable(str(path))}: {error}" for path, error in damaged.items()]
    if len(damaged) > MAX_DAMAGED * total:
        shown = "; ".join(problems[:SHOWN]) + ("; …" if len(damaged) > SHOWN else "")
        raise UserError(
            f"{folder}: {len(damaged):,} of {total:,} pictures cannot be read; expected at most "
            f"{MAX_DAMAGED:.0%}: {shown}"
        )
    for part, images in parts.items():
        if not len(images.labels):
            raise UserError(f"{folder / part}: no picture that can be read; expected some, or no such folder")
    notes = [*notes, *(f"skipped {problem}" for problem in problems)]
    sizes = {header.size for path, header in headers.items() if header and path not in damaged}
    return Parts(parts["train"], parts.get("test"), parts.get("val"), tuple(notes)), sizes


def _read(
    part: str,
    pictures: list[Picture],
    classes: int,
    image_format: ImageFormat,
    damaged: dict[Path, UserError],
) -> Images:
    """Read pictures, on every core; those that cannot be read go into `damaged`."""
    images = np.empty((len(pictures), *image_format.shape), np.uint8)
    kept: list[Picture] = []
    chunks = [pictures[start : start + CHUNK] for start in range(0, len(pictures), CHUNK)]
    with ThreadPoolExecutor(cores()) as pool:
        read = chain.from_iterable(pool.map(partial(_images, image_format=image_format), chunks))
        shown = with_progress(read, len(pictures), f"{part} pictures")
        for picture, image in zip(pictures, shown, strict=True):
            if isinstance(image, UserError):
                damaged[picture.path] = image
            else:
                images[len(kept)] = image
                kept.append(picture)
    labels = np.array([picture.label for picture in kept], label_type(classes))
    return Images(images[: len(kept)], labels, [printable(str(picture.path)) for picture in kept])


def _images(pictures: list[Picture], image_format: ImageFormat) -> list[np.ndarray | UserError]:
    return [_image(picture.path, image_format) for picture in pictures]


def _image(path: Path, image_format: ImageFormat) -> np.ndarray | UserError:
    """A picture as an image of the format, or why there is none."""
    try:
        return prepare_picture(read_picture(path, image_format.channels), image_format).image
    except UserError as error:
        return error
