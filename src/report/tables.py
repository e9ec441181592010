"""Snapshots of revisions in, the tables of a report out: parameters, metrics, confusion, training."""

from __future__ import annotations

from typing import Any

import pandas as pd

from src.compare.provenance import (
    describe_code,
    differing_code,
    differing_environment,
    edited_text,
    value_words,
)
from src.compare.values import cell_text, change_text
from src.evaluation.mistakes import most_frequent_mistakes
from src.report.snapshots import ABSENT, CONFUSION, Snapshot
from src.runtime.paths import PARAMS_FILE, TEST_METRICS

# With more classes than these there is no matrix, but a table of so many of the most frequent mistakes.
CLASSES_OF_MATRIX, MISTAKES = 30, 20
PLUS_MINUS = "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}"


def parameters(snapshots: list[Snapshot]) -> dict[str, Any]:
    """Every key with its value in each revision, those that differ apart."""
    keys = dict.fromkeys(key for snapshot in snapshots for key in snapshot.parameters)
    differing: dict[str, list[Any]] = {}
    same: dict[str, list[Any]] = {}
    for key in keys:
        values = [
            snapshot.parameters.get(key, snapshot.problems.get(str(PARAMS_FILE), ABSENT))
            for snapshot in snapshots
        ]
        cells = [{"text": cell_text(value), "changed": value != values[0]} for value in values]
        (differing if any(cell["changed"] for cell in cells) else same)[key] = cells
    missing = [
        f"{snapshot.name}: {PARAMS_FILE}: {snapshot.problems[str(PARAMS_FILE)]}"
        for snapshot in snapshots
        if str(PARAMS_FILE) in snapshot.problems
    ]
    return {"differing": differing, "same": same, "missing": missing}


def metrics(snapshots: list[Snapshot]) -> dict[str, dict[str, list[dict[str, str]]]]:
    """For each file and key a cell per revision: its value, and the difference to the first revision's.

    Of the test split's metrics the values alone: they are to be reported, not compared.
    """
    files: dict[str, dict[str, list[dict[str, str]]]] = {}
    paths = dict.fromkeys(path for snapshot in snapshots for path in snapshot.metrics)
    for path in paths:
        keys = dict.fromkeys(key for snapshot in snapshots for key in snapshot.metrics.get(path, {}))
        files[path] = {}
        for key in keys:
            first = snapshots[0].metrics.get(path, {}).get(key)
            cells = []
            for snapshot in snapshots:
                value = snapshot.metrics.get(path, {}).get(key, snapshot.problems.get(path, ABSENT))
                change = "" if path == str(TEST_METRICS) else change_text(first, value)
                deviation = snapshot.deviations.get(path, {}).get(key)
                text = (
                    cell_text(value)
                    if deviation is None
                    else f"{cell_text(value)}{PLUS_MINUS}{deviation:.2g}"
                )
                cells.append({"text": text, "change": change})
            files[path][key] = cells
    return files


def matrix(snapshot: Snapshot) -> dict[str, Any]:
    """A revision's confusion matrix: rows of actual, columns of predicted classes.

    Of many classes only the most frequent mistakes. A pair that the table lacks does not occur.
    """
    if CONFUSION not in snapshot.tables:
        return {"problem": snapshot.problems[CONFUSION]}
    table = snapshot.tables[CONFUSION]
    classes = list(dict.fromkeys([*table["actual"], *table["predicted"]]))
    many = len(classes) > CLASSES_OF_MATRIX
    images = table.groupby("actual")["count"].sum()
    return {
        "problem": "",
        "classes": classes,
        "slanted": max(map(len, classes)) > 3,
        "rows": {} if many else _rows(table, classes),
        "right": int(table.loc[table["actual"] == table["predicted"], "count"].sum()),
        "total": int(table["count"].sum()),
        "worst": [
            {"actual": actual, "predicted": predicted, "count": count, "images": int(images[actual])}
            for actual, predicted, count in most_frequent_mistakes(table, MISTAKES if many else 3)
        ],
    }


def _rows(table: pd.DataFrame, classes: list[str]) -> dict[str, list[dict[str, Any]]]:
    """For each actual class a cell per predicted class."""
    counts = (
        table.pivot_table(index="actual", columns="predicted", values="count", aggfunc="sum")
        .reindex(index=classes, columns=classes)
        .fillna(0)
        .astype(int)
    )
    return {
        actual: [
            _cell(int(count), count / max(1, counts.loc[actual].sum()), actual == predicted)
            for predicted, count in counts.loc[actual].items()
        ]
        for actual in classes
    }


def training(snapshots: list[Snapshot]) -> dict[str, Any]:
    """What trained each revision: every key of the environments, and the code that differs from the first."""
    trained = {snapshot.name: snapshot.provenance for snapshot in snapshots}
    names, first = list(trained), snapshots[0].provenance
    environments = [provenance.environment or {} for provenance in trained.values()]
    changes = [differing_environment(first, provenance) or {} for provenance in trained.values()]
    rows = {
        key: [
            {"text": cell_text(value_words(environment.get(key))), "changed": key in changed}
            for environment, changed in zip(environments, changes, strict=True)
        ]
        for key in dict.fromkeys(key for environment in environments for key in environment)
    }
    code = []
    for name in names[1:]:
        found = differing_code(first, trained[name])
        paths = describe_code(found or {}, names[0], name)
        code.append({"paths": paths, "otherwise": "cannot be said" if found is None else "none"})
    missing = []
    for name, provenance in trained.items():
        if provenance.environment is None:
            missing.append(f"{name}: environment: {provenance.environment_problem}")
        if provenance.code is None:
            missing.append(f"{name}: training code: {provenance.code_problem}")
        if text := edited_text(name, provenance):
            missing.append(text)
    return {"environment": rows, "code": code, "missing": missing}


def _cell(count: int, share: float, right: bool) -> dict[str, Any]:
    # Mistakes are few: by the root of their share they are seen.
    shade = 100 * (share if right else share**0.5)
    # The page gives text on a deep shade another colour, as its theme needs it.
    depth = "full" if shade > 85 else "half" if shade > 70 else ""
    return {"count": count, "shade": round(shade), "kind": "right" if right else "wrong", "depth": depth}
