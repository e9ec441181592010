"""Comparisons in Markdown, rendered: what a reader of a pull request sees."""

from __future__ import annotations

import string
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.compare.facts import Facts
from src.compare.groups import compare_groups
from src.compare.markdown import code, group_markdown, revision_markdown, table
from src.compare.provenance import Provenance
from src.evaluation.paired import Comparison
from src.evaluation.ranking import Run
from tests.rendered import Rendered, rendered
from tests.test_paired import comparison

TRAINED = Provenance({"python": "3.11", "torch": "2.14.0", "threads": 1}, {"src/training": "1"})
BETTER = "a significant difference between these two trainings: the 95 % interval excludes 0"
OLD = {"val_accuracy": 0.963889, "val_loss": 0.0636543, "best_epoch": 12}
NEW = {"val_accuracy": 0.988889, "val_loss": 0.0369454, "best_epoch": 12, "macro.f1": 0.5}
METRICS = "Metrics of the best epoch, metrics/train.json"


def facts(result: Comparison | str, **changed: object) -> Facts[Comparison | str]:
    unchanged = Facts("base", "head", "validation", result, {"lr": (0.005, 0.02)}, (TRAINED, TRAINED))
    return replace(unchanged, **changed)


def page(given_facts: Facts[Comparison | str], pictures: dict[str, str] | None = None) -> Rendered:
    return rendered("\n".join(revision_markdown(given_facts, (OLD, NEW), pictures or {})))


def test_a_higher_accuracy_with_its_interval_and_what_differs() -> None:
    shown = page(facts(comparison(4, 13, 360)), {"plots/a.png": "", "plots/new.png": "head"})
    title = "head has a higher validation accuracy than base"
    assert shown.headings == [
        title,
        "Parameters that differ",
        METRICS,
        "Environment and training code",
        "Pictures that differ",
    ]
    # The numbers are those of test_compare.py.
    assert shown.tables[title] == [
        ["", "base", "head", "difference, percentage points", "95 % interval"],
        ["validation accuracy", "96.39%", "98.89%", "+2.50", "+0.13 to +5.28"],
    ]
    assert f"{BETTER[0].upper()}{BETTER[1:]}." in shown.plain
    assert "360 images, paired; only" in shown.plain
    assert shown.tables["Parameters that differ"] == [["", "base", "head"], ["lr", "0.005", "0.02"]]
    assert shown.tables[METRICS] == [
        ["", "base", "head", "difference"],
        ["val_accuracy", "0.96389", "0.98889", "+0.025"],
        ["val_loss", "0.063654", "0.036945", "−0.026709"],
        ["best_epoch", "12", "12", ""],
        ["macro.f1", "–", "0.5", ""],
    ]
    assert shown.code[-4:] == ["Python 3.11, torch 2.14.0; 1 thread", "plots/a.png", "plots/new.png", "head"]
    assert "No training code differs" in shown.plain
    assert "test" not in shown.plain.replace("McNemar’s test", "")


@pytest.mark.parametrize(
    ("only", "heading"),
    [
        ((13, 4), "head has a lower validation accuracy than base"),
        ((12, 4), "No significant difference between base and head"),
        ((0, 0), "No significant difference between base and head"),
    ],
)
def test_the_heading_follows_the_interval(only: tuple[int, int], heading: str) -> None:
    assert page(facts(comparison(*only, 360))).headings[0] == heading


def test_the_same_is_said_to_be_the_same_unless_a_picture_differs() -> None:
    same = facts(comparison(0, 0, 360), parameters={}, same=True)
    assert page(same).headings[0] == "Nothing differs between base and head"
    assert "No parameter differs." in page(same).plain
    assert "No picture differs." in page(same).plain
    assert page(same, {"plots/a.png": ""}).headings[0] == "No significant difference between base and head"


def test_what_cannot_be_compared_says_why_and_shows_the_rest() -> None:
    why = "different validation images: dataset is Digits in base, a|b in head"
    shown = page(facts(why, parameters={"dataset": ("Digits", "a|b"), "patience": (None, 3)}))
    assert shown.headings[0] == "base and head cannot be compared"
    assert shown.code[2] == why
    assert shown.tables["Parameters that differ"][1:] == [
        ["dataset", "Digits", "a|b"],
        ["patience", "not set", "3"],
    ]
    assert METRICS in shown.tables
    lines = revision_markdown(facts(why), ({}, NEW), {})
    assert "`base` has none that can be read." in lines


def test_another_environment_and_other_code() -> None:
    other = Provenance({"python": "3.13", "torch": "2.14.0"}, {"src/training": "2", "src/new": "1"})
    shown = page(facts(comparison(4, 13, 360), trained=(TRAINED, other)))
    assert shown.tables["Environment and training code"] == [
        ["", "base", "head"],
        ["python", "3.11", "3.13"],
        ["threads", "1", "not recorded"],
    ]
    assert shown.code[-2:] == ["src/new (only in head)", "src/training"]
    caveat = "Trained by different code and in different environments: the parameters alone may not explain"
    assert caveat in shown.plain
    unknown = Provenance(None, None, code_problem="not recorded (dvc.lock is damaged)")
    shown = page(facts(comparison(4, 13, 360), trained=(unknown, other)))
    assert "Training code of : not recorded (dvc.lock is damaged)" in shown.plain
    assert shown.code[-3:] == ["head", "Python 3.13, torch 2.14.0", "base"]


def test_groups_by_their_seeds() -> None:
    a = {seed: Run(accuracy, 0.1) for seed, accuracy in enumerate((0.95, 0.96, 0.97))}
    b = {seed: Run(accuracy, 0.1) for seed, accuracy in enumerate((0.975, 0.98, 0.994))}
    groups = Facts("slow*", "fast*", "validation", compare_groups(a, b), {}, (TRAINED, TRAINED))
    shown = rendered("\n".join(group_markdown(groups)))
    title = "fast* has a higher mean validation accuracy than slow*"
    assert shown.tables[title][1] == [
        "mean validation accuracy",
        "96.00% ± 1.00 (n = 3)",
        "98.30% ± 0.98 (n = 3)",
        "+2.30",
        "+1.64 to +2.96",
    ]
    assert "paired by seed, n = 3: the seed is the unit, not the image." in shown.plain
    close = {seed: Run(accuracy, 0.1) for seed, accuracy in enumerate((0.96, 0.96, 0.98))}
    shown = rendered("\n".join(group_markdown(replace(groups, result=compare_groups(a, close)))))
    assert shown.headings[0] == "No significant difference between slow* and fast*"
    alone = replace(groups, result=compare_groups(a, {5: Run(0.9, 0.1)}))
    shown = rendered("\n".join(group_markdown(alone)))
    assert shown.headings[0] == "Nothing can be said of slow* and fast*"
    assert shown.tables[shown.headings[0]][1][2:] == ["90.00% (n = 1)", "–", "–"]


HOSTILE = "a|b`c` <img src=x onerror=y> **bold** ~~no~~ [x](http://y) @name #1 $z$ \\| &amp; </code>"


def test_names_and_values_are_shown_as_they_are() -> None:
    hostile = facts(comparison(4, 13, 360), a=HOSTILE, b="| --- |", parameters={"k|`": (HOSTILE[:50], "_a_")})
    shown = page(hostile, {"plots/|`<b>.png": HOSTILE})
    table_tags = {"table", "thead", "tbody", "tr", "th", "td"}
    assert shown.tags == {"h2", "h3", "p", "strong", "code", "ul", "li"} | table_tags
    assert shown.tables["Parameters that differ"] == [
        ["", f"{HOSTILE[:59]}…", "| --- |"],
        ["k|`", HOSTILE[:50], "_a_"],
    ]
    assert len(shown.tables[shown.headings[0]][0]) == 5
    assert "plots/|`<b>.png" in shown.code
    for mark in ("@name", "#1", "bold", "http", "onerror"):
        assert mark not in shown.plain


@given(st.text(st.one_of(st.sampled_from(string.printable), st.characters(exclude_categories=["Cs"]))))
def test_any_text_is_a_cell_that_shows_it(text: str) -> None:
    shown = rendered("\n".join(["## x", "", *table(["a", "b"], [[code(text, limit=False), "end"]])]))
    printable = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
    assert shown.tables["x"] == [["a", "b"], [printable, "end"]]
    assert shown.code == [printable]


def test_long_values_are_cut_and_line_breaks_shown() -> None:
    assert code("x" * 100) == f"<code>{'x' * 59}&#8230;</code>"
    assert rendered(code("a\nb")).code == ["a\\nb"]
    assert code(0.1 + 0.2) == "`0.3`"
    assert code([1, "a|b"]) == "<code>&#91;1&#44; &#39;a&#124;b&#39;&#93;</code>"
