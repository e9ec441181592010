"""DVC's queue, through the commands that a user types.

They run in this process: one of their own would take a second each time, in which the workers need the cores.
"""

from __future__ import annotations

import io
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass

from src.runtime.errors import UserError, reason
from src.runtime.workspace import running_stages
from src.sweep.sweep import end_of

# What `dvc` answers after Ctrl-C.
INTERRUPTED = 252
# What DVC says where it cannot even begin an experiment.
WORKER_LOGS = ".dvc/tmp/exps/celery/*.out"
# In which `dvc queue status` waits for the answers of workers.
PING_SECONDS = 1.0
# Between two stages of a pipeline DVC records the first and looks at the second.
QUIET_SECONDS = 5.0


class CommandError(UserError):
    """A `dvc` command has failed."""


@dataclass(frozen=True)
class Task:
    """A line of `dvc queue status`.

    Attributes:
        id: the first digits of what DVC calls the task's revision; another one each time it is queued.
        name: of the experiment.
        status: `Queued`, `Running`, `Success` or `Failed`.
    """

    id: str
    name: str
    status: str

    @property
    def is_waiting(self) -> bool:
        return self.status in ("Queued", "Running")


class _Errors(logging.Handler):
    """Keeps what `dvc` would print as `ERROR: …`."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.errors: list[BaseException | str] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self.errors.append(error or record.getMessage())


def dvc(*words: str) -> str:
    """Run a `dvc` command in this process, from the repository's root; return what it prints.

    Raises:
        UserError: it fails; the reason in a line.
    """
    from dvc.cli import main
    from dvc.lock import LockError

    logger, errors, printed = logging.getLogger("dvc"), _Errors(), io.StringIO()
    handlers, logger.handlers = logger.handlers, [errors]
    try:
        with redirect_stdout(printed), redirect_stderr(io.StringIO()):
            code = main(list(words))
    finally:
        logger.handlers = handlers
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    if any(isinstance(error, LockError) for error in errors.errors):
        raise UserError(
            "another DVC command is at work in this repository; run the same command again when it has ended"
        )
    if code:
        why = [reason(error) if isinstance(error, Exception) else str(error) for error in errors.errors]
        raise CommandError(f"dvc {' '.join(words)}: {'; '.join(why) or f'exit code {code}'}")
    return printed.getvalue()


@contextmanager
def signals_afterwards() -> Iterator[None]:
    """Let what would end this process, such as Ctrl-C, wait until the block has ended."""
    came: list[int] = []
    ending = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
    handlers = {each: signal.signal(each, lambda number, _: came.append(number)) for each in ending}
    try:
        yield
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)
    if came:
        signal.raise_signal(came[0])


@contextmanager
def output_closed() -> Iterator[None]:
    """For what is started in the block and outlives it: a pipe that it holds, as to `tee`, would not end."""
    sys.stdout.flush()
    null, kept = os.open(os.devnull, os.O_WRONLY), {number: os.dup(number) for number in (1, 2)}
    try:
        for number in kept:
            os.dup2(null, number)
        yield
    finally:
        for number, copy in kept.items():
            os.dup2(copy, number)
            os.close(copy)
        os.close(null)


def wait_for_stages() -> None:
    """Wait while a stage runs in this workspace, and until no further one has followed.

    While it queues, DVC puts the committed files in place of those that the stage is writing to.
    """
    ended = -math.inf
    while (stages := running_stages()) or time.monotonic() - ended < QUIET_SECONDS:
        if stages and ended == -math.inf:
            print(
                f"stage {stages[0]} is running here; waiting for its pipeline to end before queueing",
                file=sys.stderr,
                flush=True,
            )
        if stages:
            ended = time.monotonic()
        time.sleep(0.2)


def tasks() -> list[Task]:
    """Every task that the queue remembers, in no order that can be relied on."""
    rows = [line.split() for line in dvc("queue", "status").splitlines()]
    # Task, name, a date or a time of one or more words, status.
    return [
        Task(row[0], row[1], row[-1])
        for row in rows
        if row and row[-1] in ("Queued", "Running", "Success", "Failed")
    ]


def last_lines_of_log(task: Task) -> str:
    """The end of what an experiment that has ended has printed."""
    try:
        log = dvc("queue", "logs", task.id)
    except CommandError:
        return f"  (it left no log; those of DVC's workers: {WORKER_LOGS})"
    return end_of(log)
