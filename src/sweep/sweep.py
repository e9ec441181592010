"""The experiments of a sweep on their way, wherever they run; see `queue_sweep` and `cluster_sweep`."""

from __future__ import annotations

import csv
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence

from src.evaluation.ranking import Run
from src.experiments.git import git
from src.experiments.record import experiment_reference
from src.runtime.errors import UserError
from src.runtime.paths import TRAIN_METRICS, VAL_PREDICTIONS
from src.sweep.baseline import Baseline
from src.sweep.grid import Combination, by_images

# Where a worker was killed under an experiment, or its machine was lost: once more, then it has failed.
ATTEMPTS = 2


class Sweep(ABC):
    """Runs combinations as experiments.

    Args:
        baseline: what they start from.

    Attributes:
        results: what has finished, by the names of the experiments.
        failed: the ends of the logs of those that have failed, by their names.
    """

    def __init__(self, baseline: Baseline) -> None:
        self.results: dict[str, Run] = {}
        self.failed: dict[str, str] = {}
        self._todo: dict[str, Combination] = {}
        self._attempts: Counter[str] = Counter()
        self._baseline = baseline

    def run(self, combinations: Sequence[Combination]) -> None:
        """Run what is not done, and return when all is done or has failed."""
        self._todo |= {combination.name: combination for combination in combinations}
        self._notice_finished()
        if before := sum(combination.name in self.results for combination in combinations):
            print(f"{before} of {len(combinations)} were done before", flush=True)
        self._run_the_rest()

    @abstractmethod
    def _run_the_rest(self) -> None:
        """Run what is left."""

    @abstractmethod
    def interrupt(self) -> str:
        """Begin nothing more, and say what becomes of the rest."""

    def one_class_warnings(self, grid: Sequence[Combination]) -> list[str]:
        """A line for each part of a grid whose validation images are all of one class."""
        lines = []
        for images, part in by_images(grid).items():
            finished = next((each.name for each in part if each.name in self.results), None)
            classes = self._validation_classes(finished) if finished else set()
            if len(classes) == 1:
                where = f"{images}: " if images else ""
                lines.append(
                    f"{where}all validation images are of class {classes.pop()!r}: do not choose by them"
                )
        return lines

    def _validation_classes(self, name: str) -> set[str]:
        """Those of the validation images of an experiment; none where it did not leave their table in git."""
        try:
            table = git("show", f"{experiment_reference(self._baseline.commit, name)}:{VAL_PREDICTIONS}")
        except UserError:
            return set()
        return {row["actual"] for row in csv.DictReader(table.split("\n"))}

    def _left(self) -> list[str]:
        return [name for name in self._todo if name not in self.results and name not in self.failed]

    def _notice_finished(self) -> None:
        for name, commit in _experiments(self._baseline.commit).items():
            if name in self._todo and name not in self.results:
                metrics = json.loads(git("show", f"{commit}:{TRAIN_METRICS}"))
                self._finish(name, metrics)

    def _finish(self, name: str, metrics: dict[str, float]) -> None:
        self.results[name] = Run(metrics["val_accuracy"], metrics["val_loss"])
        self.failed.pop(name, None)
        self._say(name, f"validation accuracy {metrics['val_accuracy']:.2%}")

    def _fail(self, name: str, log: str) -> None:
        self.failed[name] = log
        self._say(name, f"failed\n{log}")

    def _say(self, name: str, what: str) -> None:
        done = len(self._todo) - len(self._left())
        print(f"{done}/{len(self._todo)} {self._todo[name]}: {what}", flush=True)


def _experiments(baseline: str) -> dict[str, str]:
    """The finished experiments of a commit: their commits by their names. Cheap: git reads its references."""
    folder = experiment_reference(baseline, "")
    lines = git("for-each-ref", "--format=%(objectname) %(refname)", folder).splitlines()
    return {name.removeprefix(folder): commit for commit, name in (line.split() for line in lines)}


def end_of(log: str) -> str:
    """The last lines of what an experiment has printed."""
    lines = [line for line in log.splitlines() if line.strip()]
    return "\n".join(f"  {line}" for line in lines[-5:])
