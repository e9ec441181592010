"""MLflow: a SQLite file with a folder of artifacts, or the server that `MLFLOW_TRACKING_URI` names."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock
from torch import Tensor

# No usage statistics over the network, no lines on the terminal, no minutes of waiting for a server.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "CRITICAL")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from src.networks.network import Network


class Tracker:
    """See `src.tracking.trackers.Tracker`."""

    def __init__(self, run: str, folder: Path) -> None:
        self.run, self.folder = run, folder
        self.identity = ""
        self.client: MlflowClient

    def start(self, params: dict[str, Any], network: Network) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        # Two runs that begin at once would both set up the database.
        with FileLock(self.folder / ".lock"):
            self.client = self._connect()
            experiment = self._experiment()
        self.identity = self.client.create_run(experiment, run_name=self.run).info.run_id
        self.client.log_batch(self.identity, params=[Param(key, str(value)) for key, value in params.items()])

    def epoch(self, row: dict[str, float], weights: Mapping[str, Tensor]) -> None:
        values = {key: value for key, value in row.items() if key != "epoch"}
        self._log(self.identity, values, step=int(row["epoch"]))

    def trained(self, metrics: dict[str, float], model: Path) -> str:
        self._log(self.identity, {f"result/{key}": value for key, value in metrics.items()})
        self.client.log_artifact(self.identity, str(model), "model")
        self.client.set_terminated(self.identity)
        return self.identity

    def failed(self) -> None:
        self.client.set_terminated(self.identity, "FAILED")

    def plotted(self, identity: str, metrics: dict[str, float], pictures: Sequence[Path]) -> None:
        self.client = self._connect()
        self._log(identity, {f"test/{key}": value for key, value in metrics.items()})
        for picture in pictures:
            self.client.log_artifact(identity, str(picture), "plots")

    def _connect(self) -> MlflowClient:
        return MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.folder / 'mlflow.db'}")

    def _experiment(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "lenet5"
        if experiment := self.client.get_experiment_by_name(name):
            return experiment.experiment_id
        local = self.client.tracking_uri.startswith("sqlite:")
        artifacts = (self.folder / "artifacts").as_uri() if local else None
        return self.client.create_experiment(name, artifact_location=artifacts)

    def _log(self, identity: str, values: dict[str, float], step: int = 0) -> None:
        now = round(time.time() * 1000)
        metrics = [Metric(key, float(value), now, step) for key, value in values.items()]
        self.client.log_batch(identity, metrics=metrics)
