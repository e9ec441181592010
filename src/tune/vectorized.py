"""Several LeNet-5 trained at once, each with an optimizer of its own: one alone leaves a processor idle.

The networks share their shape and their batch size, and are computed together with grouped convolutions and
batched matrix products. Every one sees the batches, the augmentation and (on a CPU) the dropout masks that it
would see alone, so that its result is that of `src.training.loop.train` but for the rounding of sums.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, parameters_to_vector, vector_to_parameters
from torch.optim.swa_utils import get_ema_multi_avg_fn

from src.data.splits import Split
from src.networks.build import build_model
from src.networks.lenet5 import LeNet5
from src.params import Activation
from src.runtime.errors import UserError
from src.training.augmentation import Augmentation
from src.training.loop import (
    DivergenceError,
    Epoch,
    TrainingResult,
    augmentation_of,
    copy_weights,
    has_ended,
    network_tensors,
    refuse_divergence,
    steps_per_epoch,
)
from src.training.optimization import Optimization, build_optimizer, build_schedule

# All else decides the shape of a tensor, or is done to all networks at the same moment.
VARIED = ("dropout", "lr", "momentum", "weight_decay", "label_smoothing", "seed")

# RReLU would draw the slopes of all networks from one generator.
TOGETHER = {"model": ["lenet5"], "activation": [name for name in get_args(Activation) if name != "RReLU"]}

# Images times networks of one part of an evaluation: the activations stay in cache.
EVALUATION_BATCH = 500


@dataclass(frozen=True)
class Configuration:
    """One training: `network` and `settings` are those of `src.training.loop.train_on_splits`."""

    network: dict[str, Any]
    settings: Optimization


class LeNet5Stack:
    """K networks of one shape, computed together.

    Their parameters become views of one tensor: an optimizer that changes a part of it changes a network, and
    each network can be copied on its own at any time.

    Args:
        networks: of the same activation and pooling, on one device; dropout may differ.
        seeds: of the networks' dropout.

    Attributes:
        weights: all parameters of each network, [K, P].
        of_each: for each network a leaf tensor [P] that shares its memory with `weights`, for an optimizer:
            one tensor costs less to look after than the ten that a network has.
    """

    def __init__(self, networks: Sequence[LeNet5], seeds: Sequence[int]) -> None:
        self.networks = networks
        self.weights = torch.stack([parameters_to_vector(one.parameters()).detach() for one in networks])
        self.weights.requires_grad_()
        self.of_each = [nn.Parameter(row) for row in self.weights.detach()]
        for network, row in zip(networks, self.of_each, strict=True):
            vector_to_parameters(row.detach(), network.parameters())
        self._shapes = {name: parameter.shape for name, parameter in networks[0].named_parameters()}
        self._random = [torch.Generator(self.weights.device).manual_seed(seed) for seed in seeds]

    def logits(self, images: Tensor, *, training: bool) -> Tensor:
        """Logits, float [K, N, classes].

        Args:
            images: normalised, float [N, 1, 32, 32] for all networks, or [N, K, 32, 32] with one for each.
            training: with dropout.
        """
        like, own = self.networks[0], self._parameters()
        x = _convolution(own, "conv1", _channels_last(images), groups=images.shape[1])
        x = self._pooled(own, "act1", like.pool1, x)
        x = _convolution(own, "conv2", x, groups=len(self.networks))
        x = self._pooled(own, "act2", like.pool2, x)
        x = x.reshape(len(x), len(self.networks), -1).transpose(0, 1)
        x = self._dropped(self._activated(own, "act3", _linear(own, "fc1", x)), training)
        x = self._dropped(self._activated(own, "act4", _linear(own, "fc2", x)), training)
        return _linear(own, "fc3", x)

    def hand_out_gradients(self) -> None:
        """Give each of `of_each` its part of the gradient, and forget that of the stack."""
        assert self.weights.grad is not None
        for own, gradient in zip(self.of_each, self.weights.grad, strict=True):
            own.grad = gradient
        self.weights.grad = None

    def _parameters(self) -> dict[str, Tensor]:
        """Views of the weights by the names that they have in a network, [K, …]."""
        parts = self.weights.split([shape.numel() for shape in self._shapes.values()], dim=1)
        return {
            name: part.unflatten(1, shape)
            for (name, shape), part in zip(self._shapes.items(), parts, strict=True)
        }

    def _pooled(self, own: dict[str, Tensor], name: str, pool: nn.Module, x: Tensor) -> Tensor:
        return pool(self._activated(own, name, x))

    def _activated(self, own: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
        act = getattr(self.networks[0], name)
        if not isinstance(act, nn.PReLU):
            return act(x)
        slopes = own[f"{name}.weight"]  # [K, 1]
        if x.dim() == 3:
            return x.clamp(min=0) + slopes.unsqueeze(2) * x.clamp(max=0)
        return F.prelu(x, slopes.expand(-1, x.shape[1] // len(slopes)).flatten())

    def _dropped(self, x: Tensor, training: bool) -> Tensor:
        chances = [network.dropout.p for network in self.networks]
        if not training or not any(chances):
            return x
        masks = torch.ones_like(x)
        for mask, chance, generator in zip(masks, chances, self._random, strict=True):
            if chance:
                mask.bernoulli_(1 - chance, generator=generator).div_(1 - chance)
        return x * masks


def _convolution(own: dict[str, Tensor], name: str, x: Tensor, groups: int) -> Tensor:
    weight, bias = own[f"{name}.weight"].flatten(0, 1), own[f"{name}.bias"].flatten()
    return F.conv2d(x, weight, bias, groups=groups)


def _linear(own: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    weight, bias = own[f"{name}.weight"], own[f"{name}.bias"]
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
    configurations: Sequence[Configuration],
    device: torch.device,
    *,
    on_epoch: Callable[[int, Epoch, Epoch], None] = lambda index, row, best: None,
) -> list[TrainingResult | DivergenceError]:
    """Train several networks at once; each as `src.training.loop.train_on_splits` would.

    On a CPU the networks are dealt out to `torch.get_num_threads()` threads, each with a stack of its own:
    the kernels are too small to be divided well.

    Args:
        train_split, val_split: as `prepare` writes them.
        configurations: of the same values but for the keys in `VARIED`.
        device: where to compute.
        on_epoch: called with the index of a configuration, its last finished epoch and its best one; perhaps
            from several threads, one at a time.

    Returns:
        A result for each configuration, or why it has none.

    Raises:
        UserError: the configurations do not share what they must, or a network is not in `TOGETHER`.
    """
    _refuse_unlike(configurations)
    network, settings = configurations[0].network, configurations[0].settings
    tensors = network_tensors(train_split, val_split, network, device)
    augmentation = augmentation_of(train_split, settings)
    # Not by the threads: PyTorch draws initial weights from the one generator that they would share.
    networks = [_build(one, len(train_split.class_names)).to(device) for one in configurations]
    threads = torch.get_num_threads()
    parts = min(threads, len(configurations)) if device.type == "cpu" else 1
    groups = [list(range(len(configurations)))[part::parts] for part in range(parts)]
    abandoned, one_at_a_time = threading.Event(), threading.Lock()

    def train_group(indices: list[int]) -> list[TrainingResult | DivergenceError]:
        def told(index: int, row: Epoch, best: Epoch) -> None:
            with one_at_a_time:
                on_epoch(indices[index], row, best)

        if parts > 1:
            torch.set_num_threads(1)  # of this thread
        return _train_stack(
            [networks[index] for index in indices],
            [configurations[index].settings for index in indices],
            tensors,
            augmentation,
            abandoned=abandoned,
            on_epoch=told,
        )

    try:
        with ThreadPoolExecutor(parts) as pool:
            running = [pool.submit(train_group, indices) for indices in groups]
            try:
                finished = [future.result() for future in running]
            except BaseException:
                abandoned.set()
                raise
    finally:
        torch.set_num_threads(threads)
    results: dict[int, TrainingResult | DivergenceError] = {}
    for indices, group in zip(groups, finished, strict=True):
        results |= dict(zip(indices, group, strict=True))
    return [results[index] for index in range(len(configurations))]


def refuse_network(key: str, value: str) -> None:
    """Raise a `UserError` where a network of this `model` or `activation` cannot be trained together."""
    if value not in TOGETHER[key]:
        raise UserError(
            f"{key}: {value} cannot be trained together; expected one of {', '.join(TOGETHER[key])}"
        )


def _refuse_unlike(configurations: Sequence[Configuration]) -> None:
    first = configurations[0].network | vars(configurations[0].settings)
    for other in configurations[1:]:
        values = other.network | vars(other.settings)
        for key in first:
            if key not in VARIED and values[key] != first[key]:
                raise UserError(
                    f"{key}: {first[key]} and {values[key]} cannot be trained together; "
                    f"expected one value; different ones of {', '.join(VARIED)}"
                )
    for key in TOGETHER:
        refuse_network(key, first[key])


class _Record:
    """What one network has come to so far."""

    def __init__(self, settings: Optimization) -> None:
        self.settings = settings
        self.history: list[Epoch] = []
        self.best: Epoch | None = None
        self.weights: dict[str, Tensor] = {}
        self.result: TrainingResult | DivergenceError | None = None

    def add(self, row: Epoch, network: nn.Module) -> Epoch:
        """Take note of an epoch, and return the best one."""
        try:
            refuse_divergence(row, self.settings)
        except DivergenceError as error:
            self.result = error
        self.history.append(row)
        if self.best is None or row.better_than(self.best):
            self.best, self.weights = row, copy_weights(network)
        if self.result is None and has_ended(row, self.best, self.settings):
            self.result = TrainingResult(self.history, self.best, self.weights)
        return self.best


def _train_stack(
    networks: Sequence[LeNet5],
    settings: Sequence[Optimization],
    tensors: tuple[Tensor, Tensor, Tensor, Tensor],
    augmentation: Augmentation,
    *,
    abandoned: threading.Event,
    on_epoch: Callable[[int, Epoch, Epoch], None],
) -> list[TrainingResult | DivergenceError]:
    train_inputs, train_labels, val_inputs, val_labels = tensors
    device, count = train_inputs.device, len(train_labels)
    seeds, shared = [one.seed for one in settings], settings[0]
    stack = LeNet5Stack(networks, seeds)
    averaged = LeNet5Stack([copy.deepcopy(one) for one in networks], seeds) if shared.ema else None
    update_average = get_ema_multi_avg_fn(shared.ema)
    evaluated = averaged or stack
    steps = steps_per_epoch(count, shared.batch_size)
    optimizers = [build_optimizer([own], one) for own, one in zip(stack.of_each, settings, strict=True)]
    schedules = [build_schedule(*pair, steps) for pair in zip(optimizers, settings, strict=True)]
    smoothing = torch.tensor([[one.label_smoothing] for one in settings], device=device)
    # With one seed for all, one order of batches serves all networks.
    drawn_seeds = seeds[:1] if len(set(seeds)) == 1 else seeds
    orders = [torch.Generator().manual_seed(seed) for seed in drawn_seeds]
    distortions = [torch.Generator().manual_seed(seed) for seed in drawn_seeds]
    records = [_Record(one) for one in settings]

    def note(epoch: int, lrs: list[float], train: tuple[list[float], list[float]]) -> None:
        val = _losses_and_accuracies(evaluated, val_inputs, val_labels)
        rows = zip(lrs, train[0], val[0], train[1], val[1], strict=True)
        for index, (record, row) in enumerate(zip(records, rows, strict=True)):
            if record.result is None:
                best = record.add(Epoch(epoch, *row), evaluated.networks[index])
                on_epoch(index, record.history[-1], best)

    lrs = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    note(0, lrs, _losses_and_accuracies(stack, train_inputs, train_labels))
    for epoch in range(1, shared.epochs + 1):
        if all(record.result for record in records):
            break
        order = torch.stack([torch.randperm(count, generator=one) for one in orders]).to(device)
        drawn = torch.stack([augmentation.draw(count, one) for one in distortions]).to(device)
        batches = order.split(shared.batch_size, dim=1)
        losses, correct = torch.zeros(2, len(settings), device=device).unbind()
        for batch, changes in zip(batches, drawn.split(shared.batch_size, dim=1), strict=True):
            if abandoned.is_set():
                return []
            images = augmentation(train_inputs[batch.flatten()], changes.flatten(0, 1))
            images = images.view(*batch.shape, *images.shape[2:]).transpose(0, 1)
            labels = train_labels[batch].expand(len(settings), -1)
            logits = stack.logits(images, training=True)
            loss = _cross_entropies(logits, labels, smoothing)
            loss.sum().backward()
            stack.hand_out_gradients()
            if shared.clip_norm:
                for own in stack.of_each:
                    clip_grad_norm_(own, shared.clip_norm)
            for optimizer in optimizers:
                optimizer.step()
            if averaged:
                update_average([averaged.weights], [stack.weights], None)
            lrs = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
            for schedule in schedules:
                schedule.step()
            losses += loss.detach() * (labels.shape[1] / count)
            correct += (logits.detach().argmax(2) == labels).sum(1)
        note(epoch, lrs, (losses.tolist(), (correct / count).tolist()))
    return [record.result for record in records if record.result is not None]


def _build(configuration: Configuration, classes: int) -> LeNet5:
    network = build_model(configuration.network, seed=configuration.settings.seed, num_classes=classes)
    assert isinstance(network, LeNet5)
    return network


def _cross_entropies(logits: Tensor, labels: Tensor, smoothing: Tensor | float = 0.0) -> Tensor:
    """Mean cross-entropy of each network, [K], of logits [K, N, C], labels [K, N] and smoothing [K, 1]."""
    logarithms = F.log_softmax(logits, dim=2)
    of_labels = logarithms.gather(2, labels.unsqueeze(2)).squeeze(2)
    return -((1 - smoothing) * of_labels + smoothing * logarithms.mean(2)).mean(1)


@torch.inference_mode()
def _losses_and_accuracies(
    stack: LeNet5Stack, inputs: Tensor, labels: Tensor
) -> tuple[list[float], list[float]]:
    parts = inputs.split(max(1, EVALUATION_BATCH // len(stack.networks)))
    logits = torch.cat([stack.logits(part, training=False) for part in parts], dim=1)
    labels = labels.expand(len(logits), -1)
    accuracies = (logits.argmax(2) == labels).double().mean(1)
    return _cross_entropies(logits, labels).tolist(), accuracies.tolist()
