"""Several LeNet-5 trained at once, each with an optimizer of its own: one alone leaves a processor idle.

The networks share their shape and their batch size, and are computed together with grouped convolutions and
batched matrix products. Every one sees the batches, the augmentation and (on a CPU) the dropout masks that it
would see alone, so that its result is that of `src.training.loop.train` but for the rounding of sums.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, CancelledError, ThreadPoolExecutor, wait
from typing import cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from src.data.splits import Split
from src.networks.build import build_model
from src.networks.lenet5 import LeNet5
from src.networks.network import Network
from src.params import Activation, OptimizationParams, TrainParams
from src.runtime.errors import UserError
from src.runtime.seeds import derived_seed
from src.training.from_splits import augmentation_of, network_tensors
from src.training.history import DivergenceError, Epoch, TrainingResult
from src.training.loop import Training
from src.training.stack import NetworkStack

# All else decides the shape of a tensor, or is done to all networks at the same moment.
VARIED = ("dropout", "lr", "momentum", "weight_decay", "label_smoothing", "seed")

# RReLU would draw the slopes of all networks from one generator.
TOGETHER = {"model": ["lenet5"], "activation": [name for name in get_args(Activation) if name != "RReLU"]}

# For each network its result, or the error where its training diverged.
Results = list[TrainingResult | DivergenceError]

# Images times networks of one part of an evaluation: the activations stay in cache.
EVALUATION_BATCH = 500


class LeNet5Stack(NetworkStack):
    """K networks of one shape, computed together.

    Their parameters become views of one tensor: an optimizer that changes a part of it changes a network, and
    each network can be copied on its own at any time. An optimizer gets one leaf tensor [P] for each network,
    which costs less to look after than the ten that a network has.

    Args:
        networks: LeNet-5 of the same activation and pooling, on one device; dropout may differ.
        settings: of each network.
    """

    def __init__(self, networks: Sequence[Network], settings: Sequence[OptimizationParams]) -> None:
        self.networks = self._networks = cast(Sequence[LeNet5], networks)
        self.settings = settings
        vectors = [parameters_to_vector(network.parameters()).detach() for network in networks]
        self._weights = torch.stack(vectors).requires_grad_()  # [K, P]
        rows = [nn.Parameter(row) for row in self._weights.detach()]
        for network, row in zip(networks, rows, strict=True):
            vector_to_parameters(row.detach(), network.parameters())
        self.parameters = [[row] for row in rows]
        self._shapes = {name: parameter.shape for name, parameter in networks[0].named_parameters()}
        device = self._weights.device
        seeds = [derived_seed(each.seed, "dropout") for each in settings]
        self._dropout_generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self._smoothing = torch.tensor([[each.label_smoothing] for each in settings], device=device)

    def logits(self, images: Tensor) -> Tensor:
        # The networks' channels lie side by side, as grouped convolutions want them.
        return self._logits(images.transpose(0, 1).flatten(1, 2), len(images), training=True)

    @torch.inference_mode()
    def predict_logits(self, images: Tensor) -> Tensor:
        parts = images.split(max(1, EVALUATION_BATCH // len(self.networks)))
        return torch.cat([self._logits(part, 1, training=False) for part in parts], dim=1)

    def training_losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        log_probabilities = F.log_softmax(logits, dim=2)
        right = log_probabilities.gather(2, labels.unsqueeze(2)).squeeze(2)
        smoothing = self._smoothing
        return -((1 - smoothing) * right + smoothing * log_probabilities.mean(2)).mean(1)

    def backward(self, losses: Tensor) -> None:
        losses.sum().backward()
        assert self._weights.grad is not None
        for (row,), gradient in zip(self.parameters, self._weights.grad, strict=True):
            row.grad = gradient
        self._weights.grad = None

    def state(self) -> list[Tensor]:
        return [self._weights.detach()]

    def _logits(self, images: Tensor, groups: int, *, training: bool) -> Tensor:
        """Logits, float [K, N, classes].

        Args:
            images: normalised, float [N, C, 32, 32] for all networks, or [N, K * C, 32, 32].
            groups: 1 or K.
            training: with dropout.
        """
        first, weights = self._networks[0], self._views()
        x = _convolution(weights, "conv1", _channels_last(images), groups=groups)
        x = first.pool1(self._activated(weights, "act1", x))
        x = _convolution(weights, "conv2", x, groups=len(self.networks))
        x = first.pool2(self._activated(weights, "act2", x))
        x = x.reshape(len(x), len(self.networks), -1).transpose(0, 1)
        x = self._dropped(self._activated(weights, "act3", _linear(weights, "fc1", x)), training)
        x = self._dropped(self._activated(weights, "act4", _linear(weights, "fc2", x)), training)
        return _linear(weights, "fc3", x)

    def _views(self) -> dict[str, Tensor]:
        """Views of the weights by the names that they have in a network, [K, …]."""
        parts = self._weights.split([shape.numel() for shape in self._shapes.values()], dim=1)
        return {
            name: part.unflatten(1, shape)
            for (name, shape), part in zip(self._shapes.items(), parts, strict=True)
        }

    def _activated(self, weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
        act = getattr(self.networks[0], name)
        if not isinstance(act, nn.PReLU):
            return act(x)
        slopes = weights[f"{name}.weight"]  # [K, 1]
        if x.dim() == 3:
            return x.clamp(min=0) + slopes.unsqueeze(2) * x.clamp(max=0)
        return F.prelu(x, slopes.expand(-1, x.shape[1] // len(slopes)).flatten())

    def _dropped(self, x: Tensor, training: bool) -> Tensor:
        probabilities = [network.dropout.p for network in self._networks]
        if not training or not any(probabilities):
            return x
        masks = torch.ones_like(x)
        for mask, p, generator in zip(masks, probabilities, self._dropout_generators, strict=True):
            if p:
                mask.bernoulli_(1 - p, generator=generator).div_(1 - p)
        return x * masks


def _convolution(weights: dict[str, Tensor], name: str, x: Tensor, groups: int) -> Tensor:
    weight, bias = weights[f"{name}.weight"].flatten(0, 1), weights[f"{name}.bias"].flatten()
    return F.conv2d(x, weight, bias, groups=groups)


def _linear(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    return torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2))


def _channels_last(images: Tensor) -> Tensor:
    # Of one channel, PyTorch cannot tell the layouts apart, and takes the slower one.
    if images.shape[1] > 1:
        return images.contiguous(memory_format=torch.channels_last)
    height, width = images.shape[2:]
    return images.contiguous().as_strided(images.shape, (height * width, 1, width, 1))


def train_together(
    train_split: Split,
    val_split: Split,
    params: Sequence[TrainParams],
    device: torch.device,
    *,
    on_epoch: Callable[[int, Epoch, Epoch], None] = lambda index, row, best: None,
) -> Results:
    """Train several networks at once; each as `src.training.from_splits.train_on_splits` would.

    On a CPU the networks are dealt out to `torch.get_num_threads()` threads, each with a stack of its own:
    the kernels are too small to be divided well.

    Args:
        train_split, val_split: as `prepare` writes them.
        params: of each network, the same but for the keys in `VARIED`.
        device: where to compute.
        on_epoch: called with a network's index, its newest epoch, and the best so far; may raise to stop.
            Calls come one at a time, in any order of the networks.

    Raises:
        UserError: the networks cannot be trained together.
    """
    _refuse_different(params)
    # Not by the threads: PyTorch draws initial weights from the one generator that they would share.
    classes = len(train_split.class_names)
    networks = [
        build_model(each.network(), seed=each.seed, num_classes=classes, image_format=train_split.format).to(
            device
        )
        for each in params
    ]
    tensors = network_tensors(train_split, val_split, params[0].network(), device)
    augmentation = augmentation_of(train_split, params[0])
    reporting = threading.Lock()

    def train_group(indices: range, on_step: Callable[[], None]) -> Results:
        stack = LeNet5Stack([networks[index] for index in indices], [params[index] for index in indices])
        training = Training(stack, tensors, augmentation)

        def report(index: int) -> None:
            history = training.histories[index]
            with reporting:
                on_epoch(indices[index], history.rows[-1], history.best)

        training.run(report, on_step)
        return training.results

    groups = min(torch.get_num_threads(), len(params)) if device.type == "cpu" else 1
    dealt = [range(len(params))[group::groups] for group in range(groups)]
    results = _in_threads(train_group, dealt)
    return [results[index % groups][index // groups] for index in range(len(params))]


def _in_threads(
    train_group: Callable[[range, Callable[[], None]], Results], groups: Sequence[range]
) -> list[Results]:
    """Train each group in a thread; where one raises an error, the others are abandoned and it is raised."""
    abandoned, threads = threading.Event(), torch.get_num_threads()

    def stop_if_abandoned() -> None:
        if abandoned.is_set():
            raise CancelledError

    def train_on_one_thread(indices: range) -> Results:
        if len(groups) > 1:
            torch.set_num_threads(1)  # of this thread
        return train_group(indices, stop_if_abandoned)

    try:
        with ThreadPoolExecutor(len(groups)) as pool:
            running = [pool.submit(train_on_one_thread, indices) for indices in groups]
            try:
                for future in wait(running, return_when=FIRST_EXCEPTION).done:
                    future.result()
            except BaseException:
                abandoned.set()
                raise
            return [future.result() for future in running]
    finally:
        torch.set_num_threads(threads)


def refuse_network(key: str, value: str) -> None:
    """Raise a `UserError` where a network of this `model` or `activation` cannot be trained together."""
    if value not in TOGETHER[key]:
        raise UserError(
            f"{key}: {value} cannot be trained together; expected one of {', '.join(TOGETHER[key])}"
        )


def _refuse_different(params: Sequence[TrainParams]) -> None:
    first = params[0].model_dump()
    for other in params[1:]:
        for key, value in other.model_dump(exclude=set(VARIED)).items():
            if value != first[key]:
                raise UserError(
                    f"{key}: {first[key]} and {value} cannot be trained together; "
                    f"expected one value; different ones of {', '.join(VARIED)}"
                )
    for key in TOGETHER:
        refuse_network(key, first[key])
