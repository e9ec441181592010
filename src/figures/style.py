"""What the figures share: colours, and many small images as one picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe & Ito's palette, told apart with any form of colour blindness (https://jfly.uni-koeln.de/color/).
BLUE, ORANGE, GREEN, VERMILION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#595959"

# Pixels between the images of a row.
GAP = 2


def show_tiles(
    axes: Axes, rows: list[np.ndarray], columns: int, *, cmap: str, vmin: float, vmax: float
) -> None:
    """Rows of at most `columns` equally large images, as one picture: axes for each would take seconds."""
    size = rows[0].shape[1]
    tiles = np.full((len(rows) * (size + GAP) - GAP, columns * (size + GAP) - GAP), np.nan)
    for row, images in enumerate(rows):
        for column, image in enumerate(images):
            top, left = row * (size + GAP), column * (size + GAP)
            tiles[top : top + size, left : left + size] = image
    axes.imshow(tiles, cmap=cmap, vmin=vmin, vmax=vmax, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def show_image(axes: Axes, image: np.ndarray) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
