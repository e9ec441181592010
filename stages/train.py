"""Training and validation split → the best model, its metrics, and the history of the training."""

from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version

from src.data.splits import load_split
from src.networks.build import build_model, count_parameters, summary
from src.networks.model_file import save_model
from src.params import RunParams, TrainParams, read
from src.runtime.devices import environment, set_up_process
from src.runtime.files import GrowingTable, rounded, write_json
from src.runtime.paths import ENVIRONMENT, HISTORY, MODEL, STEPS, TRAIN_METRICS, TRAIN_SPLIT, VAL_SPLIT
from src.runtime.workspace import run_stage, stop_if_edited
from src.tracking.trackers import TrackedTraining, named_trackers
from src.training.history import Epoch, Step
from src.training.loop import Progress
from src.training.resumable import resumable_training


def dvc_version() -> dict[str, str]:
    """Under its name; nothing on a machine that trains without DVC."""
    try:
        return {"dvc": version("dvc")}
    except PackageNotFoundError:
        return {}


def main() -> None:
    params, trackers, device = read(TrainParams), named_trackers(), set_up_process()
    train, val = load_split(TRAIN_SPLIT), load_split(VAL_SPLIT)
    network = build_model(
        params.network(), seed=params.seed, num_classes=len(train.class_names), image_format=train.format
    )
    print(summary(network), flush=True)
    tracked = TrackedTraining(trackers, read(RunParams).model_dump(), network)
    history, steps = GrowingTable(HISTORY, Epoch), GrowingTable(STEPS, Step)
    step_rows: list[Step] = []

    def on_epoch(progress: Progress) -> None:
        # After every epoch, so that `dvc plots show` can draw a running training.
        history.update(progress.history)
        steps.update(progress.steps)
        step_rows[:] = progress.steps
        tracked.on_epoch(progress.history, progress.snapshot().state.model)

    training = resumable_training(
        params, train, val, device, files=[TRAIN_SPLIT, VAL_SPLIT], on_epoch=on_epoch
    )
    with tracked, training as (trained, result):
        stop_if_edited()  # while there is a checkpoint to resume from
        # As a whole: where an experiment was queued meanwhile, DVC has put older files in their place.
        GrowingTable(HISTORY, Epoch).update(result.history)
        GrowingTable(STEPS, Step).update(step_rows)
        save_model(trained, MODEL)
        best = asdict(result.best)
        metrics = {key: best[key] for key in ("val_accuracy", "val_loss", "train_accuracy", "train_loss")}
        metrics |= {"best_epoch": result.best.epoch, "epochs": result.history[-1].epoch}
        metrics |= {"parameters": count_parameters(network)}
        write_json(TRAIN_METRICS, metrics)
        write_json(ENVIRONMENT, environment(device) | dvc_version())
        tracked.trained(rounded(metrics), MODEL)


if __name__ == "__main__":
    run_stage(main)
