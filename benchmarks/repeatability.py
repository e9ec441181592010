"""Is the pipeline bit-identical? `make repro-check`, or `python -m benchmarks.repeatability`.

Clones HEAD into two folders and runs `dvc repro` in each from nothing, on 1 and on 2 threads, and compares
the SHA-256 of every output. Fails if one differs between the two folders; between 1 and 2 threads the
differences are counted and the accuracies shown.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from src.runtime.devices import THREADS_VARIABLE
from src.runtime.errors import UserError, run
from src.runtime.yaml_text import read_yaml

FOLDERS = ("first", "a folder with a longer name/second")


@contextmanager
def fresh_clone(folder: Path) -> Iterator[Path]:
    """A clone of HEAD in `folder`, removed afterwards."""
    subprocess.run(["git", "clone", "--quiet", ".", str(folder)], check=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def reproduce(folder: Path, threads: int) -> tuple[dict[str, str], float]:
    """Run the pipeline in a clone from nothing.

    Returns:
        The SHA-256 of every output and of dvc.lock, and the test accuracy, a fraction.

    Raises:
        UserError: the pipeline fails; with the end of what it printed.
    """
    environment = os.environ | {THREADS_VARIABLE: str(threads)}
    # The clone's dvc.lock is that of HEAD: without --force DVC would compare, and run nothing that it has.
    command = ["dvc", "repro", "--force", "--no-run-cache"]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if result.returncode:
        raise UserError(f"dvc repro failed in {folder}:\n{(result.stdout + result.stderr)[-2000:]}")
    lock: Any = read_yaml(folder / "dvc.lock")
    outs = [out["path"] for stage in lock["stages"].values() for out in stage["outs"]]
    hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in [*outs, "dvc.lock"]}
    return hashes, json.loads((folder / "metrics/test.json").read_text())["accuracy"]


def main() -> None:
    results: dict[int, tuple[dict[str, str], float]] = {}
    different = []
    with tempfile.TemporaryDirectory(prefix="repeatability-") as temporary:
        for threads in (1, 2):
            hashes = []
            for name in FOLDERS:
                print(f"{threads} thread(s), folder {name!r} …", file=sys.stderr, flush=True)
                with fresh_clone(Path(temporary) / name) as folder:
                    results[threads] = reproduce(folder, threads)
                hashes.append(results[threads][0])
            print(f"\n{threads} thread(s), twice from scratch:")
            for output, first in hashes[0].items():
                same = hashes[1].get(output) == first
                print(f"  {'same     ' if same else 'DIFFERENT'} {first[:16]} {output}")
                different += [] if same else [f"{output} ({threads} threads)"]
    (one, one_accuracy), (two, two_accuracy) = results[1], results[2]
    same = [name for name in one if one[name] == two[name]]
    print(
        f"\n1 against 2 threads: {len(same)} of {len(one)} outputs are the same; "
        f"test accuracy {one_accuracy:.2%} and {two_accuracy:.2%}"
    )
    if different:
        raise UserError(f"not repeatable: {', '.join(different)}")
    print("repeatable: every output of both runs is the same, byte for byte, on 1 and on 2 threads")


if __name__ == "__main__":
    run(main)
