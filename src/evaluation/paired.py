"""Two models on the same images: the difference of their accuracies, with an interval and a verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd
from scipy.optimize import brentq
from scipy.stats import norm

from src.runtime.errors import UserError

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Comparison:
    """Two sets of predictions of the same images.

    Attributes:
        images: how many.
        accuracy_a, accuracy_b: fractions.
        difference: accuracy of B minus accuracy of A, a fraction.
        interval: of the difference, at 95 %; see `difference_interval`.
        p_value: see `mcnemar`; below 5 % exactly where the interval excludes 0.
        only_a, only_b: images that only one of the two classifies correctly.
        identical: whether both predict the same class for every image.
    """

    images: int
    accuracy_a: float
    accuracy_b: float
    difference: float
    interval: tuple[float, float]
    p_value: float
    only_a: int
    only_b: int
    identical: bool


def compare(a: pd.DataFrame, b: pd.DataFrame) -> Comparison:
    """Compare two tables of predictions: index, actual, predicted, and perhaps image, a hash of the pixels.

    Raises:
        UserError: they are not of the same images.
    """
    if len(a) != len(b):
        raise UserError(f"different images: {len(a):,} and {len(b):,}")
    if not (a["index"].equals(b["index"]) and a["actual"].equals(b["actual"])):
        raise UserError(f"different images: {len(a):,} each, but not of the same classes in order")
    if "image" in a and "image" in b and not a["image"].equals(b["image"]):
        changed = int((a["image"] != b["image"]).sum())
        raise UserError(f"different images: {changed:,} of {len(a):,} are not the same")
    right_a, right_b = (table["actual"] == table["predicted"] for table in (a, b))
    images, only_a, only_b = len(a), int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    return Comparison(
        images=images,
        accuracy_a=float(right_a.mean()),
        accuracy_b=float(right_b.mean()),
        difference=(only_b - only_a) / images,
        interval=difference_interval(only_a, only_b, images),
        p_value=mcnemar(only_a, only_b),
        only_a=only_a,
        only_b=only_b,
        identical=a["predicted"].equals(b["predicted"]),
    )


def difference_interval(only_a: int, only_b: int, images: int) -> tuple[float, float]:
    """The 95 % score interval for the difference of two paired proportions, continuity-corrected.

    The interval of T. Tango, "Equivalence test and confidence interval for the difference in proportions for
    the paired-sample design", Statistics in Medicine 17, 1998, holds the differences that its score test does
    not reject. R. G. Newcombe, Statistics in Medicine 17, 1998, and M. W. Fagerland, S. Lydersen and
    P. Laake, Statistics in Medicine 33, 2014, compare it with others. Without a correction it covers down to
    93 % where few images are discordant and most of them on one side; with half an image taken off the
    distance, at least 95 % (tests/test_paired.py computes both exactly).

    Args:
        only_a, only_b: images that only A, or only B, classifies correctly.
        images: all of them.

    Returns:
        The ends of the interval for accuracy of B minus accuracy of A, fractions. Without any discordant
        image they are not 0: both models could still differ on images that are not among these.
    """
    return _lower_end(only_a, only_b, images), -_lower_end(only_b, only_a, images)


def _lower_end(lost: int, gained: int, images: int) -> float:
    """The lowest difference that the score test does not reject."""
    quantile = norm.ppf((1 + CONFIDENCE) / 2)

    def excess(difference: float) -> float:
        distance = gained - lost - images * difference - 0.5
        return distance - quantile * math.sqrt(_variance(lost, gained, images, difference))

    return -1.0 if excess(-1.0) <= 0 else float(brentq(excess, -1.0, (gained - lost) / images))


def _variance(lost: int, gained: int, images: int, difference: float) -> float:
    """Of `gained - lost` under the most likely probabilities with this difference (Tango 1998)."""
    b = (2 * images - gained + lost) * difference - gained - lost
    c = -lost * difference * (1 - difference)
    probability_lost = (math.sqrt(max(b * b - 8 * images * c, 0.0)) - b) / (4 * images)
    return max(images * (2 * probability_lost + difference * (1 - difference)), 0.0)


def mcnemar(only_a: int, only_b: int) -> float:
    """The p-value of the test that `difference_interval` inverts, for a difference of 0.

    That is McNemar's test (Q. McNemar, Psychometrika 12, 1947) with a continuity correction of half an image.
    M. W. Fagerland, S. Lydersen and P. Laake, BMC Medical Research Methodology 13:91, 2013, find the exact
    conditional test too conservative and recommend its mid-p version, to which this one is close.
    """
    if only_a == only_b:
        return 1.0
    return float(2 * norm.sf((abs(only_a - only_b) - 0.5) / math.sqrt(only_a + only_b)))


def verdict(result: Comparison) -> str:
    """Whether the difference is significant: whether its interval excludes 0."""
    low, high = result.interval
    if result.identical:
        return "no significant difference: both predict the same class for every image"
    if low <= 0 <= high:
        return "no significant difference: the 95 % interval includes 0"
    return "a significant difference between these two trainings: the 95 % interval excludes 0"
