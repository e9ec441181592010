"""Settings that were each run with several seeds: means, differences to the best, and what they are worth.

A *setting* is what was chosen, such as `lr=0.01`; a *run* is one training of it with one seed. Two settings
are compared on the seeds that both have, by Student's t test on the paired differences of their validation
accuracies.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from scipy.stats import t as student

from src.evaluation.ranking import MAX_SEEDS, Run, rank

SIGNIFICANCE = 0.05
POWER = 0.8
# Differences of accuracies are multiples of 1/images: a smaller deviation is one of rounding.
_NO_DEVIATION = 1e-12


@dataclass(frozen=True)
class Setting:
    """The runs of one setting, compared with those of the best setting.

    Attributes:
        name: of the setting.
        n: its number of runs, each with another seed.
        mean: its mean validation accuracy, a fraction.
        deviation: the sample standard deviation of its accuracies; None with one run.
        difference: mean accuracy minus that of the best setting, over the seeds that both have; None for the
            best setting itself, and without a common seed.
        interval: of the difference; see `compare_settings`. None with fewer than two common seeds, or where
            all paired differences are equal, so that their deviation cannot be estimated.
        confidence: of the interval, such as 0.95 with two settings, and more with more; None where it is.
        p_value: that the two are equally good, corrected for the number of settings (Holm); None where
            `interval` is.
        distinct: whether it differs significantly from the best: `p_value` ≤ 5 %, so `interval` lacks 0.
    """

    name: str
    n: int
    mean: float
    deviation: float | None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    confidence: float | None = None
    p_value: float | None = None
    distinct: bool = False


@dataclass(frozen=True)
class MoreSeeds:
    """What would tell the best setting from its closest rival; see `more_seeds`.

    Attributes:
        best, rival: their names.
        seeds: those that both should have: the common ones and, after them, new ones.
    """

    best: str
    rival: str
    seeds: list[int]


@dataclass(frozen=True)
class _Paired:
    """Paired differences, the first setting minus the second: how many, their mean and deviation."""

    n: int
    mean: float
    deviation: float

    @property
    def testable(self) -> bool:
        return self.n > 1 and self.deviation > _NO_DEVIATION

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return self.deviation / self.n**0.5

    def interval(self, significance: float) -> tuple[float, float]:
        half = float(student.isf(significance / 2, self.n - 1)) * self.error
        return self.mean - half, self.mean + half


Results = Mapping[str, Mapping[int, Run]]


def compare_settings(results: Results, best: str | None = None) -> list[Setting]:
    """Statistics of each setting, the best first: by mean accuracy, then mean loss, then name.

    The p-values of all pairs of settings are corrected together by Holm's procedure (S. Holm, "A simple
    sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979): not only of
    the pairs with the best, since any setting may have become the best by its luck. The chance that any two
    equally good settings differ significantly is at most 5 %, in one look: whoever adds seeds until something
    is significant looks several times. Simulated with 8 equal settings and 10 seeds each, it is 4 %; it would
    be 12 % if only the 7 comparisons with the best were corrected for.

    Each interval has the level at which Holm's procedure tested its difference, or stopped: it excludes 0
    exactly where the corrected p-value is at most 5 %. Together they are no narrower than intervals at 95 %.

    Args:
        results: the runs of each setting by their seeds; settings without runs are left out.
        best: the setting to compare with, where it was chosen otherwise than by its mean.
    """
    settings = {name: dict(runs) for name, runs in results.items() if runs}
    order = sorted(settings, key=lambda name: rank(*_means(settings[name]), name))
    if best is not None:
        order = [best, *(name for name in order if name != best)]
    pairs = {pair: _paired(settings, *pair) for pair in combinations(order, 2)}
    corrected, levels = holm(_p_values(list(pairs.values())))
    tests = {pair: (corrected[place], levels[place]) for place, pair in enumerate(pairs)}

    statistics = []
    for name in order:
        accuracies = np.array([run.val_accuracy for run in settings[name].values()])
        mean, _ = _means(settings[name])
        deviation = float(accuracies.std(ddof=1)) if len(accuracies) > 1 else None
        compared: dict[str, Any] = {}
        if name != order[0] and (pair := pairs[order[0], name]).n:
            compared = _difference_to_best(pair, *tests[order[0], name])
        statistics.append(Setting(name, len(accuracies), mean, deviation, **compared))
    return statistics


def _means(runs: Mapping[int, Run]) -> tuple[float, float]:
    accuracies, losses = zip(*runs.values(), strict=True)
    return float(np.mean(accuracies)), float(np.mean(losses))


def _paired(results: Results, first: str, second: str) -> _Paired:
    common = results[first].keys() & results[second].keys()
    differences = [
        results[first][seed].val_accuracy - results[second][seed].val_accuracy for seed in sorted(common)
    ]
    return _Paired(
        len(differences),
        float(np.mean(differences)) if differences else 0.0,
        float(np.std(differences, ddof=1)) if len(differences) > 1 else 0.0,
    )


def _p_values(pairs: Sequence[_Paired]) -> list[float]:
    """Two-sided, of Student's t test; 1 where nothing can be tested."""
    statistics = [abs(pair.mean) / pair.error if pair.testable else 0.0 for pair in pairs]
    return np.multiply(2, student.sf(statistics, [max(1, pair.n - 1) for pair in pairs])).tolist()


def _difference_to_best(pair: _Paired, p_value: float, level: float) -> dict[str, Any]:
    if not pair.testable:
        return {"difference": -pair.mean}
    low, high = pair.interval(level)
    return {
        "difference": -pair.mean,
        "interval": (-high, -low),
        "confidence": 1 - level,
        "p_value": p_value,
        "distinct": p_value <= SIGNIFICANCE,
    }


def holm(p_values: Sequence[float]) -> tuple[list[float], list[float]]:
    """Holm's procedure (Holm 1979).

    Returns:
        The corrected p-values, each at most 5 % exactly where its hypothesis is rejected; and the levels of
        significance at which the procedure tested them, or at which it stopped before it came to them.
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    corrected, levels = [1.0] * len(p_values), [SIGNIFICANCE] * len(p_values)
    largest, level = 0.0, SIGNIFICANCE
    for rejected, place in enumerate(order):
        hypotheses = len(p_values) - rejected
        if largest <= SIGNIFICANCE:  # not stopped yet
            level = SIGNIFICANCE / hypotheses
        largest = max(largest, min(1.0, hypotheses * p_values[place]))
        corrected[place], levels[place] = largest, level
    return corrected, levels


def more_seeds(results: Results, best: str | None = None) -> MoreSeeds | None:
    """Which seeds the closest pair would need for its difference to be significant.

    The closest pair is the best setting and, among those that do not differ significantly from it, that with
    the smallest difference. Assumed is that the difference and the deviation seen so far are the true ones;
    the number is then the smallest with which Student's t test, at the level of Holm's procedure, finds the
    difference with a probability of about 80 % (J. Cohen, "Statistical power analysis for the behavioral
    sciences", 1988). A small difference that came about by chance makes it far too large, a large one far too
    small.

    Args:
        results, best: see `compare_settings`.

    Returns:
        None where every setting differs significantly from the best, or where nothing can be said: fewer than
        two common seeds, a difference of 0, one without deviation, or more than 1,000 seeds.
    """
    first, *others = compare_settings(results, best)
    rivals = [setting for setting in others if not setting.distinct and setting.difference is not None]
    if not rivals:
        return None
    rival = min(rivals, key=lambda setting: abs(setting.difference or 0.0))
    pair = _paired(results, first.name, rival.name)
    if rival.confidence is None or not pair.mean:
        return None
    seeds = np.arange(pair.n + 1, MAX_SEEDS + 1)
    needed = student.isf((1 - rival.confidence) / 2, seeds - 1) + student.isf(1 - POWER, seeds - 1)
    enough = abs(pair.mean) / pair.deviation * np.sqrt(seeds) >= needed
    if not enough.any():
        return None
    common = sorted(results[first.name].keys() & results[rival.name].keys())
    new = range(common[-1] + 1, common[-1] + 2 + int(enough.argmax()))
    return MoreSeeds(first.name, rival.name, [*common, *new])


@dataclass(frozen=True)
class Halving:
    """Where a search for the best setting stands; see `sequential_halving`.

    Attributes:
        contenders: the settings that may still be the best, best first; the choice comes first.
        next_runs: setting and seed of each run to do now; none once the choice is made.
    """

    contenders: list[str]
    next_runs: list[tuple[str, int]]


def sequential_halving(results: Results, budget: int) -> Halving:
    """Spend runs where they decide: which to do next, given all that are done.

    Sequential halving (Z. Karnin, T. Koren, O. Somekh, "Almost optimal exploration in multi-armed bandits",
    ICML 2013), with all results of a setting instead of those of the last round: rounds share the budget
    equally, after each the better half of the settings stays, and what is left gets the next seeds. Of the
    half that stays, settings that are significantly worse than the best are dropped, too, which may end it
    early: by the corrected p-values of `compare_settings`, at 5 % divided by the number of rounds, so that
    the chance to do so because of a difference that does not exist is at most 5 %. The worse half only had
    the worse means. With a growing budget, the chance to miss the best falls exponentially; for a given one
    it depends on the unknown differences.

    Args:
        results: the runs of every setting by their seeds, at first none. Seeds are 0, 1, 2, …; others, and
            more than a setting is to have, change nothing.
        budget: runs in all; every setting gets two at least, which may be more.
    """
    contenders, seeds, spent = sorted(results), 0, 0
    rounds = max(1, math.ceil(math.log2(max(1, len(contenders)))))
    for rounds_left in range(rounds, 0, -1):
        # With a single setting there is nothing to choose.
        share = max(0, budget - spent) // (rounds_left * len(contenders)) if len(results) > 1 else 0
        new = share if seeds else max(2, share)
        seeds, spent = seeds + new, spent + new * len(contenders)
        missing = [(name, seed) for seed in range(seeds) for name in contenders if seed not in results[name]]
        if missing:
            return Halving(contenders, missing)
        compared = compare_settings(
            {name: {seed: results[name][seed] for seed in range(seeds)} for name in contenders}
        )
        contenders = [
            setting.name
            for setting in compared[: math.ceil(len(compared) / 2)]
            if setting.p_value is None or setting.p_value > SIGNIFICANCE / rounds
        ]
        if len(contenders) == 1:
            break
    return Halving(contenders, [])
