"""How a training went: its history to curves."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from src.figures.style import BLUE, GREY, ORANGE, VERMILION

# With more epochs than these the marks would hide the curve.
EPOCHS_WITH_MARKS = 60


def learning_curves(history: pd.DataFrame, best_epoch: int) -> Figure:
    """Loss and accuracy of the training and validation split by epoch, the best epoch marked.

    Args:
        history: `plots/history.csv`; its first row is epoch 0.
        best_epoch: the epoch with the best validation accuracy, which is marked.
    """
    figure = Figure(figsize=(9.5, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    best = history[history["epoch"] == best_epoch].iloc[0]
    marked = history["epoch"].max() <= EPOCHS_WITH_MARKS
    for axes, measure, label in (
        (left, "loss", "Loss (nats per image)"),
        (right, "accuracy", "Accuracy (%)"),
    ):
        scale = 100 if measure == "accuracy" else 1
        for split, name, colour, marker in (
            ("train", "training", BLUE, "o"),
            ("val", "validation", ORANGE, "s"),
        ):
            values = history[f"{split}_{measure}"] * scale
            mark = marker if marked else None
            axes.plot(history["epoch"], values, color=colour, marker=mark, markersize=4, label=name)
        axes.axvline(best_epoch, color=GREY, linestyle=":", linewidth=1.2, label=f"best: epoch {best_epoch}")
        axes.set(xlabel="Epoch", ylabel=label)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.25)
    left.set_yscale("log")
    left.legend(frameon=False)
    figure.suptitle(f"Validation accuracy of the best epoch: {best['val_accuracy']:.2%}")
    return figure


def step_losses(steps: pd.DataFrame) -> Figure:
    """The training loss of every step, with an exponentially smoothed line.

    Args:
        steps: `plots/steps.csv`: epoch, step (from 1), train_loss.
    """
    figure = Figure(figsize=(9.5, 3.8), layout="constrained")
    axes = figure.subplots()
    span = max(10, len(steps) // 20)
    smoothed = steps["train_loss"].ewm(span=span).mean()
    mark = "o" if len(steps) == 1 else None  # a line through one point draws nothing
    smooth = f"smoothed over about {span} steps"
    x, losses = steps["step"], steps["train_loss"]
    axes.plot(x, losses, color=BLUE, marker=mark, alpha=0.25, linewidth=0.8, label="each step")
    axes.plot(x, smoothed, color=VERMILION, marker=mark, linewidth=1.8, label=smooth)
    axes.set_yscale("log")
    axes.locator_params("x", integer=True, min_n_ticks=1)  # with two, a single step would have fractions
    axes.set(xlabel="Step", ylabel="Training loss (nats per image)", title="Training loss of every step")
    axes.legend(frameon=False)
    axes.grid(alpha=0.25)
    return figure
