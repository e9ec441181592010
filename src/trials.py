"""What a search has tried: a table, a figure of it, and the command that runs the best again."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from src.figures import BLUE, GREY, VERMILION
from src.search_space import Domain

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Trial:
    """One configuration that a search has tried.

    Attributes:
        trial: its number in the order of proposal, from 1.
        status: `finished`; `stopped` early, because others were better by then; `diverged`; `failed`; or
            `unfinished`, where the search was interrupted.
        values: every parameter of its training.
        epochs: how many it has finished.
        seconds: of wall time.
        train_loss, train_accuracy, val_loss, val_accuracy, best_epoch: of the epoch that `train` would
            keep; none for a trial that has not come so far.
        message: what went wrong, for `diverged` and `failed`.
    """

    trial: int
    status: str
    values: dict[str, Any]
    epochs: int
    seconds: float
    train_loss: float | None = None
    train_accuracy: float | None = None
    val_loss: float | None = None
    val_accuracy: float | None = None
    best_epoch: int | None = None
    message: str = ""


def table(trials: list[Trial]) -> pd.DataFrame:
    """A row per trial, in order: `metrics/tune.csv`."""
    rows = []
    for trial in trials:
        row = asdict(trial)
        values = row.pop("values")
        rows.append({"trial": row.pop("trial"), "status": row.pop("status")} | values | row)
    return pd.DataFrame(rows).astype({"best_epoch": "Int64"})


def best_first(trials: list[Trial]) -> list[Trial]:
    """The trials that came to no harm, by validation accuracy; between equals, the lower loss first."""
    sound = [
        one for one in trials if one.val_accuracy is not None and one.status not in ("diverged", "failed")
    ]
    return sorted(sound, key=lambda one: (-(one.val_accuracy or 0), one.val_loss or 0))


def command(trial: Trial, keys: list[str]) -> list[str]:
    """The words of the command that makes the trial a DVC experiment, test metrics included."""
    changes = [f"{key}={trial.values[key]}" for key in keys]
    return ["dvc", "exp", "run", *(word for change in changes for word in ("-S", change))]


def search_figure(trials: list[Trial], space: dict[str, Domain]) -> Figure:
    """Validation accuracy of every trial by each searched parameter, and of the best in the order tried."""
    shown = [one for one in trials if one.val_accuracy is not None]
    columns = min(3, 1 + len(space))
    rows = -(-(1 + len(space)) // columns)
    figure = Figure(figsize=(3.6 * columns, 3.0 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    accuracy = np.array([100 * (one.val_accuracy or 0) for one in shown])
    stopped = np.array([one.status != "finished" for one in shown], dtype=bool)

    first = next(panels)
    numbers = np.array([one.trial for one in shown])
    first.step(numbers, np.maximum.accumulate(accuracy), where="post", color=VERMILION, label="best so far")
    _points(first, numbers, accuracy, stopped)
    first.set(xlabel="Trial", ylabel="Validation accuracy (%)")
    first.legend(fontsize="small", loc="lower right")
    for (key, domain), axes in zip(space.items(), panels, strict=False):
        if domain.kind == "choice":
            names = [str(value) for value in domain.values]
            # A little to the side of each other, so that equal ones are seen; by number, not by chance.
            places = np.array([names.index(str(one.values[key])) for one in shown]) + (numbers % 5 - 2) / 20
            axes.set_xticks(range(len(names)), names)
            axes.set_xlim(-0.5, len(names) - 0.5)
        else:
            places = np.array([one.values[key] for one in shown])
            axes.set_xscale("log" if domain.kind == "log_uniform" else "linear")
        _points(axes, places, accuracy, stopped)
        axes.set(xlabel=key, ylabel="Validation accuracy (%)")
    for axes in panels:
        axes.axis("off")
    # A trial that was stopped after an epoch or diverged is far below the others, which are to be told apart.
    if len(accuracy):
        low = np.quantile(accuracy, 0.25)
        for axes in figure.axes:
            axes.set_ylim(
                low - 0.5 * (accuracy.max() - low) - 0.1, accuracy.max() + 0.1 * (accuracy.max() - low) + 0.1
            )
    return figure


def _points(axes: Axes, places: np.ndarray, accuracy: np.ndarray, stopped: np.ndarray) -> None:
    axes.scatter(places[~stopped], accuracy[~stopped], color=BLUE, s=22, label="finished", zorder=3)
    axes.scatter(places[stopped], accuracy[stopped], color=GREY, s=22, marker="x", label="stopped", zorder=2)
