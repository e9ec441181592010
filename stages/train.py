"""Training and validation split → the kept model, its metrics, and the history of the training."""

import json
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from src.checkpoints import checkpoints_of, training_key
from src.devices import numerics, set_up_process
from src.files import write_text
from src.model_file import save_model
from src.models import build_model, count_parameters, summary
from src.optimization import Optimization
from src.params import TrainParams, read
from src.progress import TrainingProgress
from src.splits import load_split
from src.training import Progress, Step, steps_per_epoch, train_on_splits
from src.workspace import repository, run_stage, stop_if_abandoned

TRAIN, VAL = Path("data/prepared/train.npz"), Path("data/prepared/val.npz")
MODEL = Path("models/model.pt")
METRICS = Path("metrics/train.json")
HISTORY = Path("plots/history.csv")
STEPS = Path("plots/steps.csv")
CHECKPOINTS = Path(".dvc/tmp/checkpoints")


def main() -> None:
    params = read(TrainParams)
    train_split, val_split = load_split(TRAIN), load_split(VAL)
    settings, device = Optimization(**params.optimization()), set_up_process()
    shown = TrainingProgress(settings.epochs, steps_per_epoch(len(train_split.labels), settings.batch_size))
    network = build_model(params.network(), seed=settings.seed, num_classes=len(train_split.class_names))
    print(summary(network), flush=True)
    key = training_key(params.model_dump() | numerics(device), [TRAIN, VAL])

    with checkpoints_of(key, repository() / CHECKPOINTS) as checkpoints:

        def on_epoch(progress: Progress) -> None:
            checkpoints.save(progress.snapshot())
            # Rewritten after every epoch, so that `dvc plots show` can draw a running training.
            write_text(HISTORY, pd.DataFrame(progress.history).to_csv(index=False))
            steps = pd.DataFrame(progress.steps, columns=list(Step.__annotations__))
            write_text(STEPS, steps.to_csv(index=False))
            shown.on_epoch(progress)

        def on_step() -> None:
            stop_if_abandoned()
            shown.on_step()

        trained, result = train_on_splits(
            train_split,
            val_split,
            params.network(),
            settings,
            device,
            snapshot=checkpoints.latest(),
            on_epoch=on_epoch,
            on_step=on_step,
        )
        shown.close()
        save_model(trained, MODEL)
        best = asdict(result.best)
        metrics = {key: best[key] for key in ("val_accuracy", "val_loss", "train_accuracy", "train_loss")}
        metrics |= {"best_epoch": result.best.epoch, "epochs": result.history[-1].epoch}
        metrics |= {"parameters": count_parameters(network)}
        write_text(METRICS, json.dumps(metrics, indent=2) + "\n")
        checkpoints.remove()


if __name__ == "__main__":
    run_stage(main)
