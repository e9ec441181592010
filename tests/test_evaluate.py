"""What stage `evaluate` writes of the two splits that it predicts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from src.data.splits import load_split, save_split
from src.evaluation.examples import load_examples, save_examples
from src.evaluation.metrics import evaluate
from src.networks.model_file import load_model, save_model
from src.networks.network import Network
from src.runtime.errors import UserError
from src.runtime.paths import MODEL, TEST_SPLIT, VAL_SPLIT
from stages import evaluate as stage
from stages.evaluate import choose_examples
from tests.conftest import Clone, bright_squares, coloured_squares


def test_each_table_of_predictions_is_of_its_split(reproduced: Clone) -> None:
    for name, path, images, metrics, key in (
        ("val", "plots/val_predictions.csv", 240, "metrics/train.json", "val_accuracy"),
        ("test", "plots/predictions.csv", 360, "metrics/test.json", "accuracy"),
    ):
        table = pd.read_csv(reproduced.path / path, dtype={"image": str})
        assert list(table.columns) == ["index", "actual", "predicted", "confidence", "image"]
        split = load_split(reproduced.path / f"data/prepared/{name}.npz")
        (first, *_) = np.unique(split.images, axis=0)
        places = (split.images == first).all(axis=(1, 2))
        assert table["image"].str.fullmatch("[0-9a-f]{8}").all()
        assert (table["image"] == table["image"][int(places.argmax())]).tolist() == places.tolist()
        assert len(table) == images
        right = (table["actual"] == table["predicted"]).mean()
        assert right == pytest.approx(json.loads(reproduced.read(metrics))[key], abs=1e-6)


@pytest.mark.parametrize("other", [VAL_SPLIT, TEST_SPLIT])
def test_a_split_of_other_data_is_refused(
    reproduced: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    save_model(load_model(reproduced.path / MODEL), MODEL)
    for path in (VAL_SPLIT, TEST_SPLIT):
        save_split(bright_squares(2) if path == other else load_split(reproduced.path / path), path)
    with pytest.raises(UserError, match=rf"^{MODEL} was trained on Digits, {other} holds Squares$"):
        stage.main()


class Plain(Network):
    """A network without feature maps of its own, whose activation overwrites what a convolution gives."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act = nn.Conv2d(3, 2, 5), nn.ReLU(inplace=True)
        self.second = nn.Conv2d(2, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.second(self.act(self.first(images))).mean(dim=(2, 3))


def test_a_network_without_feature_maps_shows_its_convolutions(tmp_path: Path) -> None:
    split = coloured_squares(10)
    torch.manual_seed(0)
    network = Plain().eval()
    inputs = torch.from_numpy(split.images).permute(0, 3, 1, 2) / 255
    predictions = evaluate(np.eye(4)[split.labels], split.labels, split.class_names).predictions
    save_examples(choose_examples(predictions, split, inputs, network), tmp_path / "examples.npz")
    examples = load_examples(tmp_path / "examples.npz")
    assert {name: maps.shape for name, maps in examples.feature_maps.items()} == {
        "first": (2, 28, 28),
        "second": (4, 26, 26),
    }
    with torch.inference_mode():
        first = network.first(inputs[examples.mapped : examples.mapped + 1])[0]
    np.testing.assert_allclose(examples.feature_maps["first"], first.numpy(), rtol=1e-5, atol=1e-6)
    assert first.min() < 0, "as the convolution gives it"
    np.testing.assert_allclose(examples.network_input, split.images[examples.mapped] / 255, rtol=1e-6)
    np.testing.assert_array_equal(examples.images, split.images[examples.indices])
    save_examples(replace(examples, images=examples.images[1:]), tmp_path / "examples.npz")
    with pytest.raises(UserError, match=r"damaged \(its arrays do not fit together\); `dvc repro --force`"):
        load_examples(tmp_path / "examples.npz")


def test_of_many_classes_thirty_have_an_example() -> None:
    split = coloured_squares(1)
    predictions = evaluate(np.eye(1000), np.arange(1000), [f"{code:03}" for code in range(1000)]).predictions
    images = np.zeros((1000, *split.format.shape), np.uint8)
    found = choose_examples(predictions, replace(split, images=images), torch.zeros(1000, 3, 32, 32), Plain())
    assert found.indices.tolist() == list(range(30))
