"""A search by Ray Tune: Optuna's TPE proposes, ASHA stops what is poor, trials run where Ray has a core."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Before Ray is imported: no usage statistics over the network.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from ray import tune
from ray.tune import ExperimentAnalysis
from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

import src
from src.data.splits import Split
from src.params import RunParams, parse
from src.runtime.devices import THREADS_VARIABLE, set_up_process
from src.runtime.errors import UserError, reason
from src.runtime.processor import PINNED
from src.training.history import DivergenceError, has_ended
from src.training.loop import Progress, train_on_splits
from src.tune.search_space import Domain
from src.tune.trials import Trial

# A trial whose node was lost, or whose process was killed, starts again.
RETRIES = 3

MEASURES = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")


@dataclass(frozen=True)
class Resources:
    """Where trials run, and on how much of it.

    Attributes:
        address: of a running cluster; none starts Ray on this machine for the time of the search.
        cpus, gpus: of one trial; a fraction of a GPU shares it.
    """

    address: str | None
    cpus: int
    gpus: float


def ray_search(
    space: dict[str, Domain],
    base: dict[str, Any],
    splits: tuple[Split, Split],
    folder: Path,
    *,
    samples: int,
    seed: int,
    resources: Resources,
) -> list[Trial]:
    """Search, or go on with an interrupted search in the same folder.

    Args:
        space: what to change.
        base: every other parameter of `RunParams`.
        splits: training and validation; copied once to each node.
        folder: what Ray keeps of the search, absolute; made where it is not there.
        samples: how many trials.
        seed: of the proposals; the same trials follow where they also finish in the same order.
        resources: see `Resources`.

    Raises:
        UserError: the cluster cannot be reached, or has not what a trial needs.
    """
    _connect(resources)
    try:
        trainable = tune.with_resources(
            tune.with_parameters(
                _train_trial, base=base, space=space, train=splits[0], val=splits[1], cpus=resources.cpus
            ),
            {"cpu": resources.cpus, "gpu": resources.gpus},
        )
        if tune.Tuner.can_restore(str(folder)):
            tuner = tune.Tuner.restore(str(folder), trainable=trainable, resume_unfinished=True)
        else:
            tuner = tune.Tuner(
                trainable,
                tune_config=tune.TuneConfig(
                    metric="val_accuracy",
                    mode="max",
                    num_samples=samples,
                    search_alg=OptunaSearch(
                        {key: domain.distribution() for key, domain in space.items()},
                        metric="val_accuracy",
                        mode="max",
                        seed=seed,
                    ),
                    # No verdict in the first quarter: the learning rate of a one-cycle schedule still rises.
                    scheduler=ASHAScheduler(
                        time_attr="epoch",
                        max_t=base["epochs"],
                        grace_period=max(1, base["epochs"] // 4),
                        reduction_factor=3,
                    ),
                    reuse_actors=True,
                ),
                run_config=tune.RunConfig(
                    name=folder.name,
                    storage_path=str(folder.parent),
                    failure_config=tune.FailureConfig(max_failures=RETRIES),
                ),
            )
        tuner.fit()
        known = ExperimentAnalysis(str(folder)).trials
    finally:
        ray.shutdown()
    return [_as_trial(number, one, base, space) for number, one in enumerate(known, 1)]


def _connect(resources: Resources) -> None:
    # Trials are handed the code of this repository, wherever they run. Ray loads NumPy before it.
    environment = {"py_modules": [str(Path(src.__file__).parent)], "env_vars": PINNED}
    try:
        if resources.address:
            ray.init(address=resources.address, runtime_env=environment, log_to_driver=False)
        else:
            # Without the dashboard, which would be a web page for everybody on the network.
            ray.init(address="local", runtime_env=environment, log_to_driver=False, include_dashboard=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(f"no Ray cluster at {resources.address!r}: {reason(error)}") from None
    offered = ray.cluster_resources()
    for name, wanted in (("CPU", resources.cpus), ("GPU", resources.gpus)):
        if wanted > offered.get(name, 0):
            ray.shutdown()
            raise UserError(f"a trial wants {wanted:g} {name}, of which Ray has {offered.get(name, 0):g}")


def _train_trial(
    config: dict[str, Any],
    *,
    base: dict[str, Any],
    space: dict[str, Domain],
    train: Split,
    val: Split,
    cpus: int,
) -> None:
    os.environ.setdefault(THREADS_VARIABLE, str(cpus))
    # Ray's copies are shared and read-only, which PyTorch warns of; nothing writes into them.
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
    params = parse(base | values_of(config, space), RunParams, whole=RunParams)
    last: dict[str, Any] = {}

    def report(progress: Progress) -> None:
        row, best = progress.history[-1], progress.best
        measured = {key: getattr(best, key) for key in MEASURES}
        last.update(measured | {"best_epoch": best.epoch, "epoch": row.epoch})
        tune.report(last | {"ended": has_ended(row, best, params)})

    try:
        train_on_splits(train, val, params.network(), params, set_up_process(), on_epoch=report)
    except DivergenceError as error:
        tune.report(last | {"diverged": str(error)})


def values_of(config: dict[str, Any], space: dict[str, Domain]) -> dict[str, Any]:
    """What a proposal stands for: its numbers rounded to what a person can type."""
    return {key: domain.rounded(config[key]) for key, domain in space.items()}


def _as_trial(number: int, one: RayTrial, base: dict[str, Any], space: dict[str, Domain]) -> Trial:
    last = one.last_result or {}
    message = last.get("diverged", "")
    if message:
        status = "diverged"
    elif one.status == RayTrial.ERROR:
        status, message = "failed", reason(one.get_error() or Exception("its process was killed"))
    elif one.status != RayTrial.TERMINATED:
        status = "unfinished"
    else:
        status = "finished" if last.get("ended") else "stopped"
    return Trial(
        trial=number,
        status=status,
        values=base | values_of(one.config, space),
        epochs=last.get("epoch", 0),
        seconds=round(last.get("time_total_s", 0.0), 1),
        **{key: last.get(key) for key in (*MEASURES, "best_epoch")},
        message=message,
    )
