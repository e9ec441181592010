"""One recipe with one seed → its row of the table.

`python -m studies.benchmark.run RECIPE SEED`. The raw archives are read again by every run, so that a run
depends on nothing but its recipe; their checksums are checked each time.
"""

import argparse
import json
import os
import time

import torch

from src.data.splitting import split_dataset
from src.evaluation.metrics import evaluate
from src.networks.build import count_parameters, predict_logits
from src.params import PrepareParams, RunParams, TrainParams, parse
from src.runtime.devices import environment, set_up_process
from src.runtime.errors import UserError
from src.runtime.files import write_json
from src.runtime.workspace import run_stage
from src.training.resumable import resumable_training
from studies.benchmark.recipes import FOLDER, complete


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("seed", type=int)
    arguments = parser.parse_args()
    recipes = {path.stem: path for path in sorted((FOLDER / "recipes").glob("*.json"))}
    if arguments.recipe not in recipes:
        raise UserError(f"{arguments.recipe!r} is no recipe; expected one of {', '.join(recipes)}")
    path = recipes[arguments.recipe]
    values = complete(json.loads(path.read_text())["params"], arguments.seed)
    data = parse(values, PrepareParams, whole=RunParams, source=str(path))
    params = parse(values, TrainParams, whole=RunParams, source=str(path))

    device = set_up_process()
    started, worked = time.monotonic(), time.process_time()
    train, val, test = split_dataset(data)
    with resumable_training(params, train, val, device, facts=data.model_dump()) as (model, result):
        network = model.build().to(device)
        logits = predict_logits(network, model.prepare_input(torch.from_numpy(test.images).to(device)))
        metrics = evaluate(logits.cpu().numpy(), test.labels, test.class_names).metrics
        row = {
            "dataset": data.dataset,
            "model": params.model,
            "recipe": arguments.recipe,
            "seed": arguments.seed,
            "val_accuracy": result.best.val_accuracy,
            "test_accuracy": metrics["accuracy"],
            "test_loss": metrics["loss"],
            "macro_f1": metrics["macro"]["f1"],
            "epochs": result.history[-1].epoch,
            "best_epoch": result.best.epoch,
            "parameters": count_parameters(network),
        }
        name = f"{arguments.recipe}-{arguments.seed}.json"
        # What a machine took is no result: it is not among the outputs that DVC compares.
        facts = {
            "wall_seconds": round(time.monotonic() - started, 1),
            "processor_seconds": round(time.process_time() - worked, 1),
            "cores": os.cpu_count(),
            **environment(device),
        }
        write_json(FOLDER / "times" / name, facts)
        write_json(FOLDER / "runs" / name, row)
    print(f"{arguments.recipe}, seed {arguments.seed}: test accuracy {row['test_accuracy']:.2%}")


if __name__ == "__main__":
    run_stage(main)
