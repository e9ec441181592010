"""The runs of the study to a figure."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from src.figures.style import BLUE, VERMILION


def accuracies_by_setup(runs: pd.DataFrame) -> Figure:
    """The test accuracy of every run of a study, a line for each setup, a panel for each dataset.

    Args:
        runs: see `studies.benchmark.results.summarise`.
    """
    datasets = list(dict.fromkeys(runs["dataset"]))
    setups = {name: list(dict.fromkeys(runs[runs["dataset"] == name]["setup"])) for name in datasets}
    figure = Figure(
        figsize=(9.5, 0.34 * sum(map(len, setups.values())) + 0.8 * len(datasets)), layout="constrained"
    )
    panels = figure.subplots(
        len(datasets), 1, squeeze=False, height_ratios=[len(setups[name]) for name in datasets]
    )
    for axes, name in zip(panels[:, 0], datasets, strict=True):
        for line, setup in enumerate(setups[name]):
            values = runs[runs["setup"] == setup]["test_accuracy"] * 100
            axes.plot(values, [line] * len(values), "o", color=BLUE, alpha=0.45, markersize=5)
            axes.plot([values.mean()], [line], "|", color=VERMILION, markersize=16, markeredgewidth=2)
        axes.set_yticks(range(len(setups[name])), setups[name])
        axes.set_ylim(len(setups[name]) - 0.5, -0.5)
        axes.grid(alpha=0.25)
        axes.set_title(name, loc="left")
    panels[-1, 0].set_xlabel("Test accuracy (%): a dot for each seed, a bar for their mean")
    return figure
