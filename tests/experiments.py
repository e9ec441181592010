"""Experiments as DVC keeps them, committed without running anything."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable
from typing import Any, NamedTuple

from tests.conftest import Clone


class Experiment(NamedTuple):
    """What an experiment has besides HEAD's files.

    Attributes:
        name: of the experiment.
        params: values of `params.yaml` that differ.
        metrics: values of `metrics/train.json` that differ.
        files: the content of any other file, by its path.
    """

    name: str
    params: dict[str, Any]
    metrics: dict[str, Any] | None = None
    files: dict[str, str] | None = None


def add_experiments(clone: Clone, experiments: Iterable[Experiment]) -> None:
    """Commit HEAD's files with other parameters and results: one process of git for all of them."""
    head = clone.git("rev-parse", "HEAD").strip()
    params, trained = (clone.git("show", f"HEAD:{name}") for name in ("params.yaml", "metrics/train.json"))
    stream: list[str] = []
    for each in experiments:
        text = params
        for key, value in each.params.items():
            text = re.sub(rf"^{key}:.*$", f"{key}: {value}", text, flags=re.M)
        metrics = json.dumps(json.loads(trained) | (each.metrics or {}))
        contents = {"params.yaml": text, "metrics/train.json": metrics, **(each.files or {})}
        stream += [
            f"commit refs/exps/{head[:2]}/{head[2:]}/{each.name}\n",
            "committer Test <test@example.org> now\n",
            _data(f"dvc: commit experiment {each.name}\n"),
            f"from {head}\n",
            *(f"M 100644 inline {path}\n{_data(content)}" for path, content in contents.items()),
        ]
    # No pack of objects: DVC leaves its file open, which is an error in the process of a test.
    loose = ("-c", "fastimport.unpackLimit=10000")
    command = ("git", *loose, "fast-import", "--quiet", "--force", "--date-format=now")
    subprocess.run(command, cwd=clone.path, env=clone.environment, input="".join(stream).encode(), check=True)


def add_experiment(
    clone: Clone,
    name: str,
    params: dict[str, Any],
    metrics: dict[str, Any] | None = None,
    files: dict[str, str] | None = None,
) -> None:
    """Commit one, see `Experiment`."""
    add_experiments(clone, [Experiment(name, params, metrics, files)])


def _data(content: str) -> str:
    return f"data {len(content.encode())}\n{content}\n"
