"""Experiments per minute of one worker and of two: `python -m benchmarks.workers`, with MNIST at hand.

In a temporary clone of HEAD, sweeps of four experiments with one worker and with two in turn, three times
each; an experiment is a training as in `benchmarks.time_to_accuracy`. Measured is the whole command, from
its start to its table; and the time while experiments run, without the workers' start and end. At most 15
minutes.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks.time_to_accuracy import SETTINGS
from src.runtime.errors import run

ROUNDS = 3
EXPERIMENTS = 4


def sweep(folder: str, workers: int, seeds: str) -> tuple[float, float]:
    """Run a sweep over seeds.

    Returns:
        Experiments per minute: of the whole command, and from the end of the first experiments, one for each
        worker, to the end of the last.
    """
    started = time.monotonic()
    ended: list[float] = []
    command = (sys.executable, "-m", "src.sweep", "--workers", str(workers), f"seed={seeds}")
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if re.match(rf"\d+/{EXPERIMENTS} ", line):
                ended.append(time.monotonic())
    if process.returncode or len(ended) != EXPERIMENTS:
        raise subprocess.CalledProcessError(process.returncode, command)
    whole = 60 * EXPERIMENTS / (time.monotonic() - started)
    return whole, 60 * (EXPERIMENTS - workers) / (ended[-1] - ended[workers - 1])


def main() -> None:
    settings = ("dataset=MNIST", *SETTINGS)
    with tempfile.TemporaryDirectory(prefix="workers-", ignore_cleanup_errors=True) as folder:
        subprocess.run(("git", "clone", "--quiet", ".", folder), check=True)
        for command in (
            ("dvc", "exp", "run", *(word for value in settings for word in ("-S", value))),  # prepares MNIST
            ("git", "config", "user.name", "Benchmark"),
            ("git", "config", "user.email", "benchmark@example.org"),
            ("git", "commit", "--all", "--quiet", "--message=MNIST"),
        ):
            subprocess.run(command, cwd=folder, check=True, capture_output=True)
        rates: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
        first_seed = 1
        for number in range(1, ROUNDS + 1):
            for workers, measured in rates.items():
                seeds = f"{first_seed}..{first_seed + EXPERIMENTS - 1}"
                first_seed += EXPERIMENTS
                measured.append(sweep(folder, workers, seeds))
                whole, running = measured[-1]
                print(
                    f"round {number}, workers {workers}: {whole:.2f} experiments a minute, "
                    f"{running:.2f} while they run",
                    flush=True,
                )
        for which, name in enumerate(("command to table", "while they run")):
            medians = {
                workers: statistics.median(rate[which] for rate in measured)
                for workers, measured in rates.items()
            }
            ratios = [two[which] / one[which] for one, two in zip(rates[1], rates[2], strict=True)]
            print(
                f"{name}: median {medians[1]:.2f} experiments a minute with one worker, {medians[2]:.2f} "
                f"with two; two over one: median {statistics.median(ratios):.2f} "
                f"({min(ratios):.2f} to {max(ratios):.2f})"
            )


if __name__ == "__main__":
    run(main)
