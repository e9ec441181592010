"""The workers of DVC's queue, among the processes of this machine."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil


def queue_workers(repository: Path) -> int:
    """How many workers of a repository's DVC queue run on this machine.

    Asked through the queue, a worker has a second to answer, and looks for questions once a second: DVC
    reports a busy one dead. On the list of processes it is from the first moment.
    """
    found = 0
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            found += "queue-worker" in process.cmdline() and process.cwd() == str(repository.resolve())
    return found
