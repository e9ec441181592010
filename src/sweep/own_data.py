"""Images of the user's own that no commit has, which DVC's queue would run without, or with others."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from src.experiments.git import git
from src.runtime.errors import UserError, reason
from src.runtime.paths import OWN_DATA


def datasets_in_no_commit() -> set[str]:
    """The names of the datasets that neither git nor DVC has as they are in the workspace."""
    untracked = untracked_datasets()
    in_dvc = sorted(_outside_git() - untracked)
    if not in_dvc:
        return untracked
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            return untracked | {name for name in in_dvc if repo.status(targets=[f"{OWN_DATA}/{name}.dvc"])}
    except DvcException as error:
        raise UserError(reason(error)) from None


def _outside_git() -> set[str]:
    """The names of the datasets of which git does not have some file."""
    # Those that git is told to ignore are among them: DVC copies what git has, and no more.
    listed = git("ls-files", "--others", "-z", "--", str(OWN_DATA)).split("\0")
    paths = [Path(name).relative_to(OWN_DATA) for name in listed if name]
    return {path.parts[0] for path in paths if len(path.parts) > 1}


def untracked_datasets() -> set[str]:
    """The names of the datasets of which some file is known neither to git nor to DVC."""
    # DVC has those whose .dvc file git knows: another one is in no copy of the workspace, either.
    in_dvc = set(git("ls-files", "-z", "--", f"{OWN_DATA}/*.dvc").split("\0"))
    return {name for name in _outside_git() if f"{OWN_DATA}/{name}.dvc" not in in_dvc}


def fingerprint(datasets: Iterable[str]) -> str:
    """A text that changes with the files of some datasets: their paths, sizes and times."""
    digest = hashlib.sha256()
    for name in sorted(datasets):
        for path in sorted((OWN_DATA / name).rglob("*")):
            state = path.stat()
            digest.update(os.fsencode(f"{path}\0{state.st_size}\0{state.st_mtime_ns}\n"))
    return digest.hexdigest()
