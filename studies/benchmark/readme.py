"""The table of results in docs/results.md, from the study's summary: `python -m studies.benchmark.readme`.

Writes what stands between the two markers anew.
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from src.params import Params, RunParams, read
from src.runtime.errors import UserError, run
from src.runtime.files import write_text
from src.runtime.yaml_text import read_yaml
from studies.benchmark.results import difference

README = Path("docs/results.md")
FOLDER = Path("studies/benchmark")
BEGIN, END = "<!-- results: written by `make results` -->\n", "<!-- end of results -->\n"
# Both poolings and their activations, with nothing else changed.
TODAY, OF_1998 = "fashion-lenet5-relu-max", "fashion-lenet5-tanh-avg"


def markdown(
    runs: pd.DataFrame,
    summary: pd.DataFrame,
    times: dict[str, list[dict[str, Any]]],
    study: dict[str, Any],
    committed: dict[str, Any],
) -> str:
    """The table and what is to be said with it.

    Args:
        runs, summary: `runs.csv` and `summary.csv`; see `studies.benchmark.results.summarise`.
        times: what each run took, by setup; see `studies/benchmark/times`.
        study: `params.yaml` beside this file.
        committed: the `params.yaml` of the repository.
    """
    lines = [
        "| dataset | model, recipe | test accuracy | epochs | time | parameters to set: `dvc exp run -S …` |",
        "|---|---|---|---|---|---|",
    ]
    for row in summary.to_dict("records"):
        spread = f"± {100 * row['test_accuracy_sd']:.2f} " if row["n"] > 1 else ""
        seconds = pd.Series([time["processor_seconds"] for time in times[row["setup"]]]).median()
        values = study["defaults"] | study["setups"][row["setup"]]
        changed = [
            f"`{key}={values[key]}`"
            for key in RunParams.model_fields
            if key in values and values[key] != committed[key]
        ]
        lines.append(
            f"| {row['dataset']} | `{row['model']}`, {row['recipe']} "
            f"| {100 * row['test_accuracy_mean']:.2f} % {spread}(n = {row['n']}) "
            f"| {row['epochs']} | {_duration(seconds)} | {' '.join(changed) or '(the defaults)'} |"
        )
    facts = next(iter(times.values()))[0]
    better = difference(runs, OF_1998, TODAY)
    low, high = (100 * end for end in better.interval)
    lines += [
        "",
        "± is the sample standard deviation over n seeds. Time is the median of one run on one thread, from "
        "the archives to the test accuracy, in processor time "
        f"({facts['cores']} cores, {facts['processor']}, no GPU).",
        "",
        "ReLU with max pooling over tanh with average pooling, on FashionMNIST, all else equal: "
        f"{100 * better.mean:+.2f} percentage points, 95 % interval {low:+.2f} to {high:+.2f} "
        f"(paired by seed, n = {better.n}).",
    ]
    return "\n".join(lines) + "\n"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def with_results(readme: str, results: str) -> str:
    """The text of the page with the text between its markers replaced.

    Raises:
        UserError: it lacks the markers.
    """
    for marker in (BEGIN, END):
        if marker not in readme:
            raise UserError(f"{README}: the line `{marker.strip()}` is missing; the table belongs there")
    before, rest = readme.split(BEGIN)
    return before + BEGIN + results + END + rest.split(END)[1]


def results() -> str:
    """What belongs between the markers, from the files of the study."""
    times: dict[str, list[dict[str, Any]]] = {}
    runs = pd.read_csv(FOLDER / "runs.csv")
    study: Any = read_yaml(FOLDER / "params.yaml")
    for setup, seed in zip(runs["setup"], runs["seed"], strict=True):
        times.setdefault(setup, []).append(
            json.loads((FOLDER / "times" / f"{setup}-{seed}.json").read_text())
        )
    return markdown(
        runs,
        pd.read_csv(FOLDER / "summary.csv"),
        times,
        study,
        read(Params).model_dump(),
    )


def main() -> None:
    write_text(README, with_results(README.read_text(), results()))


if __name__ == "__main__":
    run(main)
