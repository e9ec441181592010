"""TensorBoard: event files that `tensorboard --logdir runs/tensorboard` shows."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from src.networks.network import Network

# TensorBoard writes in a thread and raises its error in the training's, too: a traceback would say it twice.
_show_traceback = threading.excepthook


def _show_no_traceback_of_a_writer(failure: threading.ExceptHookArgs) -> None:
    if not type(failure.thread).__module__.startswith("tensorboard."):
        _show_traceback(failure)


threading.excepthook = _show_no_traceback_of_a_writer


class Tracker:
    """See `src.tracking.trackers.Tracker`."""

    def __init__(self, run: str, folder: Path) -> None:
        self.folder = folder / run
        self.params: dict[str, Any] = {}
        self.writer: SummaryWriter

    def start(self, params: dict[str, Any], network: Network) -> None:
        for earlier in self.folder.glob("events.out.tfevents.*"):
            earlier.unlink()
        self.params = params
        self.writer = SummaryWriter(str(self.folder))
        self.writer.add_graph(network, torch.zeros(1, *network.input_shape))

    def epoch(self, row: dict[str, float], weights: Mapping[str, Tensor]) -> None:
        step = int(row["epoch"])
        for key, value in row.items():
            if key != "epoch":
                # loss/train beside loss/val: what is before the slash shares a section.
                self.writer.add_scalar("/".join(reversed(key.split("_"))), value, step)
        for name, tensor in weights.items():
            self.writer.add_histogram(f"weights/{name}", tensor, step)
        self.writer.flush()

    def trained(self, metrics: dict[str, float], model: Path) -> str:
        digest = hashlib.md5(model.read_bytes()).hexdigest()
        self.writer.add_text("model", f"`{model}`, in dvc.lock as md5 `{digest}`")
        result = {f"result/{key}": value for key, value in metrics.items()}
        # By default hparams would be a run of their own.
        self.writer.add_hparams(self.params, result, run_name=".")
        self.writer.close()
        return self.folder.name

    def failed(self) -> None:
        self.writer.close()

    def plotted(self, identity: str, metrics: dict[str, float], pictures: Sequence[Path]) -> None:
        with SummaryWriter(str(self.folder.with_name(identity))) as writer:
            for key, value in metrics.items():
                writer.add_scalar(f"test/{key}", value)
            for picture in pictures:
                with Image.open(picture) as image:
                    pixels = np.asarray(image.convert("RGB"))
                writer.add_image(f"plots/{picture.stem}", pixels, dataformats="HWC")
