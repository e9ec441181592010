"""Images, and what a network makes of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from src.data.splits import Split
from src.evaluation.examples import Examples
from src.figures.style import BLUE, GAP, VERMILION, show_tiles


def sample_images(split: Split, title: str, per_class: int = 8) -> Figure:
    """The first `per_class` images of every class, a row for each class with its name."""
    classes = len(split.class_names)
    members = [np.flatnonzero(split.labels == label)[:per_class] for label in range(classes)]
    figure = Figure(figsize=(0.62 * per_class + 1.6, 0.62 * classes + 0.5), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots()
    show_tiles(axes, [split.images[chosen] for chosen in members], per_class, cmap="gray", vmin=0, vmax=255)
    size = split.images.shape[1] + GAP
    axes.set_yticks([label * size + (size - GAP) / 2 for label in range(classes)], split.class_names)
    return figure


def predicted_pictures(pairs: list[tuple[np.ndarray, np.ndarray]], titles: list[str]) -> Figure:
    """Pictures, each beside what a network was shown of it, under its answer.

    Args:
        pairs: a picture, uint8 [H, W] of any size, and the image made of it, uint8 [28, 28].
        titles: the answers.
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
        left.imshow(picture, cmap="gray", vmin=0, vmax=255)
        right.imshow(image, cmap="gray", vmin=0, vmax=255)
        left.set_title(title, fontsize=9, loc="left")
        for axes in (left, right):
            axes.axis("on")
    return figure


def feature_maps(examples: Examples, predictions: pd.DataFrame) -> Figure:
    """One test image as the layers of the network see it, every channel."""
    maps = examples.feature_maps
    columns = 8 if max(map(len, maps.values())) <= 16 else 16
    rows = [
        (name, chunk)
        for name in maps
        for chunk in np.split(maps[name], range(columns, len(maps[name]), columns))
    ]
    height = 10.2 / columns * (len(rows) + 1) + 0.6
    figure = Figure(figsize=(10.5, height), layout="constrained")
    first, *grid = figure.subplots(len(rows) + 1)
    pixels = examples.network_input
    show_tiles(first, [pixels[None]], columns, cmap="gray", vmin=pixels.min(), vmax=pixels.max())
    first.set_yticks([len(pixels) / 2], ["network\ninput"])
    before = None
    for axes, (name, channels) in zip(grid, rows, strict=True):
        # One scale for all channels of a layer, so that a silent channel looks silent.
        low, high = float(maps[name].min()), float(maps[name].max())
        show_tiles(axes, [channels], columns, cmap="viridis", vmin=low, vmax=high)
        if name != before:
            size = channels.shape[1]
            axes.set_yticks([size / 2], [f"{name}\n{size}×{size}"])
        before = name
    prediction = predictions[predictions["index"] == examples.mapped].iloc[0]
    figure.suptitle(
        f"Feature maps of test image {examples.mapped}: actual {prediction['actual']}, "
        f"predicted {prediction['predicted']} ({prediction['confidence']:.1%})"
    )
    return figure


def predicted_examples(examples: Examples, predictions: pd.DataFrame) -> Figure:
    """The most confident mistakes, then a row of correct predictions, one of each class."""
    rows = predictions.set_index("index").loc[examples.indices]
    right = (rows["actual"] == rows["predicted"]).to_numpy()
    wrong_at, right_at = np.flatnonzero(~right), np.flatnonzero(right)
    columns = 10
    bands = [wrong_at[start : start + columns] for start in range(0, len(wrong_at), columns)]
    bands.append(right_at)
    figure = Figure(figsize=(1.32 * columns, 1.9 * len(bands) + 0.5), layout="constrained")
    figure.suptitle(
        ("Most confident mistakes on the test split (red)" if len(wrong_at) else "No mistake to show")
        + " and a correct prediction of each class (blue): actual → predicted, confidence"
    )
    grid = figure.subplots(len(bands), squeeze=False)[:, 0]
    size = examples.images.shape[1]
    for axes, band in zip(grid, bands, strict=True):
        show_tiles(axes, [examples.images[band]], columns, cmap="gray", vmin=0, vmax=255)
        for column, position in enumerate(band):
            prediction = rows.iloc[position]
            names = f"{prediction['actual']} → {prediction['predicted']}"
            if len(names) > 14:
                names = names.replace("→ ", "→\n")
            axes.text(
                column * (size + GAP) + (size - 1) / 2,
                -2,
                f"{names}\n{prediction['confidence']:.1%}",
                fontsize=9,
                color=BLUE if right[position] else VERMILION,
                ha="center",
                va="bottom",
            )
    return figure
