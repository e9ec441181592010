"""Searches in rounds, on images that a network learns in a few steps."""

from __future__ import annotations

import io
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from src.params import Params, RunParams
from src.runtime.processor import cores
from src.tune.engine import Problem
from src.tune.search_space import Domain
from src.tune.trials import DIVERGED_ACCURACY, Trial, best_first, table
from tests.conftest import bright_squares

optuna = pytest.importorskip("optuna", reason="pip install -r requirements-tune.txt")

from src.tune.vectorized_search import VectorizedEngine, propose  # noqa: E402

STARTUP = 10  # random proposals of Optuna's TPE
ENGINE = VectorizedEngine(at_once=5, device=torch.device("cpu"))


@pytest.fixture
def problem(params: Params, tmp_path: Path) -> Problem:
    """One in which SGD learns nothing with a small learning rate, and diverges with a large one."""
    base = params.model_dump(include=set(RunParams.model_fields))
    base |= {"epochs": 2, "batch_size": 10, "optimizer": "SGD", "dropout": 0.0}
    splits = (bright_squares(20), bright_squares(25, seed=1))
    return Problem({"lr": Domain("log_uniform", (1e-4, 1e3))}, base, splits, tmp_path)


def test_its_threads_are_those_of_its_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    try:
        monkeypatch.delenv("LENET_THREADS", raising=False)
        VectorizedEngine.set_up(at_once=1)
        assert torch.get_num_threads() == cores()
        assert "LENET_THREADS" not in os.environ, "an experiment that --apply starts would have them, too"
        monkeypatch.setenv("LENET_THREADS", "1")
        VectorizedEngine.set_up(at_once=1)
        assert (torch.get_num_threads(), os.environ["LENET_THREADS"]) == (1, "1")
    finally:
        torch.set_num_threads(before)


def test_a_search_climbs_and_keeps_away_from_what_diverged(problem: Problem) -> None:
    trials = ENGINE.search(problem, samples=30, seed=0)
    assert [trial.trial for trial in trials] == list(range(1, 31))
    diverged = np.array([trial.status == "diverged" for trial in trials])
    accuracy = np.array([trial.val_accuracy or DIVERGED_ACCURACY for trial in trials])
    random, later = slice(STARTUP), slice(2 * STARTUP, None)
    assert diverged[random].mean() >= 0.5, "much of the space diverges"
    assert diverged[later].mean() <= 0.2
    assert accuracy[later].mean() > accuracy[random].mean() + 0.2
    assert accuracy[later].max() >= accuracy[random].max()
    assert best_first(trials)[0].val_accuracy == accuracy.max()


def test_a_seed_repeats_the_proposals(problem: Problem, tmp_path: Path) -> None:
    def rates(seed: int) -> list[float]:
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        again = Problem(problem.space, problem.base, problem.splits, folder)
        return [trial.values["lr"] for trial in ENGINE.search(again, samples=20, seed=seed)]

    first = rates(0)
    assert rates(0) == first
    assert len(set(first)) == 20
    assert not set(rates(1)) & set(first)


def test_a_trial_that_diverged_has_a_row_without_measures(problem: Problem) -> None:
    problem.space["lr"] = Domain("choice", (30.0, 0.01))
    trials = ENGINE.search(problem, samples=5, seed=0)
    diverged = [trial for trial in trials if trial.status == "diverged"]
    finished = [trial for trial in trials if trial.status == "finished"]
    assert diverged
    assert finished
    assert len(diverged) + len(finished) == 5
    for trial in diverged:
        assert trial.values["lr"] == 30.0
        assert trial.message.startswith(f"epoch {trial.epochs + 1}: the ")
        assert trial.message.endswith("try a smaller lr")
        assert trial.val_accuracy is trial.val_loss is trial.train_loss is trial.best_epoch is None
    for trial in finished:
        assert (trial.epochs, trial.message) == (2, "")
        assert trial.val_accuracy is not None


class CtrlC(io.StringIO):
    """Standard error on which Ctrl-C is typed once a line appears."""

    def __init__(self, line: str) -> None:
        super().__init__()
        self.line = line

    def write(self, text: str) -> int:
        if self.line in text:
            self.line = "typed once"
            os.kill(os.getpid(), signal.SIGINT)
        return super().write(text)


def test_interrupted_a_round_is_unfinished_and_the_one_before_it_is_kept(
    problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem.space["lr"] = Domain("uniform", (0.001, 0.01))
    problem.base["epochs"] = 9
    engine = replace(ENGINE, at_once=2)
    monkeypatch.setattr(sys, "stderr", CtrlC("trials 3 to 4 of 4: epoch 3/9"))
    # Whoever runs the tests in the background may have had Ctrl-C ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    trials = engine.search(problem, samples=4, seed=0)
    signal.signal(signal.SIGINT, before)
    rows = table(trials)
    assert rows["trial"].tolist() == [1, 2, 3, 4]
    assert rows["status"].tolist() == ["finished", "finished", "unfinished", "unfinished"]
    unfinished = rows[rows["status"] == "unfinished"]
    assert unfinished["epochs"].max() >= 3
    assert unfinished["epochs"].between(0, 8).all()
    assert unfinished[["val_accuracy", "val_loss", "best_epoch"]].isna().all(axis=None)
    assert unfinished["message"].tolist() == ["", ""]
    assert unfinished["lr"].between(0.001, 0.01).all(), "what was tried"
    assert {trial.trial for trial in best_first(trials)} == {1, 2}
    # The same command trains what is left, and only that.
    resumed = engine.search(problem, samples=4, seed=0)
    assert resumed[:2] == trials[:2]
    assert [trial.values["lr"] for trial in resumed] == [trial.values["lr"] for trial in trials]
    assert table(resumed)["status"].tolist() == ["finished"] * 4


def test_proposals_keep_away_from_trials_that_diverged(problem: Problem) -> None:
    trials = [
        Trial(number, "diverged", problem.base | {"lr": 10.0 + number}, 0, 0.0) for number in range(1, 31)
    ]
    finished = [
        Trial(number, "finished", problem.base | {"lr": 0.001 * number}, 2, 0.0, val_accuracy=0.9)
        for number in range(31, 35)
    ]
    rates = [values["lr"] for values in propose(problem.space, trials + finished, 20, seed=0)]
    assert np.median(rates) < 1
