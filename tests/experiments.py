"""Experiments as DVC keeps them, committed without running anything."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.conftest import Clone


def add_experiment(
    clone: Clone,
    name: str,
    params: dict[str, Any],
    metrics: dict[str, Any] | None = None,
    files: dict[str, str] | None = None,
) -> None:
    """Commit HEAD's files with other parameters and results as an experiment.

    Args:
        params: values of `params.yaml` that differ.
        metrics: values of `metrics/train.json` that differ.
        files: the content of any other file, by its path.
    """
    text = clone.git("show", "HEAD:params.yaml")
    for key, value in params.items():
        text = re.sub(rf"^{key}:.*$", f"{key}: {value}", text, flags=re.M)
    trained = json.loads(clone.git("show", "HEAD:metrics/train.json")) | (metrics or {})
    index = {"GIT_INDEX_FILE": str(clone.path / ".git/experiment")}
    clone.run("git", "read-tree", "HEAD", **index)
    contents = {"params.yaml": text, "metrics/train.json": json.dumps(trained), **(files or {})}
    for path, content in contents.items():
        scratch = clone.path / ".git/content"
        scratch.write_text(content)
        blob = clone.git("hash-object", "-w", "--no-filters", str(scratch)).strip()
        clone.run("git", "update-index", "--cacheinfo", f"100644,{blob},{path}", **index)
    tree = clone.run("git", "write-tree", **index).stdout.strip()
    head = clone.git("rev-parse", "HEAD").strip()
    commit = clone.git("commit-tree", tree, "-p", head, "-m", f"dvc: commit experiment {name}").strip()
    clone.git("update-ref", f"refs/exps/{head[:2]}/{head[2:]}/{name}", commit)
