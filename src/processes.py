"""Processes that share this machine: its cores, and the workers of DVC's queue."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import psutil


def cores() -> int:
    """How many processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
