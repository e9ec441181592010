"""The repository that a command runs in, and stages that run there one at a time."""

from __future__ import annotations

import functools
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from filelock import FileLock, Timeout

from src.runtime.errors import UserError, run
from src.runtime.paths import PARAMS_FILE

if TYPE_CHECKING:
    import psutil

# Set by DVC for the commands of its stages.
STAGE_VARIABLE = "DVC_STAGE"

# A file for each stage, locked while it runs.
STAGE_LOCKS = Path(".dvc/tmp/stages")

# What may stand between DVC and a stage: not every shell becomes the only command that it is given.
_SHELLS = {"sh", "ash", "bash", "dash", "fish", "ksh", "mksh", "zsh"}


def repository() -> Path:
    """The repository of the current directory; seen from one of DVC's temporary workspaces, the real one.

    `dvc exp run --temp` and queue workers run in copies below `<repository>/.dvc/tmp/exps` and remove
    them afterwards: what is to outlast a run, or to be shared by several, belongs to the repository.
    """
    here = Path.cwd()
    for folder in here.parents:
        if folder.parts[-3:] == (".dvc", "tmp", "exps"):
            return folder.parents[2]
    return here


def run_stage(main: Callable[[], None], *, takes_arguments: bool = False) -> None:
    """`run` the `main` of a stage's script, while no other process runs the same stage in this workspace.

    Where DVC was killed and the stage it had started was not, the next `dvc repro` starts the stage
    again; it waits here until the survivor has stopped writing.

    Args:
        main: what the stage does.
        takes_arguments: whether `main` reads the command line, which is refused otherwise.
    """
    stage = os.environ.get(STAGE_VARIABLE) or Path(sys.argv[0]).stem

    def alone() -> None:
        if len(sys.argv) > 1 and not takes_arguments:
            raise UserError(f"{stage}: {sys.argv[1]!r} is invalid; expected no arguments, see {PARAMS_FILE}")
        _refuse_code_of_elsewhere()
        STAGE_LOCKS.mkdir(parents=True, exist_ok=True)
        lock = FileLock(STAGE_LOCKS / f"{quote(stage, safe='')}.lock")
        try:
            held = lock.acquire(timeout=0)
        except Timeout:
            print(f"{stage}: a process of an earlier run is still at work here; waiting", file=sys.stderr)
            held = lock.acquire()
        with held:
            _dvc()  # while it is certainly there
            _edited_at_start()
            try:
                main()
                stop_if_edited()
            except BaseException:
                _show_git_the_parameters()
                raise

    run(alone)


def _refuse_code_of_elsewhere() -> None:
    """Refuse to run another clone's code here, which `dvc.lock` would record as this one's."""
    code, here = Path(__file__).resolve().parents[2], Path.cwd().resolve()
    if code != here:
        raise UserError(
            f"the code of {code} would run in {here}; expected its own: run from the repository's root, "
            "with PYTHONPATH and PYTHONSAFEPATH unset"
        )


def running_stages() -> list[str]:
    """The stages that a process runs in this workspace now."""
    running = []
    for path in sorted(STAGE_LOCKS.glob("*.lock")):
        try:
            with FileLock(path, timeout=0):
                pass
        except Timeout:
            running.append(unquote(path.stem))
    return running


def _show_git_the_parameters() -> None:
    """After `dvc exp run -S …` has failed, let `git checkout .` see that params.yaml has been changed.

    DVC writes the file twice within a second, and git's index has the time of the first: git compares sizes
    and whole seconds, and takes another value of the same length for the old one. No index entry is of the
    future.
    """
    if STAGE_VARIABLE in os.environ and PARAMS_FILE.exists():
        later = math.floor(PARAMS_FILE.stat().st_mtime) + 1
        os.utime(PARAMS_FILE, (later, later))


def stop_if_abandoned() -> None:
    """End a stage whose `dvc` was killed: nobody will take its results, and the next run waits for it.

    Raises:
        UserError: DVC started this process and has ended since.
    """
    dvc = _dvc()
    if dvc is None:
        return
    import psutil

    try:
        is_alive = dvc.is_running() and dvc.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # it ended between the two
        is_alive = False
    if not is_alive:
        raise UserError("the dvc process that started this stage is gone; run the same command again")


def stop_if_edited() -> None:
    """End a stage whose parameters or code were edited while it ran.

    DVC looks at both when a stage has ended: it would record the new ones with what the old ones have made,
    and find nothing to do afterwards.

    Raises:
        UserError: names what was edited.
    """
    before, now = _edited_at_start(), _edited()
    if edited := [name for name in before | now if before.get(name) != now.get(name)]:
        raise UserError(
            f"edited while this stage ran (by another command?): {', '.join(edited)}; "
            "run the same command again, with the edits or without"
        )


@functools.cache
def _edited_at_start() -> dict[str, object]:
    return _edited()


def _edited() -> dict[str, object]:
    script = Path(sys.argv[0])
    if STAGE_VARIABLE not in os.environ or not script.is_relative_to(Path.cwd()):
        return {}
    from src.runtime.digests import edited_by_hand  # as below

    return edited_by_hand(script.relative_to(Path.cwd()))


@functools.cache
def _dvc() -> psutil.Process | None:
    """The process that started this stage; None where that was not DVC."""
    if STAGE_VARIABLE not in os.environ:
        return None
    import psutil  # only where DVC is: what else imports this module runs on a machine with PyTorch alone

    return next((each for each in psutil.Process().parents() if each.name() not in _SHELLS), None)
