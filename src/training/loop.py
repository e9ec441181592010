"""The training loop: tensors and a network in, the best weights and a history out.

Knows nothing of files, DVC or YAML. The whole set lives in memory as one tensor that batches are indexed
from: for 28×28 images a per-image pipeline costs more than the network itself (`make bench`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from src.networks.network import Network
from src.runtime.errors import UserError
from src.runtime.seeds import Purpose, derived_seed
from src.training.augmentation import Augmentation
from src.training.history import DivergenceError, Epoch, History, Step, TrainingResult
from src.training.moving_average import MovingAverage
from src.training.optimization import build_optimizer, build_schedule
from src.training.stack import NetworkStack, SingleNetwork

if TYPE_CHECKING:
    from src.params import OptimizationParams

# Inputs and labels of the training split, then of the validation split; on one device.
Tensors = tuple[Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Snapshot:
    """All that `train` needs to resume after an epoch as if it had never stopped.

    Only the history grows, and it is only ever added to.

    Attributes:
        history: every epoch so far, epoch 0 first.
        steps: every step so far.
        state: everything else.
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
        ema_model: the state dict of the network with the moving average of the weights; empty without one.
        generators: the states of those that the batch order and the augmentation are drawn from.
        global_generators: the state of the CPU's generator, and on another device also of that device's.
        best_epoch: the best epoch so far.
        best_weights: the weights at its end.
    """

    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    ema_model: dict[str, Any]
    generators: list[Tensor]
    global_generators: list[Tensor]
    best_epoch: int
    best_weights: dict[str, Tensor]


@dataclass(frozen=True)
class Progress:
    """What `train` reports after each epoch.

    Attributes:
        history: every epoch so far, epoch 0 first; the same list at each call, with a row more.
        best: the best epoch so far.
        steps: every step so far, counted from 1; the same list at each call.
        snapshot: makes a `Snapshot` of this moment; only valid during the call.
    """

    history: list[Epoch]
    best: Epoch
    steps: list[Step]
    snapshot: Callable[[], Snapshot]


NO_AUGMENTATION = Augmentation("none", background=0.0, mirrored=False)


def steps_per_epoch(images: int, batch_size: int) -> int:
    """How many batches it takes to show every image once, the last of them perhaps smaller."""
    return math.ceil(images / batch_size)


class Training:
    """The training of K ≥ 1 networks, whose `settings` agree in everything that shapes a batch.

    Attributes:
        stack: the networks.
        average: the moving average of the weights; None without one.
        batch_generators, augment_generators: what the batch order and the augmentation are drawn from; on the
            CPU, so that both are the same on every device. With one seed for all networks there is one of
            each: all networks are shown the same batches.
        epoch, step: the last ones, 0 before any training.
        histories: of each network.
    """

    def __init__(self, stack: NetworkStack, tensors: Tensors, augmentation: Augmentation) -> None:
        self.stack, self.tensors, self.augmentation = stack, tensors, augmentation
        self._shared = stack.settings[0]
        steps = steps_per_epoch(len(tensors[1]), self._shared.batch_size)
        self.optimizers = list(map(build_optimizer, stack.parameters, stack.settings))
        self.schedules = [
            build_schedule(optimizer, settings, steps)
            for optimizer, settings in zip(self.optimizers, stack.settings, strict=True)
        ]
        self.average = MovingAverage(stack, self._shared.ema) if self._shared.ema else None
        self.batch_generators = self._seeded("batch order")
        self.augment_generators = self._seeded("augmentation")
        self.epoch = self.step = 0
        self.histories = [History(settings) for settings in stack.settings]

    @property
    def results(self) -> list[TrainingResult | DivergenceError]:
        """The result of each network's training, or why it diverged."""
        return [history.result for history in self.histories]

    @property
    def lrs(self) -> list[float]:
        """Each network's learning rate of the next step."""
        return [optimizer.param_groups[0]["lr"] for optimizer in self.optimizers]

    def run(self, on_epoch: Callable[[int], None], on_step: Callable[[], None]) -> None:
        """Train until every network's training has ended.

        Args:
            on_epoch: called with the index of a network before the first epoch (or where a training
                resumes), and after each until its training has ended.
            on_step: called after each step.
        """
        if self.histories[0].rows:
            on_epoch(0)
        else:
            self._add_epoch(self.lrs, self._initial_training_metrics(), [], on_epoch)
        while not all(history.has_ended for history in self.histories):
            self.epoch += 1
            self._add_epoch(*self._run_epoch(on_step), on_epoch)

    def _initial_training_metrics(self) -> list[tuple[float, float]]:
        """For each network the training loss and the accuracy before any training."""
        inputs, labels = self.tensors[:2]
        logits = self.stack.predict_logits(inputs)
        losses = self.stack.training_losses(logits, labels.expand(len(logits), -1))
        return list(zip(losses.tolist(), _accuracies(logits, labels), strict=True))

    def _validation_metrics(self, stack: NetworkStack) -> list[tuple[float, float]]:
        """For each network the mean cross-entropy and the accuracy on the validation split."""
        inputs, labels = self.tensors[2:]
        logits = stack.predict_logits(inputs)
        losses = [float(F.cross_entropy(each, labels)) for each in logits]
        return list(zip(losses, _accuracies(logits, labels), strict=True))

    def _run_epoch(
        self, on_step: Callable[[], None]
    ) -> tuple[list[float], list[tuple[float, float]], list[list[float]]]:
        """Show every network every training image once.

        Returns:
            For each network the learning rate of the last step, the mean loss and the accuracy; for each step
            the loss of each network.
        """
        inputs, labels, size = *self.tensors[:2], self._shared.batch_size
        device, count, networks = inputs.device, len(labels), len(self.histories)
        order = torch.stack([torch.randperm(count, generator=each) for each in self.batch_generators])
        changes = torch.stack([self.augmentation.draw(count, each) for each in self.augment_generators])
        batches = order.to(device).split(size, dim=1)
        # Kept on the device: reading a number back at each step would wait for it each time.
        losses = torch.empty(len(batches), networks, device=device)
        correct = torch.zeros(networks, dtype=torch.int64, device=device)
        lrs = self.lrs
        for number, (batch, drawn) in enumerate(
            zip(batches, changes.to(device).split(size, dim=1), strict=True)
        ):
            lrs = self.lrs
            images = self.augmentation(inputs[batch.flatten()], drawn.flatten(0, 1))
            losses[number], hits = self._take_step(
                images.unflatten(0, batch.shape), labels[batch].expand(networks, -1)
            )
            correct += hits
            on_step()
        step_losses = losses.tolist()
        means = [_mean_loss(each, count, size) for each in zip(*step_losses, strict=True)]
        accuracies = [hits / count for hits in correct.tolist()]
        return lrs, list(zip(means, accuracies, strict=True)), step_losses

    def _take_step(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Take one step; for each network the loss before it, and how many images it classified correctly."""
        logits = self.stack.logits(images)
        losses = self.stack.training_losses(logits, labels)
        self.stack.backward(losses)
        if self._shared.clip_norm:
            for parameters in self.stack.parameters:
                clip_grad_norm_(parameters, self._shared.clip_norm)
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        if self.average:
            self.average.update(self.step)
        for schedule in self.schedules:
            schedule.step()
        return losses.detach(), (logits.detach().argmax(2) == labels).sum(1)

    def _add_epoch(
        self,
        lrs: list[float],
        train: list[tuple[float, float]],
        step_losses: list[list[float]],
        on_epoch: Callable[[int], None],
    ) -> None:
        """Evaluate the networks, and add the epoch to the history of each that is still trained."""
        evaluated = self.average.stack if self.average else self.stack
        val = self._validation_metrics(evaluated)
        for index, history in enumerate(self.histories):
            if history.has_ended:
                continue
            (train_loss, train_accuracy), (val_loss, val_accuracy) = train[index], val[index]
            row = Epoch(self.epoch, lrs[index], train_loss, val_loss, train_accuracy, val_accuracy)
            first = len(history.steps) + 1
            steps = [Step(self.epoch, first + step, each[index]) for step, each in enumerate(step_losses)]
            history.add(row, steps, evaluated.networks[index])
            if not history.divergence:
                on_epoch(index)

    def progress(self) -> Progress:
        """How far the training of a single network is."""
        (history,) = self.histories
        return Progress(history.rows, history.best, history.steps, self._snapshot)

    def restore(self, snapshot: Snapshot) -> None:
        """Return to the moment at which `snapshot` of a single network was made."""
        state, (history,) = snapshot.state, self.histories
        self.stack.networks[0].load_state_dict(state.model)
        self.optimizers[0].load_state_dict(state.optimizer)
        self.schedules[0].load_state_dict(state.schedule)
        if self.average:
            self.average.stack.networks[0].load_state_dict(state.ema_model)
        for generator, saved in zip(self._generators, state.generators, strict=True):
            generator.set_state(saved)
        _set_global_generators(self.tensors[0].device, state.global_generators)
        history.rows, history.steps = list(snapshot.history), list(snapshot.steps)
        history.best, history.best_weights = history.rows[state.best_epoch], state.best_weights
        self.epoch, self.step = history.rows[-1].epoch, len(history.steps)

    def _snapshot(self) -> Snapshot:
        (history,) = self.histories
        state = State(
            model=self.stack.networks[0].state_dict(),
            optimizer=self.optimizers[0].state_dict(),
            schedule=self.schedules[0].state_dict(),
            ema_model=self.average.stack.networks[0].state_dict() if self.average else {},
            generators=[generator.get_state() for generator in self._generators],
            global_generators=_global_generators(self.tensors[0].device),
            best_epoch=history.best.epoch,
            best_weights=history.best_weights,
        )
        return Snapshot(history.rows, history.steps, state)

    def _seeded(self, purpose: Purpose) -> list[torch.Generator]:
        seeds = [derived_seed(settings.seed, purpose) for settings in self.stack.settings]
        seeds = seeds[:1] if len(set(seeds)) == 1 else seeds
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    @property
    def _generators(self) -> list[torch.Generator]:
        return [*self.batch_generators, *self.augment_generators]


def train(
    model: Network,
    train_inputs: Tensor,
    train_labels: Tensor,
    val_inputs: Tensor,
    val_labels: Tensor,
    settings: OptimizationParams,
    *,
    augmentation: Augmentation = NO_AUGMENTATION,
    snapshot: Snapshot | None = None,
    on_epoch: Callable[[Progress], None] = lambda progress: None,
    on_step: Callable[[], None] = lambda: None,
) -> TrainingResult:
    """Train `model` in place and keep the weights of the epoch with the best validation accuracy.

    Args:
        model: on the device of the tensors.
        train_inputs, val_inputs: what the network is fed, float32 [N, channels, H, W].
        train_labels, val_labels: int64 [N].
        settings: `OptimizationParams`, or any object with its attributes; what its `augment` names is given
            as `augmentation`.
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
        torch.manual_seed(derived_seed(settings.seed, "dropout"))
        model.lay_out_for_training()
        tensors = train_inputs, train_labels, val_inputs, val_labels
        training = Training(SingleNetwork([model], [settings]), tensors, augmentation)
        if snapshot:
            training.restore(snapshot)
        training.run(lambda _: on_epoch(training.progress()), on_step)
    (result,) = training.results
    if isinstance(result, DivergenceError):
        raise result
    return result


def _refuse_single_images(model: nn.Module, count: int, batch_size: int) -> None:
    normalised = any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in model.modules())
    if normalised and (batch_size == 1 or count % batch_size == 1):
        another = next(size for size in range(batch_size + 1, count + 2) if count % size != 1)
        raise UserError(
            f"batch_size: {batch_size} leaves one of the {count:,} training images for the last batch, too "
            f"few for batch norm; expected with this model: another size, such as {another}"
        )


def _accuracies(logits: Tensor, labels: Tensor) -> list[float]:
    """The accuracy of each network by its logits, float [K, N, C]."""
    return [correct / len(labels) for correct in (logits.argmax(2) == labels).sum(1).tolist()]


def _mean_loss(step_losses: Sequence[float], count: int, batch_size: int) -> float:
    """The mean over images of the losses of an epoch's steps; its last batch may be smaller."""
    mean = 0.0
    for number, loss in enumerate(step_losses):
        mean += loss * min(batch_size, count - number * batch_size) / count
    return mean


def _global_generators(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state()]
    if device.type != "cpu":
        states.append(torch.get_device_module(device).get_rng_state())
    return states


def _set_global_generators(device: torch.device, states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if device.type != "cpu":
        torch.get_device_module(device).set_rng_state(states[1])
