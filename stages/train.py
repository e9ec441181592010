"""Training and validation split → the kept model, its metrics, and the history of the training."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from operator import attrgetter
from pathlib import Path

from src.devices import set_up_process
from src.files import write_text
from src.model_file import save_model
from src.models import build_model, count_parameters, summary
from src.params import RunParams, TrainParams, read
from src.resumable import resumable_training
from src.splits import load_split
from src.tracking import TrackedTraining, named_trackers
from src.training import Epoch, Progress, Step
from src.workspace import run_stage

TRAIN, VAL = Path("data/prepared/train.npz"), Path("data/prepared/val.npz")
MODEL = Path("models/model.pt")
METRICS = Path("metrics/train.json")
HISTORY = Path("plots/history.csv")
STEPS = Path("plots/steps.csv")


def write_table(path: Path, kind: type[Epoch] | type[Step], rows: Sequence[Epoch] | Sequence[Step]) -> None:
    # Without pandas: loading it takes longer than most epochs of Digits together.
    names = [field.name for field in fields(kind)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(map(attrgetter(*names), rows))
    write_text(path, text.getvalue())


def main() -> None:
    params, trackers, device = read(TrainParams), named_trackers(), set_up_process()
    train, val = load_split(TRAIN), load_split(VAL)
    network = build_model(params.network(), seed=params.seed, num_classes=len(train.class_names))
    print(summary(network), flush=True)
    tracked = TrackedTraining(trackers, read(RunParams).model_dump(), network)

    def on_epoch(progress: Progress) -> None:
        # After every epoch, so that `dvc plots show` can draw a running training.
        write_table(HISTORY, Epoch, progress.history)
        write_table(STEPS, Step, progress.steps)
        tracked.on_epoch([asdict(row) for row in progress.history], progress.snapshot().model)

    training = resumable_training(params, train, val, device, files=[TRAIN, VAL], on_epoch=on_epoch)
    with tracked, training as (trained, result):
        save_model(trained, MODEL)
        best = asdict(result.best)
        metrics = {key: best[key] for key in ("val_accuracy", "val_loss", "train_accuracy", "train_loss")}
        metrics |= {"best_epoch": result.best.epoch, "epochs": result.history[-1].epoch}
        metrics |= {"parameters": count_parameters(network)}
        write_text(METRICS, json.dumps(metrics, indent=2) + "\n")
        tracked.trained(metrics, MODEL)


if __name__ == "__main__":
    run_stage(main)
