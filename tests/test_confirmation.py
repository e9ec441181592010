"""The best trials with further seeds, trained for real."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from src.params import MAX_SEED, Params, RunParams
from src.runtime.errors import UserError
from src.training.from_splits import train_on_splits
from src.tune.__main__ import best_trial, end_where_interrupted, main
from src.tune.confirmation import CANDIDATES, compare_candidates, confirm, refuse_searched_seed
from src.tune.engine import Problem
from src.tune.search_space import Domain
from src.tune.trials import Trial, best_first, table
from tests import committed
from tests.conftest import bright_squares

pytest.importorskip("optuna", reason="pip install -r requirements-tune.txt")

from src.tune.vectorized_search import VectorizedEngine

SPLITS = (bright_squares(20), bright_squares(25, seed=1))
SPACE = {"lr": Domain("log_uniform", (1e-4, 1e-2)), "activation": Domain("choice", ("ReLU", "Tanh"))}


@pytest.fixture
def problem(params: Params, tmp_path: Path) -> Problem:
    base = params.model_dump(include=set(RunParams.model_fields))
    return Problem(SPACE, base | {"epochs": 2, "batch_size": 20, "seed": 3}, SPLITS, tmp_path)


@pytest.fixture
def engine() -> VectorizedEngine:
    return VectorizedEngine(at_once=3, device=torch.device("cpu"))


def test_the_best_are_trained_again_and_compared(
    problem: Problem, engine: VectorizedEngine, tmp_path: Path
) -> None:
    trials = engine.search(problem, samples=5, seed=0)
    repeats = confirm(engine, problem, trials, 2)
    assert [trial.trial for trial in repeats] == list(range(6, 6 + 2 * CANDIDATES))
    ranked = best_first(trials)
    for index, candidate in enumerate(ranked[:CANDIDATES]):
        for repeat, seed in zip(repeats[2 * index : 2 * index + 2], (4, 5), strict=True):
            assert repeat.confirms == candidate.trial
            assert repeat.values == candidate.values | {"seed": seed}
            assert (repeat.status, repeat.epochs) == ("finished", 2)
    assert best_first(trials + repeats) == ranked, "a repeat is no candidate"
    rows = table(trials + repeats)
    assert rows["confirms"].isna().sum() == 5
    largest = replace(problem, base=problem.base | {"seed": MAX_SEED}, folder=tmp_path / "largest")
    assert {repeat.values["seed"] for repeat in confirm(engine, largest, trials, 1)} == {0}

    compared = compare_candidates(trials + repeats)
    assert {int(setting.name) for setting in compared} == {trial.trial for trial in ranked[:CANDIDATES]}
    for setting in compared:
        of_setting = rows[rows["confirms"] == int(setting.name)]["val_accuracy"]
        assert setting.n == 2
        assert setting.mean == pytest.approx(of_setting.mean())
        assert setting.deviation == pytest.approx(of_setting.std())
    assert compared[0].mean == max(setting.mean for setting in compared)

    # What the row says is what a training of these parameters gives.
    params = RunParams(**repeats[0].values)
    alone = train_on_splits(*SPLITS, params.network(), params, torch.device("cpu"))[1]
    assert repeats[0].val_loss == pytest.approx(alone.best.val_loss, rel=1e-2)


def test_a_setting_that_was_tried_twice_is_one_candidate(problem: Problem, engine: VectorizedEngine) -> None:
    trials = engine.search(problem, samples=4, seed=0)
    best = best_first(trials)[0]
    twice = [*trials, replace(best, trial=5), replace(best, trial=6)]
    repeats = confirm(engine, problem, twice, 1)
    assert [repeat.confirms for repeat in repeats] == [each.trial for each in best_first(trials)[:CANDIDATES]]


def test_what_no_training_reads_makes_no_other_candidate(
    problem: Problem, engine: VectorizedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VectorizedEngine, "train", lambda *arguments: [])
    trials = engine.search(problem, samples=1, seed=0)
    for optimizer, candidates in (("Adam", [1]), ("SGD", [1, 2])):
        values = trials[0].values | {"optimizer": optimizer}
        found = [replace(trials[0], trial=i, values=values | {"momentum": i / 4}) for i in (1, 2)]
        assert [repeat.confirms for repeat in confirm(engine, problem, found, 1)] == candidates


def test_killed_between_rounds_it_resumes(
    problem: Problem, engine: VectorizedEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = engine.search(problem, samples=3, seed=0)
    whole = confirm(engine, problem, trials, 2)
    file = problem.folder / "confirm-2.json"
    text = file.read_text()
    file.write_text(text[: text.index("},\n {")] + "}]")  # of the first repeat alone
    capsys.readouterr()
    again = confirm(engine, problem, trials, 2)
    assert "1 of 6 trials were done before" in capsys.readouterr().err
    assert [replace(trial, seconds=0.0, train_loss=0.0, val_loss=0.0) for trial in again] == [
        replace(trial, seconds=0.0, train_loss=0.0, val_loss=0.0) for trial in whole
    ]


def test_repeats_that_an_interruption_kept_from_beginning_are_unfinished(
    problem: Problem, engine: VectorizedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials, train = engine.search(problem, samples=3, seed=0), VectorizedEngine.train
    monkeypatch.setattr(VectorizedEngine, "train", lambda *arguments: train(*arguments)[:2])
    repeats = confirm(engine, problem, trials, 2)
    assert [(each.trial, each.status) for each in repeats] == [
        *((4, "finished"), (5, "finished"), (6, "unfinished"), (7, "unfinished")),
        *((8, "unfinished"), (9, "unfinished")),
    ]
    with pytest.raises(SystemExit) as ended:
        end_where_interrupted(trials + repeats, 3)
    assert ended.value.code == 130


def trial(number: int, accuracy: float | None, **facts: Any) -> Trial:  # noqa: ANN401
    status = "diverged" if accuracy is None else "finished"
    loss = None if accuracy is None else 1 - accuracy
    seed = facts.pop("seed", 0)
    return Trial(number, status, {"seed": seed}, 2, 1.0, loss, accuracy, loss, accuracy, 2, **facts)


def repeats(accuracies: dict[int, list[float | None]]) -> list[Trial]:
    found = [trial(number, 0.9) for number in accuracies]
    for number, values in accuracies.items():
        for seed, accuracy in enumerate(values, 1):
            found.append(trial(len(found) + 10, accuracy, confirms=number, seed=seed))
    return found


def test_the_best_is_chosen_by_the_table_of_a_sweep(capsys: pytest.CaptureFixture[str]) -> None:
    clear = repeats({7: [0.900, 0.902, 0.899, 0.903], 4: [0.950, 0.951, 0.949, 0.952]})
    assert best_trial(clear).trial == 4, "both were equal in the search"
    assert capsys.readouterr().out.splitlines() == [
        "",
        "with further seeds:",
        " trial val_accuracy   sd  n difference       interval ",
        "     4       95.05% 0.13  4                           ",
        "     7       90.10% 0.18  4      -4.95 -5.04 to -4.86 ",
        "",
        "sd, differences to the best and their 95 % intervals in points, paired by seed",
        "the intervals cover other seeds, not other images",
    ]
    assert best_trial(repeats({4: [0.95, 0.90, 0.91], 7: [0.90, 0.94, 0.91]})).trial == 4
    lines = capsys.readouterr().out.splitlines()
    assert lines[4].split() == ["7", "91.67%", "2.08", "3", "-0.33", "-11.53", "to", "+10.87", "*"]
    assert lines[-1] == "* not significantly different from the best: 1 of 1"
    assert best_trial(repeats({4: [0.95], 7: [0.90]})).trial == 4
    assert capsys.readouterr().out.splitlines()[4].split() == ["7", "90.00%", "1", "-5.00", "*"]


def test_one_that_diverges_with_a_further_seed_is_left_out() -> None:
    assert [
        int(setting.name) for setting in compare_candidates(repeats({4: [0.99, None], 7: [0.9, 0.9]}))
    ] == [7]
    assert compare_candidates(repeats({4: [None]})) == []


def test_a_searched_seed_is_refused() -> None:
    refuse_searched_seed(SPACE)
    with pytest.raises(UserError, match=r"^--confirm: the search space varies seed; "):
        refuse_searched_seed({"seed": Domain("integer", (0, 9))})


def test_a_searched_seed_is_refused_before_anything_is_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(committed.params_text())
    Path("search_space.yaml").write_text("seed: {integer: [0, 9]}")
    monkeypatch.setattr(sys, "argv", ["tune", "--confirm", "2"])
    monkeypatch.setattr("src.tune.__main__.build_engine", lambda options: pytest.fail("it went on"))
    with pytest.raises(UserError, match=r"^--confirm: the search space varies seed; "):
        main()
