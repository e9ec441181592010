"""The runs of the study to a figure."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from src.figures.style import BLUE, VERMILION

# Between equal values of a line, in lines.
STACKED = 0.14


def accuracies_by_recipe(runs: pd.DataFrame) -> Figure:
    """The test accuracy of every run of a study, a line for each recipe, a panel for each dataset.

    Equal accuracies stand above each other.

    Args:
        runs: see `studies.benchmark.results.summarise`.
    """
    datasets = list(dict.fromkeys(runs["dataset"]))
    recipes = {name: list(dict.fromkeys(runs[runs["dataset"] == name]["recipe"])) for name in datasets}
    figure = Figure(
        figsize=(9.5, 0.42 * sum(map(len, recipes.values())) + 0.8 * len(datasets)), layout="constrained"
    )
    panels = figure.subplots(
        len(datasets), 1, squeeze=False, height_ratios=[len(recipes[name]) for name in datasets]
    )
    for axes, name in zip(panels[:, 0], datasets, strict=True):
        for line, recipe in enumerate(recipes[name]):
            values = runs[runs["recipe"] == recipe]["test_accuracy"] * 100
            places = line + STACKED * among_equals(values)
            axes.plot([values.mean()], [line], "|", color=VERMILION, markersize=17, markeredgewidth=2)
            axes.plot(values, places, "o", color=BLUE, alpha=0.6, markersize=4, markeredgewidth=0)
        axes.set_yticks(range(len(recipes[name])), recipes[name])
        axes.set_ylim(len(recipes[name]) - 0.5, -0.5)
        axes.grid(alpha=0.25)
        axes.set_title(name, loc="left")
    panels[-1, 0].set_xlabel("Test accuracy (%): a dot for each seed, a bar for their mean")
    return figure


def among_equals(values: pd.Series) -> np.ndarray:
    """The place of each value among its equals, centred at 0: -0.5 and 0.5 of two, 0 of one; float [N]."""
    equals = values.groupby(values)
    return (equals.cumcount() - (equals.transform("size") - 1) / 2).to_numpy()
