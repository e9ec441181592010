from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from studies.benchmark.figure import accuracies_by_recipe
from studies.benchmark.page import expected
from studies.benchmark.recipes import FOLDER
from studies.benchmark.results import differences, summarise


def runs(**accuracies: list[float]) -> pd.DataFrame:
    """Rows of the recipes that are named, with seeds from 0."""
    return pd.DataFrame(
        [
            {
                "dataset": "MNIST",
                "model": "lenet5",
                "recipe": recipe,
                "seed": seed,
                "val_accuracy": accuracy - 0.01,
                "test_accuracy": accuracy,
                "test_loss": 1 - accuracy,
                "macro_f1": accuracy,
                "epochs": 10 + seed,
                "best_epoch": 9 - seed,
                "parameters": 61_706,
            }
            for recipe, values in accuracies.items()
            for seed, accuracy in enumerate(values)
        ]
    )


def test_mean_sample_deviation_and_count_in_the_order_of_the_runs() -> None:
    summary = summarise(runs(b=[0.90, 0.92, 0.97], a=[0.8]))
    assert list(summary["recipe"]) == ["b", "a"]
    first, second = summary.to_dict("records")
    assert (first["dataset"], first["model"], first["recipe"]) == ("MNIST", "lenet5", "b")
    assert (first["n"], first["epochs"], first["best_epoch"], first["parameters"]) == (3, 12, 8, 61_706)
    assert first["test_accuracy_mean"] == pytest.approx(0.93)
    # Distances from the mean: 0.03, 0.01, 0.04.
    assert first["test_accuracy_sd"] == pytest.approx(math.sqrt(0.0026 / 2))
    # Student's t with 2 degrees of freedom, 97.5 %: 4.302653.
    assert first["test_accuracy_interval"] == pytest.approx(4.302653 * math.sqrt(0.0026 / 2 / 3))
    assert first["val_accuracy_mean"] == pytest.approx(0.92)
    assert second["n"] == 1
    assert math.isnan(second["test_accuracy_sd"])
    assert math.isnan(second["test_accuracy_interval"])


def test_a_difference_is_paired_by_seed() -> None:
    (result,) = differences(runs(a=[0.90, 0.80, 0.70], b=[0.92, 0.81, 0.73]), [("a", "b")])
    assert result is not None
    assert result.n == 3
    assert result.mean == pytest.approx(0.02)
    # Student's t with 2 degrees of freedom, 97.5 %: 4.302653; of 0.02, 0.01, 0.03.
    half = 4.302653 * 0.01 / math.sqrt(3)
    assert result.interval == pytest.approx((0.02 - half, 0.02 + half), rel=1e-6)


def test_only_seeds_of_both_count() -> None:
    (result,) = differences(runs(a=[0.9, 0.8, 0.7, 0.1], b=[0.92, 0.81, 0.73]), [("a", "b")])
    assert result is not None
    assert result.n == 3
    assert differences(runs(a=[0.9], b=[0.9, 0.8]), [("a", "b"), ("a", "c")]) == [None, None]


@pytest.mark.parametrize("count", [1, 3])
def test_intervals_cover_the_truth_together_as_often_as_they_say(count: int) -> None:
    generator = np.random.default_rng(0)
    names = [f"b{number}" for number in range(count)]
    covered = 0
    for _ in range(200):
        seeds = generator.normal(0.9, 0.02, 5)
        noise = generator.normal(0, 0.003, (1 + 2 * count, 5))
        table = runs(
            **{name: list(seeds + 0.01 + each) for name, each in zip(names, noise[1:], strict=False)}
        )
        table = pd.concat([table, runs(a=list(seeds + noise[0]))])
        found = differences(table, [("a", name) for name in names])
        covered += all(each and each.interval[0] <= 0.01 <= each.interval[1] for each in found)
    assert 182 <= covered <= 198  # 95 % of 200 is 190, give or take 2.5 standard deviations; or a few more


def test_equal_accuracies_of_a_recipe_do_not_hide_each_other() -> None:
    accuracies = {"plain": [0.9, 0.91, 0.9, 0.9, 0.91], "affine": [0.9, 0.95]}
    (axes,) = accuracies_by_recipe(runs(**accuracies)).axes
    means, dots = axes.lines[::2], axes.lines[1::2]  # the dots on top
    for line, (dot, mean, values) in enumerate(zip(dots, means, accuracies.values(), strict=True)):
        places = np.asarray(dot.get_xydata())
        assert len(np.unique(places.round(9), axis=0)) == len(values)
        assert np.abs(places[:, 1] - line).max() < 0.5, "within the line of its recipe"
        for value in set(values):
            assert places[np.isclose(places[:, 0], 100 * value), 1].mean() == pytest.approx(line)
        assert np.asarray(mean.get_xydata()).tolist() == [[pytest.approx(100 * np.mean(values)), line]]


def test_what_is_expected_of_a_recipe_is_what_these_parameters_came_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = {str(row["seed"]): row for row in runs(a=[0.99, 0.98, 0.97]).to_dict("records")}
    times: dict[str, Any] = {seed: {"bits": "x86-64 AVX2", "processor_seconds": 50.0} for seed in "01234"}
    for seed, spent in (("0", 80.0), ("2", 100.0), ("4", 900.0)):
        times[seed] |= {"processor": "A", "processor_seconds": spent}
    for folder, found in (("runs", rows), ("times", times)):
        (FOLDER / folder).mkdir(parents=True)
        (FOLDER / folder / "a.json").write_text(json.dumps({"params": {"lr": 0.05}, "rows": found}))
    result = expected("a", {"lr": 0.05})
    assert result is not None
    assert (result.accuracy, result.best_epoch, result.time) == ("98.00 % ± 2.48 (n = 3)", "8 of 12", "90 s")
    assert result.machine == "x86-64 AVX2, A"
    assert expected("a", {"lr": 0.06}) is None
    assert expected("b", {"lr": 0.05}) is None
    for seconds, shown in ((99.4, "99 s"), (150.0, "2.5 min")):
        for each in times.values():
            each["processor_seconds"] = seconds
        (FOLDER / "times/a.json").write_text(json.dumps({"rows": times}))
        result = expected("a", {"lr": 0.05})
        assert result is not None
        assert result.time == shown
