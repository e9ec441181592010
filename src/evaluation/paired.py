"""Two models on the same images: the difference of their accuracies, with an interval and a test."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from scipy.stats import binomtest

from src.runtime.errors import UserError

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Comparison:
    """Two sets of predictions of the same test images.

    Attributes:
        images: how many.
        accuracy_a, accuracy_b: fractions.
        difference: of B over A, a fraction.
        interval: of the difference, at 95 %, from Clopper and Pearson's for the share of B among the images
            that only one of the two has right; it excludes 0 exactly where `p_value` is below 5 %.
        p_value: of McNemar's exact test (McNemar 1947) that both are right equally often.
        only_a, only_b: images that only one of the two has right.
    """

    images: int
    accuracy_a: float
    accuracy_b: float
    difference: float
    interval: tuple[float, float]
    p_value: float
    only_a: int
    only_b: int


def compare(a: pd.DataFrame, b: pd.DataFrame) -> Comparison:
    """Compare two tables of predictions: index, actual, predicted (see `src.evaluation.metrics.Evaluation`).

    Raises:
        UserError: they are not of the same test images.
    """
    if len(a) != len(b):
        raise UserError(f"different test sets: {len(a):,} images in A, {len(b):,} in B")
    if not (a["index"].equals(b["index"]) and a["actual"].equals(b["actual"])):
        raise UserError(f"different test sets: {len(a):,} images each, but not of the same classes in order")
    right_a, right_b = (table["actual"] == table["predicted"] for table in (a, b))
    images, only_a, only_b = len(a), int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    differing = only_a + only_b
    low, high, p_value = 0.0, 0.0, 1.0
    if differing:
        test = binomtest(only_b, differing)
        share = test.proportion_ci(CONFIDENCE, method="exact")
        low, high = ((2 * float(end) - 1) * differing / images for end in (share.low, share.high))
        p_value = float(test.pvalue)
    return Comparison(
        images=images,
        accuracy_a=float(right_a.mean()),
        accuracy_b=float(right_b.mean()),
        difference=(only_b - only_a) / images,
        interval=(low, high),
        p_value=p_value,
        only_a=only_a,
        only_b=only_b,
    )


def verdict(result: Comparison) -> str:
    """Whether the difference is one to believe."""
    if result.p_value < 1 - CONFIDENCE:
        return (
            "a difference of this size would hardly come about by chance, for this test set and these seeds"
        )
    return "no difference to believe: this much comes about by chance"
