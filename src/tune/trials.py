"""What a search has tried: a table, a figure of it, and the command that runs the best again."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from src.figures.style import BLUE, GREY, VERMILION
from src.tune.search_space import Domain

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
    """Validation accuracy of every trial by each searched parameter, and of the best in the order tried.

    The scale is that of the trials that finished; others that are below it lie on its lower edge.
    """
    shown = [one for one in trials if one.val_accuracy is not None]
    columns = min(3, 1 + len(space))
    rows = -(-(1 + len(space)) // columns)
    figure = Figure(figsize=(3.6 * columns, 3.0 * rows), layout="constrained")
    if not shown:
        return figure
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    accuracy = np.array([100 * (one.val_accuracy or 0) for one in shown])
    finished = np.array([one.status == "finished" for one in shown], dtype=bool)
    low, high = (accuracy[finished] if finished.any() else accuracy).min(), accuracy.max()
    margin = max(0.05 * (high - low), 0.05)
    numbers = np.array([one.trial for one in shown])

    first = panels[0]
    first.step(numbers, np.maximum.accumulate(accuracy), where="post", color=VERMILION, label="best so far")
    first.xaxis.set_major_locator(MaxNLocator(integer=True))
    first.set_xlabel("Trial")
    places = [
        numbers,
        *(_places(axes, key, space[key], shown) for axes, key in zip(panels[1:], space, strict=False)),
    ]
    for axes, x in zip(panels, places, strict=False):
        y = np.maximum(accuracy, low - margin)
        axes.scatter(x[finished], y[finished], color=BLUE, s=22, label="finished", zorder=3, clip_on=False)
        axes.scatter(
            x[~finished], y[~finished], color=GREY, s=22, marker="x", label="stopped early", clip_on=False
        )
        axes.set(ylabel="Validation accuracy (%)", ylim=(low - margin, high + margin))
    for axes in panels[len(places) :]:
        axes.axis("off")
    figure.legend(*first.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def _places(axes: Axes, key: str, domain: Domain, trials: list[Trial]) -> np.ndarray:
    """Where the trials lie on the axis of a searched parameter, which shows all that it could have been."""
    axes.set_xlabel(key)
    if domain.kind == "choice":
        names = [str(value) for value in domain.values]
        axes.set_xticks(range(len(names)), names)
        axes.set_xlim(-0.5, len(names) - 0.5)
        # A little to the side of each other, so that equal ones are seen; by number, not by chance.
        aside = np.array([one.trial % 7 - 3 for one in trials]) / 25
        return np.array([names.index(str(one.values[key])) for one in trials]) + aside
    low, high = domain.values
    if domain.kind == "log_uniform":
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlim(low / (high / low) ** 0.05, high * (high / low) ** 0.05)
    else:
        axes.set_xlim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    return np.array([one.values[key] for one in trials])
