"""Experiments per minute of one worker and of two: `python -m benchmarks.workers`, with MNIST at hand.

In a temporary clone of HEAD, MNIST with 2 epochs: sweeps of six experiments with one worker and with two in
turn, each twice, from the command to its table.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time

from src.errors import run

ROUNDS = 2
EXPERIMENTS = 6


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="workers-", ignore_cleanup_errors=True) as folder:

        def call(*command: str) -> None:
            subprocess.run(command, cwd=folder, check=True, capture_output=True)

        subprocess.run(("git", "clone", "--quiet", ".", folder), check=True)
        call("dvc", "exp", "run", "-S", "dataset=MNIST", "-S", "epochs=2")  # prepares MNIST
        identity = ("-c", "user.name=Benchmark", "-c", "user.email=benchmark@example.org")
        call("git", *identity, "commit", "--all", "--quiet", "--message=MNIST")
        rates: dict[int, list[float]] = {1: [], 2: []}
        tried = 0
        for number in range(1, ROUNDS + 1):
            for workers, measured in rates.items():
                values = ",".join(f"0.00{tried + one:02d}1" for one in range(1, EXPERIMENTS + 1))
                tried += EXPERIMENTS
                started = time.monotonic()
                call(sys.executable, "-m", "src.sweep", "--workers", str(workers), f"lr={values}")
                measured.append(60 * EXPERIMENTS / (time.monotonic() - started))
                print(
                    f"round {number}, workers {workers}: {measured[-1]:.2f} experiments a minute", flush=True
                )
    ratios = [two / one for one, two in zip(rates[1], rates[2], strict=True)]
    print(
        f"two workers over one: median {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f})"
    )


if __name__ == "__main__":
    run(main)
