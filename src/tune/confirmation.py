"""The best trials of a search, trained with further seeds: the best of many is also one of the luckiest."""

from __future__ import annotations

import json
from dataclasses import replace

from src.evaluation.ranking import Run
from src.evaluation.seeds import Setting, compare_settings
from src.params import MAX_SEED, RunParams
from src.runtime.errors import UserError
from src.training.unread import unread_keys
from src.tune.engine import Engine, Problem
from src.tune.search_space import Domain
from src.tune.trials import Trial, best_first

# How many of the best trials are trained again.
CANDIDATES = 3


def refuse_searched_seed(space: dict[str, Domain]) -> None:
    """Raise a `UserError` where the trials differ in their seed, so that further ones would not be paired."""
    if "seed" in space:
        raise UserError("--confirm: the search space varies seed; expected one seed for all trials")


def confirm(engine: Engine, problem: Problem, trials: list[Trial], seeds: int) -> list[Trial]:
    """Train the best trials with further seeds, the same ones for each.

    Args:
        engine, problem: of the search.
        trials: all trials of the search.
        seeds: how many.

    Returns:
        The new trials, numbered from the last one of the search; see `Trial.confirms`.
    """
    # A search may try one training twice, which would be compared with itself.
    different: dict[str, Trial] = {}
    for trial in best_first(trials):
        different.setdefault(_read_values(trial), trial)
    candidates = list(different.values())[:CANDIDATES]
    first = problem.base["seed"] + 1
    repeats = [
        (trial, trial.values | {"seed": (first + number) % (MAX_SEED + 1)})
        for trial in candidates
        for number in range(seeds)
    ]
    trained = engine.train(problem, [values for _, values in repeats], f"confirm-{seeds}")
    not_begun = [
        Trial(number, "unfinished", values, 0, 0.0)
        for number, (_, values) in enumerate(repeats[len(trained) :], len(trained) + 1)
    ]
    return [
        replace(repeat, trial=len(trials) + repeat.trial, confirms=candidate.trial)
        for repeat, (candidate, _) in zip([*trained, *not_begun], repeats, strict=True)
    ]


def _read_values(trial: Trial) -> str:
    """What decides the training of a trial, as JSON: its values without those that it does not read."""
    params = RunParams(**trial.values)
    return json.dumps(params.model_dump(exclude=set(unread_keys(params))), sort_keys=True)


def compare_candidates(trials: list[Trial]) -> list[Setting]:
    """The trials that were repeated, by their numbers, the best first.

    What they came to in the search does not count, since they were chosen by it. One that diverged or failed
    with a further seed is left out.

    Args:
        trials: of the search and of `confirm`.
    """
    results: dict[str, dict[int, Run]] = {}
    lost = {repeat.confirms for repeat in trials if repeat.val_accuracy is None}
    for repeat in trials:
        if repeat.confirms is not None and repeat.confirms not in lost:
            assert repeat.val_accuracy is not None
            assert repeat.val_loss is not None
            run = Run(repeat.val_accuracy, repeat.val_loss)
            results.setdefault(f"{repeat.confirms:09d}", {})[repeat.values["seed"]] = run
    return compare_settings(results)
