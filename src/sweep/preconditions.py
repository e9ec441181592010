"""What a sweep needs of this machine and this clone, looked at before anything is queued."""

from __future__ import annotations

import shutil
from pathlib import Path

from src.experiments.git import SHALLOW, lacks_ancestors
from src.runtime.errors import UserError
from src.sweep.queue import dvc

# Where DVC copies the workspace to for each experiment, and keeps its queue: on a full disk it loses track.
WORKSPACES = Path(".dvc/tmp/exps")
MIN_FREE_BYTES = 100_000_000


def refuse_full_disk() -> None:
    """Raise a `UserError` where experiments would have no room."""
    WORKSPACES.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(WORKSPACES).free
    if free < MIN_FREE_BYTES:
        raise UserError(
            f"{WORKSPACES}: {free / 1e6:.1f} MB of the disk are free; expected at least "
            f"{MIN_FREE_BYTES / 1e6:.0f} MB; the queue is as it was"
        )


def refuse_shallow() -> None:
    """Raise a `UserError` in a shallow clone, where DVC loses the experiments of its queue."""
    if lacks_ancestors():
        raise UserError(f"{SHALLOW}; the queue is as it was")


def refuse_other_than_ascii() -> None:
    """Raise a `UserError` where DVC cannot make the copies of the workspace in which its queue runs.

    Into each it writes the path of its cache and the settings of this clone, in ASCII.
    """
    cache = dvc("cache", "dir").strip()
    if not cache.isascii():
        raise UserError(
            f"{cache}: DVC's queue does not work where the path of its cache is not ASCII; expected a clone "
            "in a folder with a path in ASCII; the queue is as it was"
        )
    for tool, file in (("git", Path(".git/config")), ("dvc", Path(".dvc/config.local"))):
        text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
        for line in map(str.strip, text.splitlines()):
            if not line.isascii() and not line.startswith(("#", ";")):
                raise UserError(
                    f"{file}: DVC's queue does not work with {line!r}, which is not ASCII; expected it in "
                    f"your own settings (`{tool} config --global`), or ASCII; the queue is as it was"
                )
