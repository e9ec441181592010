"""Photographs of paper: the ink alone, without the light, the table and the printed lines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from src.data.splits import ImageFormat
from src.own_images.pictures import Prepared, place, prepare_picture, read_picture
from src.runtime.errors import UserError

# A smaller picture is taken as it is; a larger one is worked on with its longer side of so many pixels.
MIN_SIDE, WORKING_SIDE = 100, 480
# Shades of 255 by which the border of a drawing on even ground varies at most, but for a few pixels.
EVEN_BORDER = 2
# From the darkest shade, 0, to the brightest, 1: the median of paper is above, that of a blackboard below.
DARKEST_PAPER = 1 / 3
# Of the longer side: wider than any stroke, narrower than a shadow or the table.
MAX_STROKE = 0.2
# Of the paper's brightness: ink takes at least so much of it.
MIN_INK = 0.06
# Of the darkest ink: what belongs to a stroke for certain, and what is left of its edges.
CERTAIN, POSSIBLE = 0.5, 0.3
# Printed lines are thinner than so many pixels, as long as the sheet, and come several at a time.
RULING_WIDTH, MIN_RULINGS = 9, 3
# Of the height of what was written: a pen's thin stroke is widened to that of the dataset's digits.
STROKE = 0.09
# Of the frame: more ink than this is no writing.
MAX_INK = 0.35
# A part of the writing: of the size of the rest, how far it may be away; of its area, how small it may be.
REACH, MIN_PART = 0.3, 0.03
# Of all that is dark and not cut off by the frame: with less it is no picture of one piece of writing.
MIN_SHARE = 0.5
# Degrees by which a sheet may lie askew, for a second look.
TURNS = (-30, -15, 15, 30)


def open_picture(
    source: Path | bytes, image_format: ImageFormat, dataset: str
) -> tuple[np.ndarray, Prepared]:
    """Read a picture and make it like the images of a dataset; of a photograph, what is written on the paper.

    Not so where what is shown fills its image, as clothes do: that was never on paper. Nor for a dataset of
    the user's own: `prepare` has not cleaned its photographs either.

    Args:
        source: a file, or the bytes of one.
        image_format: of the dataset.
        dataset: its name.

    Returns:
        The pixels as read, uint8 [H, W] or [H, W, 3], and what is made of them.

    Raises:
        UserError: why it cannot be read, or that nothing is to be seen.
    """
    pixels = read_picture(source, image_format.channels)
    placement = image_format.placement
    is_written = placement is not None and placement.size < image_format.size
    if not is_written or not is_photograph(pixels) or _is_own(dataset):
        return pixels, prepare_picture(pixels, image_format)
    ink = ink_of(read_picture(source, channels=3))
    image, *turned = (_placed(ink, degrees, image_format) for degrees in (0, *TURNS))
    return pixels, Prepared(image, inverted=True, turned=tuple(turned))


def _is_own(dataset: str) -> bool:
    from src.params import BUILT_IN  # here, since most pictures do without its tenth of a second

    return dataset not in BUILT_IN


def _placed(ink: np.ndarray, degrees: float, image_format: ImageFormat) -> np.ndarray:
    assert image_format.placement is not None
    if degrees:
        ink = np.asarray(Image.fromarray(ink).rotate(degrees, Image.Resampling.BILINEAR, expand=True))
        rows, columns = np.flatnonzero(ink.max(axis=1) > 16), np.flatnonzero(ink.max(axis=0) > 16)
        ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    values = ink.astype(np.float32)
    return place(values * 255 / values.max(), image_format.size, image_format.placement)


def is_photograph(grey: np.ndarray) -> bool:
    """Whether a picture, uint8 [H, W], is large, on uneven and bright ground: it is to be cleaned first."""
    if min(grey.shape) < MIN_SIDE:
        return False
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    low, high = np.percentile(border, [2, 98])
    darkest, median, brightest = np.quantile(grey[::2, ::2], [0.001, 0.5, 0.999])
    is_bright = median - darkest > DARKEST_PAPER * (brightest - darkest)
    return bool(high - low > EVEN_BORDER and is_bright)


def ink_of(pixels: np.ndarray) -> np.ndarray:
    """The writing on a photograph of paper, bright on black and cut out: uint8 [h, w].

    The paper's brightness is estimated around each pixel (a grey-scale closing, wider than any stroke), and
    ink is what takes a part of it: falling light, a shadow and the edge of a table change the paper as much
    as the ink. Printed lines are thin, straight and as long as the sheet.

    Args:
        pixels: uint8 [H, W, 3].

    Raises:
        UserError: there is no ink, or too much of it to be writing.
    """
    ink = _without_lines(_without_lines(_darkness(_reduced(pixels)), axis=0), axis=1)
    noise = 1.4826 * float(np.median(np.abs(ink - np.median(ink))))
    darkest = float(np.quantile(ink, 0.998))
    if darkest < max(MIN_INK, 6 * noise):
        raise UserError("nothing to be seen that stands out from the paper")
    possible = ink > max(POSSIBLE * darkest, 3 * noise)
    strokes = ndimage.binary_propagation(ink > CERTAIN * darkest, mask=possible)
    writing = _one_piece_of_writing(strokes)
    if writing.mean() > MAX_INK:
        raise UserError("too much is dark to be writing on paper; expected a closer or a brighter photograph")
    rows, columns = np.flatnonzero(writing.any(axis=1)), np.flatnonzero(writing.any(axis=0))
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return _widened(np.where(writing, ink / darkest, 0.0)[window].clip(0, 1))


def _reduced(pixels: np.ndarray) -> np.ndarray:
    """float32 [h, w, 3], at most `WORKING_SIDE` long, blurred against the grain of paper and sensor."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((WORKING_SIDE, WORKING_SIDE), Image.Resampling.BOX)
    return ndimage.gaussian_filter(np.asarray(picture, np.float32) + 1, (1, 1, 0))


def _darkness(shades: np.ndarray) -> np.ndarray:
    """The share of the paper's light that is missing, in the colour in which most is: [h, w] in 0 to 1."""
    side = round(MAX_STROKE * max(shades.shape[:2]))
    paper = ndimage.grey_closing(shades, size=(side, side, 1), mode="nearest")
    paper = ndimage.gaussian_filter(paper, (2, 2, 0))
    return (1 - shades / np.maximum(paper, shades)).max(axis=2)


def _without_lines(ink: np.ndarray, axis: int) -> np.ndarray:
    """The ink without straight, thin lines that run along an axis through the whole sheet."""
    across = [1, 1]
    across[1 - axis] = RULING_WIDTH
    thin = ink - ndimage.grey_opening(ink, size=tuple(across))
    profile = np.median(thin, axis=axis)
    _, count = ndimage.label(profile > MIN_INK / 2)
    if count < MIN_RULINGS:
        return ink
    along = [1, 1]
    along[axis] = 2 * (ink.shape[axis] // 4) + 1
    return np.maximum(ink - ndimage.median_filter(thin, size=tuple(along), mode="nearest"), 0)


def _one_piece_of_writing(strokes: np.ndarray) -> np.ndarray:
    """Of all dark places the largest that is not cut off by the frame, and what lies close to it.

    Raises:
        UserError: that is not most of them.
    """
    labels, count = ndimage.label(strokes, structure=np.ones((3, 3)))
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    places = ndimage.find_objects(labels)
    high, wide = strokes.shape
    inside = [
        rows.start > 0 and columns.start > 0 and rows.stop < high and columns.stop < wide
        for rows, columns in places
    ]
    candidates = areas * (np.array(inside) if any(inside) else 1)
    kept = {int(candidates.argmax())}
    while (found := _close_to(kept, places, candidates)) != kept:
        kept = found
    writing = np.isin(labels, [number + 1 for number in kept])
    if writing.sum() < MIN_SHARE * candidates.sum():
        raise UserError("many things are dark; expected one digit or the like on paper")
    return writing


def _close_to(kept: set[int], places: list[tuple[slice, slice]], areas: np.ndarray) -> set[int]:
    """The dark places among `kept`, and those that are close to them and not much smaller."""
    rows, columns = (
        slice(
            min(places[number][axis].start for number in kept),
            max(places[number][axis].stop for number in kept),
        )
        for axis in (0, 1)
    )
    reach = REACH * max(rows.stop - rows.start, columns.stop - columns.start)
    least = MIN_PART * sum(areas[number] for number in kept)
    return kept | {
        number
        for number, (other_rows, other_columns) in enumerate(places)
        if areas[number] >= least
        and _gap(rows, other_rows) <= reach
        and _gap(columns, other_columns) <= reach
    }


def _gap(one: slice, other: slice) -> int:
    return max(one.start - other.stop, other.start - one.stop, 0)


def _widened(ink: np.ndarray) -> np.ndarray:
    """Strokes at least as wide, for their height, as those of the dataset's digits: uint8 [h, w]."""
    stroke = ink > CERTAIN
    depth = ndimage.distance_transform_edt(np.pad(stroke, 1))[1:-1, 1:-1]
    ridge = depth[(depth == ndimage.maximum_filter(depth, 3)) & stroke]
    width = 2 * float(np.median(ridge))
    missing = round((STROKE * max(ink.shape) - width) / 2)
    if missing > 0:
        ink = ndimage.grey_dilation(np.pad(ink, missing), footprint=_disk(missing))
        ink = np.where(ink > POSSIBLE, np.maximum(ink, 0.9), ink)
    return np.round(255 * ndimage.gaussian_filter(np.pad(ink, 1), 1)).astype(np.uint8)


def _disk(radius: int) -> np.ndarray:
    rows, columns = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return rows**2 + columns**2 <= radius**2
