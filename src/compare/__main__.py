"""Is one revision better than another? `python -m src.compare REV_A REV_B`.

Revisions are commits, branches, tags or experiment names; REV_A defaults to HEAD and REV_B to the workspace.
The predictions of the validation split are compared image by image: two networks that are right on nearly the
same images can be told apart with far fewer images than two separate accuracies can. Then follows what may
explain a difference: parameters, and the environment and code that trained the two.

--markdown prints the comparison for a pull request, with the metrics and the pictures that differ.

Patterns compare groups of experiments that differ in their seed alone, by their mean validation accuracy and
with the seed as the unit: `python -m src.compare 'lr-0.01*' 'lr-0.05*'`.

With --test it looks at the test split: once the choice is made, to report it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from operator import methodcaller
from typing import TYPE_CHECKING, Any

from src.command_line import command_parser, parse_in_any_order
from src.compare.facts import Facts, differing_pictures, group_facts, read_metrics, revision_facts
from src.compare.groups import Group, GroupComparison, find_group, is_pattern
from src.compare.markdown import group_markdown, revision_markdown
from src.compare.provenance import (
    describe_code,
    differing_code,
    differing_environment,
    edited_text,
    value_words,
)
from src.compare.revisions import WORKSPACE, nothing_differs, resolve
from src.compare.values import discordant_text, mean_text
from src.evaluation.paired import Comparison, verdict
from src.evaluation.text import interval_text
from src.runtime.errors import UserError, reason, run

if TYPE_CHECKING:
    from dvc.repo import Repo

LAST_LOOK = (
    "the last look: the test split is for reporting a choice that is already made; "
    "nothing may be chosen by it"
)


def accuracy_lines(a: str, b: str, result: Comparison, split: str) -> list[str]:
    width = max(len(a), len(b))
    return [
        f"A  {a:<{width}}  {result.accuracy_a:.2%} of {result.images:,} {split} images",
        f"B  {b:<{width}}  {result.accuracy_b:.2%}",
    ]


def difference_line(difference: float, interval: tuple[float, float] | None, paired: str) -> str:
    line = f"B - A: {100 * difference:+z.2f} percentage points"
    if interval is not None:
        line += f", 95 % interval {interval_text(interval)}"
    return f"{line} ({paired})"


def result_lines(result: Comparison) -> list[str]:
    """The difference of two revisions and what to make of it."""
    return [
        difference_line(result.difference, result.interval, "paired"),
        discordant_text(result, "A", "B"),
        verdict(result),
    ]


def group_lines(a: Group, b: Group, result: GroupComparison, split: str) -> list[str]:
    """The difference of two groups and what to make of it."""
    width = max(len(a.name), len(b.name))
    lines = []
    for side, group, setting in (("A", a, result.a), ("B", b, result.b)):
        seeds = "seed" if setting.n == 1 else f"{setting.n} seeds:"
        lines.append(
            f"{side}  {group.name:<{width}}  {mean_text(setting)}  "
            f"({seeds} {', '.join(map(str, group.experiments))})"
        )
    lines.append(f"mean {split} accuracy ± sample standard deviation; the seed is the unit, not the image")
    if result.b.difference is not None:
        lines.append(difference_line(result.b.difference, result.b.interval, result.paired))
    return [*lines, result.verdict]


def parameter_lines(parameters: Mapping[str, tuple[Any, Any]]) -> list[str]:
    changes = [
        f"  {key}: {' → '.join('(missing)' if value is None else str(value) for value in values)}"
        for key, values in parameters.items()
    ]
    return ["parameters that differ:" if changes else "no parameter differs", *changes]


def training_lines(facts: Facts[Any]) -> list[str]:
    """What trained A and B, in words; last, whether that may explain a difference, too."""
    a, b = facts.trained
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
    lines += filter(None, (edited_text(name, side) for name, side in sides))
    return [*lines, caution] if (caution := facts.caveat) else lines


def compare_revisions(facts: Facts[Comparison | str]) -> tuple[list[str], dict[str, Any]]:
    """The comparison of two revisions, in lines and for scripts.

    Raises:
        UserError: they cannot be compared.
    """
    result = facts.result
    if isinstance(result, str):
        raise UserError(result)
    found = {"a": facts.a, "b": facts.b, **asdict(result), "same": facts.same}
    lines = accuracy_lines(facts.a, facts.b, result, facts.split)
    for side, tags in zip("AB", facts.registered, strict=True):
        if tags:
            lines.append(f"{side} is registered: {', '.join(tags)}")
    if facts.same:
        lines.append(nothing_differs(facts.a, facts.b, one_commit=facts.one_commit))
    else:
        lines += [*result_lines(result), *parameter_lines(facts.parameters)]
        lines += training_lines(facts)
    return lines, found | record(facts)


def compare_patterns(a: Group, b: Group, facts: Facts[GroupComparison]) -> tuple[list[str], dict[str, Any]]:
    """The comparison of two groups of experiments, in lines and for scripts."""
    result = facts.result
    lines = group_lines(a, b, result, facts.split) + parameter_lines(facts.parameters)
    found: dict[str, Any] = {
        side: {
            "name": group.name,
            "experiments": {seed: experiment.name for seed, experiment in group.experiments.items()},
            "mean": setting.mean,
            "deviation": setting.deviation,
        }
        for side, group, setting in (("a", a, result.a), ("b", b, result.b))
    }
    found |= {"seeds": result.seeds, "difference": result.b.difference, "interval": result.b.interval}
    found |= {"p_value": result.b.p_value, "verdict": result.verdict}
    return lines + training_lines(facts), found | record(facts)


def record(facts: Facts[Any]) -> dict[str, Any]:
    """What may explain a difference, for scripts."""
    a, b = facts.trained
    code = differing_code(a, b)
    return {
        "parameters": facts.parameters,
        "environment": {"a": a.environment, "b": b.environment},
        "code": None if code is None else list(code),
        "edited": {"a": list(a.edited), "b": list(b.edited)},
    }


def compare_names(
    repo: Repo, names: list[str], split: str, markdown: bool
) -> tuple[list[str], dict[str, Any]]:
    """The comparison of two revisions or patterns, in lines and, unless those are Markdown, for scripts."""
    if any(map(is_pattern, names)):
        first, second = (find_group(repo, name) for name in names)
        grouped = group_facts(first, second, split)
        return (group_markdown(grouped), {}) if markdown else compare_patterns(first, second, grouped)
    a, b = (resolve(repo, name) for name in names)
    facts = revision_facts(a, b, split)
    if markdown:
        metrics = read_metrics(a), read_metrics(b)
        return revision_markdown(facts, metrics, differing_pictures(a, b)), {}
    return compare_revisions(facts)


def main() -> None:
    parser = command_parser("src.compare", __doc__)
    parser.add_argument("rev_a", nargs="?", default="HEAD", metavar="REV_A")
    parser.add_argument("rev_b", nargs="?", default=WORKSPACE, metavar="REV_B")
    parser.add_argument("--test", action="store_true", help="the last look: at the test split")
    written = parser.add_mutually_exclusive_group()
    written.add_argument("--json", action="store_true", help="for scripts: fractions, not percentages")
    written.add_argument(
        "--markdown", action="store_true", help="for a pull request: GitHub-flavoured Markdown"
    )
    arguments = parse_in_any_order(parser)
    names, split = [arguments.rev_a, arguments.rev_b], "test" if arguments.test else "validation"

    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            lines, found = compare_names(repo, names, split, arguments.markdown)
    except DvcException as error:
        raise UserError(reason(error)) from None
    if arguments.json:
        print(json.dumps({"split": split, **found}, indent=2, default=methodcaller("isoformat")))
        return
    if arguments.test:
        lines = [f"> {LAST_LOOK}", "", *lines] if arguments.markdown else [LAST_LOOK, *lines]
    print("\n".join(lines))


if __name__ == "__main__":
    run(main)
