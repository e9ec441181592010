from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from scipy.stats import norm

from src.data.splits import save_split
from src.networks.build import build_model, predict_logits
from src.networks.model_file import TrainedModel, save_model
from src.params import Params
from src.runtime.errors import UserError
from src.runtime.paths import MODEL, VAL_SPLIT
from studies.robustness import measure
from studies.robustness.corruptions import CORRUPTIONS, corrupt, robustness
from studies.robustness.figure import robustness as robustness_figure
from studies.robustness.table import by_strength
from tests.conftest import bright_squares

NAMES = list(CORRUPTIONS)


def test_a_model_of_another_dataset_is_refused(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    split, network = bright_squares(2), build_model(params.network(), seed=0, num_classes=4)
    facts = ("Circles", split.class_names, 0.5, 0.3, params.network(), 0)
    save_model(TrainedModel(*facts, network.state_dict(), split.format), MODEL)
    save_split(split, VAL_SPLIT)
    with pytest.raises(UserError, match=rf"^{MODEL} was trained on Circles, {VAL_SPLIT} holds Squares$"):
        measure.main()


def test_the_first_row_is_of_what_the_network_answers(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    split, network = bright_squares(5), build_model(params.network(), seed=0, num_classes=4)
    facts = (split.dataset, split.class_names, 0.15, 0.25, params.network(), 0)
    trained = TrainedModel(*facts, network.state_dict(), split.format)
    answers = predict_logits(network, trained.prepare_input(torch.from_numpy(split.images))).argmax(1)
    labels = answers.numpy().astype(np.uint8)
    labels[:3] = (labels[:3] + 1) % 4  # on all but these the network is right
    save_model(trained, MODEL)
    save_split(replace(split, labels=labels), VAL_SPLIT)
    drawn: list[dict[str, np.ndarray]] = []

    def noted(table: pd.DataFrame, pictures: dict[str, np.ndarray]) -> Figure:
        drawn.append(pictures)
        return robustness_figure(table, pictures)

    monkeypatch.setattr(measure, "robustness_figure", noted)
    measure.main()
    first = torch.from_numpy(split.images[:1])
    for name in NAMES:
        np.testing.assert_array_equal(drawn[0][name], corrupt(first, name, 3, seed=0)[0])
    row = pd.read_csv("studies/robustness/accuracy.csv").iloc[0]
    assert row[["corruption", "images", "accuracy"]].tolist() == ["none", 20, 17 / 20]


def images(count: int = 200) -> torch.Tensor:
    """Black, with one bright square in the middle of each."""
    pictures = torch.zeros(count, 28, 28, dtype=torch.uint8)
    pictures[:, 10:18, 10:18] = 200
    return pictures


def centre(pictures: torch.Tensor) -> torch.Tensor:
    """Of mass, [N, 2]: row and column."""
    weights = pictures.double() / pictures.double().sum((1, 2), keepdim=True)
    places = torch.arange(28, dtype=torch.float64)
    return torch.stack([(weights.sum(2) * places).sum(1), (weights.sum(1) * places).sum(1)], dim=1)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_images_and_every_strength_is_further_off(name: str) -> None:
    whole = images()
    distances = []
    for strength in range(1, 6):
        worse = corrupt(whole, name, strength, seed=3)
        assert worse.dtype == torch.uint8
        assert worse.shape == whole.shape
        assert torch.equal(worse, corrupt(whole, name, strength, seed=3))
        distances.append((worse.double() - whole).abs().mean().item())
    assert distances[0] > 0
    if name != "rotation":  # a square is the same again after a quarter of a turn
        assert distances == sorted(set(distances))
    assert torch.equal(whole, images()), "the images themselves are left alone"


def test_shifts_by_whole_pixels_in_four_directions() -> None:
    moved = centre(corrupt(images(), "shift", 4, seed=0)) - centre(images())
    assert {tuple(move) for move in moved.round().int().tolist()} == {(0, 4), (4, 0), (0, -4), (-4, 0)}
    other = centre(corrupt(images(), "shift", 4, seed=1)) - centre(images())
    assert not torch.equal(moved, other)
    weaker = centre(corrupt(images(), "shift", 1, seed=0)) - centre(images())
    torch.testing.assert_close(moved, 4 * weaker)


def test_rotates_to_both_sides_by_the_degrees_it_says() -> None:
    bar = torch.zeros(50, 28, 28, dtype=torch.uint8)
    bar[:, 13:15, 4:24] = 255
    for strength in range(1, 6):
        turned = corrupt(bar, "rotation", strength, seed=0)
        angles = set()
        for picture in turned.numpy():
            (across, mixed), (_, down) = np.cov(np.nonzero(picture > 100)[::-1])
            angles.add(round(np.degrees(np.arctan2(2 * mixed, across - down) / 2)))  # of the longer axis
        assert {abs(angle) for angle in angles} <= {10 * strength + off for off in (-1, 0, 1)}
        assert min(angles) < 0 < max(angles)
    assert set(turned.unique().tolist()) > {0, 255}, "interpolated: its edges are grey"


def test_noise_blur_and_contrast_have_their_amounts() -> None:
    grey = torch.full((50, 28, 28), 128, dtype=torch.uint8)
    for strength, (deviation, kept) in enumerate(
        [(0.1, 0.8), (0.2, 0.6), (0.3, 0.4), (0.4, 0.2), (0.5, 0.1)], start=1
    ):
        noisy = corrupt(grey, "noise", strength, seed=0).numpy() / 255
        low, high = np.quantile(noisy, norm.cdf([-0.9, 0.9]))  # of what is not cut off at black and white
        assert (high - low) / 1.8 == pytest.approx(deviation, rel=0.02)
        pale = corrupt(images(1), "contrast", strength, seed=0).double()
        assert (pale.max() - pale.min()).item() == pytest.approx(kept * 200, abs=1)
    # 64 pixels of 200 among 784 have a mean of 16.3: 0.4 · 16.3 = 6.5, and 0.6 · 200 more of the square.
    assert corrupt(images(1), "contrast", 2, seed=0).unique().tolist() == [7, 127], "rounded, not cut off"
    dot = torch.zeros(1, 28, 28, dtype=torch.uint8)
    dot[0, 14, 14] = 255
    blurred = corrupt(dot, "blur", 2, seed=0)
    assert blurred.max().item() == pytest.approx(255 / (2 * np.pi), rel=0.05)


def test_the_table_has_a_row_for_every_strength_and_begins_with_the_images_as_they_are() -> None:
    split = bright_squares(5)
    pictures, labels = torch.from_numpy(split.images), torch.from_numpy(split.labels)

    seen: list[torch.Tensor] = []

    def classify(shown: torch.Tensor) -> torch.Tensor:
        seen.append(shown)
        quarters = shown.float().unfold(1, 14, 14).unfold(2, 14, 14).mean((3, 4))
        return quarters.flatten(1).argmax(1)

    table = robustness(classify, pictures, labels, seed=0)
    assert len(table) == 1 + 5 * 5
    for row, pictures_of_row in zip(table.to_dict("records")[1:], seen[1:], strict=True):
        # The same seed at every strength.
        assert torch.equal(pictures_of_row, corrupt(pictures, row["corruption"], row["strength"], seed=0))
    assert table.iloc[0][["corruption", "strength", "accuracy"]].tolist() == ["none", 0, 1.0]
    assert table["images"].unique().tolist() == [20]
    assert table.groupby("corruption")["strength"].apply(list)["noise"] == [1, 2, 3, 4, 5]
    # What moves by up to 5 of 14 pixels stays mostly in its quarter.
    assert table[table["corruption"] == "shift"]["accuracy"].min() > 0.5
    shown = by_strength(table)
    assert list(shown["corruption"]) == list(CORRUPTIONS)
    assert list(shown.columns[:4]) == ["corruption", "in", "clean", "strength 1"]
    assert set(shown["clean"]) == {"100.00%"}
    blurred = table[(table["corruption"] == "blur") & (table["strength"] == 5)].iloc[0]
    row = shown[shown["corruption"] == "blur"].iloc[0]
    assert row["in"] == "standard deviation, in pixels"
    assert row["strength 5"] == f"{blurred['accuracy']:.2%} (2.5)"


def test_a_curve_begins_with_the_images_as_they_are() -> None:
    rows = [("none", 0, 0.9), ("blur", 1, 0.8), ("blur", 2, 0.5), ("noise", 1, 0.7), ("noise", 2, 0.6)]
    table = pd.DataFrame(rows, columns=["corruption", "strength", "accuracy"])
    table = table.assign(amount=table["strength"] / 2, unit="pixels", images=20)
    pictures = {name: np.zeros((28, 28), np.uint8) for name in ("blur", "noise")}
    drawn = robustness_figure(table, pictures).axes[2:]
    shown = [list(axes.lines[0].get_ydata()) for axes in drawn]
    assert shown == [pytest.approx([90, 80, 50]), pytest.approx([90, 70, 60])]
    assert [tick.get_text() for tick in drawn[1].get_xticklabels()] == ["as is", "0.5", "1"]
