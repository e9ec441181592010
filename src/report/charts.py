"""Tables in, Vega-Lite specifications out; the page gives them their width, theme and revisions shown."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from src.evaluation.paired import Comparison
from src.figures.style import BLUE, GREEN, ORANGE, VERMILION

# The rest of Okabe & Ito's palette that is seen on white and on black.
SKY, PURPLE = "#56B4E9", "#CC79A7"
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

    def say(self, value: float) -> str:
        """A value in words."""
        return f"{value:.2%}" if self.share else f"{value:.4g}"


CURVES = {
    "loss": Curve(
        "Loss",
        "cross-entropy (nats per image)",
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
    kind: Curve, names: list[str], histories: dict[str, pd.DataFrame], kept: dict[str, int | None]
) -> dict[str, Any]:
    """Lines of all revisions by epoch, dashed for training, with the best epoch's point larger.

    Args:
        names: all revisions, which decides their colours.
        histories: `plots/history.csv` of those that have one.
        kept: the epoch whose weights were kept, where it is known.
    """
    measure = kind.title.lower()
    rows: list[dict[str, Any]] = [
        {"revision": name, "line": line, "epoch": int(epoch), measure: float(f"{value:.5g}")}
        | ({"weights": "kept"} if line == "validation" and kept.get(name) == epoch else {})
        for name, history in histories.items()
        for line, column in kind.columns.items()
        for epoch, value in zip(history["epoch"], history[column], strict=True)
        if np.isfinite(value)
    ]
    logarithmic = kind.logarithmic and bool(rows) and all(row[measure] > 0 for row in rows)
    splits = list(kind.columns)
    near = {
        "type": "point",
        "on": "pointerover",
        "nearest": True,
        "fields": ["revision", "line", "epoch"],
    }
    drawn = {"domain": splits, "range": [[1, 0], [4, 4]][: len(splits)]}
    return {
        "description": f"Line chart: {kind.title.lower()} by epoch of {', '.join(histories)}.",
        "data": {"values": rows},
        "params": [{"name": "shown", "value": names}],
        "transform": [{"filter": "indexof(shown, datum.revision) >= 0"}],
        "width": "container",
        "height": HEIGHT,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "encoding": {
            "x": {"field": "epoch", "type": "quantitative", "axis": {"tickMinStep": 1, "format": "d"}},
            "y": {
                "field": measure,
                "type": "quantitative",
                "title": kind.axis,
                "scale": {"type": "log", "nice": False} if logarithmic else {"zero": False},
                "axis": {"format": "%" if kind.share else "~g", "tickCount": 6}
                | ({"values": decades([row[measure] for row in rows])} if logarithmic else {}),
            },
            "color": _revisions(names, "color"),
        },
        "layer": [
            {
                "mark": {"type": "line", "strokeWidth": 2},
                "encoding": {
                    "strokeDash": {
                        "field": "line",
                        "type": "nominal",
                        "scale": drawn,
                        "legend": {"orient": "top", "title": None} if len(splits) > 1 else None,
                    }
                },
            },
            {
                # The whole row: of fields Vega-Lite 6.4 loses the text where the nearest point is meant.
                "mark": {"type": "point", "filled": True, "opacity": 1, "tooltip": {"content": "data"}},
                "params": [{"name": "near", "select": near}],
                "encoding": {
                    "shape": _revisions(names, "shape"),
                    "size": {
                        "condition": [
                            {"param": "near", "empty": False, "value": 220},
                            {"test": "datum.weights", "value": 150},
                        ],
                        "value": 36,
                    },
                },
            },
        ],
    }


def decades(values: list[float]) -> list[float]:
    """Where a logarithmic axis is labelled: powers of ten, and 2 and 5 times them if they are few."""
    low, high = min(values), max(values)
    steps = (1,) if high > 100 * low else (1, 2, 5)
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    labels = [step * 10.0**exponent for exponent in exponents for step in steps]
    return [label for label in labels if low <= label <= high]


def differences(names: list[str], baseline: str, comparisons: dict[str, Comparison]) -> dict[str, Any]:
    """The difference in test accuracy to the first revision, with its 95 % interval.

    Args:
        names: all revisions, which decides their colours.
        comparisons: of those that can be compared with `baseline`.
    """
    rows = [
        {
            "revision": name,
            "difference": 100 * result.difference,
            "low": 100 * result.interval[0],
            "high": 100 * result.interval[1],
            "p": result.p_value,
        }
        for name, result in comparisons.items()
    ]
    tooltip = [
        {"field": "revision", "type": "nominal"},
        {"field": "difference", "type": "quantitative", "format": "+.2f"},
        {"field": "low", "type": "quantitative", "format": "+.2f", "title": "95 % interval from"},
        {"field": "high", "type": "quantitative", "format": "+.2f", "title": "to"},
        {"field": "p", "type": "quantitative", "format": ".2g"},
    ]
    across = {"type": "quantitative", "title": "percentage points"}
    return {
        "description": f"Difference in test accuracy to {baseline}, with 95 % intervals, "
        f"of {', '.join(comparisons)}.",
        "data": {"values": rows},
        "params": [{"name": "shown", "value": names}],
        "transform": [{"filter": "indexof(shown, datum.revision) >= 0"}],
        "width": "container",
        "height": 44 * len(rows),
        "autosize": {"type": "fit-x", "contains": "padding"},
        "encoding": {
            "y": {
                "field": "revision",
                "type": "nominal",
                "sort": list(comparisons),
                "title": None,
                "axis": {"labelLimit": 110, "grid": False},
            },
            "color": _revisions(names, "color"),
        },
        "layer": [
            {
                "mark": {"type": "rule", "strokeDash": [3, 3]},
                "encoding": {"x": {"datum": 0}, "y": None, "color": {"value": "#888888"}},
            },
            {
                "mark": {"type": "rule", "strokeWidth": 3},
                "encoding": {"x": {"field": "low", **across}, "x2": {"field": "high"}, "tooltip": tooltip},
            },
            {
                "mark": {"type": "point", "filled": True, "opacity": 1, "size": 150},
                "encoding": {
                    "x": {"field": "difference", **across},
                    "shape": _revisions(names, "shape"),
                    "tooltip": tooltip,
                },
            },
        ],
    }


def _revisions(names: list[str], channel: str) -> dict[str, Any]:
    styles = [style(position) for position in range(len(names))]
    drawn = [colour if channel == "color" else shape for colour, shape in styles]
    return {
        "field": "revision",
        "type": "nominal",
        "scale": {"domain": names, "range": drawn},
        "legend": None,
    }
