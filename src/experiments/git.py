"""The git repository: its commits, who makes them, and the tree of the workspace, by git's own commands."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from src.runtime.errors import UserError, reason

SHALLOW = "this clone is shallow and lacks older commits; expected `git fetch --unshallow`"


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


def lacks_ancestors() -> bool:
    """Whether the history of HEAD is cut off, as after `git clone --depth=1`."""
    shallow = Path(git("rev-parse", "--git-path", "shallow"))
    cut_off = shallow.read_text(encoding="ascii").split() if shallow.exists() else []
    return not {*cut_off}.isdisjoint(git("rev-list", "--max-parents=0", "HEAD").split())


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
