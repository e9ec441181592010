"""Is one revision better than another? `python -m src.compare REV_A REV_B`.

Revisions are commits, branches, tags or experiment names; REV_A is HEAD and REV_B the workspace where they
are left out. Both revisions' `plots/predictions.csv` are read through DVC, image by image: two networks
that are right on nearly the same images can be told apart by far fewer images than two numbers can. Below
stands what may explain a difference: parameters, and the environment and code that trained the two.
"""

from __future__ import annotations

import argparse
import io
import json
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
from scipy.stats import binomtest

from src.errors import UserError, reason, run
from src.params import PARAMS_FILE
from src.provenance import (
    Provenance,
    caveat,
    describe_code,
    differing,
    differing_code,
    differing_environment,
    read_provenance,
    value_words,
)

PREDICTIONS = "plots/predictions.csv"
WORKSPACE = "workspace"
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
    """Compare two tables of predictions: index, actual, predicted (see `src.evaluation.Evaluation`).

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
    interval, p_value = (0.0, 0.0), 1.0
    if differing:
        test = binomtest(only_b, differing)
        share = test.proportion_ci(CONFIDENCE, method="exact")
        interval = tuple((2 * float(end) - 1) * differing / images for end in (share.low, share.high))
        p_value = float(test.pvalue)
    return Comparison(
        images=images,
        accuracy_a=float(right_a.mean()),
        accuracy_b=float(right_b.mean()),
        difference=(only_b - only_a) / images,
        interval=interval,
        p_value=p_value,
        only_a=only_a,
        only_b=only_b,
    )


def read_predictions(revision: str) -> pd.DataFrame:
    """`plots/predictions.csv` of a revision, or of the workspace.

    Raises:
        UserError: there is no such revision, or none of these predictions in it.
    """
    import dvc.api

    rev = None if revision == WORKSPACE else revision
    try:
        text = dvc.api.read(PREDICTIONS, rev=rev)
        table = pd.read_csv(io.StringIO(text), dtype={"actual": str, "predicted": str}, keep_default_na=False)
        return table[["index", "actual", "predicted"]]
    except Exception as error:  # dvc, git and pandas each raise their own
        raise UserError(f"{revision}: cannot read {PREDICTIONS} ({reason(error)})") from None


def differing_parameters(a: str, b: str) -> dict[str, tuple[Any, Any]]:
    """The keys of `params.yaml` whose values differ between two revisions, with both values."""
    import dvc.api

    return differing(
        *(
            dvc.api.params_show(str(PARAMS_FILE), rev=None if revision == WORKSPACE else revision)
            for revision in (a, b)
        )
    )


def provenance(revision: str) -> Provenance:
    """What trained a revision; for the workspace what trained the model that lies there."""
    from dvc.api import DVCFileSystem

    files = DVCFileSystem(rev=None if revision == WORKSPACE else revision)

    def read(path: str) -> bytes | None:
        try:
            return files.read_bytes(path)
        except FileNotFoundError:
            return None

    return read_provenance(read)


def verdict(result: Comparison) -> str:
    """Whether the difference is one to believe."""
    if result.p_value < 1 - CONFIDENCE:
        return (
            "a difference of this size would hardly come about by chance, for this test set and these seeds"
        )
    return "no difference to believe: this much comes about by chance"


def report(
    a: str,
    b: str,
    result: Comparison,
    parameters: dict[str, tuple[Any, Any]],
    trained_a: Provenance,
    trained_b: Provenance,
) -> str:
    """The comparison in words."""
    width = max(len(a), len(b))
    low, high = (100 * end for end in result.interval)
    lines = [
        f"A  {a:<{width}}  {result.accuracy_a:.2%} of {result.images:,} test images",
        f"B  {b:<{width}}  {result.accuracy_b:.2%}",
        f"B - A: {100 * result.difference:+.2f} percentage points, "
        f"95 % interval {low:+.2f} to {high:+.2f} (paired)",
        f"only A right: {result.only_a:,}, only B right: {result.only_b:,}; "
        f"McNemar's exact test: p = {result.p_value:.2g}",
        verdict(result),
    ]
    changes = [f"  {key}: {values[0]} → {values[1]}" for key, values in parameters.items()]
    lines += ["parameters that differ:" if changes else "no parameter differs", *changes]
    return "\n".join([*lines, *training_lines(trained_a, trained_b)])


def training_lines(a: Provenance, b: Provenance) -> list[str]:
    """What trained A and B, in words; last, whether that may explain a difference, too."""
    sides = (("A", a), ("B", b))
    environment, code = differing_environment(a, b), differing_code(a, b)
    if environment is None:
        lines = [f"environment of {name}: {side.environment_words}" for name, side in sides]
    elif environment:
        lines = ["environment that differs:"]
        lines += [f"  {key}: {' → '.join(map(value_words, values))}" for key, values in environment.items()]
    else:
        lines = [f"trained with: {a.environment_words}"]
    if code is None:
        lines += [
            f"training code of {name}: {side.code_problem}" for name, side in sides if side.code is None
        ]
    elif code:
        lines += [f"training code that differs: {', '.join(describe_code(code, 'A', 'B'))}"]
    else:
        lines += ["no training code differs"]
    return [*lines, caution] if (caution := caveat(a, b)) else lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("rev_a", nargs="?", default="HEAD", metavar="REV_A")
    parser.add_argument("rev_b", nargs="?", default=WORKSPACE, metavar="REV_B")
    parser.add_argument("--json", action="store_true", help="for scripts: fractions, not percentages")
    arguments = parser.parse_args()
    a, b = arguments.rev_a, arguments.rev_b
    tables = [read_predictions(revision) for revision in (a, b)]
    parameters = differing_parameters(a, b)
    if "dataset" in parameters:
        raise UserError(f"different test sets: {' in A, '.join(parameters['dataset'])} in B")
    result = compare(*tables)
    trained_a, trained_b = provenance(a), provenance(b)
    if arguments.json:
        code = differing_code(trained_a, trained_b)
        found = {"a": a, "b": b, **asdict(result), "parameters": parameters}
        found["environment"] = {"a": trained_a.environment, "b": trained_b.environment}
        found["code"] = None if code is None else list(code)
        print(json.dumps(found, indent=2))
    else:
        print(report(a, b, result, parameters, trained_a, trained_b))


if __name__ == "__main__":
    run(main)
