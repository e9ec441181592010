"""Predictions and labels in, metrics and tables out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import log_softmax
from scipy.stats import binomtest
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    confusion_matrix,
    precision_recall_fscore_support,
)

CALIBRATION_BINS = 15


@dataclass(frozen=True)
class Evaluation:
    """What a split says of a model.

    Attributes:
        metrics: `accuracy` (fraction); `loss` (cross-entropy, nats per image) and `nll`, the same number
            under the name that calibration goes by; `brier` (Brier 1950: the squared distance of the
            probabilities from the truth, summed over classes, 0 to 2); `ece` (see
            `expected_calibration_error`); `macro` and `weighted` with `precision`, `recall` and `f1` each.
        per_class: one row per class: class, precision, recall, f1, support.
        confusion: actual, predicted, count: one row per class with itself, in order, and per mistake that
            occurs; of all pairs of a thousand classes there would be a million.
        predictions: one row per image: index, actual, predicted (class names), confidence (the
            predicted class's softmax probability).
        calibration: see `calibration_bins`.
    """

    metrics: dict[str, Any]
    per_class: pd.DataFrame
    confusion: pd.DataFrame
    predictions: pd.DataFrame
    calibration: pd.DataFrame


def evaluate(logits: np.ndarray, labels: np.ndarray, class_names: list[str]) -> Evaluation:
    """Compare logits, float [N, C], with labels, integers [N] in 0 to C - 1.

    A class that is never predicted, or never occurs, has precision, recall and F1 of 0.
    """
    log_probabilities = log_softmax(logits.astype(np.float64), axis=1)
    probabilities = np.exp(log_probabilities)
    predicted = log_probabilities.argmax(axis=1)
    rows = np.arange(len(labels))
    names = np.array(class_names)
    codes = np.arange(len(class_names))
    confidence = probabilities[rows, predicted]
    calibration = calibration_bins(confidence, predicted == labels)
    loss = float(-log_probabilities[rows, labels].mean())

    def scores(average: str | None) -> dict[str, Any]:
        values = precision_recall_fscore_support(
            labels, predicted, labels=codes, average=average, zero_division=0
        )
        return dict(zip(("precision", "recall", "f1", "support"), values, strict=True))

    metrics: dict[str, Any] = {
        "accuracy": float(accuracy_score(labels, predicted)),
        "loss": loss,
        "nll": loss,
        "brier": float(brier_score_loss(labels, probabilities, labels=codes, scale_by_half=False)),
        "ece": expected_calibration_error(calibration),
    }
    for average in ("macro", "weighted"):
        metrics[average] = {
            name: float(value) for name, value in scores(average).items() if name != "support"
        }
    counts = confusion_matrix(labels, predicted, labels=codes)
    pairs = np.nonzero((counts > 0) | np.eye(len(codes), dtype=bool))
    return Evaluation(
        metrics=metrics,
        per_class=pd.DataFrame({"class": names, **scores(None)}),
        confusion=pd.DataFrame(
            {
                "actual": names[pairs[0]],
                "predicted": names[pairs[1]],
                "count": counts[pairs],
            }
        ),
        predictions=pd.DataFrame(
            {
                "index": rows,
                "actual": names[labels],
                "predicted": names[predicted],
                "confidence": confidence,
            }
        ),
        calibration=calibration,
    )


def calibration_bins(
    confidence: np.ndarray, correct: np.ndarray, bins: int = CALIBRATION_BINS
) -> pd.DataFrame:
    """Predictions sorted into bins of equal width by their confidence.

    Args:
        confidence: of the predicted class, float [N] in [0, 1].
        correct: whether it was the right one, bool [N].
        bins: how many; bin m of M holds the confidences in ((m - 1) / M, m / M].

    Returns:
        A row per bin that is not empty: lower, upper (its bounds), count, confidence (the mean), accuracy,
        and the accuracy's 95 % interval (Wilson 1927), accuracy_low and accuracy_high.
    """
    number = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    table = pd.DataFrame({"bin": number, "confidence": confidence, "accuracy": correct.astype(float)})
    grouped = table.groupby("bin")
    means = grouped[["confidence", "accuracy"]].mean()
    means.insert(0, "count", grouped.size())
    means.insert(0, "upper", (means.index + 1) / bins)
    means.insert(0, "lower", means.index / bins)
    right = grouped["accuracy"].sum().astype(int)
    intervals = [
        binomtest(hits, count).proportion_ci(method="wilson")
        for hits, count in zip(right, means["count"], strict=True)
    ]
    means["accuracy_low"] = [interval.low for interval in intervals]
    means["accuracy_high"] = [interval.high for interval in intervals]
    return means.reset_index(drop=True)


def expected_calibration_error(calibration: pd.DataFrame) -> float:
    """The mean distance of confidence from accuracy over bins, each weighted with its predictions, 0 to 1.

    As C. Guo, G. Pleiss, Y. Sun, K. Weinberger define it, "On calibration of modern neural networks",
    ICML 2017, with the 15 bins of that paper.

    Args:
        calibration: see `calibration_bins`.
    """
    gaps = (calibration["accuracy"] - calibration["confidence"]).abs()
    return float(np.average(gaps, weights=calibration["count"]))


def most_confident_mistakes(predictions: pd.DataFrame, count: int) -> pd.DataFrame:
    """The wrong rows of `predictions` (see `Evaluation`), most confident first, at most `count`."""
    wrong = predictions[predictions["actual"] != predictions["predicted"]]
    return wrong.sort_values(["confidence", "index"], ascending=[False, True]).head(count)


def first_correct_of_each_class(predictions: pd.DataFrame) -> pd.DataFrame:
    """The first right row of `predictions` (see `Evaluation`) for each class, sorted by class name."""
    right = predictions[predictions["actual"] == predictions["predicted"]]
    return right.groupby("actual", sort=True).head(1).sort_values("actual")
