"""The workers of DVC's queue, among the processes of this machine."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil


def queue_workers(repository: Path) -> int:
    """How many workers of a repository's DVC queue run on this machine.

    `dvc queue status` gives a worker one second to answer, and a worker looks for questions once a second: a
    busy one is reported dead. The list of processes shows it as soon as it has started.
    """
    found = 0
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            found += "queue-worker" in process.cmdline() and process.cwd() == str(repository.resolve())
    return found
