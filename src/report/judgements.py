"""Whether a revision or a group is better than the first of a report, by more than noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from src.compare.groups import RESULTS, check_same_images, compare_groups
from src.compare.provenance import caveat, differing
from src.compare.revisions import check_images, is_same, missing_predictions, nothing_differs
from src.compare.staleness import refuse_stale_results
from src.compare.values import is_number, mean_text, percentage_points
from src.evaluation.paired import compare, verdict
from src.evaluation.seeds import Run
from src.report.revisions import ABSENT, PREDICTIONS, Snapshot
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
    """Ask `src.compare` whether two revisions' validation accuracies differ by more than noise."""
    try:
        changed = differing(baseline.parameters, other.parameters)
        by_seed = baseline.is_group or other.is_group
        if baseline.parameters and other.parameters:
            dataset = baseline.parameters.get("dataset") if by_seed else None
            check_images(changed, "validation", baseline.name, other.name, dataset)
        for snapshot in (baseline, other):
            if not snapshot.is_group:
                refuse_stale_results(snapshot.revision, predictions=not by_seed)
        if by_seed:
            return _judge_groups(baseline, other)
        return _judge_predictions(baseline, other, changed)
    except UserError as error:
        return Judgement(other.name, str(error))


def _judge_predictions(baseline: Snapshot, other: Snapshot, changed: dict[str, tuple[Any, Any]]) -> Judgement:
    for snapshot in (baseline, other):
        if PREDICTIONS not in snapshot.tables:
            problem = snapshot.problems[PREDICTIONS]
            if problem == ABSENT:
                problem = missing_predictions(snapshot.revision, "validation")
            else:
                problem = f"{PREDICTIONS} {problem}"
            raise UserError(f"{snapshot.name}: {problem}")
    tables = baseline.tables[PREDICTIONS], other.tables[PREDICTIONS]
    trained = baseline.provenance, other.provenance
    result = compare(*tables)
    same = is_same(tables, changed, trained)
    return Judgement(
        other.name,
        nothing_differs(baseline.name, other.name) if same else verdict(result),
        result.difference,
        result.interval,
        result.p_value,
        f"{result.accuracy_a:.2%} and {result.accuracy_b:.2%} of {result.images:,} validation images; "
        f"95 % interval {percentage_points(result.interval)} (paired); "
        f"McNemar’s test: p = {result.p_value:.2g}; only {baseline.name} right: {result.only_a:,}, "
        f"only {other.name} right: {result.only_b:,}",
        caveat(*trained, changed),
    )


def _judge_groups(baseline: Snapshot, other: Snapshot) -> Judgement:
    check_same_images(baseline.name, other.name, (baseline.provenance, other.provenance))
    result = compare_groups(_runs(baseline), _runs(other))
    a, b = result.a, result.b
    means = " and ".join(f"{mean_text(side)} (n = {side.n})" for side in (a, b))
    details = [f"{means} of the validation images, mean ± sample standard deviation"]
    paired = f"paired by seed, n = {len(result.seeds)}"
    if b.interval is not None:
        details.append(f"95 % interval {percentage_points(b.interval)} ({paired})")
    elif b.difference is not None:
        details.append(f"the difference is {paired}")
    if b.p_value is not None:
        details.append(f"Student’s t test: p = {b.p_value:.2g}")
    return Judgement(
        other.name,
        result.verdict,
        b.difference,
        b.interval,
        b.p_value,
        "; ".join(details),
        # No parameter that explains other images differs: `judge` has refused that.
        caveat(baseline.provenance, other.provenance, ()),
    )


def _runs(snapshot: Snapshot) -> dict[int, Run]:
    """Of a group, or of one revision as a group of its own."""
    if snapshot.is_group:
        return snapshot.runs
    path, accuracy, loss = RESULTS["validation"]
    values = snapshot.metrics.get(str(path), {})
    if not (is_number(values.get(accuracy)) and is_number(values.get(loss))):
        raise UserError(f"{snapshot.name}: no {accuracy} and {loss} in {path}; `dvc repro` writes them")
    return {snapshot.parameters.get("seed", 0): Run(values[accuracy], values[loss])}
