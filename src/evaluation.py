"""Predictions and labels in, metrics and tables out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import log_softmax
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support


@dataclass(frozen=True)
class Evaluation:
    """What a test split says of a model.

    Attributes:
        metrics: `accuracy` (fraction), `loss` (cross-entropy, nats per image), `macro` and `weighted`
            with `precision`, `recall` and `f1` each.
        per_class: one row per class: class, precision, recall, f1, support.
        confusion: one row per pair of classes: actual, predicted, count.
        predictions: one row per image: index, actual, predicted (class names), confidence (the
            predicted class's softmax probability).
    """

    metrics: dict[str, Any]
    per_class: pd.DataFrame
    confusion: pd.DataFrame
    predictions: pd.DataFrame


def evaluate(logits: np.ndarray, labels: np.ndarray, class_names: list[str]) -> Evaluation:
    """Compare logits, float [N, C], with labels, integers [N] in 0 to C - 1.

    A class that is never predicted, or never occurs, has precision, recall and F1 of 0.
    """
    log_probabilities = log_softmax(logits.astype(np.float64), axis=1)
    predicted = log_probabilities.argmax(axis=1)
    rows = np.arange(len(labels))
    names = np.array(class_names)
    codes = np.arange(len(class_names))

    def scores(average: str | None) -> dict[str, Any]:
        values = precision_recall_fscore_support(
            labels, predicted, labels=codes, average=average, zero_division=0
        )
        return dict(zip(("precision", "recall", "f1", "support"), values, strict=True))

    metrics: dict[str, Any] = {
        "accuracy": float(accuracy_score(labels, predicted)),
        "loss": float(-log_probabilities[rows, labels].mean()),
    }
    for average in ("macro", "weighted"):
        metrics[average] = {
            name: float(value) for name, value in scores(average).items() if name != "support"
        }
    counts = confusion_matrix(labels, predicted, labels=codes)
    return Evaluation(
        metrics=metrics,
        per_class=pd.DataFrame({"class": names, **scores(None)}),
        confusion=pd.DataFrame(
            {
                "actual": np.repeat(names, len(names)),
                "predicted": np.tile(names, len(names)),
                "count": counts.reshape(-1),
            }
        ),
        predictions=pd.DataFrame(
            {
                "index": rows,
                "actual": names[labels],
                "predicted": names[predicted],
                "confidence": np.exp(log_probabilities[rows, predicted]),
            }
        ),
    )


def most_confident_mistakes(predictions: pd.DataFrame, count: int) -> pd.DataFrame:
    """The wrong rows of `predictions` (see `Evaluation`), most confident first, at most `count`."""
    wrong = predictions[predictions["actual"] != predictions["predicted"]]
    return wrong.sort_values(["confidence", "index"], ascending=[False, True]).head(count)


def first_correct_of_each_class(predictions: pd.DataFrame) -> pd.DataFrame:
    """The first right row of `predictions` (see `Evaluation`) for each class, sorted by class name."""
    right = predictions[predictions["actual"] == predictions["predicted"]]
    return right.groupby("actual", sort=True).head(1).sort_values("actual")
