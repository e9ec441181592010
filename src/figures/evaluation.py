"""How good a model is: its tables to a matrix, a reliability diagram and bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath
from matplotlib.ticker import NullFormatter

from src.evaluation.mistakes import most_frequent_mistakes
from src.figures.style import BLUE, CLASSES_BY_NAME, GREEN, GREY, ORANGE, SKY, labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Names that have room along a matrix, and mistakes beside it.
LABELS_OF_AXIS, MISTAKES_BY_NAME = 30, 20
# Points that a line of these has.
ROOM_FOR_MISTAKES = 285
# Points of a font times the characters side by side in a row of a matrix, which is larger with more classes.
ROOM_FOR_COUNTS, FEW_CLASSES = 480, 10


def confusion_matrix(confusion: pd.DataFrame) -> Figure:
    """Counts of test images by actual and predicted class; the shade is the share of the actual class.

    With many classes, in place of the counts the most frequent mistakes by name.

    Args:
        confusion: `plots/confusion.csv`: actual, predicted, count; pairs that it lacks do not occur, those of
            a class with itself it has in the order of the classes.
    """
    names = list(dict.fromkeys(confusion["actual"]))
    places = {name: place for place, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)), np.int64)
    counts[confusion["actual"].map(places), confusion["predicted"].map(places)] = confusion["count"]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    many = len(names) > CLASSES_BY_NAME
    scale = 1.6 if FEW_CLASSES < len(names) <= CLASSES_BY_NAME else 1.0
    width = 11.6 if many else 7.6 * scale
    figure = Figure(figsize=(width, 6.6 * scale), layout="constrained")
    if many:
        axes, beside = figure.subplots(1, 2, width_ratios=(2, 1))
        _list_mistakes(beside, confusion, counts.sum(axis=1), places)
    else:
        axes = figure.subplots()
        _write_counts(axes, counts, shares, scale)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    _name_classes(axes, list(labels(names).values()))
    right = int(np.trace(counts))
    axes.set(
        xlabel="Predicted class",
        ylabel="Actual class",
        title=f"Test images: {right:,} of {counts.sum():,} right ({right / counts.sum():.2%})",
    )
    figure.colorbar(image, ax=axes, label="Share of the actual class", shrink=0.8)
    return figure


def _write_counts(axes: Axes, counts: np.ndarray, shares: np.ndarray, scale: float) -> None:
    # So large that the longest fits into its cell.
    size = min(10, scale * ROOM_FOR_COUNTS / (len(counts) * len(f"{counts.max():,}")))
    for row, column in zip(*np.nonzero(counts), strict=True):
        axes.text(
            float(column),
            float(row),
            f"{counts[row, column]:,}",
            ha="center",
            va="center",
            color="white" if shares[row, column] > 0.6 else "black",
            fontsize=size,
        )


def _name_classes(axes: Axes, names: list[str]) -> None:
    """Names beside the rows and below the columns of a matrix; of many classes every second, third, …"""
    shown = range(0, len(names), -(-len(names) // LABELS_OF_AXIS))
    chosen, size = [names[place] for place in shown], 8 if len(names) > CLASSES_BY_NAME else None
    longest = max(map(len, names))
    rotation = 90 if size and longest > 2 else 40 if longest > 3 else 0
    axes.set_xticks(
        shown, chosen, rotation=rotation, ha="right" if rotation == 40 else "center", fontsize=size
    )
    axes.set_yticks(shown, chosen, fontsize=size)


def _list_mistakes(axes: Axes, confusion: pd.DataFrame, support: np.ndarray, places: dict[str, int]) -> None:
    """The most frequent mistakes, a line each, in place of what is in the axes.

    Args:
        axes: to be filled.
        confusion: see `confusion_matrix`.
        support: test images of each class, int64 [C].
        places: of the classes in `support`.
    """
    shown = labels(places, longest=18)
    lines = [
        f"{shown[actual]} → {shown[predicted]}: {count:,} of {support[places[actual]]:,}"
        for actual, predicted, count in most_frequent_mistakes(confusion, MISTAKES_BY_NAME)
    ]
    axes.axis("off")
    axes.set_title("Most frequent mistakes\n(actual → predicted)", loc="left")
    width = max(TextPath((0, 0), line, size=10).get_extents().width for line in lines or ["none"])
    axes.text(
        0,
        1,
        "\n".join(lines or ["none"]),
        va="top",
        fontsize=min(10, 10 * ROOM_FOR_MISTAKES / width),
        linespacing=1.6,
        transform=axes.transAxes,
    )


def reliability_diagram(calibration: pd.DataFrame, error: float) -> Figure:
    """Accuracy against confidence, bin by bin, above the number of images in each bin.

    The interval of a bin of few images is long: its distance from the diagonal says little.

    Args:
        calibration: `plots/calibration.csv`; see `src.evaluation.metrics.calibration_bins`.
        error: the expected calibration error, a fraction.
    """
    figure = Figure(figsize=(6.4, 6.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1.2, label="perfectly calibrated")
    accuracy = calibration["accuracy"]
    upper.errorbar(
        calibration["confidence"],
        accuracy,
        yerr=[accuracy - calibration["accuracy_low"], calibration["accuracy_high"] - accuracy],
        fmt="o",
        color=BLUE,
        ecolor=SKY,
        elinewidth=2.5,
        clip_on=False,
        zorder=3,
        label="accuracy with its 95 % interval",
    )
    upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="Accuracy")
    figure.legend(frameon=False, loc="outside lower center", ncols=2)
    lower.bar(
        calibration["lower"],
        calibration["count"],
        width=calibration["upper"] - calibration["lower"],
        align="edge",
        color=GREY,
        edgecolor="white",
    )
    # A good network is sure of nearly everything: on a linear scale all bins but the last vanish.
    lower.set_yscale("log")
    lower.yaxis.set_major_formatter("{x:,.0f}")
    lower.yaxis.set_minor_formatter(NullFormatter())
    lower.set(ylim=(0.5, None), xlabel="Confidence of the predicted class", ylabel="Test images")
    for axes in (upper, lower):
        axes.grid(alpha=0.25)
        axes.set_axisbelow(True)
    figure.suptitle(f"Reliability: expected calibration error {error:.2%}")
    return figure


def per_class_f1(per_class: pd.DataFrame) -> Figure:
    """F1 of every class, or of the worst of many, between precision and recall.

    Args:
        per_class: `plots/per_class.csv`: class, precision, recall, f1, support.
    """
    title = "F1, precision and recall by class (test images)"
    shown = labels(per_class["class"])
    # Of a class without images nothing was measured.
    per_class = per_class[per_class["support"] > 0]
    if len(per_class) > CLASSES_BY_NAME:
        title = f"The lowest F1 of {len(per_class):,} classes (test images)"
        per_class = per_class.sort_values("f1", kind="stable").head(CLASSES_BY_NAME)
    figure = Figure(figsize=(8, 0.42 * len(per_class) + 1.6), layout="constrained")
    axes = figure.subplots()
    rows = np.arange(len(per_class))
    axes.hlines(rows, per_class["precision"], per_class["recall"], color=GREY, linewidth=1.2, zorder=1)
    # Where they are equal, each is seen around the next.
    axes.plot(per_class["f1"], rows, "o", color=BLUE, markersize=11, label="F1")
    axes.plot(per_class["precision"], rows, "D", color=ORANGE, markeredgecolor="black", label="precision")
    axes.plot(
        per_class["recall"], rows, "o", color=GREEN, markersize=4, markeredgecolor="black", label="recall"
    )
    for row, f1 in zip(rows, per_class["f1"], strict=True):
        axes.text(1.005, float(row), f"{f1:.3f}", transform=axes.get_yaxis_transform(), va="center")
    lowest = per_class[["precision", "recall", "f1"]].to_numpy().min()
    axes.set_yticks(
        rows,
        [f"{shown[name]}  ({n:,})" for name, n in zip(per_class["class"], per_class["support"], strict=True)],
    )
    axes.set_ylim(len(per_class) - 0.5, -0.5)
    left = max(0.0, np.floor(lowest * 20 - 1) / 20)
    axes.set_xlim(left - 0.01 * (1 - left), 1 + 0.02 * (1 - left))
    axes.set(xlabel="Score on the test split", title=title)
    axes.grid(axis="x", alpha=0.25)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure
