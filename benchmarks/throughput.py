"""Training images per second: this repository's loop beside a torchvision Dataset with a DataLoader.

Both train the same network on MNIST with AdamW and report the epoch's loss and accuracy: LeNet-5 with the
batch size of params.yaml and with 256, and `convnet` with 128. Both have the same cores, one and two. Of two
cores, this repository uses each for a training of its own, and their sum is compared; the other loop trains
one network with both. It is written as the tutorials of PyTorch and torchvision write it, on the kernels that
`src` pins for both, and runs without worker processes, with a thread for each core, and with two of them and
one thread, which would otherwise want the workers' cores; the faster of the two is compared. Each round runs
in processes of its own, in turn, so that a machine whose speed drifts slows all of them.

`python -m benchmarks.throughput`, with MNIST at hand, on Linux.
"""

from __future__ import annotations

import functools
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.record import record, spread
from src.runtime.errors import run

# Of the larger network fewer: one epoch of them takes as long.
IMAGES = {"lenet5": 20_000, "convnet": 5_000}
ROUNDS = 3
LOOPS = ("tensor", "dataloader-0", "dataloader-2")


def tensor_loop(raw: Path, model: str, batch_size: int) -> float:
    """Images per second of `src.training.loop.train`."""
    import torch

    from src.data.torchvision_archives import read_images
    from src.networks.build import build_model, network_input
    from src.params import TrainParams, read
    from src.runtime.devices import set_up_process
    from src.training.loop import train

    params = read(TrainParams)
    device = set_up_process()
    mnist = read_images(raw / "train-images-idx3-ubyte.gz", raw / "train-labels-idx1-ubyte.gz", 1, 10)
    images = torch.from_numpy(mnist.images[: IMAGES[model]]).to(device)
    labels = torch.from_numpy(mnist.labels[: IMAGES[model]]).to(device, torch.int64)
    network = params.network() | {"model": model}
    inputs = network_input(images, network, mean=0.1307, std=0.3081)
    settings = params.model_copy(update={"epochs": 2, "optimizer": "AdamW", "batch_size": batch_size})
    ends: list[float] = []
    train(
        build_model(network, seed=0).to(device),
        inputs,
        labels,
        inputs[:1],
        labels[:1],
        settings,
        on_epoch=lambda progress: ends.append(time.perf_counter()),
    )
    return IMAGES[model] / (ends[2] - ends[1])  # the first epoch warms up


def dataloader_loop(raw: Path, network: str, batch_size: int, workers: int) -> float:
    """Images per second of the loop that most public LeNet-5 repositories run."""
    import torch
    import torch.nn.functional as F
    import torchvision
    from torch.utils.data import DataLoader, Subset
    from torchvision import transforms

    from src.networks.build import build_model
    from src.params import TrainParams, read
    from src.runtime.devices import select_device

    params = read(TrainParams)
    device = select_device()
    if not workers:
        torch.set_num_threads(len(os.sched_getaffinity(0)))  # `src` has pinned it to one
    model = build_model(params.network() | {"model": network}, seed=0).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=params.lr, weight_decay=params.weight_decay)
    steps = [transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]
    if model.input_shape[1] == 32:
        steps.insert(
            0, transforms.Pad(2) if params.input == "pad" else transforms.Resize(32, antialias=False)
        )
    transform = transforms.Compose(steps)
    with tempfile.TemporaryDirectory() as root:
        # torchvision reads the unpacked files beside the archives, and the data folder may be read-only.
        unpacked = Path(root) / "MNIST" / "raw"
        unpacked.mkdir(parents=True)
        for archive in raw.glob("*-ubyte.gz"):
            (unpacked / archive.stem).write_bytes(gzip.decompress(archive.read_bytes()))
        dataset = Subset(torchvision.datasets.MNIST(root, transform=transform), range(IMAGES[network]))
    loader = DataLoader(
        dataset, batch_size, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, params.lr, total_steps=2 * len(loader))
    seconds = 0.0
    for _ in range(2):  # the first epoch warms up and starts the workers
        started = time.perf_counter()
        total, correct = 0.0, 0
        for images, labels in loader:
            images, labels = images.to(device), labels.to(device)
            logits = model(images)
            loss = F.cross_entropy(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(labels)
            correct += (logits.argmax(1) == labels).sum().item()
        seconds = time.perf_counter() - started
    return IMAGES[network] / seconds


def rate(loop: str, model: str, batch_size: int, cores: int) -> float:
    """Images per second of a loop with so many cores, in processes that have no others."""
    command = [sys.executable, "-m", "benchmarks.throughput", loop, model, str(batch_size)]
    usable = sorted(os.sched_getaffinity(0))[:cores]
    own = [{core} for core in usable] if loop == "tensor" else [set(usable)]
    started = [
        subprocess.Popen(
            command, stdout=subprocess.PIPE, preexec_fn=functools.partial(os.sched_setaffinity, 0, each)
        )
        for each in own
    ]
    return sum(json.loads(process.communicate()[0]) for process in started)


def compare(model: str, batch_size: int, cores: int) -> None:
    """Run every loop in turn, several times, and record the medians of the rates and of their ratio."""
    rates: dict[str, list[float]] = {loop: [] for loop in LOOPS}
    for number in range(1, ROUNDS + 1):
        for loop in LOOPS:
            rates[loop].append(rate(loop, model, batch_size, cores))
        shown = ", ".join(f"{loop} {values[-1]:,.0f}" for loop, values in rates.items())
        print(f"round {number} of {ROUNDS}: {shown} images/s", flush=True)
    ratios = [ours / max(zero, two) for ours, zero, two in zip(*rates.values(), strict=True)]
    ours, *others = (statistics.median(values) for values in rates.values())
    record(
        "python -m benchmarks.throughput",
        f"training images per second, `{model}`, batch size {batch_size}, cores: {cores}; over a torchvision "
        "Dataset with the faster DataLoader",
        f"{ours:,.0f} over {max(others):,.0f}: {spread(ratios, '.1f')} times",
    )


def main() -> None:
    from src.data.archives import ensure_archives
    from src.data.torchvision_archives import data_root, torchvision_source
    from src.params import TrainParams, read

    raw = data_root() / "MNIST" / "raw"
    if len(sys.argv) == 4:  # one round, in a process of its own
        workers, model, batch_size = sys.argv[1].partition("-")[2], sys.argv[2], int(sys.argv[3])
        print(
            json.dumps(
                dataloader_loop(raw, model, batch_size, int(workers))
                if workers
                else tensor_loop(raw, model, batch_size)
            )
        )
        return
    source = torchvision_source("MNIST")
    ensure_archives("MNIST", source.archives, source.mirrors, raw)
    for model, batch_size in (("lenet5", read(TrainParams).batch_size), ("lenet5", 256), ("convnet", 128)):
        for cores in (1, 2)[: len(os.sched_getaffinity(0))]:
            compare(model, batch_size, cores)


if __name__ == "__main__":
    run(main)
