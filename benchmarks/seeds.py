"""Sequential halving over the full grid: `python -m benchmarks.seeds`, the choice of `--seeds auto`.

Eight settings on Digits, without augmentation, and the validation accuracies of 30 seeds each are the pool,
`benchmarks/seeds.csv`. Where that file is missing, it is trained anew with the library, in as many
processes as there are cores. Then the seeds are put in a random order, again and again, and several ways to
choose a setting see the first of them: the full grid with ten seeds, the full grid with five, and
sequential halving with as many runs as the latter. How often the full grid with ten other seeds makes the
same choice is what agreement can be expected at best. A choice is false where all 30 seeds together tell it
from the best.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.record import record
from src.data.splits import Split
from src.data.splitting import split_dataset
from src.evaluation.ranking import Run
from src.evaluation.seeds import Results, compare_settings, sequential_halving
from src.params import Params, parse, read
from src.runtime.devices import set_up_process
from src.runtime.errors import run
from src.runtime.files import write_table
from src.runtime.processor import cores
from src.training.from_splits import train_on_splits

POOL = Path("benchmarks/seeds.csv")
SETTINGS = [
    {"dataset": "Digits", "augment": "none", "lr": lr, "optimizer": optimizer}
    for lr, optimizer in product((0.002, 0.005, 0.01, 0.02), ("SGD", "AdamW"))
]
SEEDS = 30
FULL = 10
FEW = 5
BUDGETS = (40, 48)  # half and 60 % of the full grid's runs
DRAWS = 2000


def _train(setting: dict[str, object], seed: int, train: Split, val: Split) -> dict[str, object]:
    params = parse(read(Params).model_dump() | setting | {"seed": seed}, Params)
    _, result = train_on_splits(train, val, params.network(), params, set_up_process())
    name = " ".join(f"{key}={value}" for key, value in setting.items() if key in ("lr", "optimizer"))
    best = result.best
    return {"setting": name, "seed": seed, "val_accuracy": best.val_accuracy, "val_loss": best.val_loss}


def train_pool() -> None:
    """Write `POOL`: a row for each setting and seed."""
    started = time.monotonic()
    train, val, _ = split_dataset(read(Params).model_copy(update={"dataset": "Digits"}))
    jobs = list(product(SETTINGS, range(SEEDS), [train], [val]))
    with ProcessPoolExecutor(cores()) as processes:
        rows = list(processes.map(_train, *zip(*jobs, strict=True)))
    write_table(POOL, pd.DataFrame(rows))
    print(f"{len(jobs)} trainings in {time.monotonic() - started:.0f} s")


def read_pool() -> dict[str, dict[int, Run]]:
    pool: dict[str, dict[int, Run]] = {}
    for row in pd.read_csv(POOL).itertuples():
        pool.setdefault(row.setting, {})[row.seed] = Run(row.val_accuracy, row.val_loss)
    return pool


def full_grid(drawn: Results, seeds: range) -> tuple[str, int]:
    """The best of all settings with these seeds each; and the runs."""
    chosen = {name: {seed: runs[seed] for seed in seeds} for name, runs in drawn.items()}
    return compare_settings(chosen)[0].name, len(seeds) * len(drawn)


def halving(drawn: Results, budget: int) -> tuple[str, int]:
    """The choice of sequential halving, and the runs that it took."""
    results: dict[str, dict[int, Run]] = {name: {} for name in drawn}
    while runs := (state := sequential_halving(results, budget)).next_runs:
        for name, seed in runs:
            results[name][seed] = drawn[name][seed]
    return state.contenders[0], sum(map(len, results.values()))


def draw(pool: Mapping[str, Mapping[int, Run]], generator: np.random.Generator) -> Results:
    """The pool with its seeds in a random order, the same one for all settings."""
    order = generator.permutation(SEEDS)
    return {name: {place: runs[seed] for place, seed in enumerate(order)} for name, runs in pool.items()}


def main() -> None:
    if not POOL.exists():
        train_pool()
    pool = read_pool()
    compared = compare_settings(pool)
    for setting in compared:
        mark = "significantly worse than the best" if setting.distinct else ""
        print(f"{setting.name:24} {setting.mean:.2%} ± {setting.deviation:.2%} {mark}")
    worse = {setting.name for setting in compared if setting.distinct}
    means = {setting.name: setting.mean for setting in compared}
    generator = np.random.default_rng(0)
    rows = []
    for _ in range(DRAWS):
        drawn = draw(pool, generator)
        choices = {
            f"full grid, {FULL} seeds": full_grid(drawn, range(FULL)),
            f"full grid, {FULL} other seeds": full_grid(drawn, range(FULL, 2 * FULL)),
            f"full grid, {FEW} seeds": full_grid(drawn, range(FEW)),
            **{f"sequential halving, {budget} runs": halving(drawn, budget) for budget in BUDGETS},
        }
        reference = choices[f"full grid, {FULL} seeds"][0]
        rows += [
            (way, runs, choice == reference, choice in worse, 100 * (compared[0].mean - means[choice]))
            for way, (choice, runs) in choices.items()
        ]
    table = pd.DataFrame(rows, columns=["way", "runs", "same", "false", "points"])
    table = table[table["way"] != f"full grid, {FULL} seeds"]  # by which the others are judged
    for way, (runs, same, false, points) in table.groupby("way", sort=False).mean().iterrows():
        record(
            "python -m benchmarks.seeds",
            f"the best of {len(SETTINGS)} settings on Digits, chosen by {way}",
            f"{runs:.1f} runs; the same as by the full grid with {FULL} seeds in {same:.1%} of the draws, "
            f"false in {false:.1%}; {points:.3f} points below the best on average",
        )


if __name__ == "__main__":
    run(main)
