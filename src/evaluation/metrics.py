"""Predictions and labels in, metrics and tables out."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import log_softmax

# What follows is a few lines of NumPy, as scikit-learn's metrics and SciPy's binomial test have it (tests
# compare them): importing these two takes as long as everything else that `evaluate` does.

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

    counts = np.zeros((len(codes), len(codes)), dtype=np.int64)
    np.add.at(counts, (labels, predicted), 1)
    scores = _scores(counts)
    support = counts.sum(axis=1)
    metrics: dict[str, Any] = {
        "accuracy": float((predicted == labels).mean()),
        "loss": loss,
        "nll": loss,
        "brier": float(((probabilities - np.eye(len(codes))[labels]) ** 2).sum(axis=1).mean()),
        "ece": expected_calibration_error(calibration),
    }
    for average, weights in (("macro", None), ("weighted", support)):
        metrics[average] = {
            name: float(np.average(values, weights=weights)) for name, values in scores.items()
        }
    return Evaluation(
        metrics=metrics,
        per_class=pd.DataFrame({"class": names, **scores, "support": support}),
        confusion=_confusion(counts, names),
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


def _confusion(counts: np.ndarray, names: np.ndarray) -> pd.DataFrame:
    """See `Evaluation`, from a confusion matrix, int [actual, predicted]."""
    actual, predicted = np.nonzero((counts > 0) | np.eye(len(counts), dtype=bool))
    return pd.DataFrame(
        {"actual": names[actual], "predicted": names[predicted], "count": counts[actual, predicted]}
    )


def _scores(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall and F1 of each class, float [C], from a confusion matrix, int [actual, predicted]."""
    right, actual, predicted = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)

    def share(part: np.ndarray, of: np.ndarray) -> np.ndarray:
        return np.divide(part, of, out=np.zeros(len(counts)), where=of > 0)

    return {
        "precision": share(right, predicted),
        "recall": share(right, actual),
        "f1": share(2 * right, actual + predicted),
    }


def wilson_interval(hits: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 95 % interval of a share of `hits` in `count` > 0 trials, integers [N]: two floats [N] in [0, 1].

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the
    American Statistical Association 22(158), 1927.
    """
    z = NormalDist().inv_cdf(0.975)
    share = hits / count
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    # Rounding alone would put the end at no hits just above 0, and at all hits just below 1.
    return np.where(hits == 0, 0.0, centre - half), np.where(hits == count, 1.0, centre + half)


def calibration_bins(confidence: np.ndarray, correct: np.ndarray) -> pd.DataFrame:
    """Predictions sorted into M bins by their confidence; bin m holds those in ((m - 1) / M, m / M].

    Args:
        confidence: of the predicted class, float [N] in [0, 1].
        correct: whether it was the right one, bool [N].

    Returns:
        A row per bin that is not empty: lower, upper (its bounds), count, confidence (the mean), accuracy,
        and the accuracy's 95 % interval (Wilson 1927), accuracy_low and accuracy_high.
    """
    number = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(int) - 1, 0, CALIBRATION_BINS - 1)
    table = pd.DataFrame({"bin": number, "confidence": confidence, "accuracy": correct.astype(float)})
    grouped = table.groupby("bin")
    means = grouped[["confidence", "accuracy"]].mean()
    means.insert(0, "count", grouped.size())
    means.insert(0, "upper", (means.index + 1) / CALIBRATION_BINS)
    means.insert(0, "lower", means.index / CALIBRATION_BINS)
    right = grouped["accuracy"].sum().astype(int)
    means["accuracy_low"], means["accuracy_high"] = wilson_interval(
        right.to_numpy(), means["count"].to_numpy()
    )
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
