"""Rows of a study → means, and differences, each with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import t, ttest_rel

MEASURED = ("val_accuracy", "test_accuracy", "test_loss", "macro_f1")


def summarise(runs: pd.DataFrame) -> pd.DataFrame:
    """A row per recipe, in the order of its first run.

    Args:
        runs: dataset, model, recipe, seed, val_accuracy, test_accuracy, test_loss, macro_f1, epochs,
            best_epoch, parameters; one row per run.

    Returns:
        dataset, model, recipe, n (seeds), epochs and parameters (the largest), best_epoch (the median); and
        of each column of `MEASURED` the mean, the sample standard deviation, and half the width of the mean's
        95 % interval (Student's), as `<column>_mean`, `_sd` and `_interval`; the latter two of a single run
        are NaN.
    """
    groups = runs.groupby("recipe", sort=False)
    table = groups[["dataset", "model"]].first()
    table["recipe"], table["n"] = table.index, groups.size()
    table["epochs"], table["parameters"] = groups["epochs"].max(), groups["parameters"].max()
    table["best_epoch"] = groups["best_epoch"].median()
    quantile = t.ppf(0.975, table["n"] - 1)
    for column in MEASURED:
        deviation = groups[column].std(ddof=1)
        table[f"{column}_mean"], table[f"{column}_sd"] = groups[column].mean(), deviation
        table[f"{column}_interval"] = quantile * deviation / np.sqrt(table["n"])
    return table.reset_index(drop=True)


@dataclass(frozen=True)
class Difference:
    """Of the test accuracies of two recipes, B over A, fractions.

    Attributes:
        mean: over the seeds that both were run with.
        interval: of the mean, Student's, paired by seed.
        n: the number of these seeds.
    """

    mean: float
    interval: tuple[float, float]
    n: int


def differences(runs: pd.DataFrame, pairs: Sequence[tuple[str, str]]) -> list[Difference | None]:
    """How much better recipe B is than recipe A, for pairs of A and B; see `summarise` for `runs`.

    Together the intervals cover the truth with 95 % (Bonferroni). None for a pair with fewer than two seeds
    in common, or with equal differences, which says nothing of others.
    """
    return [_difference(runs, a, b, 1 - 0.05 / len(pairs)) for a, b in pairs]


def _difference(runs: pd.DataFrame, a: str, b: str, confidence: float) -> Difference | None:
    by_recipe = runs.pivot(index="seed", columns="recipe", values="test_accuracy")
    table = by_recipe.reindex(columns=[a, b]).dropna()
    # Of equal differences there is no variance to judge by.
    if len(table) < 2 or np.ptp(table[b] - table[a]) < 1e-12:
        return None
    interval = ttest_rel(table[b], table[a]).confidence_interval(confidence)
    return Difference(
        mean=float(np.mean(table[b] - table[a])),
        interval=(float(interval.low), float(interval.high)),
        n=len(table),
    )
