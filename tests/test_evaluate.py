"""What stage `evaluate` writes of the two splits that it predicts."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from tests.conftest import Clone


def test_each_table_of_predictions_is_of_its_split(reproduced: Clone) -> None:
    for path, images, metrics, key in (
        ("plots/val_predictions.csv", 240, "metrics/train.json", "val_accuracy"),
        ("plots/predictions.csv", 360, "metrics/test.json", "accuracy"),
    ):
        table = pd.read_csv(reproduced.path / path)
        assert list(table.columns) == ["index", "actual", "predicted", "confidence"]
        assert len(table) == images
        right = (table["actual"] == table["predicted"]).mean()
        assert right == pytest.approx(json.loads(reproduced.read(metrics))[key], abs=1e-6)


def test_the_training_split_is_not_read(clone: Clone) -> None:
    written = clone.read("plots/val_predictions.csv")
    (clone.path / "data/prepared/train.npz").unlink()
    (clone.path / "plots/val_predictions.csv").unlink()
    clone.run("python", "-m", "stages.evaluate")
    assert clone.read("plots/val_predictions.csv") == written
