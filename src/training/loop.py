"""The training loop: tensors and a network in, kept weights and a history out.

Knows nothing of files, DVC or YAML. The whole set lives in memory as one tensor that batches are indexed
from: for 28×28 images a per-image pipeline costs more than the network itself (`make bench`).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim.swa_utils import get_ema_multi_avg_fn

from src.data.splits import Split
from src.networks.build import build_model, network_input, predict_logits
from src.networks.model_file import TrainedModel
from src.networks.network import Network
from src.runtime.errors import UserError
from src.training.augmentation import Augmentation
from src.training.optimization import Optimization, build_optimizer, build_schedule


@dataclass(frozen=True)
class Epoch:
    """One row of `plots/history.csv`; losses in nats per image, accuracies as fractions.

    Attributes:
        epoch: 0 before any training.
        lr: the learning rate of the epoch's last step; of the first step for epoch 0.
        train_loss, train_accuracy: over the epoch's own steps, each batch as it was met (so augmented,
            with dropout and label smoothing, and with the weights moving); for epoch 0 over all
            training images as they are.
        val_loss, val_accuracy: over all validation images with the weights at the epoch's end, or with
            their moving average.
    """

    epoch: int
    lr: float
    train_loss: float
    val_loss: float
    train_accuracy: float
    val_accuracy: float

    def better_than(self, other: Epoch) -> bool:
        """Higher validation accuracy; between equals, lower validation loss."""
        return (self.val_accuracy, -self.val_loss) > (other.val_accuracy, -other.val_loss)


@dataclass(frozen=True)
class Step:
    """One row of `plots/steps.csv`: a batch's mean loss, in nats per image, before its step was taken."""

    epoch: int
    step: int
    train_loss: float


@dataclass(frozen=True)
class Snapshot:
    """All that `train` needs to go on after an epoch as if it had never stopped.

    But for the history, which grows and is only ever added to, it is as large after the last epoch as after
    the first.

    Attributes:
        history: every epoch so far, epoch 0 first.
        steps: every step so far.
        state: of the rest.
    """

    history: list[Epoch]
    steps: list[Step]
    state: State


@dataclass(frozen=True)
class State:
    """What training changes at each step, after one of its epochs.

    Made of tensors and plain Python values only, so that it can be kept in a file that
    `torch.load(..., weights_only=True)` reads.

    Attributes:
        model, optimizer, schedule: their state dicts.
        averaged: the state dict of the moving average of the weights; empty without one.
        order: the states of the generators that the batch order and the augmentation are drawn from.
        random: the state of the CPU's generator, and on another device also of that device's.
        best_epoch: the epoch whose weights are kept so far.
        weights: those weights.
    """

    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    averaged: dict[str, Any]
    order: list[Tensor]
    random: list[Tensor]
    best_epoch: int
    weights: dict[str, Tensor]


@dataclass(frozen=True)
class Progress:
    """What the caller of `train` is told after each epoch.

    Attributes:
        history: every epoch so far, epoch 0 first; the same list at each call, with a row more.
        best: the epoch whose weights are kept so far.
        steps: every step so far, counted from 1; the same list at each call.
        snapshot: makes a `Snapshot` of this moment; only valid during the call.
    """

    history: list[Epoch]
    best: Epoch
    steps: list[Step]
    snapshot: Callable[[], Snapshot]


@dataclass(frozen=True)
class TrainingResult:
    """What `train` returns.

    Attributes:
        history: one row per epoch, epoch 0 first.
        best: the best epoch.
        weights: the network's state dict at the end of `best`, contiguous and on the CPU.
    """

    history: list[Epoch]
    best: Epoch
    weights: dict[str, Tensor]


NO_AUGMENTATION = Augmentation("none", background=0.0, mirrored=False)


class DivergenceError(UserError):
    """A loss that is not finite."""


def steps_per_epoch(images: int, batch_size: int) -> int:
    """How many batches it takes to show every image once, the last of them perhaps smaller."""
    return math.ceil(images / batch_size)


def _refuse_single_images(model: nn.Module, count: int, batch_size: int) -> None:
    normalised = any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in model.modules())
    if normalised and (batch_size == 1 or count % batch_size == 1):
        raise UserError(
            f"batch_size: {batch_size} leaves a batch of one of the {count:,} training images, of which "
            "batch norm has no statistics; expected with this model: another size"
        )


def loss_and_accuracy(model: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[float, float]:
    """Mean cross-entropy (nats per image) and fraction right, of inputs [N, 1, H, W] and int64 labels [N]."""
    logits = predict_logits(model, inputs)
    loss = F.cross_entropy(logits, labels)
    correct = (logits.argmax(1) == labels).sum()
    return float(loss), int(correct) / len(labels)


class _Training:
    """All that changes in the course of a training: set up, restored and saved as a whole.

    Attributes:
        ema_model: holds the moving average of the weights; None without one.
        batch_generator, augment_generator: what the batch order and the augmentation are drawn from; on the
            CPU, so that both are the same on every device.
        history, steps: every epoch and every step so far.
        best: the best epoch so far.
        best_weights: the weights at its end.
    """

    def __init__(self, model: Network, settings: Optimization, steps_per_epoch: int) -> None:
        self.model, self.settings = model, settings
        self.optimizer = build_optimizer(model.parameters(), settings)
        self.schedule = build_schedule(self.optimizer, settings, steps_per_epoch)
        # torch.optim.swa_utils.AveragedModel would copy its counter to the device at every step.
        self.ema_model = copy.deepcopy(model) if settings.ema else None
        self._update_average = get_ema_multi_avg_fn(settings.ema)
        self.batch_generator = torch.Generator().manual_seed(settings.seed)
        self.augment_generator = torch.Generator().manual_seed(settings.seed)
        self.history: list[Epoch] = []
        self.steps: list[Step] = []
        self.best: Epoch
        self.best_weights: dict[str, Tensor]

    @property
    def evaluated_model(self) -> Network:
        """The network whose validation accuracy counts: with the averaged weights where there are any."""
        return self.ema_model or self.model

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return self.optimizer.param_groups[0]["lr"]

    def step(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Take one step; the loss before it, and how many of the images were classified correctly."""
        logits = self.model(images)
        loss = self.model.training_loss(logits, labels, self.settings.label_smoothing)
        self.optimizer.zero_grad()
        loss.backward()
        if self.settings.clip_norm:
            clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
        self.optimizer.step()
        if self.ema_model:
            self._update_average(_floats(self.ema_model), _floats(self.model), None)
        self.schedule.step()
        return loss.detach(), (logits.detach().argmax(1) == labels).sum()

    def add(self, row: Epoch, steps: list[Step]) -> None:
        """Add an epoch to the history, and keep its weights where it is the best so far.

        Raises:
            DivergenceError: one of its losses is not finite.
        """
        refuse_divergence(row, self.settings)
        self.history.append(row)
        self.steps += steps
        if len(self.history) == 1 or row.better_than(self.best):
            self.best, self.best_weights = row, copy_weights(self.evaluated_model)

    def progress(self) -> Progress:
        return Progress(self.history, self.best, self.steps, self._snapshot)

    def restore(self, snapshot: Snapshot) -> None:
        """Return to the moment at which `snapshot` was made."""
        state = snapshot.state
        self.model.load_state_dict(state.model)
        self.optimizer.load_state_dict(state.optimizer)
        self.schedule.load_state_dict(state.schedule)
        if self.ema_model:
            self.ema_model.load_state_dict(state.averaged)
        self.batch_generator.set_state(state.order[0])
        self.augment_generator.set_state(state.order[1])
        _set_random_states(self._device, state.random)
        self.history, self.steps = list(snapshot.history), list(snapshot.steps)
        self.best, self.best_weights = self.history[state.best_epoch], state.weights

    def _snapshot(self) -> Snapshot:
        state = State(
            model=self.model.state_dict(),
            optimizer=self.optimizer.state_dict(),
            schedule=self.schedule.state_dict(),
            averaged=self.ema_model.state_dict() if self.ema_model else {},
            order=[self.batch_generator.get_state(), self.augment_generator.get_state()],
            random=_random_states(self._device),
            best_epoch=self.best.epoch,
            weights=self.best_weights,
        )
        return Snapshot(self.history, self.steps, state)

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device


def train(
    model: Network,
    train_inputs: Tensor,
    train_labels: Tensor,
    val_inputs: Tensor,
    val_labels: Tensor,
    settings: Optimization,
    *,
    augmentation: Augmentation = NO_AUGMENTATION,
    snapshot: Snapshot | None = None,
    on_epoch: Callable[[Progress], None] = lambda progress: None,
    on_step: Callable[[], None] = lambda: None,
) -> TrainingResult:
    """Train `model` in place and keep the weights of the epoch with the best validation accuracy.

    Args:
        model: on the device of the tensors.
        train_inputs, val_inputs: what the network is fed, float32 [N, 1, H, W].
        train_labels, val_labels: int64 [N].
        settings: see `Optimization`; what its `augment` names is given as `augmentation`.
        augmentation: of the training images.
        snapshot: of the same training, to resume from; the result is the same, bit for bit, as without
            the interruption.
        on_epoch: called before the first epoch (or where a training resumes) and after each; may raise to
            stop.
        on_step: called after each step, before the device has necessarily finished it; may raise to stop.

    Raises:
        DivergenceError: a loss is not finite; names the epoch and the learning rate.
        UserError: the last batch is of one image, and the network normalises over batches.
    """
    _refuse_single_images(model, len(train_labels), settings.batch_size)
    device = train_inputs.device
    # The only global random state that a step draws from is dropout's and RReLU's: seeded here and put back.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(settings.seed)
        model.lay_out_for_training()
        training = _Training(model, settings, steps_per_epoch(len(train_labels), settings.batch_size))
        if snapshot is None:
            train_loss, train_accuracy = loss_and_accuracy(model, train_inputs, train_labels)
            val_loss, val_accuracy = loss_and_accuracy(model, val_inputs, val_labels)
            training.add(Epoch(0, training.lr, train_loss, val_loss, train_accuracy, val_accuracy), [])
        else:
            training.restore(snapshot)
        on_epoch(training.progress())
        while not has_ended(training.history[-1], training.best, settings):
            lr, train_accuracy, steps = _run_epoch(
                training, train_inputs, train_labels, augmentation, on_step
            )
            train_loss = _mean_loss(steps, len(train_labels), settings.batch_size)
            val_loss, val_accuracy = loss_and_accuracy(training.evaluated_model, val_inputs, val_labels)
            row = Epoch(len(training.history), lr, train_loss, val_loss, train_accuracy, val_accuracy)
            training.add(row, steps)
            on_epoch(training.progress())
    return TrainingResult(training.history, training.best, training.best_weights)


def has_ended(last: Epoch, best: Epoch, settings: Optimization) -> bool:
    """Whether training stops after the epoch `last`: it is the last one, or `patience` is exhausted."""
    waited = last.epoch - best.epoch
    return last.epoch >= settings.epochs or 0 < settings.patience <= waited


def _run_epoch(
    training: _Training,
    inputs: Tensor,
    labels: Tensor,
    augmentation: Augmentation,
    on_step: Callable[[], None],
) -> tuple[float, float, list[Step]]:
    """Show the network every training image once; the last learning rate, the accuracy, and the steps."""
    device, count, size = inputs.device, len(labels), training.settings.batch_size
    batches = torch.randperm(count, generator=training.batch_generator).to(device).split(size)
    drawn = augmentation.draw(count, training.augment_generator).to(device).split(size)
    training.model.train()
    # Kept on the device: reading a number back at each step would wait for it each time.
    losses = torch.empty(len(batches), device=device)
    correct = torch.zeros((), dtype=torch.int64, device=device)
    lr = training.lr
    for number, (batch, changes) in enumerate(zip(batches, drawn, strict=True)):
        lr = training.lr
        loss, hits = training.step(augmentation(inputs[batch], changes), labels[batch])
        losses[number] = loss
        correct += hits
        on_step()
    epoch, before = len(training.history), len(training.steps)
    steps = [Step(epoch, before + number, loss) for number, loss in enumerate(losses.tolist(), start=1)]
    return lr, int(correct) / count, steps


def _mean_loss(steps: list[Step], count: int, batch_size: int) -> float:
    """The mean over images of the losses of an epoch's steps; its last batch may be smaller."""
    mean = 0.0
    for number, step in enumerate(steps):
        mean += step.train_loss * min(batch_size, count - number * batch_size) / count
    return mean


def train_on_splits(
    train_split: Split,
    val_split: Split,
    network: dict[str, Any],
    settings: Optimization,
    device: torch.device,
    *,
    snapshot: Snapshot | None = None,
    on_epoch: Callable[[Progress], None] = lambda progress: None,
    on_step: Callable[[], None] = lambda: None,
) -> tuple[TrainedModel, TrainingResult]:
    """Build a network, feed it the splits, and `train` it.

    Args:
        train_split, val_split: as `prepare` writes them.
        network: `model`, `input`, `activation`, `pooling`, `dropout` and `init`, as in `params.yaml`.
        settings: see `Optimization`; its seed also gives the initial weights.
        device: where to compute.
        snapshot, on_epoch, on_step: see `train`.

    Raises:
        DivergenceError: see `train`.
    """
    model = build_model(network, seed=settings.seed, num_classes=len(train_split.class_names))
    result = train(
        model.to(device),
        *network_tensors(train_split, val_split, network, device),
        settings,
        augmentation=augmentation_of(train_split, settings),
        snapshot=snapshot,
        on_epoch=on_epoch,
        on_step=on_step,
    )
    trained = TrainedModel(
        dataset=train_split.dataset,
        class_names=train_split.class_names,
        mean=train_split.mean,
        std=train_split.std,
        network=network,
        weights=result.weights,
    )
    return trained, result


def network_tensors(
    train_split: Split, val_split: Split, network: dict[str, Any], device: torch.device
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What `train` is fed: inputs and labels of the training split, then of the validation split."""
    tensors: list[Tensor] = []
    for split in (train_split, val_split):
        images = torch.from_numpy(split.images).to(device)
        tensors += [
            network_input(images, network, mean=train_split.mean, std=train_split.std),
            torch.from_numpy(split.labels).to(device, torch.int64),
        ]
    return tensors[0], tensors[1], tensors[2], tensors[3]


def augmentation_of(train_split: Split, settings: Optimization) -> Augmentation:
    """What `settings.augment` names, for the inputs that a network is fed of this split."""
    return Augmentation(
        kind=settings.augment,
        background=-train_split.mean / train_split.std,
        mirrored=train_split.mirror_symmetric,
    )


def refuse_divergence(row: Epoch, settings: Optimization) -> None:
    """Raise a `DivergenceError` for a row with a loss that is not finite."""
    for name, loss in (("training", row.train_loss), ("validation", row.val_loss)):
        if not math.isfinite(loss):
            raise DivergenceError(
                f"epoch {row.epoch}: the {name} loss is {loss} with lr: {settings.lr:g} "
                f"({row.lr:.3g} at the epoch's last step); try a smaller lr"
            )


def _floats(model: nn.Module) -> list[Tensor]:
    """The weights and, for batch norm, the running statistics: all that an average can be taken of."""
    return [tensor for tensor in model.state_dict().values() if tensor.is_floating_point()]


def copy_weights(model: nn.Module) -> dict[str, Tensor]:
    """A state dict of copies, contiguous and on the CPU."""
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
    }


def _random_states(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state()]
    if device.type != "cpu":
        states.append(torch.get_device_module(device).get_rng_state())
    return states


def _set_random_states(device: torch.device, states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if device.type != "cpu":
        torch.get_device_module(device).set_rng_state(states[1])
