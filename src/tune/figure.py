"""A search as a figure: the validation accuracy of its trials by each searched parameter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from src.figures.style import BLUE, GREY, VERMILION
from src.tune.search_space import Domain
from src.tune.trials import Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GOLDEN = (1 + 5**0.5) / 2

# Characters that have room side by side below a panel.
ROOM_FOR_CHOICES = 30

# What is drawn of a trial, by its status: label, colour and shape of its mark.
MARKS = {
    "finished": ("finished", BLUE, "o"),
    "stopped": ("stopped early", GREY, "x"),
    "unfinished": ("unfinished", GREY, "+"),
    "diverged": ("diverged", VERMILION, "v"),
}


def search_figure(trials: list[Trial], space: dict[str, Domain]) -> Figure:
    """Validation accuracy of every trial by each searched parameter, and of the best in the order tried.

    The scale is that of the trials that finished. Others that are below it lie in a strip under it, and so do
    those that diverged, which have no accuracy.
    """
    shown = [
        trial
        for trial in trials
        if trial.confirms is None and (trial.val_accuracy is not None or trial.status == "diverged")
    ]
    columns = min(3, 1 + len(space))
    rows = -(-(1 + len(space)) // columns)
    figure = Figure(figsize=(3.6 * columns, 3.0 * rows), layout="constrained")
    accuracy = np.array([_percent(trial) for trial in shown])
    if np.isnan(accuracy).all():
        figure.text(0.5, 0.5, "No trial has a validation accuracy.", ha="center", va="center")
        return figure
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    low, high = _limits(shown)
    numbers = np.array([trial.trial for trial in shown])
    first = panels[0]
    best = np.fmax.accumulate(accuracy)
    first.step(numbers, best, where="post", color=VERMILION, label="best so far")
    first.xaxis.set_major_locator(MaxNLocator(integer=True))
    first.set_xlabel("Trial")
    _scatter(first, numbers, accuracy, shown, low, high)
    for axes, key in zip(panels[1:], space, strict=False):
        _scatter(axes, _places(axes, key, space[key], shown), accuracy, shown, low, high)
    for axes in panels[1 + len(space) :]:
        axes.axis("off")
    figure.legend(*first.get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    return figure


def _percent(trial: Trial) -> float:
    return float("nan") if trial.val_accuracy is None else 100 * trial.val_accuracy


def _limits(trials: list[Trial]) -> tuple[float, float]:
    """The lowest and the highest accuracy to show, in percent, with a margin."""
    accuracies = [_percent(trial) for trial in trials if trial.val_accuracy is not None]
    finished = [_percent(trial) for trial in trials if trial.status == "finished"]
    low, high = min(finished or accuracies), max(accuracies)
    margin = max(0.05 * (high - low), 0.05)
    return low - margin, high + margin


def _scatter(
    axes: Axes, x: np.ndarray, accuracy: np.ndarray, trials: list[Trial], low: float, high: float
) -> None:
    """Draw a mark for each trial at the places `x`; legend entries only for what there is."""
    strip = low - 0.1 * (high - low)
    beneath = ~(accuracy >= low)
    y = np.where(beneath, strip, accuracy)
    for status, (label, colour, shape) in MARKS.items():
        chosen = np.array([trial.status == status for trial in trials], dtype=bool)
        if chosen.any():
            axes.scatter(x[chosen], y[chosen], s=22, color=colour, marker=shape, label=label, zorder=3)
    ticks = [tick for tick in MaxNLocator(5).tick_values(low, high) if low <= tick <= high]
    names = [f"{tick:.4g}" for tick in ticks]
    if beneath.any():
        axes.axhline(low, color=GREY, linestyle=":", linewidth=1)
        ticks, names = [strip, *ticks], ["lower\nor none", *names]
    axes.set_yticks(ticks, names)
    axes.set(ylabel="Validation accuracy (%)", ylim=(strip - (low - strip) if beneath.any() else low, high))


def _places(axes: Axes, key: str, domain: Domain, trials: list[Trial]) -> np.ndarray:
    """Where the trials lie on the axis of a searched parameter, which shows all that it could have been."""
    axes.set_xlabel(key)
    if domain.kind == "choice":
        names = [str(value) for value in domain.values]
        upright = sum(map(len, names)) > ROOM_FOR_CHOICES
        axes.set_xticks(range(len(names)), names, rotation=90 if upright else 0)
        axes.set_xlim(-0.5, len(names) - 0.5)
        # To the side of each other, so that equal ones are seen: by their numbers, as multiples of the golden
        # ratio, which are spread evenly and show no trend where the search has one.
        aside = 0.4 * (np.array([trial.trial for trial in trials]) * GOLDEN % 1 - 0.5)
        return np.array([names.index(str(trial.values[key])) for trial in trials]) + aside
    low, high = domain.values
    if domain.kind == "log_uniform":
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlim(low / (high / low) ** 0.05, high * (high / low) ** 0.05)
    else:
        axes.set_xlim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    return np.array([trial.values[key] for trial in trials])
