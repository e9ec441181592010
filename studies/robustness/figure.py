"""The table of robustness to a figure."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from src.figures.style import BLUE, GREY


def robustness(table: pd.DataFrame, examples: dict[str, np.ndarray]) -> Figure:
    """Accuracy by strength, a panel for each corruption with an example of it.

    Args:
        table: see `studies.robustness.corruptions.robustness`.
        examples: for each corruption an image of strength 3, uint8 [H, W] or [H, W, 3].
    """
    clean = table[table["strength"] == 0]["accuracy"].iloc[0] * 100
    figure = Figure(figsize=(2.5 * len(examples), 4.6), layout="constrained")
    pictures, curves = figure.subplots(2, len(examples), sharey="row", height_ratios=(1, 2))
    for picture, axes, (name, image) in zip(pictures, curves, examples.items(), strict=True):
        rows = table[table["corruption"] == name]
        picture.axis("off")
        picture.set_title(name)
        picture.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        strengths, accuracies = [0, *rows["strength"]], [clean, *rows["accuracy"] * 100]
        axes.plot(strengths, accuracies, color=BLUE, marker="o", markersize=4)
        axes.axhline(clean, color=GREY, linestyle=":", linewidth=1.2)
        axes.set_xticks(strengths, ["as is", *(f"{amount:g}" for amount in rows["amount"])])
        axes.set_xlabel("\n".join(textwrap.wrap(rows["unit"].iloc[0], 22)))
        axes.set_ylim(0, 103)
        axes.grid(alpha=0.25)
    curves[0].set_ylabel("Accuracy (%)")
    images = f"{table['images'].iloc[0]:,} validation images"
    figure.suptitle(
        f"Robustness on {images}: {clean:.2f} % as they are; above, an example of the third strength"
    )
    return figure
