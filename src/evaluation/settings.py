"""Settings that were each run with several seeds, in a table."""

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
        low, high = (_points(end, "+z.2f") for end in setting.interval or (None, None))
        rows.append(
            {
                **columns[setting.name],
                "val_accuracy": f"{setting.mean:.2%}",
                "sd": _points(setting.deviation, ".2f"),
                "n": setting.n,
                "difference": _points(setting.difference, "+z.2f"),
                "interval": f"{low} to {high}" if low else "",
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


def _points(fraction: float | None, form: str) -> str:
    """A fraction in percentage points."""
    return "" if fraction is None else format(100 * fraction, form)
