"""Which classes are taken for which others."""

from __future__ import annotations

import pandas as pd


def most_frequent_mistakes(confusion: pd.DataFrame, count: int) -> list[tuple[str, str, int]]:
    """Actual class, predicted class and number of images of the most frequent mistakes, at most `count`.

    Args:
        confusion: `plots/confusion.csv`: actual, predicted, count.
        count: how many.
    """
    wrong = confusion[(confusion["actual"] != confusion["predicted"]) & (confusion["count"] > 0)]
    worst = wrong.sort_values("count", ascending=False, kind="stable").head(count)
    return list(worst[["actual", "predicted", "count"]].itertuples(index=False, name=None))
