"""The figures, drawn from tables in the shape that the stages write; text must neither overlap nor be cut."""

from __future__ import annotations

import functools
import itertools
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from src.data.fashionmnist import CLOTHES
from src.data.splits import ImageFormat, Split, label_type
from src.evaluation.examples import Examples
from src.evaluation.metrics import (
    Evaluation,
    evaluate,
    first_correct_of_each_class,
    most_confident_mistakes,
)
from src.figures import evaluation, images, training
from src.figures.style import BLUE, GAP, VERMILION, label, labels
from tests.conftest import ROOT


def evaluated(mistakes: int, count: int = 10_000) -> Evaluation:
    labels = np.arange(count) % 10
    logits = np.random.default_rng(0).normal(size=(count, 10)) * 0.1
    logits[np.arange(count), labels] += 8
    logits[np.arange(mistakes), (labels[:mistakes] + 5) % 10] += 20
    return evaluate(logits, labels, CLOTHES)


def examples(predictions: pd.DataFrame) -> Examples:
    shown = pd.concat([most_confident_mistakes(predictions, 20), first_correct_of_each_class(predictions)])
    shapes = {"conv1": (6, 28, 28), "act1": (6, 28, 28), "conv2": (16, 10, 10), "act2": (16, 10, 10)}
    generator = np.random.default_rng(0)
    return Examples(
        indices=shown["index"].to_numpy(),
        images=generator.integers(0, 256, (len(shown), 28, 28), dtype=np.uint8),
        mapped=int(shown["index"].iloc[-1]),
        network_input=generator.normal(size=(32, 32)).astype(np.float32),
        feature_maps={name: generator.normal(size=shape) for name, shape in shapes.items()},
    )


def history(epochs: int) -> pd.DataFrame:
    epoch = np.arange(epochs + 1)
    loss, accuracy = 2.3 / (epoch + 1), 1 - 0.9 / (epoch + 1)
    return pd.DataFrame(
        {
            "epoch": epoch,
            "lr": 0.1,
            "train_loss": loss,
            "val_loss": loss * 1.2,
            "train_accuracy": accuracy,
            "val_accuracy": accuracy * 0.99,
        }
    )


def steps(count: int) -> pd.DataFrame:
    step = np.arange(1, count + 1)
    return pd.DataFrame({"epoch": 1, "step": step, "train_loss": 2 / step})


def split(count: int) -> Split:
    images = np.random.default_rng(0).integers(0, 256, (count, 28, 28), dtype=np.uint8)
    return Split("FashionMNIST", CLOTHES, 0.3, 0.3, True, images, (np.arange(count) % 10).astype(np.uint8))


# A comma and quotes, a formula, an emoji and a letter that matplotlib's font lacks, and what has no end.
def names_in(predictions: pd.DataFrame) -> list[str]:
    """Those that occur, in the order of their names."""
    return sorted({*predictions["actual"], *predictions["predicted"]})


def feature_maps(chosen: Examples, predictions: pd.DataFrame) -> Figure:
    return images.feature_maps(chosen, predictions, names_in(predictions))


def predicted_examples(chosen: Examples, predictions: pd.DataFrame) -> Figure:
    return images.predicted_examples(chosen, predictions, names_in(predictions))


LONG = "a name for which no axis has any room"
ALIKE = [f"photograph of table {number} that was taken in the kitchen" for number in range(9)]
HARD_NAMES = ['a,"b"', "$x_1$ and $y$", "pizza 🍕", "猫", f"{LONG} at all", f"{LONG} either"]


@functools.cache
def many(classes: int, channels: int = 1) -> tuple[Split, Evaluation, Examples]:
    """A split of so many classes with predictions, 60 of them wrong, and examples."""
    names = (
        ALIKE
        if classes == len(ALIKE)
        else [*HARD_NAMES, *(f"class {code}" for code in range(classes))][:classes]
    )
    image_format = ImageFormat(32 if channels == 3 else 28, channels)
    generator, count = np.random.default_rng(0), max(400, 2 * classes)
    labels = (np.arange(count) % classes).astype(label_type(classes))
    pixels = generator.integers(0, 256, (count, *image_format.shape), dtype=np.uint8)
    logits = generator.normal(size=(count, classes)) * 0.1
    logits[np.arange(count), labels] += 8
    logits[np.arange(60), (labels[:60] + 1) % classes] += 20
    found = evaluate(logits, labels, names)
    correct = first_correct_of_each_class(found.predictions).head(30)
    shown = pd.concat([most_confident_mistakes(found.predictions, 20), correct])["index"].to_numpy()
    maps = {f"conv{number}": generator.normal(size=(96, 5, 5)) for number in range(20)}
    last = int(shown[-1])
    network_input = (pixels[last] / 255 - 0.5).astype(np.float32)
    split = Split("Own", names, 0.5, 0.3, False, pixels, labels, image_format)
    return split, found, Examples(shown, pixels[shown], last, network_input, maps)


SOME, NONE = evaluated(mistakes=500), evaluated(mistakes=0)
DRAWN: dict[str, Callable[[], Figure]] = {
    "samples": lambda: images.sample_images(split(200), "FashionMNIST: training split"),
    "few samples": lambda: images.sample_images(split(13), "FashionMNIST: validation split"),
    "learning curves": lambda: training.learning_curves(history(15), best_epoch=12),
    "learning curves of one epoch": lambda: training.learning_curves(history(1), best_epoch=0),
    "steps": lambda: training.step_losses(steps(5000)),
    "one step": lambda: training.step_losses(steps(1)),
    "confusion": lambda: evaluation.confusion_matrix(SOME.confusion),
    "reliability": lambda: evaluation.reliability_diagram(SOME.calibration, SOME.metrics["ece"]),
    "reliability, all right": lambda: evaluation.reliability_diagram(NONE.calibration, NONE.metrics["ece"]),
    "per class": lambda: evaluation.per_class_f1(SOME.per_class),
    "per class, all right": lambda: evaluation.per_class_f1(NONE.per_class),
    "feature maps": lambda: feature_maps(examples(SOME.predictions), SOME.predictions),
    "predicted": lambda: predicted_examples(examples(SOME.predictions), SOME.predictions),
    "predicted, all right": lambda: predicted_examples(examples(NONE.predictions), NONE.predictions),
}
WIDE = ["W" * 30, *(f"class {code:02d} with a long name" for code in range(29))]
DRAWN["samples of wide names"] = lambda: images.sample_images(
    replace(many(30)[0], class_names=WIDE), "Own: training split"
)
for classes, most, name in (
    (10, 123_456, "class {} with a name of 35 letters"),
    (16, 12_345, "class {} with a name of 35 letters"),
    (20, 12_345, "class {} with a name of 35 letters"),
    (25, 12_345, "CLASS {} WITH A NAME OF WIDE LETTERS"),
    (30, 1, "1{:02d}"),
):
    pairs = itertools.product((name.format(code) for code in range(classes)), repeat=2)
    DRAWN[f"confusion of {classes} classes, {most:,} images each"] = functools.partial(
        evaluation.confusion_matrix, pd.DataFrame(pairs, columns=["actual", "predicted"]).assign(count=most)
    )
SIZES = ((3, 3), (len(ALIKE), 1), (26, 3), (100, 1), (1000, 3))
DRAWN["feature maps of many layers"] = lambda: feature_maps(many(26, 3)[2], many(26, 3)[1].predictions)
for classes, channels in SIZES:
    what, made = f"of {classes} classes, {channels} channels", functools.partial(many, classes, channels)
    DRAWN |= {
        f"samples {what}": lambda made=made: images.sample_images(made()[0], "Own: training split"),
        f"confusion {what}": lambda made=made: evaluation.confusion_matrix(made()[1].confusion),
        f"per class {what}": lambda made=made: evaluation.per_class_f1(made()[1].per_class),
        f"predicted {what}": lambda made=made: predicted_examples(made()[2], made()[1].predictions),
    }


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if "100 classes" in name else []) for name in DRAWN]
)
def test_text_is_inside_the_figure_and_does_not_overlap(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = DRAWN[name]()
    canvas = FigureCanvasAgg(figure)
    figure.draw_without_rendering()  # as where a figure is saved: it is laid out twice

    # Draw and note which texts are drawn: an axis keeps labels for ticks beyond its ends.
    boxes: list[tuple[Text, Bbox]] = []
    draw = Text.draw

    def note_and_draw(text: Text, renderer: RendererBase) -> None:
        draw(text, renderer)
        if text.get_visible() and text.get_text().strip():
            boxes.append((text, text.get_window_extent(renderer)))

    monkeypatch.setattr(Text, "draw", note_and_draw)
    canvas.draw()
    assert np.asarray(canvas.buffer_rgba())[..., :3].std() > 5, "something is drawn"
    assert boxes
    for text, box in boxes:
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
        assert inside, f"{text.get_text()!r} is cut"
    # Slanted text is left out: its upright box is mostly empty.
    upright = [(text, box) for text, box in boxes if text.get_rotation() % 90 == 0]
    for (first, box), (second, other) in itertools.combinations(upright, 2):
        overlap = box.padded(-1).overlaps(other.padded(-1))
        assert not overlap, f"{first.get_text()!r} overlaps {second.get_text()!r}"


def test_a_users_settings_for_matplotlib_change_no_picture(tmp_path: Path) -> None:
    program = (
        "import pandas as pd; from pathlib import Path; from src.figures import style, training;"
        "steps = pd.DataFrame({'epoch': 1, 'step': [1, 2], 'train_loss': [2.0, 1.0]});"
        "style.save(training.step_losses(steps), Path('made.png'))"
    )
    made = []
    for settings in ("", "font.size: 14\naxes.grid: True\nfont.family: monospace\n"):
        (tmp_path / "matplotlibrc").write_text(settings)  # in the folder in which a program runs it counts
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        subprocess.run((sys.executable, "-c", program), cwd=tmp_path, env=environment, check=True)
        made.append((tmp_path / "made.png").read_bytes())
    assert made[0] == made[1]


def test_no_two_classes_of_a_figure_have_one_name() -> None:
    split, found, chosen = many(len(ALIKE))
    (samples,) = images.sample_images(split, "Own").axes
    matrix = evaluation.confusion_matrix(found.confusion).axes[0]
    (scores,) = evaluation.per_class_f1(found.per_class).axes
    for ticks in (
        *(samples.get_yticklabels(), scores.get_yticklabels()),
        *(matrix.get_xticklabels(), matrix.get_yticklabels()),
    ):
        assert len({tick.get_text() for tick in ticks}) == len(ALIKE)
    for axes in predicted_examples(chosen, found.predictions).axes[:4]:
        for text in axes.texts:
            actual, predicted = text.get_text().rsplit("\n", 1)[0].split(" →\n")
            assert actual != predicted
    title = feature_maps(chosen, found.predictions).get_suptitle()
    assert re.search(r"actual photo.*…kitchen #(\d), predicted photo.*…kitchen #\1 ", title)
    assert list(labels(["one", *ALIKE[:2]], longest=14).values()) == [
        "one",
        "photogr…hen #2",
        "photogr…hen #3",
    ]


def test_the_curves_are_those_of_the_history() -> None:
    rows = history(5)
    figure = training.learning_curves(rows, best_epoch=4)
    loss, accuracy = figure.axes
    np.testing.assert_array_equal(loss.lines[0].get_ydata(), rows["train_loss"])
    np.testing.assert_array_equal(loss.lines[1].get_ydata(), rows["val_loss"])
    np.testing.assert_allclose(accuracy.lines[1].get_ydata(), rows["val_accuracy"] * 100)
    for axes in (loss, accuracy):
        assert [line.get_label() for line in axes.lines] == ["training", "validation", "best: epoch 4"]
        for line in axes.lines[:2]:
            np.testing.assert_array_equal(line.get_xdata(), rows["epoch"])
        assert list(axes.lines[2].get_xdata()) == [4, 4], "the best epoch is marked"
    assert [axes.get_ylabel() for axes in (loss, accuracy)] == ["Loss (nats per image)", "Accuracy (%)"]
    assert f"{rows['val_accuracy'][4]:.2%}" in figure.get_suptitle()


@pytest.mark.parametrize(("epochs", "marker"), [(12, "o"), (60, "o"), (61, "None"), (200, "None")])
def test_marks_do_not_hide_the_curve_of_many_epochs(epochs: int, marker: str) -> None:
    for axes in training.learning_curves(history(epochs), best_epoch=3).axes:
        assert axes.lines[0].get_marker() == marker


@pytest.mark.parametrize("count", [1, 2, 6, 240])
def test_there_are_no_halves_of_steps(count: int) -> None:
    (axes,) = training.step_losses(steps(count)).axes
    assert all(place == round(place) for place in axes.get_xticks())


def test_losses_of_steps_are_smoothed_over_a_few_of_them() -> None:
    rows = steps(2000)
    lines = training.step_losses(rows).axes[0].lines
    np.testing.assert_array_equal(lines[0].get_ydata(), rows["train_loss"])
    assert [line.get_label() for line in lines] == ["each step", "smoothed over about 100 steps"]
    for line in lines:
        np.testing.assert_array_equal(line.get_xdata(), rows["step"])
    smooth = pd.Series(np.asarray(lines[-1].get_ydata()))
    assert smooth.iloc[-1] == pytest.approx(rows["train_loss"].iloc[-1], rel=0.05)


def test_a_bin_of_predictions_has_its_accuracy_and_interval() -> None:
    bins = pd.DataFrame(
        {
            "lower": [0.6, 0.8],
            "upper": [0.8, 1.0],
            "count": [3, 40],
            "confidence": [0.7, 0.95],
            "accuracy": [0.5, 0.9],
            "accuracy_low": [0.1, 0.8],
            "accuracy_high": [0.7, 0.95],
        }
    )
    figure = evaluation.reliability_diagram(bins, 0.0625)
    upper, lower = figure.axes
    drawn: Any = upper.containers[0]
    points, _, (intervals,) = drawn.lines
    assert (list(points.get_xdata()), list(points.get_ydata())) == ([0.7, 0.95], [0.5, 0.9])
    ends = [np.asarray(segment, float).round(6).tolist() for segment in intervals.get_segments()]
    assert ends == [[[0.7, 0.1], [0.7, 0.7]], [[0.95, 0.8], [0.95, 0.95]]]
    bars: Any = lower.patches
    assert [(bar.get_x(), bar.get_height()) for bar in bars] == [(0.6, 3), (0.8, 40)]
    assert figure.get_suptitle() == "Reliability: expected calibration error 6.25%"
    diagonal = next(line for line in upper.lines if line.get_label() == "perfectly calibrated")
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata()) == [0, 1]
    assert (upper.get_ylabel(), lower.get_ylabel()) == ("Accuracy", "Test images")
    assert lower.get_xlabel() == "Confidence of the predicted class"


def test_the_confusion_matrix_says_its_counts() -> None:
    axes = evaluation.confusion_matrix(SOME.confusion).axes[0]
    written = {tuple(map(round, text.get_position())): text.get_text() for text in axes.texts}
    assert written[0, 0] == "950"
    assert written[5, 0] == "50"
    colours = {tuple(map(round, text.get_position())): text.get_color() for text in axes.texts}
    assert (colours[0, 0], colours[5, 0]) == ("white", "black"), "what is dark has a bright count"
    assert (1, 0) not in written, "a count of zero is left blank"
    assert axes.get_title() == "Test images: 9,500 of 10,000 right (95.00%)"


def test_rows_of_the_confusion_matrix_are_actual_classes() -> None:
    # Of 10 cats 3 are classified as dogs, of 5 dogs none as a cat.
    labels, predicted = np.array([0] * 10 + [1] * 5), np.array([0] * 7 + [1] * 8)
    axes = evaluation.confusion_matrix(evaluate(np.eye(2)[predicted], labels, ["cat", "dog"]).confusion).axes[
        0
    ]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Predicted class", "Actual class")
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [tick.get_text() for tick in ticks] == ["cat", "dog"]
    written = {tuple(map(round, text.get_position())): text.get_text() for text in axes.texts}
    assert written == {(0, 0): "7", (1, 0): "3", (1, 1): "5"}, "x is the predicted class, y the actual one"
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.7, 0.3], [0, 1]])


def test_precision_and_recall_are_not_swapped() -> None:
    # Of the same predictions: 3 of 8 dogs are cats, and 3 of 10 cats are missed.
    labels, predicted = np.array([0] * 10 + [1] * 5), np.array([0] * 7 + [1] * 8)
    figure = evaluation.per_class_f1(evaluate(np.eye(2)[predicted], labels, ["cat", "dog"]).per_class)
    (axes,) = figure.axes
    drawn = {line.get_label(): list(line.get_xdata()) for line in axes.lines}
    assert drawn.pop("F1") == pytest.approx([14 / 17, 10 / 13])
    assert drawn == {"precision": [1, 5 / 8], "recall": [7 / 10, 1]}
    between: Any = axes.collections[0]
    ends = [segment.tolist() for segment in between.get_segments()]
    assert ends == [[[1, 0], [7 / 10, 0]], [[5 / 8, 1], [1, 1]]]
    assert all(list(line.get_ydata()) == [0, 1] for line in axes.lines)
    assert [text.get_text() for text in axes.texts] == ["0.824", "0.769"]
    assert axes.get_ylim() == (1.5, -0.5), "whole rows, the first one above"
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    handles = dict(zip(named, figure.legends[0].legend_handles, strict=True))
    for line in axes.lines:
        shown = handles[line.get_label()]
        assert (shown.get_marker(), shown.get_color()) == (line.get_marker(), line.get_color())
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["cat  (10)", "dog  (5)"]


def test_a_class_without_images_is_not_drawn_as_if_it_had_been_measured() -> None:
    labels = np.array([0, 0, 1])
    (axes,) = evaluation.per_class_f1(
        evaluate(np.eye(3)[labels], labels, ["cat", "dog", "emu"]).per_class
    ).axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["cat  (2)", "dog  (1)"]


def test_every_channel_of_every_map_is_shown() -> None:
    chosen = examples(SOME.predictions)
    shown = []
    scales = []
    for axes in feature_maps(chosen, SOME.predictions).axes:
        if not axes.images:
            scales.append([tick.get_text() for tick in axes.get_yticklabels()])
            continue
        row = np.ma.filled(axes.images[0].get_array(), np.nan)
        size = len(row)
        tiles = [row[:, left : left + size] for left in range(0, row.shape[1], size + GAP)]
        shown += [tile for tile in tiles if not np.isnan(tile).any()]
    wanted = [chosen.network_input, *(channel for maps in chosen.feature_maps.values() for channel in maps)]
    assert len(shown) == len(wanted) == 1 + 6 + 6 + 16 + 16
    assert all(np.array_equal(tile, channel) for tile, channel in zip(shown, wanted, strict=True))
    layers = [chosen.network_input, *chosen.feature_maps.values()]
    assert scales == [[f"{layer.min():.2g}", f"{layer.max():.2g}"] for layer in layers]


def test_every_example_is_shown_with_its_prediction() -> None:
    chosen = examples(SOME.predictions)
    figure = predicted_examples(chosen, SOME.predictions)
    shown, colours = [], []
    for axes in figure.axes:
        row = np.ma.filled(axes.images[0].get_array(), np.nan)
        for text in axes.texts:  # centred above its image
            left = round(text.get_position()[0] - (len(row) - 1) / 2)
            shown.append((text.get_text(), row[:, left : left + len(row)]))
            colours.append(text.get_color())
    assert len(shown) == len(chosen.indices) == 30
    predictions = SOME.predictions.set_index("index").loc[chosen.indices]
    for (caption, tile), image, (_, wanted) in zip(shown, chosen.images, predictions.iterrows(), strict=True):
        np.testing.assert_array_equal(tile, image)
        for part in (wanted["actual"], wanted["predicted"], f"{wanted['confidence']:.1%}"):
            assert part in caption
    assert colours == [VERMILION] * 20 + [BLUE] * 10
    assert figure.get_suptitle() == (
        "Test images: most confident mistakes (orange)\n"
        "and a correct prediction of each class (blue): actual → predicted, confidence"
    )


def test_where_nothing_is_wrong_or_nothing_right_it_is_said() -> None:
    title = predicted_examples(examples(NONE.predictions), NONE.predictions).get_suptitle()
    assert "no mistake" in title
    right = SOME.predictions[SOME.predictions["actual"] == SOME.predictions["predicted"]].head(1)
    one = pd.concat([right, SOME.predictions[SOME.predictions["actual"] != SOME.predictions["predicted"]]])
    assert "a correct prediction of 1 class (blue)" in predicted_examples(examples(one), one).get_suptitle()
    every = SOME.predictions[SOME.predictions["actual"] != SOME.predictions["predicted"]]
    title = predicted_examples(examples(every), every).get_suptitle()
    assert title.endswith("and no correct prediction: actual → predicted, confidence")


def test_a_name_is_shown_as_it_is_written_or_in_words() -> None:
    assert [label(name) for name in ("T-shirt/top", "naïve ☃", "猫", "🍕🍕")] == [
        "T-shirt/top",
        "naïve ☃",
        "[U+732B]",
        "[slice of pizza…f pizza]",
    ]
    assert label(f"{LONG} at all") != label(f"{LONG} either"), "names that begin alike"
    assert label("a\nb") == "a[U+000A]b"
    assert len(label("x" * 100)) == 24
    figure = Figure()
    drawn = figure.text(0, 0, label("$x_1$ costs 5$"))
    renderer = FigureCanvasAgg(figure).get_renderer()
    plain = figure.text(0, 0, "$x_1$ costs 5$", parse_math=False)
    assert drawn.get_window_extent(renderer).width == plain.get_window_extent(renderer).width


@pytest.mark.parametrize("name", ["חתול", "قطة"])
def test_text_after_a_name_written_from_right_to_left_is_to_its_right(name: str) -> None:
    def drawn(text: str) -> np.ndarray:
        figure = Figure(figsize=(4, 1))
        figure.text(0, 0.5, text)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., 0]

    alone, before_another = drawn(name), drawn(f"{label(name)} → {label('כלב')}: 5 of 27")
    width = np.flatnonzero((alone < 255).any(axis=0)).max()
    np.testing.assert_array_equal(before_another[:, :width], alone[:, :width])
    before_latin = drawn(f"{label(name)} → dog: 5 of 27")
    np.testing.assert_array_equal(before_latin[:, :width], alone[:, :width])


def test_a_matrix_of_many_classes_names_its_most_frequent_mistakes() -> None:
    labels, predicted = np.repeat(np.arange(100), 3), np.repeat(np.arange(100), 3)
    predicted[9:12], predicted[6] = 90, 91
    found = evaluate(np.eye(100)[predicted], labels, [f"c{code}" for code in range(100)])
    assert len(found.confusion) == 102, "pairs that do not occur are left out"
    matrix, beside, _ = evaluation.confusion_matrix(found.confusion).axes
    assert not matrix.texts
    assert [text.get_text() for text in beside.texts] == ["c3 → c90: 3 of 3\nc2 → c91: 1 of 3"]
    drawn = matrix.images[0].get_array()
    assert (drawn[3, 90], drawn[3, 3], drawn[0, 0]) == (1, 0, 1)
    assert drawn[2, 91] == pytest.approx(1 / 3)
    for axis in (matrix.xaxis, matrix.yaxis):
        shown = zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)
        assert {place: text.get_text() for place, text in shown} == {
            place: f"c{place}" for place in range(0, 100, 4)
        }


def test_of_many_classes_the_worst_are_shown_and_no_class_without_images() -> None:
    labels = np.repeat(np.arange(1, 30), 4)
    predicted = labels.copy()
    predicted[labels == 17] = 18
    found = evaluate(np.eye(30)[predicted], labels, [f"c{code}" for code in range(30)])
    assert found.per_class["support"][0] == 0
    (axes,) = evaluation.per_class_f1(found.per_class).axes
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert names[:3] == ["c17  (4)", "c18  (4)", "c1  (4)"]
    assert len(names) == 20


def test_rows_of_samples_fill_the_figure_beside_long_names() -> None:
    figure = DRAWN["samples of wide names"]()
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert axes.get_position().height > 0.95


def test_a_training_of_one_step_has_a_mark() -> None:
    assert [line.get_marker() for line in training.step_losses(steps(1)).axes[0].lines] == ["o", "o"]
    assert [line.get_marker() for line in training.step_losses(steps(2)).axes[0].lines] == ["None", "None"]


def test_of_many_classes_some_have_a_row_of_samples() -> None:
    split, *_ = many(100)
    (axes,) = images.sample_images(split, "Own").axes
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert (len(names), names[0], names[-1]) == (30, label(split.class_names[0]), split.class_names[-1])
    row = np.ma.filled(axes.images[0].get_array(), np.nan)[-28:, :28]
    np.testing.assert_array_equal(row, split.images[split.labels == 99][0])


def test_colours_stay_colours() -> None:
    split, found, chosen = many(3, channels=3)
    (axes,) = images.sample_images(split, "Own").axes
    tile = axes.images[0].get_array()[:32, :32]
    np.testing.assert_allclose(tile, split.images[0] / 255)
    first = predicted_examples(chosen, found.predictions).axes[0]
    np.testing.assert_allclose(first.images[0].get_array()[:, :32], chosen.images[0] / 255)
    fed = feature_maps(chosen, found.predictions).axes[0].images[0].get_array()[:, :32]
    low, high = chosen.network_input.min(), chosen.network_input.max()
    np.testing.assert_allclose(fed, (chosen.network_input - low) / (high - low), rtol=1e-6)
    only_fed = feature_maps(replace(chosen, feature_maps={}), found.predictions)
    assert len(only_fed.axes) == 1, "of colours there is no scale"
    figure = images.predicted_pictures([(split.images[0], split.images[1])], ["an answer"])
    for axes, image in zip(figure.axes, split.images, strict=False):
        np.testing.assert_array_equal(axes.images[0].get_array(), image)


def test_a_refused_picture_stands_with_its_reason() -> None:
    picture = np.full((120, 90), 200, np.uint8)
    figure = images.predicted_pictures([(picture, None), (None, None)], ["nothing to be seen", "damaged"])
    shown = [len(axes.images) for axes in figure.axes]
    assert shown[:4] == [1, 0, 0, 0]
    assert [axes.get_title(loc="left") for axes in figure.axes[:4]] == [
        "nothing to be seen",
        "",
        "damaged",
        "",
    ]


def test_correct_predictions_of_many_classes_have_several_rows() -> None:
    _, found, chosen = many(26)
    figure = predicted_examples(chosen, found.predictions)
    assert [len(axes.texts) for axes in figure.axes] == [5, 5, 5, 5, 5, 5, 5, 5, 5, 1]
    assert "a correct prediction of each class" in figure.get_suptitle()
    _, found, chosen = many(100)
    assert "of 30 classes" in predicted_examples(chosen, found.predictions).get_suptitle()


def test_a_network_without_maps_still_has_an_input() -> None:
    _, found, chosen = many(3)
    axes, _ = feature_maps(replace(chosen, feature_maps={}), found.predictions).axes
    assert axes.get_yticklabels()[0].get_text() == "network input\n1 × 28 × 28"
