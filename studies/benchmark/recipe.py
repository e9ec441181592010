"""Run a recipe of `recipes.yaml` as an experiment: `python -m studies.benchmark.recipe NAME`.

The experiment is called by the recipe and the seed of params.yaml, and sets every parameter of the recipe:
with the same seed it is the run of the study, to the last digit.
"""

import argparse
import subprocess

from src.params import Params, read
from src.runtime.errors import UserError, run
from studies.benchmark.page import expected
from studies.benchmark.recipes import read_recipes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("name", nargs="?", default="", metavar="NAME")
    name = parser.parse_args().name
    recipes = read_recipes()
    if name not in recipes:
        raise UserError(f"NAME: {name!r} is no recipe; expected one of {', '.join(recipes)}")
    found = expected(name)
    print(
        f"{name}: expect a test accuracy of {found.accuracy} after {found.time} on one core ({found.bits})"
        if found
        else f"{name}: nobody has run it yet; its images were not at hand",
        flush=True,
    )
    settings = [f"--set-param={key}={value}" for key, value in recipes[name].items()]
    command = ["dvc", "exp", "run", f"--name={name}-{read(Params).seed}", *settings]
    raise SystemExit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    run(main)
