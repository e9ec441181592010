"""Experiments per minute of one worker and of two: `python -m benchmarks.workers`, with MNIST at hand.

In a temporary clone of HEAD, MNIST with 2 epochs: sweeps of six experiments, from the command to its table,
in turn and twice each: one worker that has two threads, one that has a single one, and two with one each.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

from src.errors import run
from src.processes import THREADS_VARIABLE

ROUNDS = 2
EXPERIMENTS = 6


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="workers-", ignore_cleanup_errors=True) as folder:

        def call(*command: str, **environment: str) -> None:
            subprocess.run(command, cwd=folder, env=os.environ | environment, check=True, capture_output=True)

        subprocess.run(("git", "clone", "--quiet", ".", folder), check=True)
        call("dvc", "exp", "run", "-S", "dataset=MNIST", "-S", "epochs=2")  # prepares MNIST
        identity = ("-c", "user.name=Benchmark", "-c", "user.email=benchmark@example.org")
        call("git", *identity, "commit", "--all", "--quiet", "--message=MNIST")
        rates: dict[tuple[int, int], list[float]] = {(1, 2): [], (1, 1): [], (2, 1): []}
        tried = 0
        for number in range(1, ROUNDS + 1):
            for (workers, threads), measured in rates.items():
                values = ",".join(f"0.00{tried + one:02d}1" for one in range(1, EXPERIMENTS + 1))
                tried += EXPERIMENTS
                started = time.monotonic()
                sweep = (sys.executable, "-m", "src.sweep", "--workers", str(workers), f"lr={values}")
                call(*sweep, **{THREADS_VARIABLE: str(threads)})
                measured.append(60 * EXPERIMENTS / (time.monotonic() - started))
                print(
                    f"round {number}, workers {workers}, threads of each {threads}: "
                    f"{measured[-1]:.2f} experiments a minute",
                    flush=True,
                )
    for threads in (2, 1):
        ratios = [two / one for one, two in zip(rates[1, threads], rates[2, 1], strict=True)]
        print(
            f"two workers over one of {threads} threads: median {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    run(main)
