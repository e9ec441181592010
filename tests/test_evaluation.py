from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn.metrics import brier_score_loss, confusion_matrix, precision_recall_fscore_support

from src.evaluation.metrics import (
    calibration_bins,
    evaluate,
    expected_calibration_error,
    first_correct_of_each_class,
    most_confident_mistakes,
    wilson_interval,
)

NAMES = ["cat", "dog", "owl"]
LABELS = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 0, 1, 1, 1, 0])
# Logits that give the predicted class a probability of 2/4, 3.1/5.1, … and the two others equal shares.
RATIOS = np.array([2.0, 3.1, 8.5, 18.0, 4.1, 2.1])
LOGITS = np.zeros((6, 3), np.float32)
LOGITS[np.arange(6), PREDICTED] = np.log(RATIOS)
CONFIDENCE = RATIOS / (RATIOS + 2)


def test_metrics_worked_out_by_hand() -> None:
    metrics = evaluate(LOGITS, LABELS, NAMES).metrics
    assert metrics["accuracy"] == pytest.approx(4 / 6)
    probabilities = np.where(PREDICTED == LABELS, CONFIDENCE, (1 - CONFIDENCE) / 2)
    assert metrics["loss"] == pytest.approx(-np.log(probabilities).mean())
    precision, recall, support = [2 / 3, 2 / 3, 0], [2 / 3, 1, 0], [3, 2, 1]
    f1 = [2 / 3, 0.8, 0]
    for name, scores in (("precision", precision), ("recall", recall), ("f1", f1)):
        assert metrics["macro"][name] == pytest.approx(sum(scores) / 3)
        assert metrics["weighted"][name] == pytest.approx(np.dot(scores, support) / 6)


def test_calibration_worked_out_by_hand() -> None:
    evaluation = evaluate(LOGITS, LABELS, NAMES)
    assert evaluation.metrics["nll"] == evaluation.metrics["loss"]
    others = (1 - CONFIDENCE) / 2
    right = (1 - CONFIDENCE) ** 2 + 2 * others**2
    wrong = CONFIDENCE**2 + (1 - others) ** 2 + others**2
    assert evaluation.metrics["brier"] == pytest.approx(np.where(PREDICTED == LABELS, right, wrong).mean())

    # Confidences 0.5, 0.61, 0.81 (wrong), 0.9, 0.67 and 0.51 (wrong): the first and the last share a bin.
    table = evaluation.calibration
    assert (table["lower"] * 15).tolist() == pytest.approx([7, 9, 10, 12, 13])
    assert (table["upper"] * 15).tolist() == pytest.approx([8, 10, 11, 13, 14])
    assert table["count"].tolist() == [2, 1, 1, 1, 1]
    shared = (CONFIDENCE[0] + CONFIDENCE[5]) / 2
    assert table["confidence"].tolist() == pytest.approx([shared, *CONFIDENCE[[1, 4, 2, 3]]])
    assert table["accuracy"].tolist() == [0.5, 1, 1, 0, 1]
    # Wilson: z² / (n + z²) of a single image that is right or wrong, with z = 1.959964.
    one = 1.959964**2 / (1 + 1.959964**2)
    assert table["accuracy_low"].tolist()[1:] == pytest.approx([1 - one, 1 - one, 0, 1 - one])
    assert table["accuracy_high"].tolist()[1:] == pytest.approx([1, 1, one, 1])
    gaps = [2 * (shared - 0.5), *(1 - CONFIDENCE[[1, 4, 3]]), CONFIDENCE[2]]
    assert evaluation.metrics["ece"] == pytest.approx(sum(gaps) / 6)


@pytest.mark.parametrize(("images", "classes", "seed"), [(1, 2, 0), (7, 5, 1), (300, 10, 2), (4_000, 40, 3)])
def test_metrics_are_those_of_scikit_learn(images: int, classes: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(images, classes)).astype(np.float32)
    # The last class never occurs, the first is never predicted, and both of few images leave others out.
    labels, logits[:, 0] = generator.integers(0, classes - 1, images), -9
    logits[np.arange(images), labels] += 1
    evaluation = evaluate(logits, labels, [f"class {number}" for number in range(classes)])

    codes, predicted = np.arange(classes), logits.argmax(axis=1)
    probabilities = np.exp(logits.astype(float))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    brier = brier_score_loss(labels, probabilities, labels=codes, scale_by_half=False)
    assert evaluation.metrics["brier"] == pytest.approx(brier, rel=1e-12)
    for average in (None, "macro", "weighted"):
        expected = precision_recall_fscore_support(
            labels, predicted, labels=codes, average=average, zero_division=0
        )
        found = evaluation.metrics[average] if average else evaluation.per_class
        for name, values in zip(("precision", "recall", "f1"), expected, strict=False):
            assert np.asarray(found[name]) == pytest.approx(values, rel=1e-12), (average, name)
    counts = np.zeros((classes, classes), int)
    for actual, chosen, count in evaluation.confusion.to_numpy():
        counts[int(actual.split()[1]), int(chosen.split()[1])] = count
    assert (counts == confusion_matrix(labels, predicted, labels=codes)).all()
    assert evaluation.per_class["support"].tolist() == counts.sum(axis=1).tolist()


def test_wilsons_interval_is_that_of_scipy() -> None:
    pairs = [
        (hits, count) for count in (1, 2, 15, 360, 10_000) for hits in {0, 1, count // 3, count - 1, count}
    ]
    low, high = wilson_interval(*map(np.array, zip(*pairs, strict=True)))
    for (hits, count), *found in zip(pairs, low, high, strict=True):
        expected = binomtest(hits, count).proportion_ci(method="wilson")
        assert found == pytest.approx([expected.low, expected.high], rel=1e-12, abs=1e-15), (hits, count)


def test_a_bin_holds_its_upper_end_and_the_first_both() -> None:
    table = calibration_bins(np.array([0, 1, 2, 2.1, 15]) / 15, np.ones(5, bool))
    assert table["lower"].tolist() == [0, 1 / 15, 2 / 15, 14 / 15]
    assert table["count"].tolist() == [2, 1, 1, 1]


def test_calibration_error_is_none_where_confidence_is_the_frequency_of_being_right() -> None:
    generator = np.random.default_rng(0)
    confidence = generator.uniform(0.1, 1, 200_000)
    calibrated = generator.uniform(size=len(confidence)) < confidence
    table = calibration_bins(confidence, calibrated)
    assert table["count"].sum() == len(confidence)
    assert expected_calibration_error(table) < 0.01
    boastful = calibration_bins(np.sqrt(confidence), calibrated)
    expected = (np.sqrt(confidence) - confidence).mean()
    assert expected_calibration_error(boastful) == pytest.approx(expected, abs=0.01)


def test_tables_worked_out_by_hand() -> None:
    evaluation = evaluate(LOGITS, LABELS, NAMES)
    assert list(evaluation.per_class.columns) == ["class", "precision", "recall", "f1", "support"]
    assert evaluation.per_class["class"].tolist() == NAMES
    assert evaluation.per_class["support"].tolist() == [3, 2, 1]
    assert evaluation.per_class["recall"].tolist() == pytest.approx([2 / 3, 1, 0])
    assert evaluation.confusion.to_numpy().tolist() == [
        ["cat", "cat", 2],
        ["cat", "dog", 1],
        ["dog", "dog", 2],
        ["owl", "cat", 1],
        ["owl", "owl", 0],
    ]
    assert evaluation.predictions["index"].tolist() == list(range(6))
    assert evaluation.predictions["actual"].tolist() == [NAMES[label] for label in LABELS]
    assert evaluation.predictions["predicted"].tolist() == [NAMES[label] for label in PREDICTED]
    assert evaluation.predictions["confidence"].tolist() == pytest.approx(CONFIDENCE.tolist())


def test_extreme_logits_give_a_finite_loss() -> None:
    logits = np.array([[1e4, -1e4, 0.0]], np.float32)
    metrics = evaluate(logits, np.array([1]), NAMES).metrics
    assert math.isfinite(metrics["loss"])
    assert metrics["loss"] == pytest.approx(2e4)


def test_examples_for_the_figure() -> None:
    predictions = evaluate(LOGITS, LABELS, NAMES).predictions
    assert most_confident_mistakes(predictions, 5)["index"].tolist() == [2, 5]
    assert most_confident_mistakes(predictions, 1)["index"].tolist() == [2]
    assert most_confident_mistakes(predictions.assign(confidence=0.5), 5)["index"].tolist() == [2, 5]
    assert first_correct_of_each_class(predictions)["index"].tolist() == [0, 3]


def test_of_equally_confident_mistakes_the_first_images_are_shown() -> None:
    wrong = pd.DataFrame({"index": range(100), "actual": "cat", "predicted": "dog", "confidence": 0.5})
    shuffled = wrong.sample(frac=1, random_state=0)
    assert most_confident_mistakes(shuffled, 20)["index"].tolist() == list(range(20))
