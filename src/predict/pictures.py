"""Pictures from anywhere, made like those of a dataset: grey, bright on black, scaled and centred."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from src.data.dataset import Placement
from src.data.splits import IMAGE_SIZE
from src.runtime.errors import UserError, reason

FORMATS = ("PNG", "JPEG", "BMP", "GIF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif")

# A header of a few bytes can announce more than fits into memory; this is Pillow's own line.
MOST_PIXELS = 89_478_485

# Shades of 255 by which something must stand out from its background.
LEAST_CONTRAST = 16


@dataclass(frozen=True)
class Prepared:
    """A picture as a network is to see it.

    Attributes:
        image: uint8 [28, 28], background 0.
        inverted: whether the picture was dark on a bright background.
    """

    image: np.ndarray
    inverted: bool


def read_picture(source: Path | bytes) -> np.ndarray:
    """The shades of grey, uint8 [H, W], of a PNG, JPEG, BMP or GIF (its first frame).

    Turned as its EXIF data say. What is transparent becomes background: white where the rest is dark, or
    else black.

    Args:
        source: a file, or the bytes of one.

    Raises:
        UserError: why it is not a picture, or not one that can be read.
    """
    content = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with warnings.catch_warnings():
            # Of pictures beyond `MOST_PIXELS`, which are refused here anyway.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(content, formats=FORMATS) as picture:
                if picture.width * picture.height > MOST_PIXELS:
                    raise UserError(
                        f"{picture.width:,} × {picture.height:,} pixels; expected {MOST_PIXELS:,} in all"
                    )
                picture.draft("L", (512, 512))  # a JPEG need not be decoded any larger
                ImageOps.exif_transpose(picture, in_place=True)
                return _grey(picture)
    except Image.DecompressionBombError:
        raise UserError(f"too many pixels; expected {MOST_PIXELS:,} in all") from None
    except Image.UnidentifiedImageError:
        raise UserError(f"not a picture; expected {', '.join(FORMATS)}") from None
    except OSError as error:
        raise UserError(error.strerror or reason(error)) from None
    except (SyntaxError, ValueError, EOFError) as error:  # what Pillow raises for damaged files
        raise UserError(f"damaged ({reason(error)})") from None


def _grey(picture: Image.Image) -> np.ndarray:
    if picture.mode.startswith("I") or picture.mode == "F":
        # 16 bits per pixel: Pillow's own conversion would cut off what is above 255.
        values = np.asarray(picture, dtype=np.float64)
        return (values * (255 / max(65535.0, values.max()))).clip(0, 255).astype(np.uint8)
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return np.asarray(picture.convert("L"))
    bands = np.asarray(picture.convert("LA"), dtype=np.float64)
    shades, alpha = bands[..., 0], bands[..., 1] / 255
    dark = (shades * alpha).sum() < 127.5 * alpha.sum()
    return np.round(shades * alpha + (255 if dark else 0) * (1 - alpha)).astype(np.uint8)


def prepare_picture(grey: np.ndarray, placement: Placement) -> Prepared:
    """Cut out what a picture shows, and put it into the field as the dataset has done it.

    Args:
        grey: uint8 [H, W], of any size; the shade of most of its border is taken for the background.
        placement: of the dataset.

    Raises:
        UserError: nothing stands out from the background.
    """
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    background, darkest, brightest = _median(border), int(grey.min()), int(grey.max())
    if brightest - darkest < LEAST_CONTRAST:
        raise UserError(f"nothing to be seen: all shades are between {darkest} and {brightest} of 255")
    inverted = background > (darkest + brightest) / 2
    values = grey.astype(np.float32)
    # Paper has a grain, and light on it varies: three standard deviations, by the median of the deviations.
    spread = 3 * 1.4826 * _median(np.abs(border - np.float32(background)))
    if inverted:
        values, background, brightest = 255 - values, 255 - background, 255 - darkest
    values -= background
    np.maximum(values, 0, out=values)
    if spread:
        values[values <= spread] = 0
    values *= 255 / ((brightest if placement.full_contrast else 255) - background)
    seen = values > LEAST_CONTRAST
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    if not len(rows):
        raise UserError("nothing to be seen that stands out from the background")
    values = values[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = placement.size / max(values.shape)
    high, wide = (max(1, round(side * scale)) for side in values.shape)
    content = np.asarray(Image.fromarray(values).resize((wide, high), Image.Resampling.BILINEAR))
    field = np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    top, left = _corner(content, placement)
    field[top : top + high, left : left + wide] = np.round(content.clip(0, 255))
    return Prepared(field, inverted)


def _median(values: np.ndarray) -> float:
    # Of two in the middle the higher: np.median would take their mean, and ten times as long.
    middle = len(values) // 2
    return float(np.partition(values, middle)[middle])


def _corner(content: np.ndarray, placement: Placement) -> tuple[int, int]:
    room = IMAGE_SIZE - np.array(content.shape)
    if not placement.by_mass:
        return int(room[0] // 2), int(room[1] // 2)
    total = content.sum()
    centre = np.array(
        [
            content.sum(axis=1) @ np.arange(content.shape[0]) / total,
            content.sum(axis=0) @ np.arange(content.shape[1]) / total,
        ]
    )
    top, left = np.clip(np.round(IMAGE_SIZE / 2 - centre).astype(int), 0, room)
    return int(top), int(left)
