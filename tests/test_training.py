from __future__ import annotations

import copy
import itertools
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from src.networks.build import build_model, predict_logits
from src.networks.lenet5 import POOLINGS, LeNet5
from src.params import Activation, ModelName, OptimizationParams, Params, choices
from src.runtime.errors import UserError
from src.runtime.seeds import Purpose, derived_seed
from src.training.augmentation import Augmentation
from src.training.checkpoints import Checkpoints
from src.training.from_splits import train_on_splits
from src.training.history import DivergenceError, Epoch, History, Step, TrainingResult
from src.training.loop import NO_AUGMENTATION, Progress, Snapshot, Training, steps_per_epoch, train
from src.training.stack import SingleNetwork
from src.tune.vectorized import LeNet5Stack
from tests.conftest import NETWORK, ROOT, bright_squares, changed

CPU = torch.device("cpu")
OPTIMIZERS = choices("optimizer")
SCHEDULES = choices("schedule")


@pytest.fixture
def settings(params: Params) -> OptimizationParams:
    return params.model_copy(update={"epochs": 3, "batch_size": 12})


def arrays(count: int = 40, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 10
    return torch.randn(count, 1, 32, 32, generator=generator) + labels.view(-1, 1, 1, 1) / 3, labels


def images_for(name: str) -> tuple[Tensor, Tensor]:
    """Images of the size that a network takes, and labels."""
    images, labels = arrays()
    return (images[:, :, 2:-2, 2:-2], labels) if name == "convnet" else (images, labels)


def run(settings: OptimizationParams, network: dict[str, Any] = NETWORK, **callbacks: Any) -> TrainingResult:  # noqa: ANN401
    model = build_model(network, seed=settings.seed)
    return train(model, *arrays(), *arrays(20, seed=1), settings, **callbacks)


@pytest.mark.parametrize(
    ("activation", "pooling", "optimizer", "schedule"),
    [
        *itertools.product(get_args(Activation), POOLINGS, ["SGD"], ["constant"]),
        *itertools.product(["ReLU"], ["max"], OPTIMIZERS, SCHEDULES),
    ],
)
def test_one_step_changes_every_weight(
    settings: OptimizationParams, activation: str, pooling: str, optimizer: str, schedule: str
) -> None:
    one_step = changed(settings, optimizer=optimizer, schedule=schedule, epochs=1, batch_size=1000)
    model = build_model(NETWORK | {"activation": activation, "pooling": pooling}, seed=0)
    before = {name: weights.clone() for name, weights in model.state_dict().items()}
    steps: list[None] = []
    result = train(model, *arrays(), *arrays(20), one_step, on_step=lambda: steps.append(None))
    assert len(steps) == 1
    assert torch.isfinite(torch.tensor(result.history[-1].val_loss))
    for name, weights in model.state_dict().items():
        assert not torch.equal(weights, before[name]), name


def test_history_begins_before_training_and_has_a_row_per_epoch(settings: OptimizationParams) -> None:
    seen: list[Progress] = []
    steps: list[None] = []
    result = run(settings, on_epoch=seen.append, on_step=lambda: steps.append(None))
    assert [row.epoch for row in result.history] == [0, 1, 2, 3]
    assert len(seen) == 4
    assert len(steps) == 3 * 4, "40 images in batches of 12: the last, of 4, is used"
    assert [step.step for step in seen[-1].steps] == list(range(1, 13))
    assert [step.epoch for step in seen[-1].steps] == [1] * 4 + [2] * 4 + [3] * 4

    inputs, labels = arrays()
    untrained = predict_logits(build_model(NETWORK, seed=settings.seed), inputs)
    first = result.history[0]
    assert first.train_loss == pytest.approx(float(torch.nn.functional.cross_entropy(untrained, labels)))
    assert first.train_accuracy == pytest.approx(float((untrained.argmax(1) == labels).double().mean()))
    sizes = [12, 12, 12, 4]
    expected = sum(step.train_loss * n for step, n in zip(seen[-1].steps[:4], sizes, strict=True)) / 40
    assert result.history[1].train_loss == pytest.approx(expected)


def test_the_row_of_an_epoch_by_hand(settings: OptimizationParams) -> None:
    """Its rate is that of the last step; its accuracy, that of the images as each step met them."""
    inputs, labels = arrays()
    for schedule, rate, last in (("onecycle", 0.1, 0.1 * 4e-6), ("constant", 1e-12, 1e-12)):
        result = run(changed(settings, schedule=schedule, lr=rate, optimizer="SGD", dropout=0.0))
        assert result.history[-1].lr == pytest.approx(last)
    # So small a rate leaves the weights as they were, also before the last batch, of 4 images.
    right = predict_logits(build_model(NETWORK, seed=settings.seed), inputs).argmax(1) == labels
    assert 0 < right.sum() < len(labels)
    assert result.history[1].train_accuracy == pytest.approx(right.double().mean().item())


def test_a_validation_loss_that_is_not_finite_ends_a_training(settings: OptimizationParams) -> None:
    history = History(settings)
    row = Epoch(epoch=1, lr=0.1, train_loss=1.0, val_loss=float("inf"), train_accuracy=0.5, val_accuracy=0.5)
    history.add(row, [], build_model(NETWORK, seed=0))
    assert str(history.divergence).startswith("epoch 1: the validation loss is inf with lr: ")


def test_gradients_are_no_longer_than_clip_norm(settings: OptimizationParams) -> None:
    one_step = changed(settings, optimizer="SGD", momentum=0.0, weight_decay=0.0, schedule="constant", lr=1.0)
    one_step = changed(one_step, epochs=1, batch_size=1000, clip_norm=0.01, ema=0.0, warmup_epochs=0)
    model = build_model(NETWORK, seed=0)
    before = [weights.detach().clone() for weights in model.parameters()]
    train(model, *arrays(), *arrays(20), one_step)
    moved = [weights - old for weights, old in zip(model.parameters(), before, strict=True)]
    length = torch.stack([each.norm() for each in moved]).norm().item()
    assert length == pytest.approx(0.01, rel=1e-3)


def test_validation_accuracy_decides_and_loss_between_equals() -> None:
    row = Epoch(epoch=1, lr=0.1, train_loss=1, val_loss=0.5, train_accuracy=0.5, val_accuracy=0.5)
    assert replace(row, val_accuracy=0.6, val_loss=9).better_than(row)
    assert not replace(row, val_accuracy=0.4, val_loss=0).better_than(row)
    assert replace(row, val_loss=0.4).better_than(row)
    assert not row.better_than(row)


def test_kept_weights_are_those_of_the_best_epoch(settings: OptimizationParams) -> None:
    # A rate this high loses what was learnt again and again, so that the best epoch is not the last.
    settings = changed(settings, optimizer="SGD", lr=0.12, schedule="constant", epochs=12)
    result = run(settings)
    best = max(result.history, key=lambda row: (row.val_accuracy, -row.val_loss))
    assert result.best == best
    assert best.epoch < 12
    model = LeNet5()
    model.load_state_dict(result.weights)
    inputs, labels = arrays(20, seed=1)
    logits = predict_logits(model.to(memory_format=torch.channels_last), inputs)
    assert float((logits.argmax(1) == labels).double().mean()) == best.val_accuracy
    assert float(torch.nn.functional.cross_entropy(logits, labels)) == pytest.approx(best.val_loss, rel=1e-5)


def test_same_seed_same_bits_other_seed_other_bits(settings: OptimizationParams) -> None:
    network = NETWORK | {"dropout": 0.3, "activation": "RReLU"}
    torch.manual_seed(1)
    first = run(settings, network)
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    again = run(settings, network)
    assert torch.equal(torch.random.get_rng_state(), before), "the caller's random state is left as it was"
    other = run(changed(settings, seed=settings.seed + 1), network)
    assert first.history == again.history
    assert first.history != other.history
    for name, weights in first.weights.items():
        assert torch.equal(weights, again.weights[name])


def test_momentum_acts_for_sgd_and_rmsprop_and_weight_decay_for_all(settings: OptimizationParams) -> None:
    for optimizer in OPTIMIZERS:
        plain = run(changed(settings, optimizer=optimizer, momentum=0.0, weight_decay=0.0)).history
        momentum = run(changed(settings, optimizer=optimizer, momentum=0.5, weight_decay=0.0)).history
        decay = run(changed(settings, optimizer=optimizer, momentum=0.0, weight_decay=0.1)).history
        assert (plain != momentum) == (optimizer in ("SGD", "RMSprop")), optimizer
        assert plain != decay, optimizer


@pytest.mark.parametrize("batch_size", [1, 39, 40, 10**9])
def test_any_batch_size_works(settings: OptimizationParams, batch_size: int) -> None:
    result = run(changed(settings, batch_size=batch_size, epochs=1, lr=1e-4))
    assert len(result.history) == 2


def test_divergence_names_the_epoch_and_the_learning_rate(settings: OptimizationParams) -> None:
    seen: list[Progress] = []
    with pytest.raises(
        DivergenceError, match=r"^epoch 1: the training loss is (nan|inf) with lr: 1e\+20"
    ) as stop:
        run(changed(settings, optimizer="SGD", lr=1e20, schedule="constant"), on_epoch=seen.append)
    assert "\n" not in str(stop.value)
    assert [progress.history[-1].epoch for progress in seen] == [0], "the diverged epoch is not reported"


def test_learns_from_splits_and_knows_how_to_feed_the_network(settings: OptimizationParams) -> None:
    network = NETWORK | {"input": "pad"}
    settings = changed(settings, epochs=6, lr=0.003, seed=5)
    train_split, val_split = bright_squares(40), bright_squares(10, seed=1)
    model, result = train_on_splits(train_split, val_split, network, settings, CPU)
    assert result.best.val_accuracy == 1
    assert model.seed == 5
    assert (model.dataset, model.class_names) == ("Squares", train_split.class_names)
    logits = predict_logits(model.build(), model.prepare_input(torch.from_numpy(val_split.images)))
    assert logits.shape == (40, 4)
    assert (logits.argmax(1).numpy() == val_split.labels).all()


def test_early_stopping_ends_after_as_many_epochs_without_a_better_one(settings: OptimizationParams) -> None:
    settings = changed(settings, optimizer="SGD", lr=0.12, schedule="constant", epochs=12)
    whole = run(settings)
    stopped = run(changed(settings, patience=2))
    last = len(stopped.history) - 1
    assert last < 12
    assert stopped.history == whole.history[: last + 1]
    assert stopped.best.epoch == last - 2


def averaged_by_hand(weights: list[dict[str, Tensor]], ema: float) -> dict[str, Tensor]:
    """The average after each of some steps; first the initial weights, then those after each step."""
    averages = {name: tensor.double() for name, tensor in weights[0].items()}
    for step, now in enumerate(weights[1:], start=1):
        decay = min(ema, (1 + step) / (10 + step))
        for name, tensor in now.items():
            averages[name] = decay * averages[name] + (1 - decay) * tensor.double()
    return averages


def assert_averaged(found: dict[str, Tensor], weights: list[dict[str, Tensor]], ema: float) -> None:
    for name, expected in averaged_by_hand(weights, ema).items():
        if name.endswith("num_batches_tracked"):
            assert found[name] == weights[-1][name] == len(weights) - 1
            continue
        torch.testing.assert_close(found[name].double(), expected, rtol=1e-4, atol=1e-6)
        assert not torch.allclose(found[name], weights[-1][name], rtol=1e-4, atol=1e-6), name


def cloned(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


# Of 8 steps the first two have a lower decay than 0.3, and the last of all a lower one than 0.99.
@pytest.mark.parametrize("ema", [0.3, 0.99])
@pytest.mark.parametrize("name", ["lenet5", "convnet"])
def test_the_moving_average_by_hand_also_after_resuming(
    settings: OptimizationParams, name: str, ema: float
) -> None:
    settings = changed(settings, optimizer="SGD", lr=0.05, schedule="constant", ema=ema, epochs=2)
    images, labels = images_for(name)
    model = build_model(NETWORK | {"model": name}, seed=0)
    weights, snapshots = [cloned(model)], list[Snapshot]()
    train(
        *(model, images, labels, images, labels, settings),
        on_step=lambda: weights.append(cloned(model)),
        on_epoch=lambda now: snapshots.append(copy.deepcopy(now.snapshot())),
    )
    assert len(weights) == 1 + 2 * 4
    assert_averaged(snapshots[1].state.ema_model, weights[:5], ema)
    assert_averaged(snapshots[2].state.ema_model, weights, ema)
    resumed: list[Snapshot] = []
    train(
        *(build_model(NETWORK | {"model": name}, seed=9), images, labels, images, labels, settings),
        snapshot=snapshots[1],
        on_epoch=lambda now: resumed.append(copy.deepcopy(now.snapshot())),
    )
    assert_averaged(resumed[-1].state.ema_model, weights, ema)


def test_the_moving_average_of_a_stack_by_hand(settings: OptimizationParams) -> None:
    both = [changed(settings, ema=0.3, epochs=2, lr=lr) for lr in (0.01, 0.001)]
    networks = [build_model(NETWORK, seed=seed) for seed in (0, 1)]
    training = Training(LeNet5Stack(networks, both), (*arrays(), *arrays(20, seed=1)), NO_AUGMENTATION)
    weights = [[cloned(network)] for network in networks]

    def on_step() -> None:
        for network, collected in zip(networks, weights, strict=True):
            collected.append(cloned(network))

    training.run(lambda _: None, on_step)
    assert training.average
    for network, collected in zip(training.average.stack.networks, weights, strict=True):
        assert len(collected) == 1 + 2 * 4
        assert_averaged(network.state_dict(), collected, 0.3)


def test_the_moving_average_is_evaluated_and_kept(settings: OptimizationParams) -> None:
    settings = changed(settings, optimizer="SGD", lr=0.05, schedule="constant", ema=0.9, epochs=1)
    model = build_model(NETWORK, seed=settings.seed)
    averages: list[dict[str, Tensor]] = []
    result = train(
        *(model, *arrays(), *arrays(20, seed=1), settings),
        on_epoch=lambda now: averages.append(copy.deepcopy(now.snapshot().state.ema_model)),
    )
    assert result.best.epoch == 1
    assert all(torch.equal(result.weights[name], average) for name, average in averages[1].items())
    inputs, labels = arrays(20, seed=1)
    model.load_state_dict(result.weights)
    accuracy = float((predict_logits(model, inputs).argmax(1) == labels).double().mean())
    assert accuracy == result.best.val_accuracy


@pytest.mark.parametrize("name", get_args(ModelName))
def test_epoch_0_has_the_loss_of_the_epochs_after_it(settings: OptimizationParams, name: str) -> None:
    images, labels = images_for(name)
    model = build_model(NETWORK | {"model": name}, seed=0)
    logits = predict_logits(model, images).double().numpy()
    smoothed = changed(settings, epochs=1, label_smoothing=0.2)
    first = train(model, images, labels, images, labels, smoothed).history[0]

    cross_entropies, losses = [], []
    for values, label in zip(logits, labels, strict=True):
        total = np.log(np.exp(values).sum())
        cross_entropies.append(total - values[label])
        # Equation 9 of LeCun et al. 1998, of distances, has the constant class of j = 40 besides.
        competing = np.log(np.exp(-40.0) + np.exp(values).sum()) if name == "lenet5_1998" else total
        losses.append(competing - 0.8 * values[label] - 0.2 * values.mean())
    assert first.train_loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert first.val_loss == pytest.approx(np.mean(cross_entropies), rel=1e-5)


def test_every_purpose_has_its_own_generator(settings: OptimizationParams) -> None:
    settings = changed(settings, seed=5, epochs=1)
    seeds = {purpose: derived_seed(5, purpose) for purpose in get_args(Purpose)}
    tensors = (*arrays(), *arrays(20, seed=1))
    model = build_model(NETWORK, seed=5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeds["initial weights"])
        assert torch.equal(LeNet5().conv1.weight, model.conv1.weight)
    dropout: set[int] = set()
    train(model, *tensors, settings, on_step=lambda: dropout.add(torch.initial_seed()))
    assert dropout == {seeds["dropout"]}
    pair = [LeNet5(), LeNet5()]
    for stack in (SingleNetwork([model], [settings]), LeNet5Stack(pair, [settings, settings])):
        training = Training(stack, tensors, NO_AUGMENTATION)
        assert [each.initial_seed() for each in training.batch_generators] == [seeds["batch order"]]
        assert [each.initial_seed() for each in training.augment_generators] == [seeds["augmentation"]]


def test_gradients_are_clipped_smoothing_and_augmentation_act(settings: OptimizationParams) -> None:
    plain = run(settings).history
    for change in ({"clip_norm": 0.01}, {"label_smoothing": 0.1}, {"warmup_epochs": 2}, {"ema": 0.5}):
        assert run(changed(settings, **change)).history != plain, change
    assert run(changed(settings, clip_norm=1e9)).history == plain
    affine = Augmentation("affine", background=0.0, mirrored=False)
    assert run(settings, augmentation=affine).history != plain
    assert run(settings, augmentation=affine).history == run(settings, augmentation=affine).history


def test_a_batch_of_one_image_is_refused_where_batch_norm_would_fail(settings: OptimizationParams) -> None:
    network = NETWORK | {"model": "convnet"}
    inputs, labels = arrays()
    images = inputs[:, :, 2:-2, 2:-2]
    for batch_size, another in ((1, 2), (39, 40), (13, 14)):
        model = build_model(network, seed=0)
        said = f"batch_size: {batch_size} leaves one of the 40 .* another size, such as {another}$"
        with pytest.raises(UserError, match=said):
            train(model, images, labels, images, labels, changed(settings, batch_size=batch_size))
    train(build_model(network, seed=0), images, labels, images, labels, changed(settings, batch_size=38))


# Everything that a snapshot has to hold besides what every training has.
RECIPE = {"ema": 0.9, "augment": "affine", "warmup_epochs": 1, "label_smoothing": 0.1, "clip_norm": 1.0}


@pytest.mark.parametrize(
    ("optimizer", "schedule", "activation"),
    [
        *itertools.product(OPTIMIZERS, SCHEDULES, ["ReLU"]),
        ("AdamW", "onecycle", "RReLU"),
        ("SGD", "cosine", "PReLU"),
    ],
)
@pytest.mark.parametrize(
    "recipe", [pytest.param({}, id="plain", marks=pytest.mark.slow), pytest.param(RECIPE, id="recipe")]
)
def test_goes_on_from_any_epoch_as_if_it_had_never_stopped(
    settings: OptimizationParams,
    tmp_path: Path,
    recipe: dict[str, Any],
    optimizer: str,
    schedule: str,
    activation: str,
) -> None:
    settings = changed(settings, optimizer=optimizer, schedule=schedule, epochs=4, lr=0.01, **recipe)
    network = NETWORK | {"activation": activation, "dropout": 0.3}
    augmentation = Augmentation(settings.augment, background=0.0, mirrored=True)
    losses: list[list[Step]] = []
    checkpoints = Checkpoints(tmp_path / "checkpoints")

    def save(now: Progress) -> None:
        losses.append(now.steps)
        checkpoints.save(now.snapshot())
        # What is there where a process is killed now.
        shutil.copytree(checkpoints.folder, tmp_path / str(now.history[-1].epoch))

    whole = run(settings, network, augmentation=augmentation, on_epoch=save)
    for stopped_after in range(5):
        torch.manual_seed(stopped_after)  # another process has another global state
        told: list[int] = []
        snapshot = Checkpoints(tmp_path / str(stopped_after)).latest()
        assert snapshot is not None
        assert snapshot.history == whole.history[: stopped_after + 1]
        steps: list[list[Step]] = []

        def on_epoch(now: Progress, epochs: list[int] = told, losses: list[list[Step]] = steps) -> None:
            epochs.append(now.history[-1].epoch)
            losses.append(now.steps)

        again = run(settings, network, augmentation=augmentation, snapshot=snapshot, on_epoch=on_epoch)
        assert again.history == whole.history
        assert again.best == whole.best
        assert all(torch.equal(again.weights[name], whole.weights[name]) for name in whole.weights)
        assert steps[-1] == losses[-1]
        assert told == list(range(stopped_after, 5)), "no epoch is trained twice"


def test_a_stopped_training_does_not_go_on(settings: OptimizationParams) -> None:
    settings = changed(settings, optimizer="SGD", lr=0.12, schedule="constant", epochs=12, patience=2)
    snapshots: list[Snapshot] = []
    whole = run(settings, on_epoch=lambda now: snapshots.append(copy.deepcopy(now.snapshot())))
    again = run(settings, snapshot=snapshots[-1])
    assert again.history == whole.history


def test_batch_norm_goes_on_as_if_it_had_never_stopped(settings: OptimizationParams) -> None:
    network = NETWORK | {"model": "convnet"}
    inputs, labels = arrays()
    images = inputs[:, :, 2:-2, 2:-2]

    def go(snapshot: Snapshot | None = None) -> tuple[TrainingResult, list[Snapshot]]:
        made: list[Snapshot] = []
        model = build_model(network, seed=0)
        result = train(
            *(model, images, labels, images, labels, changed(settings, ema=0.9)),
            snapshot=snapshot,
            on_epoch=lambda now: made.append(copy.deepcopy(now.snapshot())),
        )
        return result, made

    whole, snapshots = go()
    again, _ = go(snapshots[1])
    assert again.history == whole.history
    assert all(torch.equal(again.weights[name], whole.weights[name]) for name in whole.weights)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("augment", ["affine", "shift_flip"])
def test_no_step_waits_for_the_device(settings: OptimizationParams, augment: str) -> None:
    device = torch.device("cuda")
    model = build_model(NETWORK, seed=0).to(device)
    images, labels = (tensor.to(device) for tensor in arrays())
    steps = steps_per_epoch(len(labels), settings.batch_size)
    taken: list[None] = []

    def forbid_waiting() -> None:
        # From the first epoch's first step (which may set things up) to the one before its last.
        taken.append(None)
        torch.cuda.set_sync_debug_mode("error" if len(taken) % steps else "default")

    settings = changed(settings, epochs=2, **RECIPE | {"augment": augment})
    augmentation = Augmentation(augment, background=0.0, mirrored=True)
    try:
        train(
            *(model, images, labels, images, labels, settings),
            augmentation=augmentation,
            on_step=forbid_waiting,
        )
    finally:
        torch.cuda.set_sync_debug_mode("default")


PYTORCH_ALONE = """
import json, sys, types
for name in ("pydantic", "pydantic_core", "dvc", "filelock", "ruamel", "yaml", "pandas", "sklearn", "psutil"):
    sys.modules[name] = None  # as if it were not installed
import torch
from src.networks.build import build_model
from src.training.loop import train
settings = types.SimpleNamespace(**json.loads(sys.argv[1]))
for model, size in (("lenet5", 32), ("lenet5_1998", 32), ("convnet", 28)):
    network = {"model": model, "activation": "ReLU", "pooling": "max", "dropout": 0.1, "init": "default"}
    images, labels = torch.zeros(20, 1, size, size), torch.arange(20) % 10
    result = train(build_model(network, seed=0), images, labels, images, labels, settings)
    assert len(result.history) == 3
"""


def test_trains_where_only_pytorch_and_numpy_are_installed(settings: OptimizationParams) -> None:
    values = changed(settings, epochs=2, batch_size=10, ema=0.9).model_dump_json()
    command = (sys.executable, "-c", PYTORCH_ALONE, values)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
