"""`recipes.yaml` → every recipe with all of its parameters, in a file of its own.

A run depends on the file of its recipe alone, which names the code that it runs by a digest of what it does.
DVC reads every `dvc.lock` of a repository many times in every command: entries for each module and each
parameter of each run made `dvc exp run` five seconds slower.
"""

import ast
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from typing import Any

from src.params import BUILT_IN, RunParams, parse
from src.runtime.errors import UserError
from src.runtime.files import write_text
from src.runtime.workspace import run_stage
from src.runtime.yaml_text import read_yaml

FOLDER = Path("studies/benchmark")
RECIPES = Path("recipes.yaml")


def read_recipes() -> dict[str, dict[str, Any]]:
    """The parameters that each recipe of `recipes.yaml` sets, by its name.

    All of a run's but for its seed, and `test_fraction`: every dataset of a recipe comes with a test split.

    Raises:
        UserError: one of them is invalid.
    """
    written: Any = read_yaml(RECIPES)
    for key in ("defaults", "recipes"):
        if not isinstance(written, dict) or not isinstance(written.get(key), dict):
            raise UserError(f"{RECIPES}: {key} is missing; expected `{key}:` with a mapping below it")
    for name, changes in written["recipes"].items():
        if not isinstance(changes, dict | None):
            raise UserError(f"{RECIPES}: {name}: {changes!r} is invalid; expected `key: value` lines")
    recipes = {name: written["defaults"] | (changes or {}) for name, changes in written["recipes"].items()}
    for name, values in recipes.items():
        for key in ("seed", "test_fraction"):
            if key in values:
                raise UserError(
                    f"{RECIPES}: {name}: {key}: {values[key]!r} is invalid; expected no {key} in a recipe"
                )
        parsed = parse(complete(values, seed=0), RunParams, whole=RunParams, source=f"{RECIPES}: {name}")
        # Images of one's own are no part of a recipe, which says everything that a result depends on.
        if parsed.dataset not in BUILT_IN:
            expected = f"expected one of {', '.join(BUILT_IN)}"
            raise UserError(f"{RECIPES}: {name}: dataset: {parsed.dataset!r} is invalid; {expected}")
    return recipes


def complete(recipe: dict[str, Any], seed: int) -> dict[str, Any]:
    """The parameters of a run of a recipe, every key of `RunParams`."""
    return recipe | {"seed": seed, "test_fraction": 0.5}


def code_files(deps: Sequence[str], files: Iterable[str]) -> list[str]:
    """The modules among `files` that a run is made of: what `deps` names, but for this stage's own script."""
    wanted = [PurePath(dependency) for dependency in deps]
    modules = [PurePath(file) for file in files if file.endswith(".py")]
    of_a_run = [module for module in modules if any(module.is_relative_to(each) for each in wanted)]
    return sorted(str(module) for module in of_a_run if module != FOLDER / "recipes.py")


def code_digest(sources: Iterable[bytes]) -> str:
    """SHA-256 of what modules do: comments, docstrings and formatting leave it as it was."""
    digest = hashlib.sha256()
    for source in sources:
        digest.update(hashlib.sha256(ascii(_meaning(ast.parse(source))).encode()).digest())
    return digest.hexdigest()


def _meaning(node: Any) -> Any:  # noqa: ANN401
    """A syntax tree as nested tuples, without texts for readers and without fields that are empty.

    `ast.dump` would do, but for its output's changing from one version of Python to the next.
    """
    if isinstance(node, list):
        return tuple(_meaning(each) for each in node if not _is_for_readers(each))
    if isinstance(node, ast.AST):
        fields = [(name, value) for name, value in ast.iter_fields(node) if value not in (None, [])]
        return (type(node).__name__, *((name, _meaning(value)) for name, value in fields))
    return node


def _is_for_readers(node: Any) -> bool:  # noqa: ANN401
    """Whether a node is a text that stands alone, such as a docstring, or the description of a parameter."""
    if isinstance(node, ast.keyword):
        return node.arg == "description"
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def main() -> None:
    pipeline: Any = read_yaml(FOLDER / "dvc.yaml")
    files = [path.as_posix() for folder in ("src", "studies") for path in Path(folder).rglob("*.py")]
    names = code_files(pipeline["stages"]["recipes"]["deps"], files)
    code = code_digest(Path(name).read_bytes() for name in names)
    for name, values in read_recipes().items():
        text = json.dumps({"params": values, "code": code}, indent=2) + "\n"
        write_text(FOLDER / "recipes" / f"{name}.json", text)


if __name__ == "__main__":
    run_stage(main)
