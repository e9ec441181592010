"""What is on record of two revisions, or of two groups of experiments, and what differs between them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from src.compare.groups import (
    Group,
    GroupComparison,
    check_same_images,
    compare_groups,
    group_provenance,
    read_runs,
)
from src.compare.provenance import Provenance, caveat, differing
from src.compare.revisions import (
    SPLITS,
    Revision,
    check_images,
    is_same,
    read_parameters,
    read_predictions,
    read_training,
)
from src.compare.staleness import refuse_stale_results
from src.compare.values import flat
from src.evaluation.paired import Comparison, compare
from src.runtime.errors import UserError
from src.runtime.paths import PLOTS, TRAIN_METRICS

Result = TypeVar("Result")


@dataclass(frozen=True)
class Facts(Generic[Result]):
    """Two sides and what differs.

    Attributes:
        a, b: their names.
        split: whose accuracies `result` compares, `validation` or `test`.
        result: the accuracies of both; a text where they cannot be compared, which says why.
        parameters: those that differ, with both values.
        trained: what trained both.
        same: whether nothing on record differs.
        one_commit: whether both are names of one commit.
        registered: the tags that make each a version of the model; see `Revision.versions`.
    """

    a: str
    b: str
    split: str
    result: Result
    parameters: Mapping[str, tuple[Any, Any]]
    trained: tuple[Provenance, Provenance]
    same: bool = False
    one_commit: bool = False
    registered: tuple[Sequence[str], Sequence[str]] = ((), ())

    @property
    def caveat(self) -> str:
        """See `src.compare.provenance.caveat`."""
        identical = isinstance(self.result, Comparison) and self.result.identical
        return caveat(*self.trained, self.parameters, identical)


def revision_facts(a: Revision, b: Revision, split: str) -> Facts[Comparison | str]:
    """The facts of two revisions."""
    parameters = differing(read_parameters(a), read_parameters(b))
    trained = read_training(a), read_training(b)
    result: Comparison | str
    same = False
    try:
        check_images(parameters, split, a.name, b.name)
        for revision in (a, b):
            refuse_stale_results(revision, SPLITS[split])
        tables = read_predictions(a, split), read_predictions(b, split)
        result = compare(*tables)
        same = is_same(tables, parameters, trained)
    except UserError as error:
        result = str(error)
    registered = a.versions(), b.versions()
    one_commit = a.commit == b.commit
    return Facts(a.name, b.name, split, result, parameters, trained, same, one_commit, registered)


def group_facts(a: Group, b: Group, split: str) -> Facts[GroupComparison]:
    """The facts of two groups of experiments.

    Raises:
        UserError: they have other images, or no results.
    """
    parameters = differing(a.parameters, b.parameters)
    check_images(parameters, split, a.name, b.name, dataset=a.parameters.get("dataset"))
    trained = group_provenance(a), group_provenance(b)
    if split == "validation":
        check_same_images(a.name, b.name, trained)
    result = compare_groups(read_runs(a, split), read_runs(b, split))
    return Facts(a.name, b.name, split, result, parameters, trained)


def read_metrics(revision: Revision) -> dict[str, Any]:
    """`metrics/train.json`, nested keys joined by dots; empty where it is missing or damaged."""
    try:
        return flat(json.loads(revision.read(str(TRAIN_METRICS)) or b"{}"))
    except (ValueError, AttributeError):
        return {}


def differing_pictures(a: Revision, b: Revision) -> dict[str, str]:
    """The pictures of `plots/` whose bytes differ.

    Returns:
        By path the name of the only revision that has it; empty where both do.
    """
    found = {}
    for path in sorted({*a.files(str(PLOTS), ".png"), *b.files(str(PLOTS), ".png")}):
        old, new = a.read(path), b.read(path)
        if old != new:
            found[path] = b.name if old is None else a.name if new is None else ""
    return found
