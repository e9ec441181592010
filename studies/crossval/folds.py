"""Cross-validation: every image of the training part is held out once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from src.data.splits import Split, pixel_statistics, stratified_split
from src.evaluation.metrics import Evaluation
from src.runtime.errors import UserError

SCORES = ("precision", "recall", "f1")


@dataclass(frozen=True)
class Fold:
    """One round of a cross-validation; all three are normalised by the statistics of `train`.

    Attributes:
        number: from 1.
        train, val: what a network is trained on, and what its best epoch is chosen by.
        held_out: what it is then tested on.
    """

    number: int
    train: Split
    val: Split
    held_out: Split


def joined(train: Split, val: Split) -> Split:
    """The training part of a dataset again, as it was before a validation split was drawn from it."""
    return replace(
        train,
        images=np.concatenate([train.images, val.images]),
        labels=np.concatenate([train.labels, val.labels]),
    )


def stratified_folds(part: Split, folds: int, val_fraction: float, seed: int) -> Iterator[Fold]:
    """Hold out each of `folds` parts in turn; every class has its share in each.

    The best epoch is a choice, and what is chosen by cannot also test: a validation split is drawn from the
    rest, anew in each fold.

    Args:
        part: the images to divide.
        folds: how many parts, k of k-fold cross-validation (Stone 1974).
        val_fraction: the share of the images that are not held out which validates.
        seed: of both draws.

    Raises:
        UserError: a class has fewer images than folds, or too few to train and to validate.
    """
    # scikit-learn's folds are the ones that readers know and can repeat.
    from sklearn.model_selection import StratifiedKFold

    smallest = int(np.unique(part.labels, return_counts=True)[1].min())
    # Of the images of each class that a fold leaves, one trains and one validates.
    fewest = 2 if smallest > 3 else 3
    if not fewest <= folds <= smallest:
        possible = f"an integer ≥ {fewest} and ≤ {smallest}"
        raise UserError(
            f"folds: {folds} is invalid, a class has only {smallest:,} training images; "
            f"expected here: {possible if smallest >= fewest else 'at least 3 images of each class'}"
        )
    draw = StratifiedKFold(folds, shuffle=True, random_state=seed)
    for number, (rest, held_out) in enumerate(draw.split(part.labels, part.labels), start=1):
        train, val = (rest[chosen] for chosen in stratified_split(part.labels[rest], val_fraction, seed))
        mean, std = pixel_statistics(part.images[train])
        yield Fold(
            number,
            *(
                replace(part, images=part.images[chosen], labels=part.labels[chosen], mean=mean, std=std)
                for chosen in (train, val, held_out)
            ),
        )


def scores_by_class(evaluations: list[Evaluation]) -> pd.DataFrame:
    """A row per class: class, then `<score>_mean` and `<score>_sd` over folds of precision, recall and F1.

    The standard deviations are those of a sample. Folds share most of their training images: the deviation
    says how much results scatter, not how precisely their mean is known (Bengio & Grandvalet 2004).
    """
    rows = pd.concat([evaluation.per_class for evaluation in evaluations])
    groups = rows.groupby("class", sort=False)
    table = pd.DataFrame(
        {
            f"{score}_{name}": column
            for score in SCORES
            for name, column in (("mean", groups[score].mean()), ("sd", groups[score].std(ddof=1)))
        }
    )
    return table.reset_index()


def overall(evaluations: list[Evaluation], pooled: Evaluation) -> dict[str, dict[str, float]]:
    """Accuracy and macro F1: mean and sample standard deviation over folds, and of all images together.

    Args:
        evaluations: of the folds.
        pooled: of the predictions of all folds, every image once.
    """
    values = {
        "accuracy": lambda evaluation: evaluation.metrics["accuracy"],
        "macro_f1": lambda evaluation: evaluation.metrics["macro"]["f1"],
    }
    table = {}
    for name, value in values.items():
        of_folds = [value(evaluation) for evaluation in evaluations]
        table[name] = {
            "mean": float(np.mean(of_folds)),
            "sd": float(np.std(of_folds, ddof=1)),
            "pooled": value(pooled),
        }
    return table
