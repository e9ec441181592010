"""Processes that share this machine: its cores, the threads of each, and the workers of DVC's queue."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

THREADS_VARIABLE = "LENET_THREADS"

# Not the number of cores: the order in which threads add up changes the last bits of a sum, and with it
# dvc.lock. LeNet-5 is too small to gain much from more.
MOST_THREADS = 2


def cores() -> int:
    """How many processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads_per_worker(workers: int, cores: int) -> int:
    """How many threads each of some processes may use so that together they do not fight for the cores.

    A process on its own gets 2, however few cores there are: its results are then the same everywhere.
    """
    return MOST_THREADS if workers == 1 else min(MOST_THREADS, max(1, cores // workers))


def queue_workers(repository: Path | None = None) -> int:
    """How many workers of DVC's queue run on this machine, or of one repository's queue.

    Asked through the queue, a worker has a second to answer, and looks for questions once a second: DVC takes
    the living for dead. They are on the list of processes from the first moment.
    """
    import psutil  # on machines with DVC

    found = 0
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            found += "queue-worker" in process.cmdline() and (
                repository is None or process.cwd() == str(repository.resolve())
            )
    return found


def started_by_queue_worker() -> bool:
    """Whether this process runs for a worker of DVC's queue."""
    import psutil

    for process in psutil.Process().parents():
        with suppress(psutil.Error):
            if "queue-worker" in process.cmdline():
                return True
    return False
