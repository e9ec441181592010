"""DVCLive: a folder of plain files for each run, in the layout that DVC's own tools read."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

os.environ.setdefault("DVCLIVE_LOGLEVEL", "CRITICAL")

from dvclive import Live

from src.networks.network import Network


class Tracker:
    """See `src.tracking.trackers.Tracker`."""

    def __init__(self, run: str, folder: Path) -> None:
        self.folder = folder / run
        self.live: Live

    def start(self, params: dict[str, Any], network: Network) -> None:
        self.live = self._open(resume=False)
        self.live.log_params(params)

    def epoch(self, row: dict[str, float], weights: Mapping[str, Tensor]) -> None:
        self.live.step = int(row["epoch"])
        for key, value in row.items():
            if key != "epoch":
                self.live.log_metric(key, value)
        self.live.next_step()

    def trained(self, metrics: dict[str, float], model: Path) -> str:
        for key, value in metrics.items():
            self.live.log_metric(f"result/{key}", value, plot=False)
        self.live.log_artifact(model, copy=True, cache=False)
        self.live.end()
        return self.folder.name

    def failed(self) -> None:
        self.live.end()

    def plotted(self, identity: str, metrics: dict[str, float], pictures: Sequence[Path]) -> None:
        live = self._open(resume=True)
        for key, value in metrics.items():
            live.log_metric(f"test/{key}", value, plot=False)
        for picture in pictures:
            live.log_image(picture.name, picture)
        live.end()

    def _open(self, *, resume: bool) -> Live:
        # Otherwise it makes experiments and writes dvc.yaml itself.
        return Live(str(self.folder), resume=resume, save_dvc_exp=False, dvcyaml=False)
