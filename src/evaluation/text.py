"""What comparisons come to, as text: a table of settings with several seeds each, intervals, p-values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from src.evaluation.seeds import Setting

UNCERTAIN = "*"


def settings_table(statistics: Sequence[Setting], columns: Mapping[str, Mapping[str, object]]) -> str:
    """A line for each setting, a mark where it does not differ significantly from the best, and a legend.

    Args:
        statistics: see `compare_settings`.
        columns: what the line of each setting begins with, by its name.
    """
    rows = []
    for place, setting in enumerate(statistics):
        rows.append(
            {
                **columns[setting.name],
                "val_accuracy": f"{setting.mean:.2%}",
                "sd": _points(setting.deviation, ".2f"),
                "n": setting.n,
                "difference": _points(setting.difference, "+z.2f"),
                "interval": interval_text(setting.interval) if setting.interval else "",
                "": UNCERTAIN if place and not setting.distinct else "",
            }
        )
    corrected = f", corrected for {len(rows)} settings (Holm)" if len(rows) > 2 else ""
    lines = [
        pd.DataFrame(rows).to_string(index=False),
        "",
        f"sd, differences to the best and their 95 % intervals in points, paired by seed{corrected}",
        "the intervals cover other seeds, not other images",
    ]
    if uncertain := sum(not setting.distinct for setting in statistics[1:]):
        lines.append(f"{UNCERTAIN} not significantly different from the best: {uncertain} of {len(rows) - 1}")
    return "\n".join(lines)


def interval_text(interval: tuple[float, float]) -> str:
    """The ends of an interval of fractions, in percentage points, with digits enough to tell them from 0."""
    ends = [100 * end for end in interval]
    digits = next((digits for digits in (2, 3, 4) if all(round(end, digits) for end in ends if end)), 4)
    return " to ".join(f"{end:+z.{digits}f}" for end in ends)


def p_text(p_value: float) -> str:
    """A p-value with two digits, or with those that show on which side of 5 % it is."""
    short = f"{p_value:.2g}"
    return f"{p_value:.4g}" if short == "0.05" else short


def _points(fraction: float | None, form: str) -> str:
    """A fraction in percentage points."""
    return "" if fraction is None else format(100 * fraction, form)
