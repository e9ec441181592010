"""Weights & Biases: without an account an offline folder, which `wandb sync` uploads when there is one."""

from __future__ import annotations

import atexit
import contextlib
import netrc
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from torch import Tensor

# No error reports or usage statistics over the network, nothing on the terminal.
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
os.environ.setdefault("WANDB_SILENT", "true")

import wandb

from src.networks.network import Network

# Seconds after which a server that does not answer is given up.
PATIENCE = 30


class Tracker:
    """See `src.tracking.trackers.Tracker`.

    Offline, nothing can be added to a run that has ended: the figures are another one in the same group.
    """

    def __init__(self, run: str, folder: Path) -> None:
        self.name, self.folder = run, folder
        self.run: wandb.Run

    def start(self, params: dict[str, Any], network: Network) -> None:
        self.run = self._open("train", config=params)
        self.run.define_metric("epoch", hidden=True)
        self.run.define_metric("*", step_metric="epoch")

    def epoch(self, row: dict[str, float], weights: Mapping[str, Tensor]) -> None:
        self.run.log(row, step=int(row["epoch"]))

    def trained(self, metrics: dict[str, float], model: Path) -> str:
        self.run.summary.update({f"result/{key}": value for key, value in metrics.items()})
        artifact = wandb.Artifact(f"model-{self.name}", type="model")
        artifact.add_file(str(model))
        self.run.log_artifact(artifact)
        self.run.finish()
        return self.run.id

    def failed(self) -> None:
        self.run.finish(exit_code=1)

    def plotted(self, identity: str, metrics: dict[str, float], pictures: Sequence[Path]) -> None:
        with self._open("plot", config={"training": identity}) as run:
            run.summary.update({f"test/{key}": value for key, value in metrics.items()})
            run.log({f"plots/{picture.stem}": wandb.Image(str(picture)) for picture in pictures})

    def _open(self, job: str, config: dict[str, Any]) -> wandb.Run:
        self.folder.mkdir(parents=True, exist_ok=True)
        # What waits for an upload is kept beside the runs it belongs to, not in the home directory.
        os.environ.setdefault("WANDB_DATA_DIR", str(self.folder))
        os.environ.setdefault("WANDB_CACHE_DIR", str(self.folder / "cache"))
        run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or "lenet5",
            name=self.name,
            group=self.name,
            job_type=job,
            config=config,
            dir=str(self.folder.parent),  # in which wandb makes a folder of its name
            mode=None if _decided() else "offline",
            settings=wandb.Settings(
                console="off",
                x_disable_stats=True,
                x_save_requirements=False,
                init_timeout=PATIENCE,
                x_graphql_retry_max=1,
                finish_timeout=PATIENCE,
                finish_timeout_raises=True,
            ),
        )
        atexit.register(_end_service)  # before wandb's own hook, which was registered earlier
        return run


def _end_service() -> None:
    """End wandb's process, which may have died: its own hook would then show a traceback."""
    with contextlib.suppress(Exception):
        wandb.teardown()


def _decided() -> bool:
    """Whether the user has an account here, or has said what to do without."""
    if os.environ.get("WANDB_MODE") or os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").netloc
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
