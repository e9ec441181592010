"""The table of robustness for people to read."""

from __future__ import annotations

import pandas as pd


def by_strength(robustness: pd.DataFrame) -> pd.DataFrame:
    """A row per corruption: what its strengths count, the accuracy of the clean images, then each strength's.

    Args:
        robustness: see `studies.robustness.corruptions.robustness`.

    Returns:
        corruption, in, clean, and for every strength a column with the amount in brackets behind the
        accuracy; all of them text.
    """
    clean = f"{robustness.loc[robustness['strength'] == 0, 'accuracy'].iloc[0]:.2%}"
    rows = []
    for name, found in robustness[robustness["strength"] > 0].groupby("corruption", sort=False):
        cells = {
            f"strength {strength}": f"{accuracy:.2%} ({amount:g})"
            for strength, accuracy, amount in zip(
                found["strength"], found["accuracy"], found["amount"], strict=True
            )
        }
        rows.append({"corruption": name, "in": found["unit"].iloc[0], "clean": clean, **cells})
    return pd.DataFrame(rows)
