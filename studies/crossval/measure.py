"""Training and validation split together, with the parameters of `params.yaml` → k-fold cross-validation."""

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from src.data.splits import load_split
from src.evaluation.metrics import evaluate
from src.networks.build import predict_logits
from src.params import Params, TrainParams, read
from src.runtime.devices import set_up_process
from src.runtime.files import write_json, write_table
from src.runtime.paths import TRAIN_SPLIT, VAL_SPLIT
from src.runtime.workspace import run_stage
from src.training.resumable import resumable_training
from studies.crossval.folds import joined, overall, scores_by_class, stratified_folds

RESULTS = Path("studies/crossval")


def main() -> None:
    params, training, device = read(Params), read(TrainParams), set_up_process()
    part = joined(load_split(TRAIN_SPLIT), load_split(VAL_SPLIT))
    rows, evaluations, logits, labels = [], [], [], []
    # Every fold's last checkpoint stays until all results are written: what is done is not trained again.
    with ExitStack() as until_written:
        for fold in stratified_folds(part, params.folds, params.val_fraction, params.split_seed):
            facts = {"fold": fold.number, **params.model_dump()}
            print(f"fold {fold.number} of {params.folds}", flush=True)
            trained, result = until_written.enter_context(
                resumable_training(
                    training, fold.train, fold.val, device, facts=facts, files=[TRAIN_SPLIT, VAL_SPLIT]
                )
            )
            images = torch.from_numpy(fold.held_out.images).to(device)
            network = trained.build().to(device)
            logits.append(predict_logits(network, trained.prepare_input(images)).cpu().numpy())
            labels.append(fold.held_out.labels)
            evaluations.append(evaluate(logits[-1], labels[-1], part.class_names))
            rows.append(
                {
                    "fold": fold.number,
                    "images": len(images),
                    "best_epoch": result.best.epoch,
                    "val_accuracy": result.best.val_accuracy,
                    "accuracy": evaluations[-1].metrics["accuracy"],
                    "loss": evaluations[-1].metrics["loss"],
                    "macro_f1": evaluations[-1].metrics["macro"]["f1"],
                }
            )
        pooled = evaluate(np.concatenate(logits), np.concatenate(labels), part.class_names)
        summary, classes = overall(evaluations, pooled), scores_by_class(evaluations)
        write_table(RESULTS / "folds.csv", pd.DataFrame(rows))
        write_table(RESULTS / "per_class.csv", classes)
        write_json(RESULTS / "summary.json", summary)
    print(classes.to_string(index=False, float_format="{:.4f}".format))
    accuracy = summary["accuracy"]
    print(
        f"{part.dataset}: accuracy {accuracy['mean']:.2%} ± {100 * accuracy['sd']:.2f} "
        f"over {params.folds} folds, pooled {accuracy['pooled']:.2%}"
    )


if __name__ == "__main__":
    run_stage(main)
