"""What the channels-last layout of the weights gives a step of `lenet5`: `python -m benchmarks.layout`.

Images per second of training on one thread with the pinned kernels, with the layout and without it, in turn.
The images are noise: what they show makes no difference to the time.
"""

from __future__ import annotations

import time

import torch

from benchmarks.record import record, spread
from src.networks.build import build_model
from src.params import TrainParams, read
from src.runtime.devices import set_up_process
from src.runtime.errors import run
from src.training.loop import train

ROUNDS = 5
IMAGES = 12_800


def rate(batch_size: int, channels_last: bool) -> float:
    """Images per second of the second epoch; the first one warms up."""
    params = read(TrainParams)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(IMAGES, 1, 32, 32, generator=generator)
    labels = torch.randint(10, (IMAGES,), generator=generator)
    model = build_model(params.network() | {"model": "lenet5"}, seed=0)
    if not channels_last:
        model.lay_out_for_training = lambda: None  # type: ignore[method-assign]
    settings = params.model_copy(update={"epochs": 2, "batch_size": batch_size})
    ends: list[float] = []

    def on_epoch(_: object) -> None:
        ends.append(time.perf_counter())

    train(model, images, labels, images[:1], labels[:1], settings, on_epoch=on_epoch)
    return IMAGES / (ends[2] - ends[1])


def main() -> None:
    set_up_process()
    for batch_size in (64, 128):
        gains = []
        for number in range(1, ROUNDS + 1):
            without, laid_out = (rate(batch_size, channels_last) for channels_last in (False, True))
            gains.append(100 * (laid_out / without - 1))
            print(f"round {number} of {ROUNDS}: {laid_out:,.0f} over {without:,.0f} images/s", flush=True)
        record(
            "python -m benchmarks.layout",
            f"training images per second by the channels-last layout, `lenet5`, batch size {batch_size}",
            f"{spread(gains, '+.0f')} %",
        )


if __name__ == "__main__":
    run(main)
