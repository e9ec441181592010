"""A grid of experiments through DVC's queue: `python -m src.sweep lr=0.01,0.05 optimizer=SGD,Adam`.

Queues every combination as an experiment, keeps the queue's workers running until all are done, and ends with
a table sorted by validation accuracy. Experiments are known by their names: called again, it does what is
left. The test split's accuracy is not shown, since it is not to choose by.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import itertools
import json
import re
import shutil
import subprocess
import sys
import time
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from src.params import Params, parse, read
from src.runtime.errors import UserError, reason, run
from src.runtime.processor import cores
from src.runtime.yaml_text import parse_yaml
from src.sweep.workers import queue_workers

if TYPE_CHECKING:
    import pandas as pd
    from dvc.repo import Repo

# What has ended is seen in the names of git's references. To know the rest, DVC reads its whole queue, while
# its workers need the cores.
LOOK_SECONDS = 0.5
CHECK_SECONDS = 3.0
# A worker is on the list of processes within seconds.
WORKER_SECONDS = 5.0
# Where a worker was killed under an experiment: once more, then it has failed.
ATTEMPTS = 2
LOG_LINES = 5
LOCK = Path(".dvc/tmp/sweep.lock")
# Where DVC copies the workspace to for each experiment, and keeps its queue: on a full disk it loses track.
WORKSPACES = Path(".dvc/tmp/exps")
LEAST_FREE = 100_000_000


@dataclass(frozen=True)
class Combination:
    """One point of a grid.

    Attributes:
        name: of its experiment; the same for the same parameters and code.
        values: what it sets, as typed by the user.
    """

    name: str
    values: dict[str, str]

    def __str__(self) -> str:
        return " ".join(f"{key}={value}" for key, value in self.values.items())


def parse_grid(words: list[str], base: dict[str, Any], code: str = "") -> list[Combination]:
    """Every combination of a grid, the last key's values changing fastest.

    Args:
        words: `key=value` or `key=value,value,…` each; the values as in `params.yaml`.
        base: the values of `params.yaml`; every combination is validated with them before any is returned.
        code: anything else that decides the results; part of the names.

    Raises:
        UserError: a word is no `key=values`, a key comes twice, or a combination is invalid.
    """
    choices: dict[str, list[str]] = {}
    for word in words:
        key, separator, values = word.partition("=")
        if not separator or not key or not all(value.strip() for value in values.split(",")):
            raise UserError(f"{word!r} is invalid; expected key=value,value,…, such as lr=0.01,0.05")
        if key in choices:
            raise UserError(f"{key} is given twice; expected {key}=value,value,…")
        choices[key] = list(dict.fromkeys(value.strip() for value in values.split(",")))
    grid = []
    for chosen in itertools.product(*choices.values()):
        point = dict(zip(choices, chosen, strict=True))
        changed = base | {key: _scalar(value) for key, value in point.items()}
        params = parse(changed, Params, source="grid")
        decides = json.dumps([params.model_dump(), code], sort_keys=True)
        readable = re.sub(
            r"[^A-Za-z0-9.+-]+", "-", "_".join(f"{key}-{value}" for key, value in point.items())
        )
        digest = hashlib.sha256(decides.encode()).hexdigest()[:6]
        grid.append(Combination(f"{readable[:80].rstrip('.')}-{digest}", point))
    return grid


def _scalar(text: str) -> object:
    try:
        return parse_yaml(text)
    except ValueError:
        return text


class Sweep:
    """The experiments of a grid on their way through DVC's queue.

    Args:
        repo: the repository; its HEAD is the baseline of the experiments.
        grid: what to run.
        workers: how many at once.
    """

    def __init__(self, repo: Repo, grid: list[Combination], workers: int) -> None:
        self.repo, self.workers = repo, workers
        self.todo = {combination.name: combination for combination in grid}
        self.attempts = dict.fromkeys(self.todo, 0)
        self.accuracies: dict[str, float] = {}
        self.failed: dict[str, str] = {}
        self.workers_started = 0.0
        self.unseen = 0  # how often in a row no worker was alive

    def run(self) -> None:
        """Queue what is neither done nor queued, and wait until all is done or has failed."""
        self._notice_finished()
        if self.accuracies:
            print(f"{len(self.accuracies)} of {len(self.todo)} were done before", flush=True)
        with FileLock(LOCK):  # two sweeps at once share what both of them want
            waiting = {entry["name"] for entry in self._entries() if entry["status"] in ("Queued", "Running")}
            for name in self.todo:
                if name not in waiting and name not in self.accuracies:
                    self._queue(name)
                    if not self.workers_started:  # they take seconds to come, in which the rest is queued
                        self._start_workers()
        checked = time.monotonic()
        while len(self.accuracies) + len(self.failed) < len(self.todo):
            if time.monotonic() - checked > CHECK_SECONDS:
                self._check_queue()
                checked = time.monotonic()
            time.sleep(LOOK_SECONDS)
            self._notice_finished()

    def table(self) -> pd.DataFrame:
        """Experiment, its values, and its validation accuracy, best first."""
        import pandas as pd  # at the end, not while workers wait to be started

        rows = [
            {"experiment": name, **self.todo[name].values, "val_accuracy": accuracy}
            for name, accuracy in self.accuracies.items()
        ]
        return pd.DataFrame(rows).sort_values("val_accuracy", ascending=False, kind="stable")

    def stop(self) -> None:
        """Let the workers end after what they are running now."""
        self.repo.experiments.celery_queue.shutdown()

    def _entries(self) -> list[dict[str, Any]]:
        return sorted(self.repo.experiments.celery_queue.status(), key=lambda entry: entry["timestamp"])

    def _queue(self, name: str) -> None:
        self.attempts[name] += 1
        with redirect_stdout(io.StringIO()):
            self.repo.experiments.run(
                queue=True,
                name=name,
                params=[f"{key}={value}" for key, value in self.todo[name].values.items()],
            )
        print(f"queued: {self.todo[name]}", flush=True)

    def _start_workers(self) -> None:
        with redirect_stdout(io.StringIO()):
            self.repo.experiments.celery_queue.start_workers(self.workers)
        self.workers_started = time.monotonic()

    def _check_queue(self) -> None:
        """Notice what has failed, start missing workers, and queue again what they have lost."""
        states = {entry["name"]: entry for entry in self._entries()}
        self._notice_finished()
        left = [name for name in self.todo if name not in self.accuracies and name not in self.failed]
        for name in left:
            if name in states and states[name]["status"] == "Failed":
                self._fail(name, self._log(states[name]["rev"]))
        queued = any(name in states and states[name]["status"] == "Queued" for name in left)
        if time.monotonic() - self.workers_started < WORKER_SECONDS:
            return
        alive = queue_workers(Path(self.repo.root_dir))
        if queued and alive < self.workers:
            self._start_workers()
        self.unseen = 0 if alive else self.unseen + 1
        if self.unseen > 2 and not queued:
            for name in left:
                if name not in self.failed:
                    self._lost(name, states.get(name))
            self.unseen = 0

    def _notice_finished(self) -> None:
        for experiments in self.repo.experiments.ls().values():
            for name, revision in experiments:
                if name in self.todo and name not in self.accuracies:
                    metrics = subprocess.run(
                        ("git", "show", f"{revision}:metrics/train.json"),
                        capture_output=True,
                        text=True,
                        check=True,
                    )
                    self.accuracies[name] = json.loads(metrics.stdout)["val_accuracy"]
                    self._say(name, f"validation accuracy {self.accuracies[name]:.2%}")

    def _fail(self, name: str, log: str) -> None:
        self.failed[name] = log
        self._say(name, f"failed\n{log}")

    def _lost(self, name: str, entry: dict[str, Any] | None) -> None:
        if entry is not None:
            self.repo.experiments.celery_queue.kill([name], force=True)
        if self.attempts[name] >= ATTEMPTS:
            self._fail(name, "  its worker was killed, more than once")
        else:
            self._queue(name)

    def _log(self, stash_revision: str) -> str:
        process = self.repo.experiments.celery_queue.proc.get(stash_revision)
        if process is None or not Path(process.stdout).exists():
            return "  (it left no log)"
        lines = [line for line in Path(process.stdout).read_text().splitlines() if line.strip()]
        return "\n".join(f"  {line}" for line in lines[-LOG_LINES:])

    def _say(self, name: str, what: str) -> None:
        done = len(self.accuracies) + len(self.failed)
        print(f"{done}/{len(self.todo)} {self.todo[name]}: {what}", flush=True)


def refuse_full_disk() -> None:
    """Raise a `UserError` where experiments would have no room."""
    WORKSPACES.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(WORKSPACES).free
    if free < LEAST_FREE:
        raise UserError(
            f"{WORKSPACES}: {free / 1e6:.1f} MB of the disk are free; expected at least "
            f"{LEAST_FREE / 1e6:.0f} MB; the queue is as it was"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("grid", nargs="+", metavar="KEY=VALUE,VALUE", help="keys and values of params.yaml")
    parser.add_argument(
        "--workers", type=int, default=min(cores(), 8), help="experiments at once (%(default)s)"
    )
    arguments = parser.parse_args()
    if arguments.workers < 1:
        raise UserError(f"--workers: {arguments.workers} is invalid; expected an integer ≥ 1")
    base = read(Params).model_dump()
    uncommitted = subprocess.run(
        ("git", "diff", "HEAD", "--", "dvc.yaml", "src", "stages"), capture_output=True, text=True, check=True
    )
    grid = parse_grid(arguments.grid, base, uncommitted.stdout)
    refuse_full_disk()

    from celery.exceptions import CeleryError
    from dvc.exceptions import DvcException
    from dvc.lock import LockError
    from dvc.repo import Repo
    from kombu.exceptions import KombuError

    try:
        with Repo() as repo:
            sweep = Sweep(repo, grid, arguments.workers)
            try:
                sweep.run()
            except KeyboardInterrupt:
                sweep.stop()
                print(
                    "interrupted: what is running now is finished, the rest stays in the queue; "
                    "the same command goes on",
                    file=sys.stderr,
                )
                sys.exit(130)
    except LockError:
        raise UserError(
            "another DVC command is at work in this repository; call again when it has ended"
        ) from None
    except (DvcException, CeleryError, KombuError) as error:
        refuse_full_disk()
        raise UserError(reason(error)) from None
    if sweep.accuracies:
        table = sweep.table()
        print()
        print(table.to_string(index=False, formatters={"val_accuracy": "{:.2%}".format}))
        print(f"\nthe best: dvc exp apply {table.iloc[0]['experiment']}")
    if sweep.failed:
        raise UserError(f"{len(sweep.failed)} of {len(grid)} experiments failed; their logs are above")


if __name__ == "__main__":
    run(main)
