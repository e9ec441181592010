"""Training and validation split → the kept model, its metrics, and the history of the training."""

import json
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from src.devices import set_up_process
from src.errors import run
from src.files import write_text
from src.models import save_model
from src.params import TrainParams, read
from src.progress import TrainingProgress
from src.splits import load_split
from src.training import Optimization, Progress, Step, steps_per_epoch, train_on_splits

PREPARED = Path("data/prepared")
MODEL = Path("models/model.pt")
METRICS = Path("metrics/train.json")
HISTORY = Path("plots/history.csv")
STEPS = Path("plots/steps.csv")


def main() -> None:
    params = read(TrainParams)
    train_split, val_split = load_split(PREPARED / "train.npz"), load_split(PREPARED / "val.npz")
    settings = Optimization(**params.optimization())
    shown = TrainingProgress(settings.epochs, steps_per_epoch(len(train_split.labels), settings.batch_size))

    def on_epoch(progress: Progress) -> None:
        # Rewritten after every epoch, so that `dvc plots show` can draw a running training.
        write_text(HISTORY, pd.DataFrame(progress.history).to_csv(index=False))
        write_text(
            STEPS, pd.DataFrame(progress.steps, columns=list(Step.__annotations__)).to_csv(index=False)
        )
        shown.on_epoch(progress)

    trained, result = train_on_splits(
        train_split,
        val_split,
        params.network(),
        settings,
        set_up_process(),
        on_epoch=on_epoch,
        on_step=shown.on_step,
    )
    save_model(trained, MODEL)
    best = asdict(result.best)
    metrics = {key: best[key] for key in ("val_accuracy", "val_loss", "train_accuracy", "train_loss")}
    metrics |= {"best_epoch": result.best.epoch, "epochs": settings.epochs}
    write_text(METRICS, json.dumps(metrics, indent=2) + "\n")


if __name__ == "__main__":
    run(main)
