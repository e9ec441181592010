"""Search for better parameters: `python -m src.tune --samples 20`.

`search_space.yaml` says what is searched and within which bounds; the dataset and everything else come from
`params.yaml`. Trials are compared by their validation accuracy; the test split is not read. Interrupted or
killed, the same command resumes the search. Results are `metrics/tune.csv`, `plots/tune.png`, and the command
that makes the best trial a DVC experiment.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from src.command_line import command_parser
from src.data.splits import Split, load_split
from src.evaluation.text import settings_table
from src.figures.style import save
from src.params import MAX_SEED, RunParams, read
from src.runtime.devices import select_device
from src.runtime.errors import UserError, run
from src.runtime.files import write_table
from src.runtime.paths import PARAMS_FILE, TRAIN_SPLIT, VAL_SPLIT
from src.runtime.workspace import repository
from src.tune.confirmation import compare_candidates, confirm, refuse_searched_seed
from src.tune.engine import Engine, Problem
from src.tune.figure import search_figure
from src.tune.identity import Identity, claim, search_identity, short_digest
from src.tune.search_space import SPACE_FILE, Domain, read_space
from src.tune.trials import FIGURE, TABLE, Trial, best_first, command, table

SEARCHES = Path(".dvc/tmp/tune")

# The lowest and the highest value of each option that is a number.
BOUNDS = {
    "samples": (1, 1_000_000),
    "seed": (0, MAX_SEED),
    "confirm": (0, 1000),
    "cpus_per_trial": (1, 1024),
    "gpus_per_trial": (0, 1024),
    "at_once": (1, 1024),
}
# Of each engine the options that the other one does not have, with their defaults.
ENGINE_OPTIONS: dict[str, dict[str, Any]] = {
    "ray": {"address": None, "cpus_per_trial": 1, "gpus_per_trial": 0.0},
    "vectorized": {"at_once": 8},
}
# The beginning of names that git accepts.
NAME = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._-]{0,60}")


def arguments() -> argparse.Namespace:
    """The options of the command line.

    Raises:
        UserError: one of them is invalid.
    """
    parser = command_parser("src.tune", __doc__)
    parser.add_argument("--samples", type=int, default=20, help="how many trials (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the proposals (%(default)s)")
    parser.add_argument(
        "--engine",
        choices=tuple(ENGINE_OPTIONS),
        default="ray",
        help="ray: trials side by side, on one machine or many, the poor ones stopped early;\n"
        "vectorized: several trials in one go, on this machine (%(default)s)",
    )
    parser.add_argument("--name", help="name of the search; by default from all that decides its trials")
    parser.add_argument(
        "--confirm",
        type=int,
        default=0,
        metavar="N",
        help="train the best three trials with N further seeds each, and choose by these (%(default)s)",
    )
    with_ray = parser.add_argument_group("with Ray")
    with_ray.add_argument(
        "--address",
        help="HOST:PORT of a running Ray cluster (RAY_ADDRESS); by default, Ray runs here during the search",
    )
    with_ray.add_argument("--cpus-per-trial", type=int, help="cores and threads of a trial (1)")
    with_ray.add_argument("--gpus-per-trial", type=float, help="GPUs of a trial, or a fraction of one (0)")
    vectorized = parser.add_argument_group("vectorized")
    vectorized.add_argument("--at-once", type=int, help="trials trained in one go (8)")
    parser.add_argument("--record", action="store_true", help="record every trial as a DVC experiment")
    parser.add_argument("--apply", action="store_true", help="run the best trial as a DVC experiment")
    options = parser.parse_args()
    check(options)
    return options


def check(options: argparse.Namespace) -> None:
    """Put in the defaults of the engine's own options, and raise a `UserError` where an option is invalid."""
    for engine, defaults in ENGINE_OPTIONS.items():
        for name, default in defaults.items():
            value = getattr(options, name)
            if value is None:
                setattr(options, name, default)
            elif engine != options.engine:
                option = "--" + name.replace("_", "-")
                raise UserError(f"{option}: {value!r} is invalid; expected only with --engine {engine}")
    for name, (lowest, highest) in BOUNDS.items():
        value = getattr(options, name)
        if not lowest <= value <= highest:
            option = "--" + name.replace("_", "-")
            raise UserError(f"{option}: {value} is invalid; expected {lowest} to {highest:,}")
    if options.name is not None and not NAME.fullmatch(options.name):
        raise UserError(f"--name: {options.name!r} is invalid; expected letters, digits, . _ and -")


def build_engine(options: argparse.Namespace) -> tuple[Engine, torch.device, int]:
    """The engine that the options name, with the device and the number of threads that it computes with."""
    try:
        if options.engine == "vectorized":
            from src.tune.vectorized_search import VectorizedEngine

            engine = VectorizedEngine.set_up(options.at_once)
            return engine, engine.device, torch.get_num_threads()
        cpus, gpus = options.cpus_per_trial, options.gpus_per_trial
        device = select_device() if gpus else torch.device("cpu")
        if gpus and device.type == "cpu":
            raise UserError(
                f"--gpus-per-trial: {gpus:g} is invalid where PyTorch computes on the CPU; expected 0, or a "
                "GPU on this machine, too"
            )
        from src.cluster.protection import protect_ray

        # Ray's own variable; empty is as good as unset.
        address = options.address or os.environ.get("RAY_ADDRESS") or None
        address = None if address == "local" else address
        protect_ray(address)
        from src.tune.ray_search import RayEngine

        return RayEngine(address, cpus, gpus, device.type), device, cpus
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is not installed: pip install -r requirements-tune.txt") from None


def main() -> None:
    options = arguments()
    base = read(RunParams).model_dump()
    space = read_space(SPACE_FILE, base)
    if options.confirm:
        refuse_searched_seed(space)
    if options.record:
        from src.experiments.git import refuse_subfolder, refuse_unknown_author
        from src.tune.recording import lock_of_prepare, refuse_uncommitted_code

        refuse_subfolder()
        refuse_unknown_author()
        refuse_uncommitted_code()
    engine, device, threads = build_engine(options)
    splits = prepare_images(base)
    lock = lock_of_prepare() if options.record else ""
    packages = ["optuna", "ray"] if options.engine == "ray" else ["optuna"]
    identity = search_identity(
        base, space, _decisive(options), device=device, threads=threads, packages=packages
    )
    # A folder of images may have a name that git accepts in no reference.
    dataset = re.sub(r"[^A-Za-z0-9-]+", "-", base["dataset"])
    name = options.name or f"{dataset}-{short_digest(identity)}".strip("-")
    folder = (repository() / SEARCHES / name).resolve()
    claim(folder, identity)
    problem = Problem(space, base, splits, folder)
    try:
        with FileLock(folder / "lock", timeout=0):
            trials = run_trials(engine, problem, options)
    except Timeout:
        raise UserError(
            f"the search {name!r} is running already; expected its end or another --name"
        ) from None
    if trials:  # none where it was interrupted before the first one
        write_table(TABLE, table(trials))
        save(search_figure(trials, space), FIGURE, dpi=150)
        print_best(trials, space)
    end_where_interrupted(trials, options.samples)
    best = best_trial(trials)
    if options.record:
        record_trials(trials, name, identity, lock)
    try:
        now = read(RunParams).model_dump()
    except UserError:  # it is being edited
        now = base
    words = command(best, list(space), now)
    print(f"\nthe best of {options.samples}:\n{shlex.join(words)}", flush=True)
    if options.apply:
        sys.exit(subprocess.run(words, check=False).returncode)


def prepare_images(base: dict[str, Any]) -> tuple[Split, Split]:
    """Run the stage `prepare`; return the training and the validation split.

    Args:
        base: all parameters, as the search has read them.

    Raises:
        UserError: it fails, or `params.yaml` was edited before it ended.
    """
    if subprocess.run(("dvc", "repro", "--quiet", "prepare"), check=False).returncode:
        raise UserError("the images could not be prepared, see above")
    splits = load_split(TRAIN_SPLIT), load_split(VAL_SPLIT)
    if read(RunParams).model_dump() != base:
        raise UserError(
            f"{PARAMS_FILE} was edited while the images were prepared; the same command begins anew with "
            "what it says now"
        )
    return splits


def _decisive(options: argparse.Namespace) -> dict[str, Any]:
    """The options that decide which trials there are."""
    names = ["samples", "seed", "engine", *(["at_once"] if options.engine == "vectorized" else [])]
    return {name.replace("_", "-"): getattr(options, name) for name in names}


def run_trials(engine: Engine, problem: Problem, options: argparse.Namespace) -> list[Trial]:
    """All trials of the search, and the further seeds of the best ones unless it was interrupted."""
    trials = engine.search(problem, options.samples, options.seed)
    if options.confirm and best_first(trials) and not _unfinished(trials, options.samples):
        trials += confirm(engine, problem, trials, options.confirm)
    return trials


def record_trials(trials: list[Trial], name: str, identity: Identity, lock: str) -> None:
    from src.tune.recording import record, refuse_other_code

    refuse_other_code(identity["code"])
    names = record(trials, name, lock)
    if not names:
        print("nothing to record")
        return
    print(
        f"recorded {len(names)} experiments, {names[0]} to {names[-1]}, without their models: "
        "`dvc exp apply NAME` reports missing files, and `dvc repro` makes them"
    )


def print_best(trials: list[Trial], space: dict[str, Domain]) -> None:
    """Print the five best trials, with what was searched."""
    if ranked := best_first(trials):
        shown = table(ranked[:5])[["trial", "status", *space, "epochs", "val_loss", "val_accuracy"]]
        print(shown.to_string(index=False, formatters={"val_accuracy": "{:.2%}".format}))


def end_where_interrupted(trials: list[Trial], samples: int) -> None:
    """End the process, as a shell reports Ctrl-C, where a search has not all trials that it was to have."""
    if unfinished := _unfinished(trials, samples):
        print(f"interrupted; trials unfinished: {unfinished}; the same command resumes", file=sys.stderr)
        sys.exit(130)


def best_trial(trials: list[Trial]) -> Trial:
    """The best trial: by its further seeds, whose comparison is printed, or else by its accuracy.

    Raises:
        UserError: no trial left a model, or none with every further seed.
    """
    ranked = best_first(trials)
    if not ranked:
        raise UserError(f"none of {len(trials)} trials finished; {TABLE} says why")
    if not any(trial.confirms for trial in trials):
        return ranked[0]
    compared = compare_candidates(trials)
    if not compared:
        raise UserError(f"no trial was trained with every further seed; {TABLE} says why")
    numbers = {setting.name: {"trial": int(setting.name)} for setting in compared}
    print(f"\nwith further seeds:\n{settings_table(compared, numbers)}")
    return next(trial for trial in ranked if trial.trial == int(compared[0].name))


def _unfinished(trials: list[Trial], samples: int) -> int:
    """How many trials an interruption has left, those included that had not begun."""
    not_begun = samples - sum(trial.confirms is None for trial in trials)
    return not_begun + sum(trial.status == "unfinished" for trial in trials)


if __name__ == "__main__":
    run(main)
