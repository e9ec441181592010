"""Training and validation split together, with the parameters of `params.yaml` → k-fold cross-validation."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from src.data.splits import Split, load_split
from src.evaluation.metrics import evaluate
from src.networks.build import predict_logits
from src.params import Params, RunParams, read
from src.runtime.devices import set_up_process
from src.runtime.files import write_json, write_table
from src.runtime.paths import TRAIN_SPLIT, VAL_SPLIT
from src.runtime.workspace import run_stage
from src.training.resumable import resumable_training
from studies.crossval.folds import Fold, joined, overall, scores_by_class, stratified_folds

RESULTS = Path("studies/crossval")


@dataclass(frozen=True)
class CrossValidation:
    """What folds come to: a row for each, a row for each class, and all together; see `folds`."""

    folds: pd.DataFrame
    per_class: pd.DataFrame
    summary: dict[str, dict[str, float]]


@contextmanager
def cross_validation(
    part: Split, folds: int, params: RunParams, device: torch.device
) -> Iterator[CrossValidation]:
    """Train and test once for each fold.

    Every fold's last checkpoint stays until the block ends, in which the results are to be written: what is
    done is not trained again.

    Args:
        part: the images to divide.
        folds: how many parts.
        params: of each training, and of the draw of its validation split.
        device: where to compute.
    """
    rows, evaluations, logits, labels = [], [], [], []
    with ExitStack() as until_written:
        for fold in stratified_folds(part, folds, params.val_fraction, params.split_seed):
            # A checkpoint of other folds has been trained on images that are held out in these.
            facts: dict[str, Any] = {"images": digest(fold), **params.model_dump()}
            print(f"fold {fold.number} of {folds}", flush=True)
            trained, result = until_written.enter_context(
                resumable_training(params, fold.train, fold.val, device, facts=facts)
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
        summary = overall(evaluations, pooled)
        yield CrossValidation(pd.DataFrame(rows), scores_by_class(evaluations), summary)


def digest(fold: Fold) -> str:
    """SHA-256 of all facts of what a fold trains on, is chosen by, and is tested on."""
    content = hashlib.sha256()
    for split in (fold.train, fold.val, fold.held_out):
        for value in vars(split).values():
            content.update(value.data if isinstance(value, np.ndarray) else repr(value).encode())
    return content.hexdigest()


def write(found: CrossValidation, folder: Path, dataset: str) -> None:
    """Write the three tables, and print those of the classes and of all together."""
    write_table(folder / "folds.csv", found.folds)
    write_table(folder / "per_class.csv", found.per_class)
    write_json(folder / "summary.json", found.summary)
    print(found.per_class.to_string(index=False, float_format="{:.4f}".format))
    accuracy = found.summary["accuracy"]
    print(
        f"{dataset}: accuracy {accuracy['mean']:.2%} ± {100 * accuracy['sd']:.2f} "
        f"over {len(found.folds)} folds, pooled {accuracy['pooled']:.2%}"
    )


def main() -> None:
    params, device = read(Params), set_up_process()
    part = joined(load_split(TRAIN_SPLIT), load_split(VAL_SPLIT))
    with cross_validation(part, params.folds, params, device) as found:
        write(found, RESULTS, part.dataset)


if __name__ == "__main__":
    run_stage(main)
