"""The README's table of results: the committed params.yaml on several datasets and seeds.

`python -m benchmarks.accuracy --seeds 5 Digits MNIST FashionMNIST` trains with each seed, keeps the weights
that validation chooses, reads the test split once for each, and prints the table.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from dataclasses import replace

import torch

from src.datasets import DATASETS, split_dataset
from src.devices import set_up_process
from src.errors import UserError, run
from src.evaluation import evaluate
from src.models import predict_logits
from src.optimization import Optimization
from src.params import Params, read
from src.training import train_on_splits


def test_accuracies(name: str, seeds: int, params: Params, device: torch.device) -> list[float]:
    """The test accuracy (a fraction) of each seed from 0."""
    train, val, test = split_dataset(name, DATASETS[name](), params.val_fraction, params.split_seed)
    settings = Optimization(**params.optimization())
    accuracies = []
    for seed in range(seeds):
        model, result = train_on_splits(train, val, params.network(), replace(settings, seed=seed), device)
        inputs = model.prepare_input(torch.from_numpy(test.images).to(device))
        logits = predict_logits(model.build().to(device), inputs).cpu().numpy()
        accuracy = evaluate(logits, test.labels, test.class_names).metrics["accuracy"]
        accuracies.append(accuracy)
        done = f"{name}, seed {seed}: validation {result.best.val_accuracy:.2%}, test {accuracy:.2%}"
        print(done, file=sys.stderr, flush=True)
    return accuracies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 0 (default 5, at least 2)")
    parser.add_argument("--json", action="store_true", help="print the accuracy of every seed, as JSON")
    parser.add_argument("dataset", nargs="+", help=", ".join(DATASETS))
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        raise UserError(f"--seeds: {arguments.seeds} is not accepted; accepted: an integer ≥ 2")
    for name in arguments.dataset:
        if name not in DATASETS:
            raise UserError(f"dataset: {name!r} is not accepted; accepted: one of {', '.join(DATASETS)}")
    params, device = read(Params), set_up_process()
    values = {name: test_accuracies(name, arguments.seeds, params, device) for name in arguments.dataset}
    if arguments.json:
        print(json.dumps(values))
        return
    print("| dataset | test accuracy, mean ± sample sd | epochs |")
    print("|---|---|---|")
    for name, accuracies in values.items():
        mean, spread = statistics.mean(accuracies), 100 * statistics.stdev(accuracies)
        print(f"| {name} | {mean:.2%} ± {spread:.2f} (n = {len(accuracies)}) | {params.epochs} |")


if __name__ == "__main__":
    run(main)
