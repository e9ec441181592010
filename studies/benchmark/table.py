"""The rows of all runs → one table, its summary, and a figure."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from src.runtime.errors import UserError
from src.runtime.files import replacing, write_table
from src.runtime.workspace import run_stage
from src.runtime.yaml_text import read_yaml
from studies.benchmark.figure import accuracies_by_setup
from studies.benchmark.results import summarise

FOLDER = Path("studies/benchmark")
GROUPS = ("lenet5", "others")


def main() -> None:
    study: Any = read_yaml(FOLDER / "params.yaml")
    rows = []
    for group in GROUPS:
        for setup in study[group]["setups"]:
            for seed in study[group]["seeds"]:
                path = FOLDER / "runs" / f"{setup}-{seed}.json"
                if not path.exists():
                    raise UserError(f"{path}: no such file; `dvc repro studies/benchmark/dvc.yaml` writes it")
                rows.append(json.loads(path.read_text()))
    runs = pd.DataFrame(rows)
    summary = summarise(runs)
    write_table(FOLDER / "runs.csv", runs)
    write_table(FOLDER / "summary.csv", summary)
    with replacing(FOLDER / "accuracy.png") as temporary:
        accuracies_by_setup(runs).savefig(temporary, dpi=110, metadata={"Software": None})
    print(summary[["setup", "n", "test_accuracy_mean", "test_accuracy_sd"]].to_string(index=False))


if __name__ == "__main__":
    run_stage(main)
