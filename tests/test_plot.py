"""What stage `plot` draws its figures from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from src.data.splits import load_split
from src.runtime.paths import HISTORY, TEST_METRICS, TRAIN_METRICS, TRAIN_SPLIT, VAL_SPLIT
from stages import plot
from tests.conftest import Clone


def test_each_figure_is_of_its_split_and_metric(
    reproduced: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(reproduced.path)
    monkeypatch.delenv("TRACKERS", raising=False)
    monkeypatch.setattr(plot, "track_plots", lambda *_: None)
    trained, tested = (json.loads(path.read_text()) for path in (TRAIN_METRICS, TEST_METRICS))
    (tmp_path / "train.json").write_text(json.dumps(trained | {"best_epoch": 1, "epochs": 2}))
    monkeypatch.setattr(plot, "TRAIN_METRICS", tmp_path / "train.json")
    drawn: dict[str, Figure] = {}
    monkeypatch.setattr(plot, "save", lambda figure, path: drawn.update({path.stem: figure}))
    plot.main()
    for name, path, part in (
        ("samples_train", TRAIN_SPLIT, "training"),
        ("samples_val", VAL_SPLIT, "validation"),
    ):
        split = load_split(path)
        (axes,) = drawn[name].axes
        tile = np.ma.filled(axes.images[0].get_array(), np.nan)[:28, :28]
        np.testing.assert_array_equal(tile, split.images[split.labels == 0][0])
        assert drawn[name].get_suptitle() == f"Digits: {part} split"
    accuracy = pd.read_csv(HISTORY)["val_accuracy"]
    assert drawn["learning_curves"].get_suptitle().endswith(f": {accuracy[1]:.2%}")
    assert drawn["reliability_diagram"].get_suptitle().endswith(f"calibration error {tested['ece']:.2%}")
    (right,) = {axes.get_title() for axes in drawn["confusion_matrix"].axes if axes.get_title()}
    assert right.endswith(f"right ({tested['accuracy']:.2%})")
