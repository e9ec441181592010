"""Experiments of DVC, written into git as `dvc exp run` leaves them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from src.runtime.errors import UserError, reason


def head() -> str:
    """The commit that experiments start from.

    Raises:
        UserError: there is none, or git's repository is another folder than this one.
    """
    refuse_subfolder()
    try:
        return git("rev-parse", "--verify", "HEAD")
    except UserError:
        raise UserError("git has no commit here yet; expected `git commit`") from None


def commit_of(revision: str) -> str:
    """The commit that a branch, a tag or a hash names, in full.

    Raises:
        UserError: it names none.
    """
    try:
        return git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    except UserError:
        raise UserError(f"{revision!r} is invalid; expected a commit, a branch or a tag") from None


def refuse_subfolder() -> None:
    """Raise a `UserError` where this folder is only a part of a git repository, such as that of a course."""
    if folder := git("rev-parse", "--show-prefix"):
        raise UserError(
            f"{folder.rstrip('/')} is a folder of a larger git repository; expected this project in one of "
            "its own"
        )


def refuse_unknown_author() -> None:
    """Raise a `UserError` where nobody has told git whose experiments these are."""
    try:
        git("var", "GIT_COMMITTER_IDENT")
    except UserError:
        raise UserError(
            "git does not know who you are; expected `git config --global user.name NAME` and "
            "`git config --global user.email ADDRESS`"
        ) from None


def workspace_tree() -> str:
    """The git tree of the workspace: every file that git tracks, as it is now, committed or not."""
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder, "index")
        index_env = {"GIT_INDEX_FILE": str(index)}
        shutil.copy2(git("rev-parse", "--git-path", "index"), index)
        git("add", "--update", env=index_env)
        return git("write-tree", env=index_env)


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


def git(*words: str, given: bytes = b"", env: Mapping[str, str] = MappingProxyType({})) -> str:
    """What a git command prints.

    Args:
        words: of the command.
        given: its standard input.
        env: variables of its environment besides those of this process.

    Raises:
        UserError: it fails.
    """
    result = subprocess.run(("git", *words), input=given, env={**os.environ, **env}, capture_output=True)
    if result.returncode:
        raise UserError(f"git {words[0]}: {reason(Exception(os.fsdecode(result.stderr)))}")
    # File names may be in any encoding.
    return os.fsdecode(result.stdout).rstrip("\n")
