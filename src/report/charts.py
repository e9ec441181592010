"""Tables in, Vega-Lite specifications out; the page gives them their width, theme and revisions shown."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from src.figures.style import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION
from src.figures.training import EPOCHS_WITH_MARKS
from src.report.judgements import Judgement

# Those that are seen on white and on black.
COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY)
# Shapes tell apart what colours do not, and are as many as have no divisor in common with the colours.
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down")

HEIGHT = 300


@dataclass(frozen=True)
class Curve:
    """A chart of values by epoch.

    Attributes:
        columns: of `plots/history.csv`, by what their lines are called.
        share: whether values are shown in percent.
        logarithmic: whether the axis is, where all values are positive.
    """

    title: str
    axis: str
    columns: dict[str, str]
    share: bool = False
    logarithmic: bool = False

    def text(self, value: float) -> str:
        """A value as text."""
        return f"{value:.2%}" if self.share else f"{value:.4g}"


CURVES = {
    "loss": Curve(
        "Loss",
        "loss (nats per image)",
        {"validation": "val_loss", "training": "train_loss"},
        logarithmic=True,
    ),
    "accuracy": Curve(
        "Accuracy", "accuracy", {"validation": "val_accuracy", "training": "train_accuracy"}, share=True
    ),
    "learning-rate": Curve("Learning rate", "learning rate", {"learning rate": "lr"}),
}


def style(position: int) -> tuple[str, str]:
    """Colour and shape of the revision at this position."""
    return COLOURS[position % len(COLOURS)], SHAPES[position % len(SHAPES)]


def curve(
    kind: Curve, names: list[str], histories: dict[str, pd.DataFrame], best_epochs: dict[str, int | None]
) -> dict[str, Any]:
    """Lines of all revisions by epoch, dashed for training, with the best epoch's point larger.

    Args:
        names: all revisions, which decides their colours.
        histories: `plots/history.csv` of those that have one; that of a group has the columns `…_low` and
            `…_high` of its band besides.
        best_epochs: the best epoch of each revision, None where it is not on record.
    """
    measure = kind.title.lower()
    rows = _curve_rows(kind, histories, best_epochs)
    return {
        "description": f"Line chart: {measure} by epoch of {', '.join(histories)}.",
        **_shared(names, rows, HEIGHT),
        "encoding": {
            "x": {"field": "epoch", "type": "quantitative", "axis": _epoch_axis(rows)},
            "y": _curve_axis(kind, rows),
            "color": _revisions(names, "color"),
        },
        "layer": [_band(), _lines(list(kind.columns)), _points(names, rows)],
    }


def _curve_rows(
    kind: Curve, histories: dict[str, pd.DataFrame], best_epochs: dict[str, int | None]
) -> list[dict[str, Any]]:
    """A row for every value that is a number."""
    measure = kind.title.lower()
    rows = []
    for name, history in histories.items():
        for line, column in kind.columns.items():
            for values in history.to_dict("records"):
                if not np.isfinite(values[column]):
                    continue
                row = {"revision": name, "line": line, "epoch": int(values["epoch"])}
                row[measure] = _short(values[column])
                if f"{column}_low" in values:
                    row |= {end: _short(values[f"{column}_{end}"]) for end in ("low", "high")}
                if line == "validation" and best_epochs.get(name) == values["epoch"]:
                    row["note"] = "best epoch"
                rows.append(row)
    return rows


def _short(value: float) -> float:
    return float(f"{value:.5g}")


def _epoch_axis(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Without halves of epochs, which Vega-Lite shows where there are few."""
    epochs = sorted({row["epoch"] for row in rows})
    return {"format": "d"} | ({"values": epochs} if len(epochs) <= 8 else {})


def _curve_axis(kind: Curve, rows: list[dict[str, Any]]) -> dict[str, Any]:
    measure = kind.title.lower()
    values = [row[end] for row in rows for end in (measure, "low", "high") if end in row]
    axis: dict[str, Any] = {"format": "%" if kind.share else "~g", "tickCount": 6}
    scale: dict[str, Any] = {"zero": False}
    if kind.logarithmic and values and min(values) > 0 and len(labels := decades(values)) > 1:
        scale = {"type": "log", "nice": False}
        axis["values"] = labels
    return {"field": measure, "type": "quantitative", "title": kind.axis, "scale": scale, "axis": axis}


def _band() -> dict[str, Any]:
    """From the lowest to the highest value of a group's experiments."""
    return {
        "transform": [{"filter": "isValid(datum.low)"}],
        "mark": {"type": "area", "opacity": 0.2},
        "encoding": {"y": {"field": "low", "type": "quantitative"}, "y2": {"field": "high"}}
        | {"detail": {"field": "line", "type": "nominal"}},
    }


def _lines(splits: list[str]) -> dict[str, Any]:
    dashes = {"domain": splits, "range": [[1, 0], [4, 4]][: len(splits)]}
    legend = {"orient": "top", "title": None} if len(splits) > 1 else None
    stroke = {"field": "line", "type": "nominal", "scale": dashes, "legend": legend}
    return {"mark": {"type": "line", "strokeWidth": 2}, "encoding": {"strokeDash": stroke}}


def _points(names: list[str], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A mark for every value, which many epochs would make a band: of those the best one's alone is seen."""
    many = max((row["epoch"] for row in rows), default=0) > EPOCHS_WITH_MARKS
    nearest = {
        "type": "point",
        "on": "pointerover",
        "nearest": True,
        "fields": ["revision", "line", "epoch"],
    }
    sizes = [{"param": "near", "empty": False, "value": 220}, {"test": "datum.note", "value": 150}]
    return {
        # The whole row: of fields Vega-Lite 6.4 loses the text where the nearest point is meant.
        "mark": {"type": "point", "filled": True, "opacity": 1, "tooltip": {"content": "data"}},
        "params": [{"name": "near", "select": nearest}],
        "encoding": {
            "shape": _revisions(names, "shape"),
            "size": {"condition": sizes, "value": 0 if many else 36},
        },
    }


def decades(values: list[float]) -> list[float]:
    """Where a logarithmic axis is labelled: powers of ten, and 2 and 5 times them if they are few."""
    low, high = min(values), max(values)
    steps = (1,) if high > 100 * low else (1, 2, 5)
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    labels = [step * 10.0**exponent for exponent in exponents for step in steps]
    return [label for label in labels if low <= label <= high]


def differences(names: list[str], judgements: list[Judgement]) -> dict[str, Any]:
    """The differences in validation accuracy to the first revision, each a point on its 95 % interval.

    Args:
        names: all revisions, which decides their colours; the first is what the others are compared with.
        judgements: of the revisions; those without an interval are left out.
    """
    rows: list[dict[str, Any]] = [
        {
            "revision": judged.name,
            "difference": 100 * judged.difference,
            "low": 100 * judged.interval[0],
            "high": 100 * judged.interval[1],
            "p": judged.p_value,
        }
        for judged in judgements
        if judged.difference is not None and judged.interval is not None
    ]
    shown = [row["revision"] for row in rows]
    rule = {"x": {"datum": 0}, "y": None, "color": {"value": "#888888"}}
    return {
        "description": f"Difference in validation accuracy to {names[0]}, with 95 % intervals, "
        f"of {', '.join(shown)}.",
        **_shared(names, rows, 44 * len(rows)),
        "encoding": {
            "y": {
                "field": "revision",
                "type": "nominal",
                "sort": shown,
                "title": None,
                "axis": {"labelLimit": 110, "grid": False},
            },
            "color": _revisions(names, "color"),
        },
        "layer": [{"mark": {"type": "rule", "strokeDash": [3, 3]}, "encoding": rule}, *_intervals(names)],
    }


def _intervals(names: list[str]) -> list[dict[str, Any]]:
    across = {"type": "quantitative", "title": "percentage points"}
    tooltip = [
        {"field": "revision", "type": "nominal"},
        {"field": "difference", "type": "quantitative", "format": "+.2f"},
        {"field": "low", "type": "quantitative", "format": "+.2f", "title": "95 % interval from"},
        {"field": "high", "type": "quantitative", "format": "+.2f", "title": "to"},
        {"field": "p", "type": "quantitative", "format": ".2g"},
    ]
    ends = {"x": {"field": "low", **across}, "x2": {"field": "high"}, "tooltip": tooltip}
    middle = {"x": {"field": "difference", **across}, "shape": _revisions(names, "shape")}
    return [
        {"mark": {"type": "rule", "strokeWidth": 3}, "encoding": ends},
        {
            "mark": {"type": "point", "filled": True, "opacity": 1, "size": 150},
            "encoding": middle | {"tooltip": tooltip},
        },
    ]


def _shared(names: list[str], rows: list[dict[str, Any]], height: int) -> dict[str, Any]:
    """Data and size of a chart in which the page can hide revisions."""
    return {
        "data": {"values": rows},
        "params": [{"name": "shown", "value": names}],
        "transform": [{"filter": "indexof(shown, datum.revision) >= 0"}],
        "width": "container",
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
    }


def _revisions(names: list[str], channel: str) -> dict[str, Any]:
    styles = [style(position) for position in range(len(names))]
    values = [colour if channel == "color" else shape for colour, shape in styles]
    return {
        "field": "revision",
        "type": "nominal",
        "scale": {"domain": names, "range": values},
        "legend": None,
    }
