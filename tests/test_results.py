from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from studies.benchmark.results import difference, summarise


def runs(**accuracies: list[float]) -> pd.DataFrame:
    """Rows of the setups that are named, with seeds from 0."""
    return pd.DataFrame(
        [
            {
                "dataset": "MNIST",
                "model": "lenet5",
                "recipe": setup,
                "setup": setup,
                "seed": seed,
                "val_accuracy": accuracy - 0.01,
                "test_accuracy": accuracy,
                "test_loss": 1 - accuracy,
                "macro_f1": accuracy,
                "epochs": 10 + seed,
                "parameters": 61_706,
            }
            for setup, values in accuracies.items()
            for seed, accuracy in enumerate(values)
        ]
    )


def test_mean_sample_deviation_and_count_in_the_order_of_the_runs() -> None:
    summary = summarise(runs(b=[0.90, 0.92, 0.97], a=[0.8]))
    assert list(summary["setup"]) == ["b", "a"]
    first, second = summary.to_dict("records")
    assert (first["dataset"], first["model"], first["recipe"]) == ("MNIST", "lenet5", "b")
    assert (first["n"], first["epochs"], first["parameters"]) == (3, 12, 61_706)
    assert first["test_accuracy_mean"] == pytest.approx(0.93)
    # Distances from the mean: 0.03, 0.01, 0.04.
    assert first["test_accuracy_sd"] == pytest.approx(math.sqrt(0.0026 / 2))
    assert first["val_accuracy_mean"] == pytest.approx(0.92)
    assert second["n"] == 1
    assert math.isnan(second["test_accuracy_sd"])


def test_a_difference_is_paired_by_seed() -> None:
    result = difference(runs(a=[0.90, 0.80, 0.70], b=[0.92, 0.81, 0.73]), "a", "b")
    assert result.n == 3
    assert result.mean == pytest.approx(0.02)
    # Student's t with 2 degrees of freedom, 97.5 %: 4.302653; of 0.02, 0.01, 0.03.
    half = 4.302653 * 0.01 / math.sqrt(3)
    assert result.interval == pytest.approx((0.02 - half, 0.02 + half), rel=1e-6)


def test_only_seeds_of_both_count() -> None:
    result = difference(runs(a=[0.9, 0.8, 0.7, 0.1], b=[0.92, 0.81, 0.73]), "a", "b")
    assert result.n == 3
    with pytest.raises(ValueError, match="a and b have 1 seeds in common, fewer than two"):
        difference(runs(a=[0.9], b=[0.9, 0.8]), "a", "b")


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        seeds = generator.normal(0.9, 0.02, 5)
        noise = generator.normal(0, 0.003, (2, 5))
        low, high = difference(
            runs(a=list(seeds + noise[0]), b=list(seeds + 0.01 + noise[1])), "a", "b"
        ).interval
        covered += low <= 0.01 <= high
    assert 370 <= covered <= 392  # 95 % of 400 is 380, give or take 2.5 standard deviations
