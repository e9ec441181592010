"""Experiments per minute of one worker and of two: `python -m benchmarks.workers`, with MNIST at hand.

In a temporary clone of HEAD, MNIST with 2 epochs: four experiments through DVC's queue, with
`dvc queue start -j 1` and `-j 2` in turn, each twice. From the start of the workers to the last result.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable

from src.errors import run

ROUNDS = 2
EXPERIMENTS = 4


def experiments(call: Callable[..., str]) -> int:
    """How many experiments there are; asked of git, since `dvc` would need a core to answer."""
    return len(call("git", "for-each-ref", "refs/exps/??/*/*", "--format=%(refname)").split())


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="workers-", ignore_cleanup_errors=True) as folder:

        def call(*command: str) -> str:
            return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout

        subprocess.run(("git", "clone", "--quiet", ".", folder), check=True)
        call("dvc", "exp", "run", "-S", "dataset=MNIST", "-S", "epochs=1")  # prepares MNIST
        identity = ("-c", "user.name=Benchmark", "-c", "user.email=benchmark@example.org")
        call("git", *identity, "commit", "--all", "--quiet", "--message=MNIST")
        rates: dict[int, list[float]] = {1: [], 2: []}
        tried = 0
        for number in range(1, ROUNDS + 1):
            for workers, measured in rates.items():
                values = ",".join(f"0.00{tried + one:02d}1" for one in range(1, EXPERIMENTS + 1))
                tried += EXPERIMENTS
                call("dvc", "exp", "run", "--queue", "-S", "epochs=2", "-S", f"lr={values}")
                wanted, started = experiments(call) + EXPERIMENTS, time.monotonic()
                call("dvc", "queue", "start", "-j", str(workers))
                while experiments(call) < wanted:
                    time.sleep(0.2)
                measured.append(60 * EXPERIMENTS / (time.monotonic() - started))
                print(
                    f"round {number}, workers {workers}: {measured[-1]:.2f} experiments a minute", flush=True
                )
                call("dvc", "queue", "stop")
                while "0 active, 0 idle" not in call("dvc", "queue", "status"):
                    time.sleep(1)
    ratios = [two / one for one, two in zip(rates[1], rates[2], strict=True)]
    print(
        f"two workers over one: median {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f})"
    )


if __name__ == "__main__":
    run(main)
