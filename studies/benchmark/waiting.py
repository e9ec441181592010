"""Recipes that wait for data move into the study once it is at hand: `python -m studies.benchmark.waiting`.

In `params.yaml` beside this file, from `waiting` to `seeds`.
"""

import io
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from src.data.dataset import dataset
from src.runtime.errors import UserError, run
from src.runtime.files import write_text
from studies.benchmark.recipes import read_recipes
from studies.benchmark.study import STUDY, read_study, refuse_unknown_recipes

SEEDS = 5


def move(path: Path, name: str) -> None:
    """Move a recipe of the study's parameters, whose comments survive."""
    yaml, text = YAML(), io.StringIO()
    yaml.width, yaml.preserve_quotes = 120, True
    yaml.indent(mapping=2, sequence=4, offset=2)
    study: Any = yaml.load(path)
    study["waiting"].remove(name)
    # Before the last one, which the comment that follows hangs on.
    study["seeds"].insert(len(study["seeds"]) - 1, name, SEEDS)
    yaml.dump(study, text)
    write_text(path, text.getvalue())


def main() -> None:
    study, recipes = read_study(), read_recipes()
    refuse_unknown_recipes(study, recipes)
    for name in study.waiting:
        try:
            dataset(recipes[name]["dataset"]).load()
        except UserError as error:
            print(f"{name} waits for data: {str(error).splitlines()[0]}", flush=True)
        else:
            move(STUDY, name)
            print(f"{name} is part of the study now", flush=True)


if __name__ == "__main__":
    run(main)
