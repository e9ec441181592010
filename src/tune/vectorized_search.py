"""A search on one machine that trains several trials at once: Optuna's TPE proposes, a round at a time."""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from optuna.samplers import BaseSampler, PartialFixedSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState
from tqdm import tqdm

from src.params import RunParams, parse
from src.runtime.devices import THREADS_VARIABLE, set_up_process
from src.runtime.files import read_json, write_text
from src.runtime.processor import cores
from src.training.history import DivergenceError, Epoch, TrainingResult
from src.tune.engine import Problem
from src.tune.search_space import Domain, possible_values
from src.tune.trials import DIVERGED_ACCURACY, Trial, measures
from src.tune.vectorized import TOGETHER, VARIED, refuse_network, train_together


@dataclass(frozen=True)
class VectorizedEngine:
    """Trials in rounds, trained together; what was not finished in a round is trained again.

    The trials of a round share what is not in `VARIED`. None is stopped early: a round takes as long with it
    as without.

    Attributes:
        at_once: the trials of a round.
        device: where they are trained; see `set_up`.
    """

    at_once: int
    device: torch.device

    @classmethod
    def set_up(cls, at_once: int) -> VectorizedEngine:
        """An engine on the device of this machine, with a thread for each core, which trains on its own."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        given = os.environ.get(THREADS_VARIABLE)
        os.environ[THREADS_VARIABLE] = given or str(cores())
        device = set_up_process()
        if not given:
            # For this process alone: an experiment that it starts has one thread, as always.
            del os.environ[THREADS_VARIABLE]
        return cls(at_once, device)

    def search(self, problem: Problem, samples: int, seed: int) -> list[Trial]:
        for key in TOGETHER:
            for value in possible_values(key, problem.base, problem.space):
                refuse_network(key, value)

        def proposed(done: list[Trial]) -> list[dict[str, Any]]:
            count = min(self.at_once, samples - len(done))
            return [problem.base | values for values in propose(problem.space, done, count, seed)]

        return self._train_all(problem, "trials", samples, proposed)

    def train(self, problem: Problem, configurations: list[dict[str, Any]], name: str) -> list[Trial]:
        def following(done: list[Trial]) -> list[dict[str, Any]]:
            # Those that can be trained together follow each other.
            _, group = next(itertools.groupby(configurations[len(done) :], _shared))
            return list(group)[: self.at_once]

        return self._train_all(problem, name, len(configurations), following)

    def _train_all(
        self,
        problem: Problem,
        name: str,
        total: int,
        next_round: Callable[[list[Trial]], list[dict[str, Any]]],
    ) -> list[Trial]:
        """Train round after round, but for those that the file of this name has; Ctrl-C ends it."""
        file = problem.folder / f"{name}.json"
        trials = _load(file, total)
        while len(trials) < total:
            values, first, started = next_round(trials), len(trials) + 1, time.monotonic()
            epochs = [0] * len(values)
            try:
                results = _train_round(problem, values, self.device, first, total, epochs)
            except KeyboardInterrupt:
                return trials + [
                    Trial(first + index, "unfinished", each, epochs[index], 0.0)
                    for index, each in enumerate(values)
                ]
            seconds = round((time.monotonic() - started) / len(values), 1)
            trials += [
                _as_trial(first + index, values[index], result, epochs[index], seconds)
                for index, result in enumerate(results)
            ]
            _save(file, trials)
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

    def sampler(number: int, fixed: dict[str, Any]) -> BaseSampler:
        # Of each sampler another seed: the first draws of both would be the same. Unfinished trials of the
        # round count as poor ones, so that its proposals keep apart.
        derived = np.random.SeedSequence([seed, len(trials), number]).generate_state(1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            tpe = TPESampler(seed=int(derived[0]), constant_liar=True)
            return PartialFixedSampler(fixed, tpe) if fixed else tpe

    study = optuna.create_study(direction="maximize", sampler=sampler(0, {}))
    study.add_trials([_as_optuna_trial(trial, distributions) for trial in trials])
    proposals = [study.ask(distributions).params]
    study.sampler = sampler(1, _shared(proposals[0]))
    proposals += [study.ask(distributions).params for _ in range(count - 1)]
    return [{key: space[key].rounded(value) for key, value in values.items()} for values in proposals]


def _as_optuna_trial(trial: Trial, distributions: dict[str, Any]) -> FrozenTrial:
    value = DIVERGED_ACCURACY if trial.status == "diverged" else trial.val_accuracy
    return optuna.trial.create_trial(
        state=TrialState.COMPLETE,
        value=value,
        params={key: trial.values[key] for key in distributions},
        distributions=distributions,
    )


def _shared(values: dict[str, Any]) -> dict[str, Any]:
    """What trials must have in common to be trained together."""
    return {key: value for key, value in values.items() if key not in VARIED}


def _load(file: Path, total: int) -> list[Trial]:
    trials = (
        [Trial(**row) for row in read_json(file, f"delete {file.parent} to search anew")]
        if file.exists()
        else []
    )
    if trials:
        print(f"{len(trials)} of {total} trials were done before", file=sys.stderr)
    return trials


def _save(file: Path, trials: list[Trial]) -> None:
    write_text(file, json.dumps([asdict(trial) for trial in trials], indent=1) + "\n")


def _train_round(
    problem: Problem,
    values: list[dict[str, Any]],
    device: torch.device,
    first: int,
    total: int,
    reached: list[int],
) -> list[TrainingResult | DivergenceError]:
    """Train configurations together, show how far they are, and note in `reached` the epoch of each."""
    params = [parse(each, RunParams, whole=RunParams) for each in values]
    epochs, count = params[0].epochs, len(params)
    title = f"trials {first} to {first + count - 1} of {total}"
    latest, highest = 0, 0.0
    with tqdm(total=epochs * count, unit="epoch", desc=title, disable=not sys.stderr.isatty()) as bar:

        def on_epoch(index: int, row: Epoch, best: Epoch) -> None:
            nonlocal latest, highest
            reached[index] = row.epoch
            highest = max(highest, best.val_accuracy)
            facts = f"highest validation accuracy {highest:.2%}"
            bar.update(row.epoch > 0)
            bar.set_postfix_str(facts)
            if bar.disable and row.epoch > latest:
                latest = row.epoch
                print(f"{title}: epoch {row.epoch}/{epochs}, {facts}", file=sys.stderr, flush=True)

        return train_together(*problem.splits, params, device, on_epoch=on_epoch)


def _as_trial(
    number: int,
    values: dict[str, Any],
    result: TrainingResult | DivergenceError,
    epochs: int,
    seconds: float,
) -> Trial:
    if isinstance(result, DivergenceError):
        return Trial(number, "diverged", values, epochs, seconds, message=str(result))
    return Trial(number, "finished", values, epochs, seconds, **measures(result.best))
