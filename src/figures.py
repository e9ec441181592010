"""Tables and arrays in, matplotlib figures out."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from src.examples import Examples
from src.splits import Split

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe & Ito's palette, told apart with any form of colour blindness (https://jfly.uni-koeln.de/color/).
BLUE, ORANGE, GREEN, VERMILION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#595959"


def sample_images(split: Split, title: str, per_class: int = 8) -> Figure:
    """The first `per_class` images of every class, a row for each class with its name."""
    classes = len(split.class_names)
    members = [np.flatnonzero(split.labels == label)[:per_class] for label in range(classes)]
    figure = Figure(figsize=(0.62 * per_class + 1.6, 0.62 * classes + 0.5), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots()
    _show_tiles(axes, [split.images[chosen] for chosen in members], per_class, cmap="gray", vmin=0, vmax=255)
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


def learning_curves(history: pd.DataFrame, best_epoch: int) -> Figure:
    """Loss and accuracy of the training and validation split by epoch, the kept epoch marked.

    Args:
        history: `plots/history.csv`; its first row is epoch 0.
        best_epoch: the epoch whose weights were kept.
    """
    figure = Figure(figsize=(9.5, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    kept = history[history["epoch"] == best_epoch].iloc[0]
    for axes, measure, label in (
        (left, "loss", "Cross-entropy (nats per image)"),
        (right, "accuracy", "Accuracy (%)"),
    ):
        scale = 100 if measure == "accuracy" else 1
        for split, name, colour, marker in (
            ("train", "training", BLUE, "o"),
            ("val", "validation", ORANGE, "s"),
        ):
            values = history[f"{split}_{measure}"] * scale
            axes.plot(history["epoch"], values, color=colour, marker=marker, markersize=4, label=name)
        axes.axvline(best_epoch, color=GREY, linestyle=":", linewidth=1.2, label=f"kept: epoch {best_epoch}")
        axes.set(xlabel="Epoch", ylabel=label)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.25)
    left.set_yscale("log")
    left.legend(frameon=False)
    figure.suptitle(f"Validation accuracy of the kept epoch: {kept['val_accuracy']:.2%}")
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
    axes.plot(steps["step"], steps["train_loss"], color=BLUE, alpha=0.25, linewidth=0.8, label="each step")
    axes.plot(
        steps["step"], smoothed, color=VERMILION, linewidth=1.8, label=f"smoothed over about {span} steps"
    )
    axes.set_yscale("log")
    axes.set(xlabel="Step", ylabel="Training loss (nats per image)", title="Training loss of every step")
    axes.legend(frameon=False)
    axes.grid(alpha=0.25)
    return figure


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
    for row, column in np.ndindex(counts.shape):
        if counts[row, column]:
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", color=colour)
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


def robustness(table: pd.DataFrame, examples: dict[str, np.ndarray]) -> Figure:
    """Accuracy by strength, a panel for each corruption with an example of it.

    Args:
        table: see `src.corruptions.robustness`.
        examples: for each corruption an image of strength 3, uint8 [28, 28].
    """
    clean = table[table["strength"] == 0]["accuracy"].iloc[0] * 100
    figure = Figure(figsize=(2.5 * len(examples), 4.6), layout="constrained")
    pictures, curves = figure.subplots(2, len(examples), sharey="row", height_ratios=(1, 2))
    for picture, axes, (name, image) in zip(pictures, curves, examples.items(), strict=True):
        rows = table[table["corruption"] == name]
        picture.axis("off")
        picture.set_title(name)
        _show_image(picture, image)
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


def accuracies_by_setup(runs: pd.DataFrame) -> Figure:
    """The test accuracy of every run of a study, a line for each setup, a panel for each dataset.

    Args:
        runs: see `src.results.summarise`.
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
        axes.text(1.005, row, f"{f1:.3f}", transform=axes.get_yaxis_transform(), va="center")
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
    _show_tiles(first, [pixels[None]], columns, cmap="gray", vmin=pixels.min(), vmax=pixels.max())
    first.set_yticks([len(pixels) / 2], ["network\ninput"])
    before = None
    for axes, (name, channels) in zip(grid, rows, strict=True):
        # One scale for all channels of a layer, so that a silent channel looks silent.
        low, high = float(maps[name].min()), float(maps[name].max())
        _show_tiles(axes, [channels], columns, cmap="viridis", vmin=low, vmax=high)
        if name != before:
            size = channels.shape[1]
            axes.set_yticks([size / 2], [f"{name}\n{size}×{size}"])
        before = name
    shown = predictions[predictions["index"] == examples.mapped].iloc[0]
    figure.suptitle(
        f"Feature maps of test image {examples.mapped}: actual {shown['actual']}, "
        f"predicted {shown['predicted']} ({shown['confidence']:.1%})"
    )
    return figure


def predicted_examples(examples: Examples, predictions: pd.DataFrame) -> Figure:
    """The most confident mistakes, then a row of correct predictions, one of each class."""
    shown = predictions.set_index("index").loc[examples.indices]
    right = (shown["actual"] == shown["predicted"]).to_numpy()
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
        _show_tiles(axes, [examples.images[band]], columns, cmap="gray", vmin=0, vmax=255)
        for column, position in enumerate(band):
            prediction = shown.iloc[position]
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


# Pixels between the images of a row.
GAP = 2


def _show_tiles(
    axes: Axes, rows: list[np.ndarray], columns: int, *, cmap: str, vmin: float, vmax: float
) -> None:
    """Rows of at most `columns` equally large images, as one picture: axes for each would take seconds."""
    size = rows[0].shape[1]
    tiles = np.full((len(rows) * (size + GAP) - GAP, columns * (size + GAP) - GAP), np.nan)
    for row, images in enumerate(rows):
        for column, image in enumerate(images):
            top, left = row * (size + GAP), column * (size + GAP)
            tiles[top : top + size, left : left + size] = image
    axes.imshow(tiles, cmap=cmap, vmin=vmin, vmax=vmax, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _show_image(axes: Axes, image: np.ndarray) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
