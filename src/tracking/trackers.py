"""Trackers: where a run is logged besides DVC.

`TRACKERS=tensorboard,wandb,mlflow,dvclive` names them: an environment variable, since it is no part of an
experiment where one logs. Nor does a stage depend on the modules of the trackers, which are loaded by name.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tqdm import tqdm

from src.runtime.errors import UserError, reason
from src.runtime.files import write_text
from src.runtime.workspace import repository

if TYPE_CHECKING:
    from torch import Tensor

    from src.networks.network import Network
    from src.training.history import Epoch

VARIABLE = "TRACKERS"
NAMES = ("tensorboard", "wandb", "mlflow", "dvclive")
LOGS = Path("runs")
REQUIREMENTS = "requirements-trackers.txt"


class Tracker(Protocol):
    """One place to log to, the class of this name in each module of `src.tracking`; any call may raise."""

    def __init__(self, run: str, folder: Path) -> None:
        """Nothing is written yet.

        Args:
            run: the name, which is also one of a folder.
            folder: this tracker's own, for all runs; not there before the first.
        """

    def start(self, params: dict[str, Any], network: Network) -> None:
        """Begin with a training, in the place of an earlier one where the name alone tells runs apart.

        Args:
            params: the parameters.
            network: on the CPU, not the one that is trained.
        """

    def epoch(self, row: dict[str, float], weights: Mapping[str, Tensor]) -> None:
        """Log an epoch.

        Args:
            row: see `src.training.history.Epoch`.
            weights: the network's state dict at the epoch's end; empty where it is not known any more.
        """

    def trained(self, metrics: dict[str, float], model: Path) -> str:
        """End the training.

        Args:
            metrics: of the best epoch.
            model: the file of the best weights.

        Returns:
            What this run goes by here.
        """

    def failed(self) -> None:
        """End a training that failed or was interrupted."""

    def plotted(self, identity: str, metrics: dict[str, float], pictures: Sequence[Path]) -> None:
        """Add to a run that has ended; called without any of the others.

        Args:
            identity: what `trained` returned.
            metrics: of the test split.
            pictures: .png files.
        """


def named_trackers() -> list[str]:
    """The names in `TRACKERS`, without repetition.

    Raises:
        UserError: one that does not exist.
    """
    names = [name.strip() for name in os.environ.get(VARIABLE, "").split(",")]
    for name in filter(None, names):
        if name not in NAMES:
            raise UserError(f"{VARIABLE}: {name!r} is invalid; expected {', '.join(NAMES)}")
    return list(dict.fromkeys(filter(None, names)))


class TrackedTraining:
    """A training as it is logged to the named trackers; without any, nothing happens.

    Used as a context that the training runs in. A tracker that fails is reported in one line and gets no
    further calls.
    """

    def __init__(self, names: list[str], params: dict[str, Any], network: Network) -> None:
        self._names, self._params, self._network = names, params, network
        self._run = run_name(params["dataset"]) if names else ""
        self._trackers: dict[str, Tracker] = {}
        self._started = False
        self._logged = 0

    def __enter__(self) -> TrackedTraining:
        return self

    def __exit__(self, *error: object) -> None:
        for name in list(self._trackers):
            with self._guarded(name) as tracker:
                tracker.failed()

    def on_epoch(self, history: Sequence[Epoch], weights: Mapping[str, Tensor]) -> None:
        """Log what has been added since the last call.

        Args:
            history: every epoch so far, also where training resumes from a checkpoint.
            weights: at the end of the last of them.
        """
        if not self._names:
            return
        import torch  # of which the stage that draws figures has no need

        # Whatever a tracker draws at random, the training's numbers stay the same.
        with torch.random.fork_rng(devices=[]):
            if not self._started:
                self._start()
            for row in history[self._logged :]:
                for name in list(self._trackers):
                    with self._guarded(name) as tracker:
                        tracker.epoch(asdict(row), weights if row is history[-1] else {})
        self._logged = len(history)

    def trained(self, metrics: dict[str, float], model: Path) -> None:
        """Log the result; see `Tracker.trained`."""
        for name in list(self._trackers):
            with self._guarded(name) as tracker:
                write_text(_identity(name, self._run), tracker.trained(metrics, model))
                del self._trackers[name]

    def _start(self) -> None:
        # Not before the first epoch: what is loaded by then is what a checkpoint goes by, and it shall not be
        # another one's because of a tracker.
        self._started = True
        for name in self._names:
            with _reported(name):
                # Until the training has ended, no figure is to be added to an earlier run of the same name.
                _identity(name, self._run).unlink(missing_ok=True)
                tracker = _load(name, self._run)
                tracker.start(self._params, self._network)
                self._trackers[name] = tracker

    @contextmanager
    def _guarded(self, name: str) -> Iterator[Tracker]:
        with _reported(name):
            try:
                yield self._trackers[name]
            except Exception:
                del self._trackers[name]
                raise


def track_plots(names: list[str], dataset: str, metrics: dict[str, float], pictures: Sequence[Path]) -> None:
    """Add the test split's metrics and the figures to where this run's training was logged."""
    run = run_name(dataset) if names else ""
    for name in names:
        with _reported(name):
            # Without a trace of a training, there was none, or its warning has been given.
            if _identity(name, run).is_file():
                _load(name, run).plotted(_identity(name, run).read_text(), metrics, pictures)


def run_name(dataset: str) -> str:
    """The DVC experiment's name; outside of one, the dataset and the commit."""
    name = os.environ.get("DVC_EXP_NAME")
    if not name:
        command = ("git", "rev-parse", "--short", "HEAD")
        commit = ""
        with suppress(OSError):  # there is no git
            commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        name = "-".join(filter(None, (dataset, commit)))
    return re.sub(r"[^\w.-]|^\.", "_", name, flags=re.ASCII)  # other letters are refused by W&B


def _load(name: str, run: str) -> Tracker:
    return import_module(f"src.tracking.{name}").Tracker(run, repository() / LOGS / name)


def _identity(name: str, run: str) -> Path:
    return repository() / LOGS / "ended" / run / name


@contextmanager
def _reported(name: str) -> Iterator[None]:
    """Report a tracker's failure in one line; hide its library's warnings."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # a library, a disk, a network: each has its own
        why = reason(_cause(error))
        if isinstance(error, ModuleNotFoundError):
            why = f"{error.name} is not installed: pip install -r {REQUIREMENTS}"
        tqdm.write(f"warning: tracker {name}: {why}; the run continues without it", file=sys.stderr)


def _cause(error: BaseException) -> BaseException:
    """What an error was raised from: of a database, the system's own words and not a page about SQL."""
    return _cause(error.__cause__) if error.__cause__ else error
