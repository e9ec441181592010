"""Seconds from raw archives to a trained model: `python -m benchmarks.time_to_accuracy`, with MNIST at hand.

In a temporary clone of HEAD, `dvc exp run -S dataset=MNIST` with `SETTINGS`, the whole pipeline from reading
the archives to the last picture, with a few seeds; and the test accuracy that each of them ends with, beside
the 98.94 % after 50 epochs of about 28 s of a LeNet-5 that this repository takes the place of.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

from benchmarks.clones import call, clone
from benchmarks.record import record, spread
from src.runtime.errors import run

# Of 3 and 4 epochs with batches of 64, 128 and 256 images and learning rates from 0.004 to 0.012, those
# whose worst seed of three had the highest validation accuracy: 99.13 %.
SETTINGS = ("epochs=4", "batch_size=128", "lr=0.01", "augment=none")
SEEDS = 3
REFERENCE = 0.9894


def main() -> None:
    taken, accuracies = [], []
    for seed in range(SEEDS):
        with tempfile.TemporaryDirectory(prefix="time-to-accuracy-") as folder:
            clone(Path(folder))
            started = time.perf_counter()
            settings = ("dataset=MNIST", *SETTINGS, f"seed={seed}")
            command = ["dvc", "exp", "run", *(word for value in settings for word in ("-S", value))]
            call(Path(folder), *command)
            taken.append(time.perf_counter() - started)
            metrics = {
                name: json.loads(Path(folder, "metrics", f"{name}.json").read_text())
                for name in ("train", "test")
            }
        accuracies.append(metrics["test"]["accuracy"])
        print(
            f"seed {seed}: {taken[-1]:.1f} s, validation {metrics['train']['val_accuracy']:.2%}, "
            f"test {accuracies[-1]:.2%}",
            flush=True,
        )
    reached = sum(accuracy >= REFERENCE for accuracy in accuracies)
    record(
        "python -m benchmarks.time_to_accuracy",
        f"MNIST from the archives to a model of at least {REFERENCE:.2%}: pipeline with {' '.join(SETTINGS)}",
        f"{spread(taken, '.1f')} s; {reached} of {SEEDS} seeds: {min(accuracies):.2%} to "
        f"{max(accuracies):.2%} on the test split",
    )


if __name__ == "__main__":
    run(main)
