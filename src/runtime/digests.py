"""What a result is made from, data and code, by its content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from src.runtime.paths import PARAMS_FILE, PIPELINE_FILE
from src.runtime.yaml_text import read_yaml


def stage_dependencies(pipeline: Path, stage: str) -> list[Path]:
    """The `deps` of a stage, sorted: all of its code, and the data it reads."""
    described: Any = read_yaml(pipeline)
    return [Path(name) for name in sorted(described["stages"][stage]["deps"])]


def edited_by_hand(script: Path) -> dict[str, object]:
    """What a stage is made from and a person may edit while it runs: its parameters, and digests of its code.

    Args:
        script: of the stage, from the root of the repository. The pipeline is in a `dvc.yaml` beside it or in
            that of the root; where neither runs the script, nothing is known of it.
    """
    own = script.with_name(PIPELINE_FILE.name)
    pipeline: Any = read_yaml(own if own.exists() else PIPELINE_FILE)
    command = ["python", "-m", ".".join(script.with_suffix("").parts)]
    found: dict[str, object] = {}
    for stage in pipeline["stages"].values():
        described = stage.get("do", stage)
        commands = described["cmd"] if isinstance(described["cmd"], list) else [described["cmd"]]
        if any(each.split()[:3] == command for each in commands):
            found |= _parameters(described.get("params", []))
            found |= code_digests(map(Path, described.get("deps", [])))
    return found


def _parameters(entries: list[Any]) -> dict[str, object]:
    """The values of the `params` of a stage: keys of params.yaml, or files with their keys or as a whole."""
    found: dict[str, object] = {}
    for entry in entries:
        for file, keys in (entry if isinstance(entry, dict) else {str(PARAMS_FILE): [entry]}).items():
            values: Any = read_yaml(Path(file))
            found |= {f"{key} in {file}": values.get(key) for key in keys or values}
    return found


def file_digests(paths: Iterable[Path]) -> dict[str, str]:
    """The SHA-256 of every file, by its path."""
    return {path.as_posix(): sha256(path) for path in paths}


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def code_digests(places: Iterable[Path]) -> dict[str, str]:
    """The SHA-256 of every Python file among `places` and in the folders among them, by its path.

    Other files are left out: a stage's dependencies can be given as they are.
    """
    files: list[Path] = []
    for place in places:
        files += sorted(place.rglob("*.py")) if place.is_dir() else [place] * (place.suffix == ".py")
    return file_digests(files)
