"""A search by Ray Tune: Optuna's TPE proposes, ASHA stops what is poor, trials run where Ray has a core.

`protect_ray` is to be called before this module is imported.
"""

from __future__ import annotations

import os
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayTaskError
from ray.tune import ExperimentAnalysis
from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from src.cluster.connection import cause_of, ray_runtime, refuse_other_nodes
from src.data.splits import Split
from src.params import TrainParams, parse
from src.runtime.devices import DEVICE_VARIABLE, THREADS_VARIABLE, set_up_process
from src.runtime.errors import UserError
from src.training.from_splits import train_on_splits
from src.training.history import DivergenceError, has_ended
from src.training.loop import Progress
from src.tune.early_stopping import grace_epochs
from src.tune.engine import Problem
from src.tune.search_space import Domain
from src.tune.trials import DIVERGED_ACCURACY, MEASURES, Status, Trial, measures

# A trial whose node was lost, or whose process was killed, starts again.
RETRIES = 3
# Of ASHA: a third of the trials goes on beyond each comparison.
REDUCTION_FACTOR = 3

METRIC: dict[str, Any] = {"metric": "val_accuracy", "mode": "max"}
# Of Ray's configuration of a trial: all parameters, where nothing was proposed.
GIVEN = "configuration"


@dataclass(frozen=True)
class RayEngine:
    """Trials side by side, each in a process of Ray.

    Attributes:
        address: of a running cluster; none starts Ray on this machine for the time of the search.
        cpus, gpus: of one trial; a fraction of a GPU shares it.
        device: what a trial computes on, as in `LENET_DEVICE`: Ray hides no GPU where none is asked for.
    """

    address: str | None
    cpus: int
    gpus: float
    device: str

    def search(self, problem: Problem, samples: int, seed: int) -> list[Trial]:
        distributions = {key: domain.distribution() for key, domain in problem.space.items()}
        config = tune.TuneConfig(
            **METRIC,
            num_samples=samples,
            search_alg=OptunaSearch(distributions, **METRIC, seed=seed),
            scheduler=_scheduler(problem),
            reuse_actors=True,
        )
        return self._fit(problem, problem.folder, config)

    def train(self, problem: Problem, configurations: list[dict[str, Any]], name: str) -> list[Trial]:
        config = tune.TuneConfig(**METRIC, reuse_actors=True)
        return self._fit(problem, problem.folder / name, config, {GIVEN: tune.grid_search(configurations)})

    def _fit(
        self,
        problem: Problem,
        folder: Path,
        config: tune.TuneConfig,
        grid: dict[str, Any] | None = None,
    ) -> list[Trial]:
        """Run trials, or those that are left of them, with Ray's state in `folder`."""
        with ray_runtime(self.address):
            self._refuse_lack()
            if self.address:
                refuse_other_nodes(any_bits=False, device=self.device, gpus=self.gpus)
            trainable = tune.with_resources(
                tune.with_parameters(
                    _train_trial,
                    base=problem.base,
                    space=problem.space,
                    train=problem.splits[0],
                    val=problem.splits[1],
                    cpus=self.cpus,
                    device=self.device,
                ),
                {"cpu": self.cpus, "gpu": self.gpus},
            )
            # Ray writes the second file a moment after the first one, and restores nothing without it.
            if tune.Tuner.can_restore(str(folder)) and any(folder.glob("experiment_state-*.json")):
                tuner = tune.Tuner.restore(
                    str(folder), trainable=trainable, resume_unfinished=True, param_space=grid
                )
            else:
                run_config = tune.RunConfig(
                    name=folder.name,
                    storage_path=str(folder.parent),
                    failure_config=tune.FailureConfig(max_failures=RETRIES),
                )
                tuner = tune.Tuner(trainable, tune_config=config, run_config=run_config, param_space=grid)
            tuner.fit()
            # Ray lists them by when they began; the number of each proposal begins its tag.
            trials = sorted(
                ExperimentAnalysis(str(folder)).trials,
                key=lambda trial: int(trial.experiment_tag.partition("_")[0]),
            )
        return [_as_trial(number, trial, problem) for number, trial in enumerate(trials, 1)]

    def _refuse_lack(self) -> None:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        for option, name, wanted in (("cpus", "CPU", self.cpus), ("gpus", "GPU", self.gpus)):
            offered = max(node.get(name, 0) for node in nodes)
            if wanted > offered:
                raise UserError(
                    f"--{option}-per-trial: {wanted:g} is invalid; expected at most {offered:g}, as many as "
                    "the largest node of Ray has"
                )


def _scheduler(problem: Problem) -> TrialScheduler:
    epochs, grace = problem.base["epochs"], grace_epochs(problem.base, problem.space)
    if grace is None:
        print(f"epochs: {epochs} are too few to compare trials early; none is stopped", file=sys.stderr)
        return FIFOScheduler()
    return ASHAScheduler(
        time_attr="epoch", max_t=epochs, grace_period=grace, reduction_factor=REDUCTION_FACTOR
    )


def _train_trial(
    config: dict[str, Any],
    *,
    base: dict[str, Any],
    space: dict[str, Domain],
    train: Split,
    val: Split,
    cpus: int,
    device: str,
) -> None:
    os.environ |= {THREADS_VARIABLE: str(cpus), DEVICE_VARIABLE: device}
    # Ray's copies are shared and read-only, which PyTorch warns of; nothing writes into them.
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
    values = _values(config, base, space)
    # Not what `prepare` reads: the images of a dataset of the user's own are not on every machine.
    params = parse({key: values[key] for key in TrainParams.model_fields}, TrainParams, whole=TrainParams)
    epoch = 0

    def report(progress: Progress) -> None:
        nonlocal epoch
        row, best = progress.history[-1], progress.best
        epoch = row.epoch
        # Its status, if this is the last report.
        status = "finished" if has_ended(row, best, params) else "stopped"
        tune.report(measures(best) | {"epoch": epoch, "status": status})

    try:
        train_on_splits(train, val, params.network(), params, set_up_process(), on_epoch=report)
    except UserError as error:  # of these values; what befalls the process is left to Ray
        status = "diverged" if isinstance(error, DivergenceError) else "failed"
        tune.report(
            {"val_accuracy": DIVERGED_ACCURACY, "epoch": epoch, "status": status, "message": str(error)}
        )


def _values(config: dict[str, Any], base: dict[str, Any], space: dict[str, Domain]) -> dict[str, Any]:
    """Every parameter of a trial; proposed numbers are rounded to what a person can type."""
    if GIVEN in config:
        return dict(config[GIVEN])
    return base | {key: domain.rounded(config[key]) for key, domain in space.items()}


def _as_trial(number: int, trial: RayTrial, problem: Problem) -> Trial:
    last = trial.last_result or {}
    status: Status
    if trial.status == RayTrial.ERROR:
        status, message = "failed", _why_failed(trial)
    elif trial.status == RayTrial.TERMINATED:
        status, message = last.get("status", "unfinished"), last.get("message", "")
    else:
        status, message = "unfinished", ""
    with_model = status not in ("diverged", "failed")
    return Trial(
        trial=number,
        status=status,
        values=_values(trial.config, problem.base, problem.space),
        epochs=last.get("epoch", 0),
        seconds=round(last.get("time_total_s", 0.0), 1),
        **{key: last.get(key) for key in (*MEASURES, "best_epoch") if with_model},
        message=message,
    )


def _why_failed(trial: RayTrial) -> str:
    """The last exception of a trial, in a line, or that its process was killed."""
    error = trial.get_pickled_error()
    if isinstance(error, RayTaskError):
        return cause_of(error)
    return f"its process was killed {trial.run_metadata.num_failures} times"
