"""A comparison in GitHub-flavoured Markdown, for a pull request or for notes.

Whoever made a revision chose its names and values. They stand in code spans, in which the code host looks for
neither markup nor mentions (`@name`) nor references (`#1`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from src.compare.facts import Facts
from src.compare.groups import GroupComparison
from src.compare.provenance import (
    NOT_RECORDED,
    describe_code,
    differing_code,
    differing_environment,
)
from src.compare.values import cell_text, change_text, discordant_text, is_number, percentage_points, signed
from src.evaluation.paired import Comparison, verdict
from src.runtime.errors import printable
from src.runtime.paths import TRAIN_METRICS

NOTHING = "\N{EN DASH}"
# Between backticks these stand for themselves, also in a table.
LITERAL = re.compile(r"[\w.,:;/+=@#~()*'<>-]+( [\w.,:;/+=@#~()*'<>-]+)*", re.ASCII)


def code(value: object, limit: bool = True) -> str:
    """A value as a code span that shows it as it is, on one line; also in a cell of a table.

    Args:
        limit: whether to shorten what is long.
    """
    text = printable(cell_text(value) if limit else str(value))
    if LITERAL.fullmatch(text):
        return f"`{text}`"
    escaped = (each if each.isalnum() or each == " " else f"&#{ord(each)};" for each in text)
    return f"<code>{''.join(escaped)}</code>"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table; no cell may hold a `|` or a line break, see `code`."""
    alignment = ["---", *["---:"] * (len(header) - 1)]
    return [f"| {' | '.join(row)} |" for row in (header, alignment, *rows)]


def revision_markdown(
    facts: Facts[Comparison | str],
    metrics: tuple[Mapping[str, Any], Mapping[str, Any]],
    pictures: Mapping[str, str],
) -> list[str]:
    """The comparison of two revisions, in lines.

    Args:
        metrics: of the training and the validation split, of both revisions; see `read_metrics`.
        pictures: those that differ; see `differing_pictures`.
    """
    a, b, result = code(facts.a), code(facts.b), facts.result
    if isinstance(result, str):
        lines = [f"## {a} and {b} cannot be compared", "", code(result, limit=False)]
    else:
        low, high = result.interval
        heading = (
            f"Nothing differs between {a} and {b}"
            if facts.same and not pictures
            else _heading(facts, result.difference, distinct=not low <= 0 <= high)
        )
        lines = [f"## {heading}", "", _sentence(verdict(result)), ""]
        accuracies = f"{result.accuracy_a:.2%}", f"{result.accuracy_b:.2%}"
        lines += _accuracies(facts, accuracies, result.difference, result.interval)
        lines += [
            "",
            f"{result.images:,} images, paired; {discordant_text(result, a, b)}. "
            "One seed says little about a setting.",
        ]
    return [*lines, *_parameters(facts), *_metrics(facts, *metrics), *_training(facts), *_pictures(pictures)]


def group_markdown(facts: Facts[GroupComparison]) -> list[str]:
    """The comparison of two groups of experiments, in lines."""
    result = facts.result
    difference, interval = result.b.difference, result.b.interval
    if difference is None or interval is None:
        heading = f"Nothing can be said of {code(facts.a)} and {code(facts.b)}"
    else:
        heading = _heading(facts, difference, result.b.distinct, "mean ")
    lines = [f"## {heading}", "", _sentence(result.verdict), ""]
    lines += _accuracies(facts, result.means, difference, interval, "mean ")
    unit = "the seed is the unit, not the image"
    lines += ["", f"Mean ± sample standard deviation; {result.paired}: {unit}."]
    return [*lines, *_parameters(facts), *_training(facts)]


def _sentence(text: str) -> str:
    return f"**{text[0].upper()}{text[1:]}.**"


def _heading(facts: Facts[Any], difference: float, distinct: bool, kind: str = "") -> str:
    a, b = code(facts.a), code(facts.b)
    if not distinct:
        return f"No significant difference between {a} and {b}"
    return f"{b} has a {'higher' if difference > 0 else 'lower'} {kind}{facts.split} accuracy than {a}"


def _accuracies(
    facts: Facts[Any],
    accuracies: Sequence[str],
    difference: float | None,
    interval: tuple[float, float] | None,
    kind: str = "",
) -> list[str]:
    header = ["", code(facts.a), code(facts.b), "difference, percentage points", "95 % interval"]
    cells = [
        NOTHING if difference is None else signed(100 * difference),
        NOTHING if interval is None else percentage_points(interval),
    ]
    return table(header, [[f"{kind}{facts.split} accuracy", *accuracies, *cells]])


def _parameters(facts: Facts[Any]) -> list[str]:
    """The parameters that differ."""
    if not facts.parameters:
        return ["", "No parameter differs."]
    rows = [
        [code(key), *("not set" if value is None else code(value) for value in values)]
        for key, values in facts.parameters.items()
    ]
    return ["", "### Parameters that differ", "", *table(["", code(facts.a), code(facts.b)], rows)]


def _metrics(facts: Facts[Any], a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """The metrics of the best epoch, with their differences."""
    rows = [
        [
            code(key),
            *(_metric(side.get(key)) for side in (a, b)),
            change_text(a.get(key), b.get(key)),
        ]
        for key in {**a, **b}
    ]
    lines = ["", f"### Metrics of the best epoch, `{TRAIN_METRICS}`"]
    if rows:
        lines += ["", *table(["", code(facts.a), code(facts.b), "difference"], rows)]
    for name, side in ((facts.a, a), (facts.b, b)):
        lines += [] if side else ["", f"{code(name)} has none that can be read."]
    return lines


def _metric(value: object) -> str:
    if value is None:
        return NOTHING
    return cell_text(value) if is_number(value) else code(value)


def _training(facts: Facts[Any]) -> list[str]:
    """What trained both sides, and whether that may explain a difference, too."""
    a, b = facts.trained
    environment, changed = differing_environment(a, b), differing_code(a, b)
    names = code(facts.a), code(facts.b)
    lines = ["", "### Environment and training code", ""]
    if caution := facts.caveat:
        lines += [_sentence(caution), ""]
    if environment:
        rows = [
            [code(key), *(NOT_RECORDED if value is None else code(value) for value in values)]
            for key, values in environment.items()
        ]
        lines += [*table(["", *names], rows), ""]
    elif environment is None:
        for name, side in zip(names, (a, b), strict=True):
            lines.append(f"- Environment of {name}: {code(side.environment_words, limit=False)}")
    else:
        lines.append(f"- Both were trained with {code(a.environment_words, limit=False)}")
    if changed:
        lines.append("- Training code that differs:")
        lines += [f"  - {code(path, limit=False)}" for path in describe_code(changed, facts.a, facts.b)]
    elif changed is None:
        for name, side in zip(names, (a, b), strict=True):
            lines += [f"- Training code of {name}: {side.code_problem}"] if side.code is None else []
    else:
        lines.append("- No training code differs")
    for name, side in zip(names, (a, b), strict=True):
        if side.edited:
            paths = (code(path, limit=False) for path in side.edited)
            lines.append(f"- Code of {name} that is not what trained it: {', '.join(paths)}")
    return lines


def _pictures(pictures: Mapping[str, str]) -> list[str]:
    """The pictures that differ."""
    if not pictures:
        return ["", "No picture differs."]
    notes = (f" (only in {code(name)})" if name else "" for name in pictures.values())
    listed = (f"- {code(path, limit=False)}{note}" for path, note in zip(pictures, notes, strict=True))
    return ["", "### Pictures that differ", "", *listed]
