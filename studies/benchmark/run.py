"""One recipe with its seeds → its rows of the table: `python -m studies.benchmark.run RECIPE SEEDS`.

Runs the seeds 0 to SEEDS - 1. A row that the same recipe and code have made before is kept, so that more
seeds cost their own trainings alone, and an interrupted study resumes. After a change of the code or of the
libraries the first seed is run again; where its row is the same to the last digit, the others are kept, too.
Delete `runs/RECIPE.json` to run them all again.

The raw archives are read, so that a run depends on nothing but its recipe; their checksums are checked each
time.
"""

import argparse
import json
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
from src.runtime.files import rounded, write_json
from src.runtime.processor import cores, processor_name
from src.runtime.workspace import run_stage
from src.training.loop import Progress
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
    if arguments.seeds < 1:
        raise UserError(f"SEEDS: {arguments.seeds} is invalid; expected an integer ≥ 1")
    run_seeds(arguments.recipe, paths[arguments.recipe], arguments.seeds)


def run_seeds(name: str, path: Path, seeds: int) -> None:
    """Make what is missing of the rows of a recipe, which `path` holds with its code's digest."""
    recipe, device = json.loads(path.read_text()), set_up_process()
    params, made_by = recipe["params"], {"code": recipe["code"], **environment(device)}
    file, times_file = (FOLDER / folder / f"{name}.json" for folder in ("runs", "times"))
    earlier = _read(file, params)
    rows, times = earlier.get("rows", {}), _read(times_file, params).get("rows", {})
    is_confirmed = earlier.get("made_by") == made_by
    data = parse(complete(params, seed=0), PrepareParams, whole=RunParams, source=str(path))
    splits = split_dataset(data)
    for seed in range(seeds):
        if is_confirmed and str(seed) in rows:
            continue
        training = parse(complete(params, seed), TrainParams, whole=RunParams, source=str(path))
        with _run(splits, data, training, device) as (found, spent):
            row = {"dataset": data.dataset, "model": training.model, "recipe": name, **rounded(found)}
            if rows and not is_confirmed and row != rows[str(seed)]:
                print(f"{name}: other results than before; every seed is run again", flush=True)
                rows, times = {}, {}
            is_confirmed = True
            rows[str(seed)] = row
            # What a machine took is no result: it is not among the outputs that DVC compares.
            machine = {"processor": processor_name(), "cores": cores()}
            times[str(seed)] = spent | machine | environment(device)
            write_json(times_file, {"params": params, "rows": times})
            write_json(file, {"params": params, "made_by": made_by, "rows": rows})
        print(f"{name}, seed {seed}: test accuracy {row['test_accuracy']:.2%}", flush=True)
    wanted = {str(seed): rows[str(seed)] for seed in range(seeds)}
    write_json(file, {"params": params, "made_by": made_by, "rows": wanted})


def _read(file: Path, params: dict[str, Any]) -> dict[str, Any]:
    """What a file holds; nothing where there is no file, or where another recipe made it."""
    try:
        content = json.loads(file.read_text()) if file.exists() else {}
        is_of_recipe = content.get("params") == rounded(params)
    except (ValueError, AttributeError):
        raise UserError(f"{file}: damaged; delete it to run all of its seeds again") from None
    return content if is_of_recipe else {}


@contextmanager
def _run(
    splits: tuple[Split, Split, Split], data: PrepareParams, params: TrainParams, device: torch.device
) -> Iterator[tuple[dict[str, Any], dict[str, float]]]:
    """Train and test once; what came of it, and the time that it took, unless the training was resumed.

    What is written in the block is written, or computed again at once; see `resumable_training`.
    """
    train, val, test = splits
    started, worked = time.monotonic(), time.process_time()
    shown: list[int] = []

    def on_epoch(progress: Progress) -> None:
        shown.append(progress.history[-1].epoch)

    training = resumable_training(params, train, val, device, facts=data.model_dump(), on_epoch=on_epoch)
    with training as (model, result):
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
        was_resumed = shown[0] > 0
        yield row, {} if was_resumed else spent


if __name__ == "__main__":
    run_stage(main, takes_arguments=True)
