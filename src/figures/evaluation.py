"""How good a model is: its tables to a matrix, a reliability diagram and bars."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from src.figures.style import BLUE, GREEN, GREY, ORANGE, VERMILION


def confusion_matrix(confusion: pd.DataFrame) -> Figure:
    """Counts of test images by actual and predicted class; the shade is the share of the actual class.

    Args:
        confusion: `plots/confusion.csv`: actual, predicted, count for every pair of classes.
    """
    names = list(dict.fromkeys(confusion["actual"]))
    counts = confusion["count"].to_numpy().reshape(len(names), len(names))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(7.6, 6.6), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*counts.shape):
        if counts[row, column]:
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(
                float(column), float(row), f"{counts[row, column]:,}", ha="center", va="center", color=colour
            )
    slanted = max(map(len, names)) > 3
    axes.set_xticks(
        range(len(names)), names, rotation=40 if slanted else 0, ha="right" if slanted else "center"
    )
    axes.set_yticks(range(len(names)), names)
    right = int(np.trace(counts))
    axes.set(
        xlabel="Predicted class",
        ylabel="Actual class",
        title=f"Test images: {right:,} of {counts.sum():,} right ({right / counts.sum():.2%})",
    )
    figure.colorbar(image, label="Share of the actual class", shrink=0.8)
    return figure


def reliability_diagram(calibration: pd.DataFrame, error: float) -> Figure:
    """Accuracy against confidence, bin by bin, above the number of images in each bin.

    Args:
        calibration: `plots/calibration.csv`: lower, upper, count, confidence, accuracy.
        error: the expected calibration error, a fraction.
    """
    figure = Figure(figsize=(6.4, 6.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    widths = calibration["upper"] - calibration["lower"]
    bars = {"width": widths, "align": "edge", "edgecolor": "white"}
    upper.bar(calibration["lower"], calibration["accuracy"], color=BLUE, alpha=0.55, label="accuracy", **bars)
    upper.plot(
        calibration["confidence"],
        calibration["confidence"],
        "o",
        color=VERMILION,
        markersize=5,
        clip_on=False,
        zorder=3,
        label="mean confidence",
    )
    ends = calibration["accuracy"], calibration["confidence"]
    upper.vlines(calibration["confidence"], *ends, color=VERMILION, linewidth=1.5, label="gap")
    upper.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1.2, label="perfectly calibrated")
    upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="Accuracy")
    upper.legend(frameon=False, loc="upper left")
    lower.bar(calibration["lower"], calibration["count"], color=GREY, **bars)
    # A good network is sure of nearly everything: on a linear scale all bins but the last vanish.
    lower.set_yscale("log")
    lower.yaxis.set_major_formatter("{x:,.0f}")
    lower.set(ylim=(0.5, None), xlabel="Confidence of the predicted class", ylabel="Test images")
    for axes in (upper, lower):
        axes.grid(alpha=0.25)
        axes.set_axisbelow(True)
    figure.suptitle(f"Reliability: expected calibration error {error:.2%}")
    return figure


def per_class_f1(per_class: pd.DataFrame) -> Figure:
    """F1 of every class, with precision and recall beside it.

    Args:
        per_class: `plots/per_class.csv`: class, precision, recall, f1, support.
    """
    figure = Figure(figsize=(8, 0.42 * len(per_class) + 1.6), layout="constrained")
    axes = figure.subplots()
    rows = np.arange(len(per_class))
    axes.barh(rows, per_class["f1"], color=BLUE, alpha=0.75, label="F1")
    axes.plot(per_class["precision"], rows, "D", color=ORANGE, markeredgecolor="black", label="precision")
    axes.plot(per_class["recall"], rows, "o", color=GREEN, markeredgecolor="black", label="recall")
    for row, f1 in zip(rows, per_class["f1"], strict=True):
        axes.text(1.005, float(row), f"{f1:.3f}", transform=axes.get_yaxis_transform(), va="center")
    lowest = per_class[["precision", "recall", "f1"]].to_numpy().min()
    axes.set_yticks(
        rows, [f"{name}  ({n:,})" for name, n in zip(per_class["class"], per_class["support"], strict=True)]
    )
    axes.invert_yaxis()
    axes.set_xlim(left=max(0.0, np.floor(lowest * 20 - 1) / 20), right=1.004)
    axes.set(xlabel="Score on the test split", title="F1, precision and recall by class (test images)")
    axes.grid(axis="x", alpha=0.25)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure
