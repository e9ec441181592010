"""Seconds of the pipeline itself: `python -m benchmarks.pipeline`.

In a temporary clone of HEAD without its results: `dvc repro` from nothing, `dvc repro` with nothing to do,
and `dvc exp run -S lr=…` for a learning rate not tried before, each several times.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.clones import call, clone_without_results
from benchmarks.record import record, spread
from src.runtime.errors import run

ROUNDS = 3


def seconds(folder: Path, *command: str) -> float:
    """How long a command takes, its output dropped."""
    started = time.perf_counter()
    call(folder, *command)
    return time.perf_counter() - started


def main() -> None:
    taken: dict[str, list[float]] = {}
    for number in range(ROUNDS):
        with tempfile.TemporaryDirectory(prefix="pipeline-") as temporary:
            clone_without_results(folder := Path(temporary))
            commands = {
                "`dvc repro` from nothing": ("dvc", "repro"),
                "`dvc repro` with nothing to do": ("dvc", "repro"),
                "an experiment: `dvc exp run -S lr=…`, on Digits": (
                    "dvc",
                    "exp",
                    "run",
                    "-S",
                    f"lr=0.01{number + 1}",
                ),
            }
            for name, command in commands.items():
                taken.setdefault(name, []).append(seconds(folder, *command))
        print(f"round {number + 1} of {ROUNDS}", flush=True)
    for name, values in taken.items():
        record("python -m benchmarks.pipeline", name, f"{spread(values, '.1f')} s")


if __name__ == "__main__":
    run(main)
