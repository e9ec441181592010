"""What the figures share: colours, names as labels, many small images as one picture, and a file for each."""

from __future__ import annotations

import functools
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np

from src.runtime.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# With a user's own matplotlibrc the same tables would be other pictures.
matplotlib.rcdefaults()

# Okabe & Ito's palette, told apart with any form of colour blindness (https://jfly.uni-koeln.de/color/).
BLUE, ORANGE, GREEN, VERMILION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#595959"
SKY, PURPLE = "#56B4E9", "#CC79A7"

# Pixels between the images of a row.
GAP = 2

# With more classes than these a figure shows the worst of them, and a matrix no numbers.
CLASSES_BY_NAME = 20

# Characters of a name that have room beside an axis.
MAX_LABEL = 24

# An invisible character that counts as a letter of a script written from left to right.
LEFT_TO_RIGHT = "\N{LEFT-TO-RIGHT MARK}"


def save(figure: Figure, path: Path, dpi: int = 110) -> None:
    """Write a figure as PNG, whole or not at all; equal figures give equal bytes."""
    with replacing(path) as temporary:
        # Without the name of the program that drew it, the file depends on the picture alone.
        figure.savefig(temporary, dpi=dpi, format="png", metadata={"Software": None})


def label(text: str, longest: int = MAX_LABEL) -> str:
    """A name for a figure: shortened, without formulas, and with words for what the font has no glyph of.

    Args:
        text: a name that anyone may have chosen.
        longest: the number of characters from which on it is shortened.
    """
    glyphs = _glyphs()
    shown = "".join(character if ord(character) in glyphs else _in_words(character) for character in text)
    if len(shown) > longest:
        # Names of classes that begin alike often end differently.
        end = longest // 3
        shown = f"{shown[: longest - 1 - end]}…{shown[-end:]}"
    if any(unicodedata.bidirectional(character) in ("R", "AL") for character in shown):
        # The text around it, such as "A → B: 7", would be written from right to left, too.
        shown = f"{LEFT_TO_RIGHT}{shown}{LEFT_TO_RIGHT}"
    return shown.replace("$", r"\$")  # two of them would enclose a formula


@functools.cache
def _glyphs() -> frozenset[int]:
    """The characters, as code points, that matplotlib's font can draw."""
    # Fonts of the machine could draw more: the figure would depend on the machine.
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return frozenset(get_font(findfont(FontProperties())).get_charmap())


def labels(names: Iterable[str], longest: int = MAX_LABEL) -> dict[str, str]:
    """The `label` of each of these names, with its place among them where several would be the same."""
    shown = {name: label(name, longest) for name in names}
    counts = Counter(shown.values())
    for place, (name, text) in enumerate(list(shown.items()), 1):
        if counts[text] > 1:
            number = f" #{place}"
            shown[name] = label(name, longest - len(number)) + number
    return shown


def _in_words(character: str) -> str:
    """The name of a symbol, such as an emoji, in brackets; the code point of a letter."""
    if unicodedata.category(character) == "So":
        return f"[{unicodedata.name(character).lower()}]"
    return f"[U+{ord(character):04X}]"


def show_tiles(
    axes: Axes, rows: list[np.ndarray], columns: int, *, cmap: str, vmin: float, vmax: float
) -> None:
    """Rows of at most `columns` equally large images, as one picture: axes for each would take seconds.

    Args:
        axes: to draw in.
        rows: images of each row, [N, H, W], or [N, H, W, 3] with colour.
        columns: of the picture, also where rows are shorter.
        cmap: the colours of images without colour.
        vmin: the value that is black, or the first colour of `cmap`.
        vmax: the value that is white, or the last colour of `cmap`.
    """
    size, channels = rows[0].shape[1], rows[0].shape[3:]
    height, width = (count * (size + GAP) - GAP for count in (len(rows), columns))
    tiles = np.full((height, width, *channels), 1.0 if channels else np.nan)
    for row, images in enumerate(rows):
        for column, image in enumerate(images):
            top, left = row * (size + GAP), column * (size + GAP)
            # Matplotlib gives values a colour, but shows colours as they are, from 0 to 1.
            pixels = (image - vmin) / ((vmax - vmin) or 1.0) if channels else image
            tiles[top : top + size, left : left + size] = pixels
    axes.imshow(tiles, cmap=cmap, vmin=vmin, vmax=vmax, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
