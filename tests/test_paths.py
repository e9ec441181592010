"""`src/runtime/paths.py` and the pipelines name the same files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from src.runtime import paths
from tests.conftest import ROOT

PIPELINES = (paths.PIPELINE_FILE, Path("studies/export/dvc.yaml"))
# What no stage writes: the pipeline itself, and its folders.
ITSELF = {paths.PARAMS_FILE, paths.PIPELINE_FILE, paths.LOCK_FILE}
FOLDERS = {paths.PREPARED, paths.METRICS, paths.PLOTS, paths.OWN_DATA}

NAMED = {name: value for name, value in vars(paths).items() if isinstance(value, Path)}
FILES = set(NAMED.values()) - ITSELF - FOLDERS


def declared() -> set[Path]:
    """Every output and metric of the pipeline and of the export."""
    found = set()
    for pipeline in PIPELINES:
        stages: dict[str, Any] = YAML(typ="safe").load(ROOT / pipeline)["stages"]
        for stage in stages.values():
            for entry in [*stage.get("outs", []), *stage.get("metrics", [])]:
                found.add(Path(entry if isinstance(entry, str) else next(iter(entry))))
    return found


def test_every_named_file_is_written_by_a_stage() -> None:
    assert declared() >= FILES


def test_every_output_is_named_and_every_figure_lies_in_the_folder_of_plots() -> None:
    unnamed = declared() - FILES
    assert {(path.parent, path.suffix) for path in unnamed} == {(paths.PLOTS, ".png")}


def test_each_file_has_one_name_and_those_of_the_repository_are_there() -> None:
    assert len(set(NAMED.values())) == len(NAMED)
    assert all((ROOT / path).is_file() for path in (paths.PARAMS_FILE, paths.PIPELINE_FILE))


@pytest.mark.parametrize("place", ["src", "stages", "studies", "benchmarks"])
def test_no_other_module_spells_a_path_of_the_pipeline(place: str) -> None:
    for path in {*(ROOT / place).rglob("*.py")} - {Path(paths.__file__)}:
        text = path.read_text()
        for named in FILES | {paths.PREPARED}:
            for quote in "'\"":
                assert f"{quote}{named}{quote}" not in text, f"{path.relative_to(ROOT)}: {named}"
