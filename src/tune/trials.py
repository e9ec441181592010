"""What a search has tried: a table, and the command that runs the best trial again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from src.evaluation.ranking import rank
from src.runtime.yaml_text import parse_yaml
from src.training.history import Epoch

TABLE, FIGURE = Path("metrics/tune.csv"), Path("plots/tune.png")

Status = Literal["finished", "stopped", "diverged", "failed", "unfinished"]

MEASURES = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")

# What the sampler learns of a trial that diverged: the worst accuracy there is. Without a value, Optuna would
# ignore the trial and go on proposing its neighbours.
DIVERGED_ACCURACY = 0.0


@dataclass(frozen=True)
class Trial:
    """One configuration that a search has tried.

    Attributes:
        trial: its number in the order of proposal, from 1.
        status: `finished`; `stopped` early, because others were better by then; `diverged`; `failed`; or
            `unfinished`, where the search was interrupted.
        values: every parameter of its training.
        epochs: how many it has finished; for `diverged`, without the one that diverged.
        seconds: of wall time.
        train_loss, train_accuracy, val_loss, val_accuracy, best_epoch: of its best epoch so far; none for
            `diverged` and `failed`, which leave no model, and before the first evaluation.
        message: what went wrong, for `diverged` and `failed`.
        confirms: the number of the trial that this one repeats with another seed.
    """

    trial: int
    status: Status
    values: dict[str, Any]
    epochs: int
    seconds: float
    train_loss: float | None = None
    train_accuracy: float | None = None
    val_loss: float | None = None
    val_accuracy: float | None = None
    best_epoch: int | None = None
    message: str = ""
    confirms: int | None = None


def measures(best: Epoch) -> dict[str, Any]:
    """What the row of a trial says of its best epoch so far."""
    return {key: getattr(best, key) for key in MEASURES} | {"best_epoch": best.epoch}


def table(trials: list[Trial]) -> pd.DataFrame:
    """A row per trial, in order: `metrics/tune.csv`."""
    rows = []
    for trial in trials:
        row = asdict(trial)
        values = row.pop("values")
        rows.append({"trial": row.pop("trial"), "status": row.pop("status")} | values | row)
    return pd.DataFrame(rows).astype({"best_epoch": "Int64", "confirms": "Int64"})


def best_first(trials: list[Trial]) -> list[Trial]:
    """The trials with a model: by validation accuracy, then validation loss, then number.

    Those that repeat another one are left out: they decide between the trials that they repeat.
    """
    ranked = []
    for trial in trials:
        if trial.status in ("diverged", "failed") or trial.confirms is not None:
            continue
        if trial.val_accuracy is not None and trial.val_loss is not None:
            ranked.append((rank(trial.val_accuracy, trial.val_loss, f"{trial.trial:09d}"), trial))
    return [trial for _, trial in sorted(ranked, key=lambda pair: pair[0])]


def command(trial: Trial, searched: list[str], base: dict[str, Any]) -> list[str]:
    """The words of the command that makes the trial a DVC experiment, test metrics included.

    Args:
        trial: the trial.
        searched: the keys that the search varies, which the command sets.
        base: the values of `params.yaml` now. A key that has been edited since the search began is set, too.
    """
    edited = [key for key in base if key not in searched and trial.values.get(key, base[key]) != base[key]]
    changes = [f"{key}={_quoted(trial.values[key])}" for key in (*searched, *edited)]
    return ["dvc", "exp", "run", *(word for change in changes for word in ("-S", change))]


def _quoted(value: object) -> object:
    """For DVC's `-S`, which takes an unquoted value for text only if it is ASCII and not `2024` or `tRuE`."""
    if isinstance(value, str) and not (value.isascii() and _is_read_as_text(value)):
        return json.dumps(value, ensure_ascii=False)
    return value


def _is_read_as_text(value: str) -> bool:
    try:
        return parse_yaml(value) == value and value.lower() not in ("nan", "inf", "null", "true", "false")
    except ValueError:
        return False
