"""Whether a revision or a group is better than the first of a report, by more than noise."""

from __future__ import annotations

from dataclasses import dataclass

from src.compare.facts import Facts, group_facts, revision_facts
from src.compare.groups import GroupComparison, group_of_one
from src.compare.revisions import nothing_differs
from src.compare.values import discordant_text, percentage_points
from src.evaluation.paired import Comparison, verdict
from src.evaluation.seeds import Setting
from src.evaluation.text import p_text
from src.report.snapshots import Snapshot
from src.runtime.errors import UserError


@dataclass(frozen=True)
class Judgement:
    """A revision's validation accuracy against that of the first.

    Attributes:
        verdict: whether the difference is significant, or why nothing can be said.
        difference: a fraction; None where there is no comparison.
        interval: of the difference at 95 %; None where it cannot be estimated.
        p_value: that there is no difference; None where `interval` is.
        details: the numbers that the verdict follows from.
        caveat: what may explain the difference besides the parameters; empty where nothing is on record.
    """

    name: str
    verdict: str
    difference: float | None = None
    interval: tuple[float, float] | None = None
    p_value: float | None = None
    details: str = ""
    caveat: str = ""


def judge(baseline: Snapshot, other: Snapshot) -> Judgement:
    """Ask `src.compare` whether two validation accuracies differ by more than noise.

    Where one of the two is a group, the other is compared by its seed, too.
    """
    try:
        if baseline.group or other.group:
            a, b = (each.group or group_of_one(each.revision) for each in (baseline, other))
            return judgement(group_facts(a, b, "validation"))
        return judgement(revision_facts(baseline.revision, other.revision, "validation"))
    except UserError as error:
        return Judgement(other.name, str(error))


def judgement(facts: Facts[Comparison | str] | Facts[GroupComparison]) -> Judgement:
    """What a comparison comes to, in words."""
    result = facts.result
    if isinstance(result, str):
        return Judgement(facts.b, result)
    numbers: Comparison | Setting
    if isinstance(result, GroupComparison):
        numbers, said, paired = result.b, result.verdict, result.paired
        test = "" if numbers.p_value is None else f"Student’s t test: p = {p_text(numbers.p_value)}"
        accuracies = (
            f"{' and '.join(result.means)} of the validation images, mean ± sample standard deviation"
        )
    else:
        numbers, paired = result, "paired"
        said = (
            nothing_differs(facts.a, facts.b, one_commit=facts.one_commit) if facts.same else verdict(result)
        )
        test = discordant_text(result, facts.a, facts.b)
        accuracies = (
            f"{result.accuracy_a:.2%} and {result.accuracy_b:.2%} of {result.images:,} validation images"
        )
    interval = numbers.interval
    ends = (
        f"95 % interval {percentage_points(interval)} ({paired})"
        if interval
        else f"the difference is {paired}"
    )
    details = "; ".join(filter(None, (accuracies, ends, test)))
    return Judgement(facts.b, said, numbers.difference, interval, numbers.p_value, details, facts.caveat)
