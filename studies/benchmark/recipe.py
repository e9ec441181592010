"""Run a recipe of `recipes.yaml` as an experiment: `python -m studies.benchmark.recipe NAME`.

The experiment is called by the recipe and the seed of params.yaml, and sets every parameter of the recipe:
with a seed that the study has run, it is that run, to the last digit.
"""

import os

from src.command_line import command_parser
from src.experiments.git import commit_of, git
from src.experiments.record import experiment_reference
from src.params import Params, read
from src.runtime.errors import UserError, run
from studies.benchmark.page import expected
from studies.benchmark.recipes import read_recipes


def main() -> None:
    parser = command_parser("studies.benchmark.recipe", __doc__)
    parser.add_argument("name", nargs="?", default="", metavar="NAME")
    name = parser.parse_args().name
    recipes = read_recipes()
    if name not in recipes:
        said = f"{name!r} is not a recipe" if name else "missing"
        raise UserError(f"NAME: {said}; expected one of {', '.join(recipes)}")
    found = expected(name, recipes[name])
    print(
        f"{name}: expect a test accuracy of {found.accuracy} after {found.time} on one core ({found.machine})"
        if found
        else f"{name}: the study has no results of this recipe as it is now",
        flush=True,
    )
    experiment = f"{name}-{read(Params).seed}"
    if git("for-each-ref", experiment_reference(commit_of("HEAD"), experiment)):
        ways = f"`dvc exp apply {experiment}`, or `dvc exp remove {experiment}` to run it again"
        raise UserError(f"{experiment}: this experiment exists; expected {ways}")
    settings = [f"--set-param={key}={value}" for key, value in recipes[name].items()]
    # In the place of this process, so that Ctrl-C reaches DVC alone, which then puts the workspace in order.
    os.execvp("dvc", ["dvc", "exp", "run", f"--name={experiment}", *settings])


if __name__ == "__main__":
    run(main)
