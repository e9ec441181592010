"""Values of parameters and metrics, and how tables and sentences write them."""

from __future__ import annotations

import reprlib
from typing import Any, TypeGuard

from src.evaluation.paired import Comparison
from src.evaluation.seeds import Setting
from src.evaluation.text import interval_text, p_text

MAX_LENGTH = 60


def is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"macro": {"f1": 1}}` → `{"macro.f1": 1}`."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return result


def cell_text(value: object) -> str:
    """A value as it stands in a cell: five digits of a number, the beginning of what is long."""
    if isinstance(value, str):
        text = value
    else:
        text = f"{value:.5g}" if isinstance(value, float) else reprlib.repr(value)
    return text if len(text) <= MAX_LENGTH else f"{text[: MAX_LENGTH - 1]}…"


def signed(value: float, form: str = "+z.2f") -> str:
    """A number with its sign, which is not a hyphen; what is rounded to zero is positive."""
    return format(value, form).replace("-", "\N{MINUS SIGN}")


def change_text(old: object, new: object) -> str:
    """The difference of two values; empty where no cell shows it, and where they are no numbers."""
    change = new - old if is_number(old) and is_number(new) and cell_text(old) != cell_text(new) else 0
    return signed(change, "+.5g") if change else ""


def percentage_points(interval: tuple[float, float]) -> str:
    """The ends of an interval of fractions."""
    return interval_text(interval).replace("-", "\N{MINUS SIGN}")


def discordant_text(result: Comparison, a: str, b: str) -> str:
    """What the verdict on two revisions follows from; `a` and `b` as the text is to name them."""
    return (
        f"only {a} right: {result.only_a:,}, only {b} right: {result.only_b:,}; "
        f"McNemar’s test: p = {p_text(result.p_value)}"
    )


def mean_text(setting: Setting) -> str:
    """Mean and sample standard deviation of a setting's accuracies: `96.00% ± 1.00`."""
    deviation = "" if setting.deviation is None else f" ± {100 * setting.deviation:.2f}"
    return f"{setting.mean:.2%}{deviation}"
