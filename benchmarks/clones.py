"""Clones of HEAD to measure and to compare in, and the commands that run there."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from ruamel.yaml import YAML

from src.runtime.devices import DEVICE_VARIABLE, THREADS_VARIABLE
from src.runtime.digests import sha256
from src.runtime.errors import UserError, reason
from src.runtime.processor import PINNED

# By the name of what they are of; SHA-256 unless said otherwise.
Hashes = dict[str, str]


def environment() -> dict[str, str]:
    """The environment for commands in clones: that of a new shell, with the CPU to compute on."""
    # This process is pinned, and what it starts would be so too, whether or not the clone sees to it.
    dropped = {*PINNED, THREADS_VARIABLE}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    # Without the user's own settings of DVC: they may name a cache in which the results already are.
    no_settings = dict.fromkeys(("DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR"), ".dvc/none")
    return kept | no_settings | {DEVICE_VARIABLE: "cpu"}


def call(folder: Path, *command: str) -> str:
    """Run a command in a clone and return its standard output.

    Raises:
        UserError: it fails; with the line that says why.
    """
    result = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
    if result.returncode:
        lines = [line.strip() for line in (result.stdout + result.stderr).splitlines() if line.strip()]
        errors = [line for line in lines if line.lower().startswith("error")] or lines[-1:]
        raise UserError(f"{' '.join(command)}: {reason(Exception(*errors[:1]))}")
    return result.stdout


def outputs(folder: Path, *stages: str) -> list[str]:
    """The paths of what the named stages of `dvc.yaml` write; where none is named, all of them."""
    pipeline = YAML(typ="safe").load(folder / "dvc.yaml")["stages"]
    return [
        next(iter(out)) if isinstance(out, dict) else out
        for stage in stages or pipeline
        for kind in ("outs", "metrics", "plots")
        for out in pipeline[stage].get(kind, [])
    ]


def hashes(folder: Path, names: Iterable[str]) -> Hashes:
    """The SHA-256 of files in a clone."""
    return {name: sha256(folder / name) for name in names}


def clone(folder: Path) -> None:
    """Clone HEAD, into a repository whose git knows who commits."""
    call(Path.cwd(), "git", "clone", "--quiet", ".", str(folder))
    call(folder, "git", "config", "user.name", "Benchmark")
    call(folder, "git", "config", "user.email", "benchmark@example.org")
    call(folder, "git", "config", "commit.gpgsign", "false")


def clone_without_results(folder: Path) -> None:
    """Clone HEAD, and remove from the clone all that its pipeline writes."""
    clone(folder)
    remove_results(folder)


def remove_results(folder: Path) -> None:
    for name in [*outputs(folder), "dvc.lock"]:
        (folder / name).unlink(missing_ok=True)
