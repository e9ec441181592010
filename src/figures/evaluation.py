"""How good a model is: its tables to a matrix, a reliability diagram and bars."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure

from src.figures.style import BLUE, GREEN, GREY, MAX_CLASSES, ORANGE, VERMILION, shortened

# Confusions that are named below a matrix without numbers.
NAMED_CONFUSIONS = 5


def confusion_matrix(confusion: pd.DataFrame) -> Figure:
    """Counts of test images by actual and predicted class; the shade is the share of the actual class.

    Beyond `MAX_CLASSES`, the counts and some names are left out, and the most frequent mistakes are named.

    Args:
        confusion: `plots/confusion.csv`: actual, predicted, count for every pair of classes that occurs.
    """
    names = list(dict.fromkeys(confusion["actual"]))
    counts = counts_by_class(confusion, names)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    readable = len(names) <= MAX_CLASSES
    figure = Figure(figsize=(7.6, 6.6 if readable else 7.8), layout="constrained")
    axes = figure.subplots()
    # A mistake is a small share where it may go to many classes: by the root it is seen.
    scale = Normalize(0, 1) if readable else PowerNorm(0.5, 0, 1)
    image = axes.imshow(shares, cmap="Blues", norm=scale)
    for row, column in np.ndindex(*counts.shape if readable else (0, 0)):
        if counts[row, column]:
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(
                float(column), float(row), f"{counts[row, column]:,}", ha="center", va="center", color=colour
            )
    if not readable:
        figure.supxlabel(most_frequent_confusions(confusion), fontsize=9)
    shown = range(0, len(names), -(-len(names) // MAX_CLASSES))
    labels = [shortened(names[place]) for place in shown]
    slanted = max(map(len, labels)) > 3
    axes.set_xticks(shown, labels, rotation=40 if slanted else 0, ha="right" if slanted else "center")
    axes.set_yticks(shown, labels)
    right = int(np.trace(counts))
    axes.set(
        xlabel="Predicted class",
        ylabel="Actual class",
        title=f"Test images: {right:,} of {counts.sum():,} right ({right / counts.sum():.2%})",
    )
    figure.colorbar(image, label="Share of the actual class", shrink=0.8)
    return figure


def counts_by_class(confusion: pd.DataFrame, names: list[str]) -> np.ndarray:
    """The matrix of a table of confusions, int64 [actual classes, predicted classes]."""
    places = {name: place for place, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)), np.int64)
    counts[confusion["actual"].map(places), confusion["predicted"].map(places)] = confusion["count"]
    return counts


def most_frequent_confusions(confusion: pd.DataFrame) -> str:
    """Lines that name the pairs of classes that are confused most often."""
    wrong = confusion[(confusion["actual"] != confusion["predicted"]) & (confusion["count"] > 0)]
    worst = wrong.sort_values("count", ascending=False, kind="stable").head(NAMED_CONFUSIONS)
    pairs = zip(worst["actual"], worst["predicted"], worst["count"], strict=True)
    named = [f"{shortened(actual)} → {shortened(predicted)}: {count:,}" for actual, predicted, count in pairs]
    return "\n".join(["most frequent mistakes (actual → predicted):", *named]) if named else "no mistake"


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
    """F1 of every class, with precision and recall beside it; of more than `MAX_CLASSES` the lowest.

    Args:
        per_class: `plots/per_class.csv`: class, precision, recall, f1, support.
    """
    title = "F1, precision and recall by class (test images)"
    if len(per_class) > MAX_CLASSES:
        title = f"The {MAX_CLASSES} of {len(per_class):,} classes with the lowest F1 (test images)"
        per_class = per_class.sort_values("f1", kind="stable").head(MAX_CLASSES)
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
        rows,
        [
            f"{shortened(name)}  ({n:,})"
            for name, n in zip(per_class["class"], per_class["support"], strict=True)
        ],
    )
    axes.invert_yaxis()
    axes.set_xlim(left=max(0.0, np.floor(lowest * 20 - 1) / 20), right=1.004)
    axes.set(xlabel="Score on the test split", title=title)
    axes.grid(axis="x", alpha=0.25)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure
