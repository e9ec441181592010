"""Pictures from anywhere, made like the images of a dataset."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import PHOTOMETRIC_INTERPRETATION, TiffImageFile

from src.data.splits import ImageFormat, Placement
from src.runtime.errors import UserError, reason

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")

# A header of a few bytes can announce more than fits into memory; this is Pillow's own line.
MAX_PIXELS = 89_478_485
# Of pictures beyond it, which are refused here.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)

# Shades of 255 by which something must stand out from its background.
MIN_CONTRAST = 16


@dataclass(frozen=True)
class Prepared:
    """A picture as a network is to see it.

    Attributes:
        image: uint8 [*shape of the format].
        inverted: whether the picture was dark on a bright background, and was turned into its negative; None
            for a whole picture, of which nothing is cut out.
        turned: of a photograph, the image as it is when the paper is turned a little; see `photographs`.
    """

    image: np.ndarray
    inverted: bool | None
    turned: tuple[np.ndarray, ...] = ()


def read_picture(source: Path | bytes, channels: int = 1) -> np.ndarray:
    """The pixels, uint8, of a PNG, JPEG, BMP, GIF, WebP or TIFF (the first frame or page).

    Turned as its EXIF data say. What is transparent becomes background: white where the rest is dark, or
    else black.

    Args:
        source: a file, or the bytes of one.
        channels: 1 for shades of grey, [H, W]; 3 for red, green and blue, [H, W, 3].

    Raises:
        UserError: why it is not a picture, or not one that can be read.
    """
    try:
        # Of a file that it knows by its name Pillow maps the pixels of some TIFFs, and turns those wrongly.
        with (
            io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as content,
            Image.open(content, formats=FORMATS) as picture,
        ):
            if picture.width * picture.height > MAX_PIXELS:
                size = f"{picture.width:,} × {picture.height:,}"
                raise UserError(f"{size} pixels; expected at most {MAX_PIXELS:,} in all")
            # A JPEG need not be decoded any larger.
            picture.draft("L" if channels == 1 else "RGB", (512, 512))
            ImageOps.exif_transpose(picture, in_place=True)
            return _pixels(picture, channels)
    except Image.DecompressionBombError:
        raise UserError(f"too many pixels; expected at most {MAX_PIXELS:,} in all") from None
    except Image.UnidentifiedImageError:
        raise UserError(f"not a picture; expected {', '.join(FORMATS)}") from None
    except OSError as error:
        raise UserError(error.strerror or reason(error)) from None
    except UserError:
        raise
    except Exception as error:  # of a damaged file each of Pillow's readers raises its own
        raise UserError(f"damaged ({reason(error)})") from None


def _pixels(picture: Image.Image, channels: int) -> np.ndarray:
    if picture.mode in ("F", "I"):  # what is white in them is not written down
        kind = "floating-point pixels" if picture.mode == "F" else "pixels of 32 bits or with a sign"
        raise UserError(f"{kind}; expected unsigned integers of 8 or 16 bits")
    if picture.mode.startswith("I;16"):
        # Pillow's own conversion would cut off what is above 255.
        values = np.asarray(picture)
        grey = np.empty(values.shape, np.uint8)
        for row, shades in enumerate(values):  # as below
            grey[row] = np.multiply(shades, 255 / 65535, dtype=np.float64)
        if isinstance(picture, TiffImageFile) and picture.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == 0:
            grey = 255 - grey  # 0 is white; Pillow sees to that up to 8 bits
        return grey if channels == 1 else np.repeat(grey[..., None], 3, axis=2)
    if picture.mode == "LAB":  # whose band A is a colour; Pillow converts it to no shades of grey
        picture = picture.convert("RGB")
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return np.asarray(picture.convert("L" if channels == 1 else "RGB"))
    bands = np.asarray(picture.convert("LA" if channels == 1 else "RGBA"))
    shades, alpha = bands[..., :-1], bands[..., -1]
    seen = np.einsum("hwc,hw->", shades, alpha, dtype=np.int64)
    background = 255 if seen < 127.5 * channels * alpha.sum(dtype=np.int64) else 0
    pixels = np.empty_like(shades)
    # Row by row: a small file can hold many pixels, and fractions take eight times the room of shades.
    for row, opacity in enumerate(alpha):
        share = opacity[:, None] / 255
        pixels[row] = np.round(shades[row] * share + background * (1 - share))
    return pixels[..., 0] if channels == 1 else pixels


def prepare_picture(pixels: np.ndarray, image_format: ImageFormat) -> Prepared:
    """Make a picture like the images of a dataset.

    Args:
        pixels: uint8 [H, W], or [H, W, 3] for a format with colour; of any size.
        image_format: of the dataset.

    Raises:
        UserError: nothing stands out from the background, where the content is to be cut out.
    """
    if image_format.placement is None:
        return Prepared(_whole(pixels, image_format), inverted=None)
    return _cut_out(pixels, image_format.size, image_format.placement)


def _whole(pixels: np.ndarray, image_format: ImageFormat) -> np.ndarray:
    """The whole picture, its longer side as long as the image, on the median shade of its border."""
    size = image_format.size
    if pixels.shape == image_format.shape:
        return pixels
    scale = size / max(pixels.shape[:2])
    high, wide = (max(1, round(side * scale)) for side in pixels.shape[:2])
    scaled = np.asarray(Image.fromarray(pixels).resize((wide, high), Image.Resampling.BILINEAR))
    field = np.empty(image_format.shape, np.uint8)
    border = np.concatenate([scaled[0], scaled[-1], scaled[:, 0], scaled[:, -1]])
    field[:] = np.sort(border, axis=0)[len(border) // 2]
    top, left = (size - high) // 2, (size - wide) // 2
    field[top : top + high, left : left + wide] = scaled
    return field


def _cut_out(grey: np.ndarray, size: int, placement: Placement) -> Prepared:
    """What a picture shows, bright on black, cut out and put into the field as `placement` says.

    Its background is that of its border; see `_background_of`.
    """
    darkest, brightest = int(grey.min()), int(grey.max())
    background, spread = _background_of(grey)
    if brightest - darkest < MIN_CONTRAST:
        raise UserError(f"nothing to be seen: all shades are between {darkest} and {brightest} of 255")
    inverted = background > (darkest + brightest) / 2
    values = grey.astype(np.float32)
    if inverted:
        values, background, brightest = 255 - values, 255 - background, 255 - darkest
    values -= background
    np.maximum(values, 0, out=values)
    if spread:
        values[values <= spread] = 0
    values *= 255 / ((brightest if placement.full_contrast else 255) - background)
    seen = values > MIN_CONTRAST
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    if not len(rows):
        raise UserError("nothing to be seen that stands out from the background")
    values = values[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Prepared(place(values, size, placement), inverted)


def _background_of(grey: np.ndarray) -> tuple[float, float]:
    """The shade of a picture's background, and how much it varies.

    It is that of most of the border. Where a picture is cropped to the ink, strokes touch the border: they
    are in the other half of the picture's shades, and their blurred edges far from the rest of this half.

    Args:
        grey: uint8 [H, W].

    Returns:
        The shade, and three standard deviations of the shades of the background.
    """
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    darkest, brightest = float(grey.min()), float(grey.max())
    middle = (darkest + brightest) / 2
    is_bright = _median(border) > middle
    half = border[(border > middle) == is_bright]
    certain = float(np.quantile(half, 0.8 if is_bright else 0.2, method="nearest"))
    near = half[np.abs(half - certain) <= (brightest - darkest) / 4]
    shade = _median(near)
    # Paper has a grain, and light on it varies: the standard deviation, by the median of the deviations.
    return shade, 3 * 1.4826 * _median(np.abs(near - np.float32(shade)))


def place(values: np.ndarray, size: int, placement: Placement) -> np.ndarray:
    """Put what was cut out into the field of an image: uint8 [size, size].

    Args:
        values: float32 [h, w] in 0 to 255, bright on black.
        size: of the image.
        placement: of the dataset.
    """
    scale = placement.size / max(values.shape)
    high, wide = (max(1, round(side * scale)) for side in values.shape)
    content = np.asarray(Image.fromarray(values).resize((wide, high), Image.Resampling.BILINEAR))
    field = np.zeros((size, size), np.uint8)
    top, left = _corner(content, size, placement)
    field[top : top + high, left : left + wide] = np.round(content.clip(0, 255))
    return field


def _median(values: np.ndarray) -> float:
    # Of two in the middle the higher: np.median would take their mean, and ten times as long.
    middle = len(values) // 2
    return float(np.partition(values, middle)[middle])


def _corner(content: np.ndarray, size: int, placement: Placement) -> tuple[int, int]:
    room = size - np.array(content.shape)
    if not placement.by_mass:
        return int(room[0] // 2), int(room[1] // 2)
    total = content.sum()
    centre = np.array(
        [
            content.sum(axis=1) @ np.arange(content.shape[0]) / total,
            content.sum(axis=0) @ np.arange(content.shape[1]) / total,
        ]
    )
    top, left = np.clip(np.round(size / 2 - centre).astype(int), 0, room)
    return int(top), int(left)
