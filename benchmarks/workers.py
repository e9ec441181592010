"""Experiments per minute of one worker and of two: `python -m benchmarks.workers`, with MNIST at hand.

In a temporary clone of HEAD, MNIST with the parameters of params.yaml: sweeps of eight experiments with one
worker and with two, in turn; from the command to its table, and without the workers' start and end. About a
quarter of an hour on two cores that do nothing else.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.clones import call, clone
from benchmarks.record import record, spread
from src.params import TrainParams, read
from src.runtime.errors import UserError, run

ROUNDS = 1
EXPERIMENTS = 8


def sweep(folder: str, workers: int, values: str) -> tuple[float, float]:
    """Run a sweep over learning rates.

    Returns:
        Experiments per minute: of the whole command, and from the end of the first experiments, one for each
        worker, to the end of the last.
    """
    started = time.monotonic()
    ended: list[float] = []
    grid = (f"lr={values}", f"epochs={read(TrainParams).epochs}")
    command = (sys.executable, "-m", "src.sweep", "--workers", str(workers), *grid)
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if re.match(rf"\d+/{EXPERIMENTS} ", line):
                ended.append(time.monotonic())
    if process.returncode or len(ended) != EXPERIMENTS:
        raise UserError(f"{len(ended)} of {EXPERIMENTS} experiments ended, see above")
    whole = 60 * EXPERIMENTS / (time.monotonic() - started)
    return whole, 60 * (EXPERIMENTS - workers) / (ended[-1] - ended[workers - 1])


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="workers-", ignore_cleanup_errors=True) as folder:
        clone(Path(folder))
        call(Path(folder), "dvc", "exp", "run", "-S", "dataset=MNIST", "-S", "epochs=1")  # prepares MNIST
        call(Path(folder), "git", "commit", "--all", "--quiet", "--message=MNIST")
        rates: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
        tried = 0
        for number in range(1, ROUNDS + 1):
            for workers, measured in rates.items():
                values = ",".join(f"0.00{tried + one:02d}1" for one in range(1, EXPERIMENTS + 1))
                tried += EXPERIMENTS
                measured.append(sweep(folder, workers, values))
                whole, running = measured[-1]
                print(
                    f"round {number}, workers {workers}: {whole:.2f} experiments a minute, "
                    f"{running:.2f} while they run",
                    flush=True,
                )
        for which, name in enumerate(("from the command to its table", "while they run")):
            ratios = [two[which] / one[which] for one, two in zip(rates[1], rates[2], strict=True)]
            record(
                "python -m benchmarks.workers",
                f"`make sweep` with two workers over one, MNIST, {EXPERIMENTS} experiments: {name}",
                f"{spread(ratios, '.2f')} times as many a minute",
            )


if __name__ == "__main__":
    run(main)
