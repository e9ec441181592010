"""What all experiments of a sweep start from, besides the parameters that they set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from src.experiments.record import git, head, workspace_tree
from src.runtime.errors import UserError
from src.runtime.paths import OWN_DATA, PARAMS_FILE, PIPELINE_FILE
from src.runtime.yaml_text import read_yaml
from src.sweep.own_data import datasets_in_no_commit, fingerprint


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
                "change before all are; those in the queue go on"
            )


def uncommitted_code() -> str:
    """The changes of the pipeline's code, and of the user's own images, that no commit has.

    Raises:
        UserError: git does not know a module, which the copies that experiments run in would lack.
    """
    stages: Any = read_yaml(PIPELINE_FILE)["stages"]  # type: ignore[index]
    deps = {dep for stage in stages.values() for dep in stage.get("do", stage).get("deps", [])}
    code = sorted(dep for dep in deps if dep.startswith(("src", "stages")))
    new = git("ls-files", "-z", "--others", "--exclude-standard", "--", *code).split("\0")
    if unknown := [path for path in new if path.endswith(".py")]:
        raise UserError(f"{unknown[0]} is not in git; expected `git add {unknown[0]}` before a sweep")
    # The names of blobs: how `git diff` shows a change is for each user to set.
    changes = git(
        "diff-tree", "-r", "-z", "HEAD", workspace_tree(), "--", str(PIPELINE_FILE), *code, str(OWN_DATA)
    )
    own = datasets_in_no_commit()
    return changes + fingerprint(own) if own else changes
