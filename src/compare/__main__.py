"""Is one revision better than another? `python -m src.compare REV_A REV_B`.

Revisions are commits, branches, tags or experiment names; REV_A is HEAD and REV_B the workspace where they
are left out. Both revisions' `plots/predictions.csv` are read through DVC, image by image: two networks
that are right on nearly the same images can be told apart by far fewer images than two numbers can. Below
stands what may explain a difference: parameters, and the environment and code that trained the two.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from src.compare.provenance import (
    Provenance,
    caveat,
    describe_code,
    differing_code,
    differing_environment,
    value_words,
)
from src.compare.revisions import WORKSPACE, differing_parameters, provenance, read_predictions
from src.evaluation.paired import Comparison, compare, verdict
from src.runtime.errors import UserError, run


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
