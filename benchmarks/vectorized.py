"""Configurations a minute, trained together and one by one: `python -m benchmarks.vectorized`, with MNIST.

Eight configurations of params.yaml with other learning rates, one epoch of MNIST each with its evaluations,
by `train_together` of `src.tune.vectorized` and by `train_on_splits` of `src.training.from_splits`, in turn
and in one process: once with one seed for all, and once with a seed for each.
"""

from __future__ import annotations

import time

from benchmarks.record import record, spread
from src.data.splitting import split_dataset
from src.params import Params, read
from src.runtime.devices import set_up_process
from src.runtime.errors import run
from src.training.from_splits import train_on_splits
from src.tune.vectorized import train_together

ROUNDS = 3
TOGETHER = 8


def main() -> None:
    device = set_up_process()
    params = read(Params)
    train, val, _ = split_dataset(params.model_copy(update={"dataset": "MNIST"}))
    for name, seeds in (("one seed", [0] * TOGETHER), ("a seed for each", list(range(TOGETHER)))):
        configurations = [
            params.model_copy(update={"epochs": 1, "lr": 0.001 * (1 + number), "seed": seed})
            for number, seed in enumerate(seeds)
        ]
        ratios = []
        for number in range(1, ROUNDS + 1):
            started = time.perf_counter()
            for each in configurations:
                train_on_splits(train, val, each.network(), each, device)
            between = time.perf_counter()
            train_together(train, val, configurations, device)
            ended = time.perf_counter()
            rates = [60 * TOGETHER / seconds for seconds in (between - started, ended - between)]
            ratios.append(rates[1] / rates[0])
            print(
                f"{name}, round {number} of {ROUNDS}: one by one {rates[0]:.1f}, "
                f"together {rates[1]:.1f} configurations a minute",
                flush=True,
            )
        record(
            "python -m benchmarks.vectorized",
            f"{TOGETHER} configurations trained together over one by one, MNIST, {name}",
            f"{spread(ratios, '.2f')} times as many a minute",
        )


if __name__ == "__main__":
    run(main)
