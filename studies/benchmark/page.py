"""The tables of results in docs/results.md and the README: `python -m studies.benchmark.page`.

Writes what stands between the two markers of each anew, from the study's files.
"""

import argparse
import json
import statistics
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from src.evaluation.text import interval_text
from src.runtime.errors import UserError, run
from src.runtime.files import read_json, rounded, with_text, write_text
from studies.benchmark.recipes import FOLDER, RECIPES, read_recipes
from studies.benchmark.results import differences, summarise
from studies.benchmark.study import STUDY, CrossValidated, read_study, refuse_unknown_recipes
from studies.crossval.folds import SCORES

PAGE, README = Path("docs/results.md"), Path("README.md")
BEGIN, END = "<!-- results: written by `make results` -->\n", "<!-- end of results -->\n"


@dataclass(frozen=True)
class Expected:
    """The results of a recipe.

    Attributes:
        accuracy: the mean test accuracy with its 95 % interval, and the number of seeds.
        best_epoch: the median.
        time: the processor time of a run on one thread, from the images to the test accuracy: the median
            over the seeds that were run on the processor of seed 0.
        machine: the class of processors that compute the same bits, and that processor's name.
    """

    accuracy: str
    best_epoch: str
    time: str
    machine: str


def expected(name: str, recipe: dict[str, Any]) -> Expected | None:
    """What the study has found of a recipe; None where it has not run it, or has before it was changed."""
    path = FOLDER / "runs" / f"{name}.json"
    found = read_json(path, "delete it to run all of its seeds again") if path.exists() else {}
    if found.get("params") != rounded(recipe):
        return None
    (row,) = summarise(pd.DataFrame(found["rows"].values())).to_dict("records")
    # Only seed 0 is run again after a change of the code: the other seeds may be from another machine.
    times = read_json(FOLDER / "times" / f"{name}.json", "expected that of the last commit")["rows"]
    processor = times["0"].get("processor", "unknown processor")
    there = [times[seed] for seed in found["rows"] if times[seed].get("processor") == processor]
    half = f" ± {100 * row['test_accuracy_interval']:.2f}" if row["n"] > 1 else ""
    return Expected(
        accuracy=f"{100 * row['test_accuracy_mean']:.2f} %{half} (n = {row['n']})",
        best_epoch=f"{row['best_epoch']:.0f} of {row['epochs']}",
        time=_duration([time["processor_seconds"] for time in there if "processor_seconds" in time]),
        machine=f"{', '.join(sorted({times[seed]['bits'] for seed in found['rows']}))}, {processor}",
    )


def _duration(of_runs: list[float]) -> str:
    # A run that was interrupted and resumed has none.
    if not of_runs:
        return "not measured"
    seconds = statistics.median(of_runs)
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def row(name: str, recipe: dict[str, Any]) -> str:
    """A recipe as a row of the table; one that the study does not run waits for data."""
    found = expected(name, recipe) or Expected("waiting for data", "–", "–", "–")
    cells = [recipe["dataset"], f"`{recipe['model']}`", *astuple(found), f"`make recipe NAME={name}`"]
    return f"| {' | '.join(cells)} |"


HEADER = [
    "| dataset | network | test accuracy | best epoch | CPU time | computed on | command |",
    "|---|---|---|---|---|---|---|",
]


def best() -> str:
    """The README's table: of each dataset but `Digits` and each of its networks the recipe that is best.

    By validation accuracy, as everything here; two networks are enough.
    """
    recipes = read_recipes()
    summary = pd.read_csv(FOLDER / "summary.csv").sort_values("val_accuracy_mean", ascending=False)
    large = summary[summary["dataset"] != "Digits"].drop_duplicates(["dataset", "model"])
    chosen = large.groupby("dataset").head(2).sort_values("dataset", kind="stable", ascending=False)
    return "\n".join([*HEADER, *(row(name, recipes[name]) for name in chosen["recipe"])]) + "\n"


def markdown() -> str:
    """The table of all recipes, and the differences that are claimed."""
    study, recipes = read_study(), read_recipes()
    refuse_unknown_recipes(study, recipes)
    summary = pd.read_csv(FOLDER / "summary.csv")
    if stale := [name for name in study.seeds if expected(name, recipes[name]) is None]:
        raise UserError(f"{', '.join(stale)}: not run as {RECIPES} has it now; expected `make results` first")
    if unknown := sorted(set(summary["recipe"]) - set(study.seeds)):
        raise UserError(f"{', '.join(unknown)}: not in {STUDY} any more; expected `make results` first")
    lines = [
        *HEADER,
        *(row(name, recipes[name]) for name in [*summary["recipe"], *study.waiting]),
        "",
        "± is half the width of the mean's 95 % interval (Student's *t*) over n seeds, which share the",
        "splits: it covers other seeds, not other test images. The best epoch (by validation accuracy)",
        "and the time of a run, from the images to the test accuracy on one thread, are medians, the time",
        "over the seeds that were run on the processor named.",
        "",
        *_claims(study.claims),
        "",
        *_crossval(study.crossval),
    ]
    return "\n".join(lines) + "\n"


def _claims(claims: list[list[str]]) -> list[str]:
    runs = pd.read_csv(FOLDER / "runs.csv")
    found = differences(runs, [(a, b) for a, b, _ in claims])
    lines = [
        "| difference | percentage points | 95 % interval | seeds |",
        "|---|---|---|---|",
    ]
    for (a, b, words), difference in zip(claims, found, strict=True):
        cells = "– | – | fewer than two in common, or equal differences"
        if difference:
            ends = interval_text(difference.interval)
            cells = f"{100 * difference.mean:+z.2f} | {ends} | {difference.n}"
        lines.append(f"| {words}: `{b}` − `{a}` | {cells} |")
    lines += [
        "",
        f"Differences of test accuracies, paired by seed; their {len(claims)} intervals are corrected",
        "together (Bonferroni). Where an interval includes 0, no difference is shown. Recipes may differ in",
        "more than their names say, such as learning rate, validation images and how many settings were",
        "tried: see [recipes.yaml](../recipes.yaml).",
    ]
    return lines


def _crossval(chosen: CrossValidated) -> list[str]:
    accuracy = json.loads((FOLDER / "crossval" / "summary.json").read_text())["accuracy"]
    by_class = pd.read_csv(FOLDER / "crossval" / "per_class.csv").to_dict("records")
    lines = [
        "## Cross-validation",
        "",
        f"`{chosen.recipe}` over the training images, one seed, {chosen.folds} folds of {chosen.epochs}",
        f"epochs each: accuracy {100 * accuracy['mean']:.2f} % ± {100 * accuracy['sd']:.2f} (sample deviation"
        f" over folds), {100 * accuracy['pooled']:.2f} % of all images.",
        "By class, with the deviations:",
        "",
        "| class | precision | recall | F1 |",
        "|---|---|---|---|",
    ]
    for row in by_class:
        cells = [f"{row[f'{score}_mean']:.4f} ± {row[f'{score}_sd']:.4f}" for score in SCORES]
        lines.append(f"| {row['class']} | {' | '.join(cells)} |")
    return lines


def pages() -> dict[Path, str]:
    """The pages with such tables, by their paths, as they should be."""
    written = {PAGE: markdown(), README: best()}
    return {path: with_text(path, path.read_text(), BEGIN, END, text) for path, text in written.items()}


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()  # there are no options: refuse any
    for path, text in pages().items():
        write_text(path, text)


if __name__ == "__main__":
    run(main)
