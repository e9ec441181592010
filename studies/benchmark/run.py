"""One recipe with its seeds → its rows of the table: `python -m studies.benchmark.run RECIPE SEEDS`.

Runs the seeds 0 to SEEDS - 1. A row that the same recipe and code have made before is kept, so that more
seeds cost their own trainings alone, and an interrupted study goes on. The raw archives are read, so that a
run depends on nothing but its recipe; their checksums are checked each time.
"""

import argparse
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from src.data.splits import Split
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
    parser.add_argument("seeds", type=int)
    arguments = parser.parse_args()
    paths = {path.stem: path for path in sorted((FOLDER / "recipes").glob("*.json"))}
    if arguments.recipe not in paths:
        raise UserError(f"{arguments.recipe!r} is no recipe; expected one of {', '.join(paths)}")
    path = paths[arguments.recipe]
    recipe = json.loads(path.read_text())["params"]
    file, facts_file = (FOLDER / folder / f"{arguments.recipe}.json" for folder in ("runs", "times"))
    made_by = hashlib.sha256(path.read_bytes()).hexdigest()
    done, facts = _rows(file, made_by), _rows(facts_file, made_by)
    device = set_up_process()
    data = parse(complete(recipe, seed=0), PrepareParams, whole=RunParams, source=str(path))
    splits = split_dataset(data)
    for seed in range(arguments.seeds):
        if str(seed) not in done:
            params = parse(complete(recipe, seed), TrainParams, whole=RunParams, source=str(path))
            with _run(splits, data, params, device) as (row, spent):
                done[str(seed)] = {"dataset": data.dataset, "model": params.model, "recipe": arguments.recipe}
                done[str(seed)] |= row
                # What a machine took is no result: it is not among the outputs that DVC compares.
                facts[str(seed)] = spent | {"cores": os.cpu_count(), **environment(device)}
                write_json(facts_file, {"made_by": made_by, "rows": facts})
                write_json(file, {"made_by": made_by, "rows": done})
            print(f"{arguments.recipe}, seed {seed}: test accuracy {row['test_accuracy']:.2%}", flush=True)
    wanted = {str(seed): done[str(seed)] for seed in range(arguments.seeds)}
    write_json(file, {"made_by": made_by, "rows": wanted})


def _rows(file: Path, made_by: str) -> dict[str, Any]:
    """The rows of a file by seed; none where there is no file, or where another recipe or code made it."""
    content = json.loads(file.read_text()) if file.exists() else {}
    return content["rows"] if content.get("made_by") == made_by else {}


@contextmanager
def _run(
    splits: tuple[Split, Split, Split], data: PrepareParams, params: TrainParams, device: torch.device
) -> Iterator[tuple[dict[str, Any], dict[str, float]]]:
    """Train and test once; what came of it, and the time that it took.

    What is written in the block is written, or computed again at once; see `resumable_training`.
    """
    train, val, test = splits
    started, worked = time.monotonic(), time.process_time()
    with resumable_training(params, train, val, device, facts=data.model_dump()) as (model, result):
        network = model.build().to(device)
        logits = predict_logits(network, model.prepare_input(torch.from_numpy(test.images).to(device)))
        metrics = evaluate(logits.cpu().numpy(), test.labels, test.class_names).metrics
        row = {
            "seed": params.seed,
            "val_accuracy": result.best.val_accuracy,
            "test_accuracy": metrics["accuracy"],
            "test_loss": metrics["loss"],
            "macro_f1": metrics["macro"]["f1"],
            "epochs": result.history[-1].epoch,
            "best_epoch": result.best.epoch,
            "parameters": count_parameters(network),
        }
        spent = {
            "wall_seconds": round(time.monotonic() - started, 1),
            "processor_seconds": round(time.process_time() - worked, 1),
        }
        yield row, spent


if __name__ == "__main__":
    run_stage(main)
