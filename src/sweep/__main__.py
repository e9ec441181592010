"""A grid of experiments: `python -m src.sweep lr=0.01,0.05 optimizer=SGD,Adam seed=0..4`.

Every combination is an experiment. They run through DVC's queue on this machine, or with `--address` on a
Ray cluster. It ends with the best by validation accuracy; combinations that differ only in their seed are
compared as settings. Experiments are known by their names: called again, it does what is left.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache

from filelock import FileLock

from src.command_line import command_parser, parse_in_any_order
from src.evaluation.ranking import MAX_SEEDS
from src.params import Params, read
from src.runtime.errors import UserError, run
from src.runtime.processor import cores
from src.sweep.baseline import Baseline, refuse_half_queued
from src.sweep.grid import (
    IMAGE_KEYS,
    SEED,
    Combination,
    by_images,
    parse_grid,
    without_repetitions,
)
from src.sweep.preconditions import refuse_full_disk, refuse_other_than_ascii, refuse_shallow
from src.sweep.queue import CommandError
from src.sweep.queue_sweep import LOCK, QueueSweep, wait_for_queueing
from src.sweep.sweep import Sweep

MAX_WORKERS = 8
AUTO = "auto"
# Of `--seeds auto`: as many runs as the whole grid with so many seeds.
BUDGET_SEEDS = 5


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, or `words`."""
    parser = command_parser("src.sweep", __doc__)
    parser.add_argument(
        "grid",
        nargs="+",
        metavar="KEY=VALUE,VALUE",
        help="keys and values of params.yaml; seed=0..4 for a range",
    )
    parser.add_argument(
        "--seeds",
        metavar=f"N|{AUTO}",
        help=f"N: every setting with the seeds 0 to N-1; {AUTO}: two seeds for every setting, then more for\n"
        "the better ones, until one is left or the budget is spent",
    )
    parser.add_argument(
        "--budget",
        type=int,
        metavar="RUNS",
        help=f"runs in all, with --seeds {AUTO} ({BUDGET_SEEDS} for each setting)",
    )
    parser.add_argument(
        "--workers", type=int, help=f"experiments at once on this machine ({min(cores(), MAX_WORKERS)})"
    )
    parser.add_argument(
        "--address", metavar="HOST:PORT", help="run on this Ray cluster, an experiment on each core"
    )
    parser.add_argument(
        "--any-bits",
        action="store_true",
        help="use machines of the cluster whose results differ in their last bits, too",
    )
    arguments = parse_in_any_order(parser, words)
    if arguments.workers is not None and arguments.workers < 1:
        raise UserError(f"--workers: {arguments.workers} is invalid; expected an integer ≥ 1")
    if arguments.workers is not None and arguments.address is not None:
        raise UserError(f"--workers: {arguments.workers} is invalid; expected only without --address")
    if arguments.any_bits and arguments.address is None:
        raise UserError("--any-bits is invalid; expected only with --address")
    seeds = arguments.seeds
    if seeds not in (None, AUTO) and not (re.fullmatch(r"\d{1,4}", seeds) and 1 <= int(seeds) <= MAX_SEEDS):
        raise UserError(
            f"--seeds: {seeds!r} is invalid; expected an integer from 1 to {MAX_SEEDS:,}, or {AUTO}"
        )
    if seeds is not None and any(word.startswith(f"{SEED}=") for word in arguments.grid):
        raise UserError(f"--seeds: {seeds!r} is invalid with {SEED}=… in the grid; expected one of the two")
    if arguments.budget is not None and seeds != AUTO:
        raise UserError(f"--budget: {arguments.budget} is invalid; expected only with --seeds {AUTO}")
    return arguments


def different(grid: list[Combination]) -> list[Combination]:
    """Those that train different networks; a line for each reason why others are left out."""
    kept, reasons = without_repetitions(grid)
    for line in reasons:
        print(line, flush=True)
    return kept


def checked_budget(grid: list[Combination], budget: int | None) -> int:
    """The runs that sequential halving has for a grid of settings: `budget`, or `BUDGET_SEEDS` for each.

    Raises:
        UserError: they are too few, or the settings have different validation images.
    """
    if len(by_images(grid)) > 1:
        raise UserError(
            f"--seeds: {AUTO!r} is invalid with several values of what decides the validation images, since "
            f"it compares all settings on the same; expected one value each of {', '.join(IMAGE_KEYS)}"
        )
    least, budget = 2 * len(grid), BUDGET_SEEDS * len(grid) if budget is None else budget
    if budget < least:
        raise UserError(f"--budget: {budget} is invalid; expected at least {least}, two runs of each setting")
    return budget


def run_by_halving(
    sweep: Sweep, grid: list[Combination], with_seed: Callable[[int], list[Combination]], budget: int | None
) -> tuple[list[Combination], str | None]:
    """Spend a budget of runs by sequential halving.

    Args:
        sweep: runs them.
        grid: the settings, each once.
        with_seed: the combinations of the same grid with a seed.
        budget: runs in all; see `checked_budget`.

    Returns:
        The combinations that were run, and the setting that was chosen; none where every setting has failed.
    """
    from src.evaluation.seeds import sequential_halving
    from src.sweep.table import results_by_setting

    settings, budget = [combination.setting for combination in grid], checked_budget(grid, budget)

    @cache
    def of_seed(seed: int) -> dict[str, Combination]:
        return {combination.setting: combination for combination in with_seed(seed)}

    done: list[Combination] = []
    while True:
        failed = {combination.setting for combination in done if combination.name in sweep.failed}
        lost = sum(combination.setting in failed for combination in done)
        results = results_by_setting(done, sweep.results)
        halving = sequential_halving(
            {setting: results.get(setting, {}) for setting in settings if setting not in failed},
            budget - lost,
        )
        if not halving.next_runs:
            return done, halving.contenders[0] if halving.contenders else None
        if done:
            print(f"{len(halving.contenders)} of {len(settings)} settings get more seeds", flush=True)
        runs = [of_seed(seed)[setting] for setting, seed in halving.next_runs]
        sweep.run(runs)
        done += runs


@contextmanager
def open_sweep(arguments: argparse.Namespace, baseline: Baseline) -> Iterator[Sweep]:
    """Where the experiments run: DVC's queue, or a Ray cluster.

    Args:
        arguments: of the command line.
        baseline: what the experiments start from.

    Raises:
        UserError: the cluster does not exist, or is refused.
    """
    if arguments.address is None:
        yield QueueSweep(baseline, arguments.workers or min(cores(), MAX_WORKERS))
        return
    from src.cluster.protection import protect_ray

    protect_ray(arguments.address)
    from src.cluster.connection import ray_runtime
    from src.sweep.cluster_sweep import ClusterSweep

    with ray_runtime(arguments.address):
        yield ClusterSweep(baseline, any_bits=arguments.any_bits)


def main() -> None:
    arguments = parse_arguments()
    words = arguments.grid
    if arguments.seeds not in (None, AUTO):
        words = [*words, f"{SEED}=0..{int(arguments.seeds) - 1}"]
    with wait_for_queueing(FileLock(LOCK)):
        base, baseline = read(Params).model_dump(), Baseline.now()
        refuse_half_queued(baseline)
    grid, chosen = different(parse_grid(words, base, baseline.code)), None
    refuse_full_disk()
    if arguments.address is None:
        refuse_other_than_ascii()
        refuse_shallow()

    def with_seed(seed: int) -> list[Combination]:
        return parse_grid([*words, f"{SEED}={seed}"], base, baseline.code)

    with open_sweep(arguments, baseline) as sweep:
        try:
            if arguments.seeds == AUTO:
                grid, chosen = run_by_halving(sweep, grid, with_seed, arguments.budget)
            else:
                sweep.run(grid)
        except KeyboardInterrupt:
            print(f"interrupted: {sweep.interrupt()}; the same command resumes", file=sys.stderr)
            sys.exit(130)
        except CommandError:
            refuse_full_disk()
            raise
    if sweep.results:
        from src.sweep.table import conclusions  # SciPy and pandas: not while workers wait to be started

        lines = [conclusions(grid, sweep.results, chosen), *sweep.one_class_warnings(grid)]
        print("", *lines, sep="\n")
    if sweep.failed:
        raise UserError(f"{len(sweep.failed)} of {len(grid)} experiments failed; their logs are above")


if __name__ == "__main__":
    run(main)
