"""Images, and what a network makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.textpath import TextPath

from src.data.splits import Split
from src.evaluation.examples import Examples
from src.figures.style import BLUE, GAP, VERMILION, label, labels, show_tiles

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# A figure with more rows of images, layers or channels than these is too large to look at.
ROWS_OF_SAMPLES = 30
LAYERS_SHOWN, CHANNELS_SHOWN = 12, 64


def spread(count: int, limit: int) -> np.ndarray:
    """All indices of `count` things; of more than `limit` so many, evenly spaced, the first and the last."""
    return np.unique(np.linspace(0, count - 1, min(count, limit)).round().astype(np.int64))


def sample_images(split: Split, title: str, per_class: int = 8) -> Figure:
    """The first `per_class` images of every class, a row for each class with its name.

    Of many classes some, evenly spaced.
    """
    shown = spread(len(split.class_names), ROWS_OF_SAMPLES)
    members = [np.flatnonzero(split.labels == code)[:per_class] for code in shown]
    names = list(labels(split.class_names).values())
    longest = max(TextPath((0, 0), names[code], size=10).get_extents().width for code in shown) / 72
    # With its usual margin, the layout leaves long names a little too little room.
    layout = ConstrainedLayoutEngine(w_pad=0.1 if longest > 1.2 else None)
    width = 0.62 * per_class + max(1.6, longest + 0.4)
    figure = Figure(figsize=(width, 0.62 * len(shown) + 0.5), layout=layout)
    if len(shown) < len(split.class_names):
        title += f" ({len(shown)} of {len(split.class_names):,} classes)"
    figure.suptitle(label(title, longest=60))
    axes = figure.subplots()
    show_tiles(axes, [split.images[chosen] for chosen in members], per_class, cmap="gray", vmin=0, vmax=255)
    size = split.images.shape[1] + GAP
    middles = [row * size + (size - GAP) / 2 for row in range(len(shown))]
    axes.set_yticks(middles, [names[code] for code in shown])
    return figure


def predicted_pictures(pairs: list[tuple[np.ndarray | None, np.ndarray | None]], titles: list[str]) -> Figure:
    """Pictures, each beside what a network was shown of it, under its answer.

    Args:
        pairs: a picture, uint8 [H, W] or [H, W, 3] of any size, and the image made of it; None for what there
            is not, where a picture was refused.
        titles: the answers, or the reasons.
    """
    columns = max(1, min(4, len(pairs)))
    rows = max(1, -(-len(pairs) // columns))
    figure = Figure(figsize=(3.1 * columns, 1.75 * rows + 0.4), layout="constrained")
    panels = figure.subplots(rows, 2 * columns, squeeze=False)
    for axes in panels.flat:
        axes.set(xticks=[], yticks=[])
        axes.axis("off")
    places = panels.reshape(-1, 2)
    for (picture, image), title, (left, right) in zip(pairs, titles, places, strict=False):
        for axes, shown in ((left, picture), (right, image)):
            if shown is not None:
                axes.imshow(shown, cmap="gray", vmin=0, vmax=255)
        left.set_title(title, fontsize=9, loc="left")
        for axes in (left, right):
            axes.axis("on")
    return figure


def feature_maps(examples: Examples, predictions: pd.DataFrame, class_names: Sequence[str]) -> Figure:
    """One test image as the layers of the network see it: every channel, or the first of many.

    All channels of a layer have one scale, so that a silent channel looks silent.

    Args:
        examples: see `Examples`.
        predictions: `plots/predictions.csv`.
        class_names: of all classes, in the order of their labels.
    """
    layers = list(examples.feature_maps)
    maps = {
        layers[index]: examples.feature_maps[layers[index]][:CHANNELS_SHOWN]
        for index in spread(len(layers), LAYERS_SHOWN)
    }
    columns = 8 if max(map(len, maps.values()), default=0) <= 16 else 16
    rows = {name: np.split(shown, range(columns, len(shown), columns)) for name, shown in maps.items()}
    count = 1 + sum(map(len, rows.values()))
    figure = Figure(figsize=(10.9, 10.2 / columns * count + 0.6), layout="constrained")
    grid = iter(figure.subplots(count, squeeze=False)[:, 0])
    pixels = examples.network_input
    _layer(figure, [next(grid)], [pixels[None]], columns, "gray", f"network input\n{_shape(pixels)}")
    for name, chunks in rows.items():
        shape = " × ".join(map(str, examples.feature_maps[name].shape))
        if len(maps[name]) < len(examples.feature_maps[name]):
            shape += f"\n(the first {CHANNELS_SHOWN})"
        axes = [next(grid) for _ in chunks]
        _layer(figure, axes, chunks, columns, "viridis", f"{label(name)}\n{shape}")
    prediction = predictions[predictions["index"] == examples.mapped].iloc[0]
    names = labels(class_names)
    figure.suptitle(
        f"Feature maps of test image {examples.mapped}: actual {names[prediction['actual']]}, "
        f"predicted {names[prediction['predicted']]} ({prediction['confidence']:.1%})"
    )
    return figure


def _shape(image: np.ndarray) -> str:
    """Channels, height and width of an image, [H, W] or [H, W, 3], as the table of layers has them."""
    return " × ".join(map(str, (image.shape[2] if image.ndim == 3 else 1, *image.shape[:2])))


def _layer(
    figure: Figure, axes: list[Axes], rows: list[np.ndarray], columns: int, cmap: str, name: str
) -> None:
    """Draw the channels of a layer in rows, with its name and the scale of its values."""
    low, high = (float(bound(list(map(bound, rows)))) for bound in (np.min, np.max))
    for each, channels in zip(axes, rows, strict=True):
        show_tiles(each, [channels], columns, cmap=cmap, vmin=low, vmax=high)
    axes[0].set_yticks([rows[0].shape[1] / 2], [name])
    if rows[0].ndim > 3:  # of colours there is no scale
        return
    scale = figure.colorbar(axes[0].images[0], ax=axes, fraction=0.015, pad=0.01)
    scale.set_ticks([low, high], labels=[f"{low:.2g}", f"{high:.2g}"])
    scale.outline.set_visible(False)


def predicted_examples(examples: Examples, predictions: pd.DataFrame, class_names: Sequence[str]) -> Figure:
    """The most confident mistakes, then correct predictions, each of another class; see `feature_maps`."""
    rows = predictions.set_index("index").loc[examples.indices]
    right = (rows["actual"] == rows["predicted"]).to_numpy()
    wrong_at, right_at = np.flatnonzero(~right), np.flatnonzero(right)
    columns = 5
    bands = [
        positions[start : start + columns]
        for positions in (wrong_at, right_at)
        for start in range(0, len(positions), columns)
    ]
    classes = "1 class" if len(right_at) == 1 else f"{len(right_at)} classes"
    several = len(right_at) < predictions["actual"].nunique()
    titles = [
        "most confident mistakes (orange)" if len(wrong_at) else "no mistake",
        f"a correct prediction of {classes if several else 'each class'} (blue)"
        if len(right_at)
        else "no correct prediction",
    ]
    figure = Figure(figsize=(1.45 * columns, 2.05 * len(bands) + 0.7), layout="constrained")
    figure.suptitle(f"Test images: {titles[0]}\nand {titles[1]}: actual → predicted, confidence")
    grid = figure.subplots(len(bands), squeeze=False)[:, 0]
    size, names = examples.images.shape[1], labels(class_names, longest=14)
    for axes, band in zip(grid, bands, strict=True):
        show_tiles(axes, [examples.images[band]], columns, cmap="gray", vmin=0, vmax=255)
        for column, position in enumerate(band):
            prediction = rows.iloc[position]
            actual, predicted = (names[prediction[key]] for key in ("actual", "predicted"))
            caption = f"{actual} → {predicted}"
            if len(caption) > 14:
                caption = caption.replace("→ ", "→\n")
            axes.text(
                column * (size + GAP) + (size - 1) / 2,
                -2,
                f"{caption}\n{prediction['confidence']:.1%}",
                fontsize=9,
                color=BLUE if right[position] else VERMILION,
                ha="center",
                va="bottom",
            )
    return figure
