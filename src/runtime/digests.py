"""What a result is made from, data and code, by its content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from src.runtime.yaml_text import read_yaml


def stage_dependencies(pipeline: Path, stage: str) -> list[Path]:
    """The `deps` of a stage, sorted: all of its code, and the data it reads."""
    described: Any = read_yaml(pipeline)
    return [Path(name) for name in sorted(described["stages"][stage]["deps"])]


def file_digests(paths: Iterable[Path]) -> dict[str, str]:
    """The SHA-256 of every file, by its path."""
    digests = {}
    for path in paths:
        with path.open("rb") as file:
            digests[path.as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def code_digests(places: Iterable[Path]) -> dict[str, str]:
    """The SHA-256 of every Python file among `places` and in the folders among them, by its path.

    Other files are left out: a stage's dependencies can be given as they are.
    """
    files: list[Path] = []
    for place in places:
        files += sorted(place.rglob("*.py")) if place.is_dir() else [place] * (place.suffix == ".py")
    return file_digests(files)
