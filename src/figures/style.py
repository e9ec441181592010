"""What the figures share: colours, text, many small images as one picture, and how they are saved."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

from src.runtime.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The name of a class may hold a `$`: text is never read as mathematics.
mpl.rcParams["text.parse_math"] = False

# Okabe & Ito's palette, told apart with any form of colour blindness (https://jfly.uni-koeln.de/color/).
BLUE, ORANGE, GREEN, VERMILION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#595959"

# Pixels between the images of a row.
GAP = 2
# Classes that a figure has room for with their names.
MAX_CLASSES = 20
LONGEST_NAME = 24


def save_figure(figure: Figure, path: Path, dpi: int = 110) -> None:
    """Write a figure as PNG, whole or not at all.

    Raises:
        UserError: the file cannot be written.
    """
    with replacing(path) as temporary, warnings.catch_warnings():
        # A character that the font lacks, such as an emoji in the name of a class, is drawn as a box.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        # Without the name of the program that drew it, the file depends on the picture alone.
        figure.savefig(temporary, dpi=dpi, format="png", metadata={"Software": None})


def shortened(name: str, longest: int = LONGEST_NAME) -> str:
    """The beginning of a name that is too long to be shown."""
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def show_tiles(
    axes: Axes, rows: list[np.ndarray], columns: int, *, cmap: str, vmin: float, vmax: float
) -> None:
    """Rows of at most `columns` equally large images, as one picture: axes for each would take seconds.

    Args:
        axes: to show them on.
        rows: images [N, size, size], or [N, size, size, 3] with colour.
        columns: the width of the picture, in images.
        cmap: the colours of images without any.
        vmin: what is shown darkest.
        vmax: what is shown brightest.
    """
    size, channels = rows[0].shape[1], rows[0].shape[3:]
    shape = (len(rows) * (size + GAP) - GAP, columns * (size + GAP) - GAP)
    # With colour, what is between the images is transparent.
    tiles = np.zeros((*shape, 4)) if channels else np.full(shape, np.nan)
    for row, images in enumerate(rows):
        for column, image in enumerate(images):
            top, left = row * (size + GAP), column * (size + GAP)
            tiles[top : top + size, left : left + size] = (
                np.dstack([(image - vmin) / (vmax - vmin), np.ones((size, size))]) if channels else image
            )
    axes.imshow(tiles, cmap=cmap, vmin=vmin, vmax=vmax, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def show_image(axes: Axes, image: np.ndarray) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
