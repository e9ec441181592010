"""The packages of `src` import in one direction, and each says in one sentence what it is for."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

# Each may import from those before it, and from itself; the commands, from all that are no commands.
LAYERS = [
    "runtime",
    "command_line",
    "params",
    "data",
    "own_images",
    "networks",
    "training",
    "evaluation",
    "figures",
    "tracking",
    "experiments",
    "cluster",
]
COMMANDS = [
    "predict",
    "compare",
    "sweep",
    "tune",
    "report",
    "export",
    "versions",
    "serve",
    "parameter_reference",
]
MODULES_ALONE = {"command_line", "params", "parameter_reference"}
# A command's parts that another one uses.
SHARED = {"report": ["compare"], "serve": ["predict"]}

FOLDERS = ["src", "stages", "studies", "benchmarks", "tests"]
MODULES = sorted((ROOT / "src").rglob("*.py"))


def package_of(module: str) -> str:
    return module.split(".")[1]


def imports(path: Path) -> set[str]:
    """The modules of this repository that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module}
    return {name for name in found if name.split(".")[0] in FOLDERS}


def test_every_package_has_its_place() -> None:
    packages = {
        path.name for path in (ROOT / "src").iterdir() if path.is_dir() and path.name != "__pycache__"
    }
    assert packages == {*LAYERS, *COMMANDS} - MODULES_ALONE


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    place = path.relative_to(ROOT / "src").with_suffix("").parts[0]
    if place == "__init__":
        allowed = {"runtime"}
    elif place in COMMANDS:
        allowed = {*LAYERS, place, *SHARED.get(place, [])}
    else:
        allowed = set(LAYERS[: LAYERS.index(place) + 1])
    used = imports(path) - {"src"}
    assert all(name.startswith("src.") for name in used), "the library knows neither stages nor studies"
    assert {package_of(name) for name in used} <= allowed


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_folder_uses_one_below_it(folder: str) -> None:
    allowed = FOLDERS[: FOLDERS.index(folder) + 1]
    for path in sorted((ROOT / folder).rglob("*.py")):
        assert {name.split(".")[0] for name in imports(path)} <= set(allowed), path


@pytest.mark.parametrize("package", sorted({*LAYERS, *COMMANDS} - MODULES_ALONE))
def test_a_package_says_what_it_is_for(package: str) -> None:
    sentence = ast.get_docstring(ast.parse((ROOT / "src" / package / "__init__.py").read_text()))
    assert sentence is not None
    assert sentence.endswith(".")
    assert len(sentence.splitlines()) <= 2
