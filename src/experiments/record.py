"""Experiments of DVC, written into git as `dvc exp run` leaves them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from src.experiments.git import git


def changed_tree(tree: str, *, removed: Iterable[str] = (), changed: Mapping[str, bytes]) -> str:
    """Write the tree of a commit, or another tree, without some files and with others; return its name."""
    with tempfile.TemporaryDirectory() as folder:
        index_env = {"GIT_INDEX_FILE": str(Path(folder, "index"))}
        git("read-tree", tree, env=index_env)
        names = os.fsencode("\0".join(removed))
        git("update-index", "--force-remove", "-z", "--stdin", given=names, env=index_env)
        lines = []
        for name, content in changed.items():
            blob = git("hash-object", "-w", "--stdin", given=content)
            lines.append(f"100644 {blob}\t{name}")
        git("update-index", "--add", "-z", "--index-info", given="\0".join(lines).encode(), env=index_env)
        return git("write-tree", env=index_env)


def record_experiment(baseline: str, name: str, tree: str, message: str) -> None:
    """Make a tree an experiment of a commit; `dvc exp show` lists it. One of the same name is replaced.

    Raises:
        UserError: git refuses, for example because nobody has told it who you are.
    """
    commit = git("commit-tree", tree, "-p", baseline, "-m", message)
    git("update-ref", experiment_reference(baseline, name), commit)


def experiment_reference(baseline: str, name: str) -> str:
    """Where git keeps an experiment of a commit."""
    return f"refs/exps/{baseline[:2]}/{baseline[2:]}/{name}"
