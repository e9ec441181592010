"""A search on one machine that trains several trials at once: Optuna's TPE proposes, a round at a time."""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.samplers import BaseSampler, PartialFixedSampler, TPESampler
from optuna.trial import TrialState
from tqdm import tqdm

from src.data.splits import Split
from src.params import RunParams, parse
from src.runtime.devices import THREADS_VARIABLE, cores, set_up_process
from src.runtime.files import write_text
from src.training.history import DivergenceError, Epoch, TrainingResult
from src.tune.search_space import Domain
from src.tune.trials import Trial
from src.tune.vectorized import VARIED, refuse_network, train_together


def vectorized_search(
    space: dict[str, Domain],
    base: dict[str, Any],
    splits: tuple[Split, Split],
    folder: Path,
    *,
    samples: int,
    seed: int,
    at_once: int,
) -> list[Trial]:
    """Search, or go on after the last finished round of an interrupted search in the same folder.

    The trials of a round share what is not in `VARIED`; the first of them proposes it. None is stopped early:
    a round takes as long with it as without.

    Args:
        space: what to change.
        base: every other parameter of `RunParams`.
        splits: training and validation.
        folder: where finished trials are kept.
        samples: how many trials.
        seed: of the proposals.
        at_once: the trials of a round.

    Raises:
        UserError: a network of `base` or `space` cannot be trained in this way.
    """
    for key in ("model", "activation"):
        for value in space[key].values if key in space else [base[key]]:
            refuse_network(key, value)
    os.environ.setdefault(THREADS_VARIABLE, str(cores()))  # each of them trains on its own
    device = set_up_process()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    file = folder / "trials.json"
    trials = [Trial(**one) for one in json.loads(file.read_text())] if file.exists() else []
    if trials:
        print(f"{len(trials)} of {samples} trials were done before", file=sys.stderr)
    while len(trials) < samples:
        count = min(at_once, samples - len(trials))
        values = propose(space, trials, count, seed)
        started = time.monotonic()
        try:
            results = _train_round([base | one for one in values], splits, device, len(trials), samples)
        except KeyboardInterrupt:
            first = len(trials) + 1
            return trials + [
                Trial(first + index, "unfinished", base | one, 0, 0.0) for index, one in enumerate(values)
            ]
        seconds = round((time.monotonic() - started) / count, 1)
        for one, result in zip(values, results, strict=True):
            trials.append(_as_trial(len(trials) + 1, base | one, result, seconds))
        write_text(file, json.dumps([asdict(one) for one in trials], indent=1) + "\n")
    return trials


def propose(space: dict[str, Domain], trials: list[Trial], count: int, seed: int) -> list[dict[str, Any]]:
    """The next round of a search: values of `space` that can be trained together.

    Args:
        space: what to change.
        trials: all that are done.
        count: how many to propose.
        seed: with the same one, the same trials lead to the same proposals.
    """
    distributions = {key: domain.distribution() for key, domain in space.items()}

    def sampler(fixed: dict[str, Any]) -> BaseSampler:
        # Unfinished trials of the round count as poor ones, so that its proposals keep apart.
        tpe = TPESampler(seed=(seed + len(trials)) % 2**32, constant_liar=True)
        return PartialFixedSampler(fixed, tpe) if fixed else tpe

    study = optuna.create_study(direction="maximize", sampler=sampler({}))
    for one in trials:
        sound = one.status == "finished"
        study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.COMPLETE if sound else TrialState.FAIL,
                value=one.val_accuracy if sound else None,
                params={key: one.values[key] for key in space},
                distributions=distributions,
            )
        )
    proposals = [study.ask(distributions).params]
    study.sampler = sampler({key: value for key, value in proposals[0].items() if key not in VARIED})
    proposals += [study.ask(distributions).params for _ in range(count - 1)]
    return [{key: space[key].rounded(value) for key, value in one.items()} for one in proposals]


def _train_round(
    values: list[dict[str, Any]], splits: tuple[Split, Split], device: torch.device, done: int, samples: int
) -> list[TrainingResult | DivergenceError]:
    params = [parse(one, RunParams, whole=RunParams) for one in values]
    epochs, count = params[0].epochs, len(params)
    title = f"trials {done + 1} to {done + count} of {samples}"
    highest = {"epoch": 0, "accuracy": 0.0}
    with tqdm(total=epochs * count, unit="epoch", desc=title, disable=not sys.stderr.isatty()) as bar:

        def on_epoch(index: int, row: Epoch, best: Epoch) -> None:
            bar.update(row.epoch > 0)
            highest["accuracy"] = max(highest["accuracy"], best.val_accuracy)
            facts = f"highest validation accuracy {highest['accuracy']:.2%}"
            bar.set_postfix_str(facts)
            if bar.disable and row.epoch > highest["epoch"]:
                highest["epoch"] = row.epoch
                print(f"{title}: epoch {row.epoch}/{epochs}, {facts}", file=sys.stderr, flush=True)

        return train_together(*splits, params, device, on_epoch=on_epoch)


def _as_trial(
    number: int, values: dict[str, Any], result: TrainingResult | DivergenceError, seconds: float
) -> Trial:
    if isinstance(result, DivergenceError):
        return Trial(number, "diverged", values, 0, seconds, message=str(result))
    best = result.best
    return Trial(
        trial=number,
        status="finished",
        values=values,
        epochs=result.history[-1].epoch,
        seconds=seconds,
        train_loss=best.train_loss,
        train_accuracy=best.train_accuracy,
        val_loss=best.val_loss,
        val_accuracy=best.val_accuracy,
        best_epoch=best.epoch,
    )
