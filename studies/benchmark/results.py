"""Rows of a study → means with their spread, and differences with their interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import ttest_rel


def summarise(runs: pd.DataFrame) -> pd.DataFrame:
    """A row per setup, in the order of its first run.

    Args:
        runs: dataset, model, recipe, setup (these three together), seed, val_accuracy, test_accuracy,
            test_loss, macro_f1, epochs, parameters; one row per run.

    Returns:
        dataset, model, recipe, setup, epochs and parameters (the largest), n (seeds), and the mean and the
        sample standard deviation of the other columns, as `<column>_mean` and `<column>_sd`; the deviation
        of a single run is NaN.
    """
    groups = runs.groupby("setup", sort=False)
    table = groups[["dataset", "model", "recipe"]].first()
    table["setup"] = table.index
    table["epochs"], table["parameters"], table["n"] = (
        groups["epochs"].max(),
        groups["parameters"].max(),
        groups.size(),
    )
    for column in ("val_accuracy", "test_accuracy", "test_loss", "macro_f1"):
        table[f"{column}_mean"], table[f"{column}_sd"] = groups[column].mean(), groups[column].std(ddof=1)
    return table.reset_index(drop=True)


@dataclass(frozen=True)
class Difference:
    """Of the test accuracies of two setups, B over A, fractions.

    Attributes:
        mean: over the seeds that both were run with.
        interval: of the mean at 95 %, Student's, paired by seed.
        n: the number of these seeds.
    """

    mean: float
    interval: tuple[float, float]
    n: int


def difference(runs: pd.DataFrame, a: str, b: str) -> Difference:
    """How much better setup `b` is than setup `a`; see `summarise` for `runs`.

    Raises:
        ValueError: they have fewer than two seeds in common.
    """
    table = runs.pivot(index="seed", columns="setup", values="test_accuracy")[[a, b]].dropna()
    if len(table) < 2:
        raise ValueError(f"{a} and {b} have {len(table)} seeds in common, fewer than two")
    interval = ttest_rel(table[b], table[a]).confidence_interval(0.95)
    return Difference(
        mean=float(np.mean(table[b] - table[a])),
        interval=(float(interval.low), float(interval.high)),
        n=len(table),
    )
