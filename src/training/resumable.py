"""A training that survives: shown while it runs, and resumed where it was killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import torch

from src.data.splits import Split
from src.networks.build import network_class
from src.networks.model_file import TrainedModel
from src.params import TrainParams
from src.runtime.devices import environment
from src.runtime.workspace import repository, stop_if_abandoned
from src.training.checkpoints import checkpoints_of, training_key
from src.training.from_splits import train_on_splits
from src.training.history import TrainingResult
from src.training.loop import Progress, steps_per_epoch
from src.training.progress import TrainingProgress

CHECKPOINTS = Path(".dvc/tmp/checkpoints")


@contextmanager
def resumable_training(
    params: TrainParams,
    train: Split,
    val: Split,
    device: torch.device,
    *,
    facts: dict[str, Any] | None = None,
    files: Sequence[Path] = (),
    on_epoch: Callable[[Progress], None] = lambda progress: None,
) -> Iterator[tuple[TrainedModel, TrainingResult]]:
    """Train, from the last checkpoint of the same training where there is one.

    The checkpoints are removed when the block ends without an error, so that results written in it are
    written, or computed again at once.

    Args:
        params: the network and its training.
        train, val: as `prepare` makes them.
        device: where to compute.
        facts, files: what the splits come from: values of JSON's types, and files whose content counts.
        on_epoch: called before the first epoch and after each.

    Raises:
        UserError: see `train_on_splits`.
    """
    # Loaded by its name, the network's module would be missing from the key of a process's first training.
    network_class(params.model)
    key = training_key(params.model_dump() | environment(device) | (facts or {}), files)
    with checkpoints_of(key, repository() / CHECKPOINTS) as checkpoints:
        display = TrainingProgress(params.epochs, steps_per_epoch(len(train.labels), params.batch_size))

        def after_epoch(progress: Progress) -> None:
            checkpoints.save(progress.snapshot())
            on_epoch(progress)
            display.on_epoch(progress)

        def after_step() -> None:
            stop_if_abandoned()
            display.on_step()

        with closing(display):
            trained = train_on_splits(
                *(train, val, params.network(), params, device),
                snapshot=checkpoints.latest(),
                on_epoch=after_epoch,
                on_step=after_step,
            )
        yield trained
        checkpoints.remove()
