from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

import src.networks.lenet5
import stages.train
from src.data.splits import save_split
from src.params import Params, TrainParams
from src.runtime.devices import environment
from src.runtime.files import GrowingTable
from src.runtime.paths import TRAIN_SPLIT, VAL_SPLIT
from src.training import resumable
from src.training.history import Epoch, Step, TrainingResult
from src.training.loop import Progress
from src.training.resumable import CHECKPOINTS, resumable_training
from tests.conftest import bright_squares, changed

CPU = torch.device("cpu")


@pytest.fixture
def training(params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainParams:
    monkeypatch.chdir(tmp_path)
    return TrainParams.model_validate(
        params.model_dump(include=set(TrainParams.model_fields)) | {"epochs": 4, "batch_size": 16}
    )


def stored() -> list[str]:
    return sorted(path.name for path in CHECKPOINTS.glob("*/*.ckpt"))


def run(
    training: TrainParams,
    shown: list[int],
    *,
    stop_at: int | None = None,
    facts: dict[str, object] | None = None,
) -> TrainingResult:
    def on_epoch(progress: Progress) -> None:
        shown.append(progress.history[-1].epoch)
        if shown[-1] == stop_at:
            raise KeyboardInterrupt

    with resumable_training(
        training, bright_squares(20), bright_squares(5, seed=1), CPU, facts=facts, on_epoch=on_epoch
    ) as (_, result):
        return result


def test_goes_on_after_an_interruption_and_leaves_nothing(training: TrainParams) -> None:
    undisturbed = run(training, shown := [])
    assert shown == [0, 1, 2, 3, 4]
    assert not stored()
    with pytest.raises(KeyboardInterrupt):
        run(training, [], stop_at=2)
    assert stored()[-1] == "epoch-0000002.ckpt"
    resumed = run(training, shown := [])
    assert shown == [2, 3, 4]
    assert resumed.history == undisturbed.history
    for name, weights in undisturbed.weights.items():
        assert torch.equal(weights, resumed.weights[name])
    assert not stored()


def test_what_is_done_with_the_result_may_fail_without_losing_the_training(training: TrainParams) -> None:
    splits = bright_squares(20), bright_squares(5, seed=1)
    with pytest.raises(OSError, match="disk full"), resumable_training(training, *splits, CPU):
        raise OSError("disk full")
    run(training, shown := [])
    assert shown == [4], "the finished training is taken as it is"


def test_another_fact_or_parameter_is_another_training(training: TrainParams) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(training, [], stop_at=2, facts={"fold": 1})
    run(training, shown := [], facts={"fold": 2})
    assert shown[0] == 0
    run(training.model_copy(update={"lr": 0.002}), shown := [], facts={"fold": 1})
    assert shown[0] == 0
    run(training, shown := [], facts={"fold": 1})
    assert shown[0] == 2


OTHERS: dict[str, object] = {
    "model": "convnet",
    "input": "resize",
    "activation": "Tanh",
    "pooling": "avg",
    "init": "kaiming_normal",
    "optimizer": "SGD",
    "schedule": "cosine",
    "augment": "shift_flip",
}


def key(training: TrainParams, **changes: object) -> str:
    """The key of a training, by the name of its checkpoints after an interruption before its first step."""
    shutil.rmtree(CHECKPOINTS, ignore_errors=True)
    with pytest.raises(KeyboardInterrupt):
        run(changed(training, **changes), [], stop_at=0)
    (folder,) = {path.parent for path in CHECKPOINTS.glob("*/*.ckpt")}
    return folder.name


def test_the_stage_names_both_of_its_splits(
    training: TrainParams, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("params.yaml").write_text(json.dumps(params.model_dump()))
    for path in (TRAIN_SPLIT, VAL_SPLIT):
        save_split(bright_squares(5), path)
    named: list[object] = []

    def key(_: object, files: Sequence[Path]) -> str:
        named.extend(files)
        raise KeyboardInterrupt

    monkeypatch.setattr(resumable, "training_key", key)
    with pytest.raises(KeyboardInterrupt):
        stages.train.main()
    assert named == [TRAIN_SPLIT, VAL_SPLIT]


@pytest.mark.parametrize("name", TrainParams.model_fields)
def test_every_parameter_makes_another_key(training: TrainParams, name: str) -> None:
    value = getattr(training, name)
    other = OTHERS[name] if isinstance(value, str) else value + (1 if isinstance(value, int) else 0.001)
    assert key(training) == key(training) != key(training, **{name: other})


def test_the_first_training_of_a_process_has_the_key_of_the_others(
    training: TrainParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The module of a network is loaded when it is first asked for.
    monkeypatch.setattr(src.networks, training.model, None)
    monkeypatch.delitem(sys.modules, f"src.networks.{training.model}")
    assert key(training) == key(training)


def test_threads_make_another_key(training: TrainParams) -> None:
    before, threads = key(training), torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        assert key(training) != before
    finally:
        torch.set_num_threads(threads)


# What one machine cannot be by itself: another device, processor or version of a library.
@pytest.mark.parametrize("fact", ["device", "bits", "python", "torch", "numpy", "threads"])
def test_every_fact_of_the_machine_makes_another_key(
    training: TrainParams, fact: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, here = key(training), environment(CPU)
    assert set(here) == {"device", "bits", "python", "torch", "numpy", "threads"}
    monkeypatch.setattr(resumable, "environment", lambda device: here | {fact: "another"})
    assert key(training) != before


def test_every_data_file_makes_another_key(training: TrainParams, tmp_path: Path) -> None:
    def folders() -> set[str]:
        return {path.parent.name for path in CHECKPOINTS.glob("*/*.ckpt")}

    files = [tmp_path / "train.npz", tmp_path / "val.npz"]
    splits = bright_squares(20), bright_squares(5, seed=1)
    for file in files:
        file.write_bytes(b"images")
    for count, changed_file in enumerate([None, *files], start=1):
        if changed_file:
            changed_file.write_bytes(b"Images")
        with pytest.raises(OSError, match="full"), resumable_training(training, *splits, CPU, files=files):
            raise OSError("full")
        assert len(folders()) == count


@pytest.mark.slow
def test_the_thousandth_epoch_takes_no_longer_than_the_tenth(training: TrainParams, tmp_path: Path) -> None:
    """In processor time, with all that the stage writes after an epoch; Digits has as many steps an epoch."""
    params = training.model_copy(update={"epochs": 2000, "batch_size": 64})
    history, steps = GrowingTable(tmp_path / "history.csv", Epoch), GrowingTable(tmp_path / "steps.csv", Step)
    ends: list[float] = []

    def on_epoch(progress: Progress) -> None:
        history.update(progress.history)
        steps.update(progress.steps)
        ends.append(time.process_time())
        if len(ends) > 1010:
            raise KeyboardInterrupt

    splits = bright_squares(300), bright_squares(5, seed=1)
    with pytest.raises(KeyboardInterrupt), resumable_training(params, *splits, CPU, on_epoch=on_epoch):
        pass
    seconds = np.diff(ends)
    assert np.median(seconds[990:]) < 1.1 * np.median(seconds[5:25])
