"""Experiments on their way through DVC's queue."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from filelock import AcquireReturnProxy, FileLock, Timeout

from src.runtime.paths import OWN_DATA
from src.sweep import queue
from src.sweep.baseline import Baseline, noted_as_queueing
from src.sweep.own_data import untracked_datasets
from src.sweep.queue import Task, dvc, output_closed, signals_afterwards, wait_for_stages
from src.sweep.sweep import ATTEMPTS, Sweep
from src.sweep.workers import queue_workers

# A finished experiment is seen in the names of git's references. To know the rest, DVC reads its whole queue,
# while its workers need the cores: at least so long in between, and so many times as long as it took.
LOOK_SECONDS = 0.5
CHECK_SECONDS = 3.0
CHECK_SHARE = 20
# A worker is on the list of processes within seconds.
WORKER_SECONDS = 5.0
LOCK = Path(".dvc/tmp/sweep.lock")


def wait_for_queueing(lock: FileLock) -> AcquireReturnProxy:
    """Acquire `LOCK`: while another sweep queues, the workspace is not as the user left it."""
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    try:
        return lock.acquire(blocking=False)
    except Timeout:
        print("another sweep is queueing here; waiting until it has", file=sys.stderr, flush=True)
        return lock.acquire()


class QueueSweep(Sweep):
    """Keeps the workers of DVC's queue at work.

    DVC queues an experiment with the workspace as it is at that moment; see `Baseline.refuse_changes`.

    Args:
        baseline: see `Sweep`.
        workers: how many at once.
    """

    def __init__(self, baseline: Baseline, workers: int) -> None:
        super().__init__(baseline)
        self.workers = workers
        self._untracked = untracked_datasets()
        self._lock = FileLock(LOCK)  # two sweeps at once share what both of them want
        self._ended_before: set[str] = set()  # tasks of earlier sweeps, or given up
        self._workers_started = 0.0
        self._unseen = 0  # how often in a row no worker was alive

    def _run_the_rest(self) -> None:
        """Queue what is neither done nor queued, and wait."""
        with wait_for_queueing(self._lock):
            tasks = queue.tasks()
            self._notice_finished()  # what another sweep has finished since, while it had the lock
            self._ended_before |= {task.id for task in tasks if not task.is_waiting}
            waiting = {task.name for task in tasks if task.is_waiting}
            for name in self._left():
                if name not in waiting:
                    self._queue(name)
                    if not self._workers_started:  # they take seconds to come, in which the rest is queued
                        self._start_workers()
        self._wait()

    def interrupt(self) -> str:
        dvc("queue", "stop")
        return "what is running now is finished, the rest stays in the queue"

    def _wait(self) -> None:
        next_check = time.monotonic() + CHECK_SECONDS
        while self._left():
            if (started := time.monotonic()) > next_check:
                self._check_queue()
                ended = time.monotonic()
                pause = CHECK_SHARE * (ended - started - queue.PING_SECONDS)
                # Without a worker nobody is disturbed.
                next_check = ended + (CHECK_SECONDS if self._unseen else max(CHECK_SECONDS, pause))
            time.sleep(LOOK_SECONDS)
            self._notice_finished()

    def _queue(self, name: str) -> None:
        self._attempts[name] += 1
        words = [word for text in self._todo[name].overrides for word in ("-S", text)]
        if (dataset := json.loads(self._todo[name].params)["dataset"]) in self._untracked:
            words += ["--copy-paths", str(OWN_DATA / dataset)]
        wait_for_stages()
        # While it queues, DVC stashes what is not committed and writes the experiment's parameters.
        with self._lock, signals_afterwards():
            self._baseline.refuse_changes()
            with noted_as_queueing(self._baseline):
                dvc("exp", "run", "--queue", "--name", name, *words)
        print(f"queued: {self._todo[name]}", flush=True)

    def _start_workers(self) -> None:
        with output_closed():
            dvc("queue", "start", "--jobs", str(self.workers))
        self._workers_started = time.monotonic()

    def _check_queue(self) -> None:
        """Notice what has failed, start missing workers, and queue again what they have lost."""
        new = [task for task in queue.tasks() if task.id not in self._ended_before]
        # Where another sweep has queued a failed experiment again, what it waits for counts.
        tasks = {task.name: task for task in sorted(new, key=lambda task: task.is_waiting)}
        self._notice_finished()
        for name in self._left():
            if name in tasks and tasks[name].status == "Failed":
                self._fail(name, queue.last_lines_of_log(tasks[name]))
        left = self._left()
        queued = any(name in tasks and tasks[name].status == "Queued" for name in left)
        if time.monotonic() - self._workers_started < WORKER_SECONDS:
            return
        alive = queue_workers(Path.cwd())
        if queued and alive < self.workers:
            self._start_workers()
        self._unseen = 0 if alive else self._unseen + 1
        if self._unseen > 2 and not queued:
            for name in left:
                self._lost(name, tasks.get(name))
            self._start_workers()
            self._unseen = 0

    def _lost(self, name: str, task: Task | None) -> None:
        if task is not None and task.status == "Running":
            dvc("queue", "kill", "--force", name)
            self._ended_before.add(task.id)
        if self._attempts[name] >= ATTEMPTS:
            self._fail(name, "  its worker was killed, more than once")
        else:
            self._queue(name)
