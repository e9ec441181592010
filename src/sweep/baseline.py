"""What all experiments of a sweep start from, besides the parameters that they set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.experiments.git import git, head, workspace_tree
from src.runtime.errors import UserError
from src.runtime.paths import OWN_DATA, PARAMS_FILE, PIPELINE_FILE
from src.runtime.yaml_text import read_yaml
from src.sweep.own_data import datasets_in_no_commit, fingerprint

# There while DVC queues: it stashes what is not committed, and writes the experiment's parameters.
QUEUEING = Path(".dvc/tmp/sweep.queueing")


@dataclass(frozen=True)
class Baseline:
    """The workspace when a sweep begins.

    Attributes:
        commit: of HEAD.
        params: the bytes of `params.yaml`.
        code: the changes of the pipeline's code, and of the user's own images, that no commit has.
    """

    commit: str
    params: bytes
    code: str

    @classmethod
    def now(cls) -> Baseline:
        return cls(head(), PARAMS_FILE.read_bytes(), uncommitted_code())

    def refuse_changes(self) -> None:
        """Raise a `UserError` where an experiment that began now would start from something else."""
        now = Baseline.now()
        changed = [
            name
            for name, before, after in (
                ("the commit", self.commit, now.commit),
                (str(PARAMS_FILE), self.params, now.params),
                ("the code", self.code, now.code),
            )
            if before != after
        ]
        if changed:
            raise UserError(
                f"{' and '.join(changed)} changed while experiments were still to be queued; expected no "
                "change before all are; those in the queue continue"
            )


@contextmanager
def noted_as_queueing(baseline: Baseline) -> Iterator[None]:
    """Leave a note of what the workspace was where this process is killed in the block, or DVC fails."""
    QUEUEING.write_text(_state(baseline), encoding="utf-8")
    yield
    QUEUEING.unlink(missing_ok=True)


def refuse_half_queued(baseline: Baseline) -> None:
    """Raise a `UserError` where a sweep ended while DVC queued, and the workspace is not as it was."""
    if QUEUEING.exists() and QUEUEING.read_text(encoding="utf-8") != _state(baseline):
        raise UserError(
            f"a sweep ended while DVC was queueing: {PARAMS_FILE} may be an experiment's, and what no "
            f"commit has may be in `git stash list`; once all is as you want it, remove {QUEUEING}"
        )
    QUEUEING.unlink(missing_ok=True)


def _state(baseline: Baseline) -> str:
    stashed = git("stash", "list", "--format=%H")
    return hashlib.sha256(f"{stashed} {baseline}".encode()).hexdigest()


def uncommitted_code() -> str:
    """The changes of the pipeline's code, and of the user's own images, that no commit has.

    Raises:
        UserError: git does not know a module, which the copies that experiments run in would lack.
    """
    deps = {dep for stage in _stages() for dep in stage.get("deps", [])} - outputs().keys()
    code = sorted(dep for dep in deps if not dep.startswith((str(OWN_DATA), "/", "..")))
    new = git("ls-files", "-z", "--others", "--exclude-standard", "--", *code).split("\0")
    if unknown := [path for path in new if path.endswith(".py")]:
        raise UserError(f"{unknown[0]} is not in git; expected `git add {unknown[0]}` before a sweep")
    # The names of blobs: how `git diff` shows a change is for each user to set.
    changes = git(
        "diff-tree", "-r", "-z", "HEAD", workspace_tree(), "--", str(PIPELINE_FILE), *code, str(OWN_DATA)
    )
    datasets = datasets_in_no_commit()
    return changes + fingerprint(datasets) if datasets else changes


def outputs() -> dict[str, dict[str, Any]]:
    """The paths that stages write, with their options, if they have any."""
    entries = [
        entry for stage in _stages() for key in ("outs", "metrics", "plots") for entry in stage.get(key, [])
    ]
    named = ({entry: None} if isinstance(entry, str) else entry for entry in entries)
    return {path: options or {} for entry in named for path, options in entry.items()}


def _stages() -> list[dict[str, Any]]:
    stages: Any = read_yaml(PIPELINE_FILE)["stages"]  # type: ignore[index]
    return [stage.get("do", stage) for stage in stages.values()]
