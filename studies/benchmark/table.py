"""The rows of all runs → one table, its summary, and a figure."""

from typing import Any

import pandas as pd

from src.figures.style import save
from src.runtime.errors import UserError
from src.runtime.files import read_json, write_table
from src.runtime.workspace import run_stage
from studies.benchmark.figure import accuracies_by_recipe
from studies.benchmark.recipes import FOLDER
from studies.benchmark.results import summarise
from studies.benchmark.study import read_study


def main() -> None:
    rows: list[dict[str, Any]] = []
    for recipe in read_study().seeds:
        path = FOLDER / "runs" / f"{recipe}.json"
        if not path.exists():
            raise UserError(f"{path}: no such file; `dvc repro studies/benchmark/dvc.yaml` writes it")
        rows += read_json(path, "delete it to run all of its seeds again")["rows"].values()
    runs = pd.DataFrame(rows)
    summary = summarise(runs)
    write_table(FOLDER / "runs.csv", runs)
    write_table(FOLDER / "summary.csv", summary)
    save(accuracies_by_recipe(runs), FOLDER / "accuracy.png")
    print(summary[["recipe", "n", "test_accuracy_mean", "test_accuracy_interval"]].to_string(index=False))


if __name__ == "__main__":
    run_stage(main)
