"""What the study of the benchmark trains on, chooses by and tests with."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from src.data.splits import Split
from src.params import Params, PrepareParams, TrainParams
from src.runtime.errors import UserError
from src.training import resumable
from src.training.from_splits import train_on_splits
from studies.benchmark import crossval, page
from studies.benchmark import run as benchmark_run
from studies.benchmark.recipes import FOLDER
from studies.benchmark.run import _run
from tests.conftest import ROOT, bright_squares

CPU = torch.device("cpu")


@pytest.fixture
def settings(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[PrepareParams, TrainParams]:
    monkeypatch.chdir(tmp_path)
    values = params.model_dump() | {"epochs": 3, "batch_size": 16}
    data, training = (
        group.model_validate({key: values[key] for key in group.model_fields})
        for group in (PrepareParams, TrainParams)
    )
    assert isinstance(data, PrepareParams)
    assert isinstance(training, TrainParams)
    return data, training


def test_a_run_is_not_chosen_by_its_test_images(settings: tuple[PrepareParams, TrainParams]) -> None:
    train, val, test = bright_squares(20), bright_squares(5, seed=1), bright_squares(5, seed=2)
    rows: list[dict[str, Any]] = []
    for tested in (test, replace(test, labels=(test.labels + 1) % 4)):
        with _run((train, val, tested), *settings, CPU) as (row, _):
            rows.append(row)
    for key in ("val_accuracy", "best_epoch"):
        assert rows[0][key] == rows[1][key]
    assert rows[0]["test_loss"] != rows[1]["test_loss"]


def test_a_run_has_the_accuracy_of_its_best_epoch(settings: tuple[PrepareParams, TrainParams]) -> None:
    data, training = settings
    training = training.model_copy(
        update={"optimizer": "SGD", "lr": 0.2, "schedule": "constant", "epochs": 8, "ema": 0.0}
    )
    train, val, test = bright_squares(20), bright_squares(5, seed=1), bright_squares(5, seed=2)
    _, result = train_on_splits(train, val, training.network(), training, CPU)
    last, best = result.history[-1], result.best
    assert (last.epoch, last.val_accuracy) != (best.epoch, best.val_accuracy)
    with _run((train, val, test), data, training, CPU) as (row, _):
        assert (row["best_epoch"], row["val_accuracy"]) == (best.epoch, best.val_accuracy)


def test_its_checkpoints_are_of_its_images(
    settings: tuple[PrepareParams, TrainParams], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []

    def key(facts: dict[str, Any], *_: object) -> str:
        seen.append(facts)
        raise KeyboardInterrupt

    monkeypatch.setattr(resumable, "training_key", key)
    splits = bright_squares(20), bright_squares(5, seed=1), bright_squares(5, seed=2)
    with pytest.raises(KeyboardInterrupt), _run(splits, *settings, CPU):
        pass
    assert {"dataset", "split_seed", "val_fraction", "lr"} <= seen[0].keys()


@pytest.mark.parametrize("seeds", ["0", "-1"])
def test_no_seeds_are_refused(seeds: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["run", "digits-lenet5-plain", seeds])
    with pytest.raises(UserError, match=rf"^SEEDS: {seeds} is invalid; expected an integer ≥ 1$"):
        benchmark_run.main()


@pytest.mark.parametrize("content", ["<<<<<<< HEAD\n", "[]\n"])
def test_rows_that_cannot_be_read_are_named(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = (ROOT / FOLDER / "recipes/digits-lenet5-plain.json").resolve()
    monkeypatch.chdir(tmp_path)
    (FOLDER / "runs").mkdir(parents=True)
    (FOLDER / "runs/digits-lenet5-plain.json").write_text(content)
    with pytest.raises(
        UserError, match=r"runs/digits-lenet5-plain.json: damaged; delete it to run all of its"
    ):
        benchmark_run.run_seeds("digits-lenet5-plain", recipe, 1)


def test_rows_of_another_recipe_are_run_again_and_of_fewer_seeds_fewer_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = json.loads((ROOT / FOLDER / "recipes/digits-lenet5-plain.json").read_text())
    monkeypatch.chdir(tmp_path)
    ran, accuracy = list[int](), 0.9

    @contextmanager
    def trained(_: object, __: object, params: TrainParams, ___: object) -> Iterator[tuple[Any, Any]]:
        ran.append(params.seed)
        yield {"lr": params.lr, "test_accuracy": accuracy}, {}

    monkeypatch.setattr(benchmark_run, "split_dataset", lambda data: ())
    monkeypatch.setattr(benchmark_run, "_run", trained)

    def rates(seeds: int, code: str = "old", **changed: object) -> dict[str, float]:
        ran.clear()
        Path("a.json").write_text(json.dumps({"params": recipe["params"] | changed, "code": code}))
        benchmark_run.run_seeds("a", Path("a.json"), seeds)
        found = json.loads((FOLDER / "runs/a.json").read_text())["rows"]
        return {seed: row["lr"] for seed, row in found.items()}

    assert (rates(2), ran) == ({"0": 0.005, "1": 0.005}, [0, 1])
    assert (rates(1), ran) == ({"0": 0.005}, [])
    assert (rates(2, lr=0.5), ran) == ({"0": 0.5, "1": 0.5}, [0, 1])
    assert (rates(3, lr=0.5), ran) == ({"0": 0.5, "1": 0.5, "2": 0.5}, [2])
    # Other code with the same results is confirmed by the first seed.
    assert (rates(3, "new", lr=0.5), ran) == ({"0": 0.5, "1": 0.5, "2": 0.5}, [0])
    assert (rates(3, "new", lr=0.5), ran) == ({"0": 0.5, "1": 0.5, "2": 0.5}, [])
    accuracy = 0.8
    assert (rates(3, "newer", lr=0.5), ran) == ({"0": 0.5, "1": 0.5, "2": 0.5}, [0, 1, 2])


def test_cross_validation_sees_no_test_image(monkeypatch: pytest.MonkeyPatch) -> None:
    splits, seen = [bright_squares(3, seed=seed) for seed in range(3)], list[Split]()

    def folds(part: Split, *_: object) -> nullcontext[None]:
        seen.append(part)
        return nullcontext()

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(crossval, "split_dataset", lambda params: splits)
    monkeypatch.setattr(crossval, "cross_validation", folds)
    monkeypatch.setattr(crossval, "write", lambda *_: None)
    crossval.main()
    assert np.array_equal(seen[0].images, np.concatenate([split.images for split in splits[:2]]))


def test_the_readme_shows_what_validation_prefers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    FOLDER.mkdir(parents=True)
    (FOLDER / "summary.csv").write_text(
        "dataset,model,recipe,val_accuracy_mean,test_accuracy_mean\n"
        "MNIST,lenet5,preferred,0.99,0.98\nMNIST,lenet5,other,0.98,0.99\n"
    )
    recipe = {"dataset": "MNIST", "model": "lenet5"}
    monkeypatch.setattr(page, "read_recipes", lambda: {"preferred": recipe, "other": recipe})
    assert "NAME=preferred`" in page.best()
    assert "NAME=other`" not in page.best()
