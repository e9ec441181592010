"""How much do results differ where bits do? `python -m benchmarks.processors`.

Trains the committed params.yaml with several seeds, each on two threads, on one, with the instruction sets
of an older processor (SSE 4.1, no AVX), and on a GPU where there is one. The bits differ; whether the
accuracies do, by more than seeds make them, is what the table shows.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from dataclasses import replace

import torch

from src.datasets import DATASETS, split_dataset
from src.devices import DEVICE_VARIABLE, THREADS_VARIABLE, set_up_process
from src.errors import UserError, run
from src.evaluation import evaluate
from src.models import predict_logits
from src.optimization import Optimization
from src.params import Params, read
from src.training import train_on_splits

OLDER = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}
CPU = {DEVICE_VARIABLE: "cpu"}
VARIANTS = {
    "2 threads": CPU | {THREADS_VARIABLE: "2"},
    "1 thread": CPU | {THREADS_VARIABLE: "1"},
    "2 threads, SSE 4.1 only": CPU | {THREADS_VARIABLE: "2"} | OLDER,
}


def accuracies_here(dataset: str, seeds: int) -> list[float]:
    """The test accuracy (a fraction) of each seed from 0, in this process."""
    params, device = read(Params), set_up_process()
    train, val, test = split_dataset(dataset, DATASETS[dataset](), params.val_fraction, params.split_seed)
    settings = Optimization(**params.optimization())
    values = []
    for seed in range(seeds):
        model, _ = train_on_splits(train, val, params.network(), replace(settings, seed=seed), device)
        inputs = model.prepare_input(torch.from_numpy(test.images).to(device))
        logits = predict_logits(model.build().to(device), inputs).cpu().numpy()
        values.append(evaluate(logits, test.labels, test.class_names).metrics["accuracy"])
        print(f"{dataset}, seed {seed}: test {values[-1]:.2%}", file=sys.stderr, flush=True)
    return values


def accuracies(dataset: str, seeds: int, environment: dict[str, str]) -> list[float]:
    """The same, in a process with this environment."""
    command = [sys.executable, "-m", "benchmarks.processors", "--json", "--seeds", str(seeds), dataset]
    result = subprocess.run(command, env=os.environ | environment, stdout=subprocess.PIPE, check=False)
    if result.returncode:
        raise UserError("a variant failed; see above")
    return json.loads(result.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 0 (default 5, at least 2)")
    parser.add_argument("--json", action="store_true", help="this process's variant alone, as JSON")
    parser.add_argument("dataset", nargs="?", default="Digits", choices=list(DATASETS))
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        raise UserError(f"--seeds: {arguments.seeds} is not accepted; accepted: an integer ≥ 2")
    if arguments.json:
        print(json.dumps(accuracies_here(arguments.dataset, arguments.seeds)))
        return
    variants = dict(VARIANTS)
    if torch.cuda.is_available():
        variants[torch.cuda.get_device_name()] = {DEVICE_VARIABLE: "cuda"}
    print(f"{arguments.dataset}, test accuracy in %, {arguments.seeds} seeds\n")
    print("| | mean ± sample sd | difference to the first, seed by seed |\n|---|---|---|")
    base: list[float] = []
    for name, environment in variants.items():
        values = [100 * value for value in accuracies(arguments.dataset, arguments.seeds, environment)]
        base = base or values
        differences = ", ".join(f"{value - first:+.2f}" for value, first in zip(values, base, strict=True))
        shown = f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"
        print(f"| {name} | {shown} | {differences if values is not base else ''} |", flush=True)


if __name__ == "__main__":
    run(main)
