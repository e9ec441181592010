from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from dvc.utils.hydra import to_hydra_overrides
from matplotlib.backends.backend_agg import FigureCanvasAgg

from src.params import Params
from src.runtime.errors import UserError
from src.tune.__main__ import best_trial, end_where_interrupted, print_best
from src.tune.figure import search_figure
from src.tune.search_space import Domain
from src.tune.trials import Trial, best_first, command, table

SPACE = {"lr": Domain("log_uniform", (1e-3, 0.1)), "activation": Domain("choice", ("ReLU", "Tanh"))}


@pytest.fixture
def trial(params: Params) -> Callable[..., Trial]:
    def make(number: int, status: str, accuracy: float | None, **values: object) -> Trial:
        loss = None if accuracy is None else 1 - accuracy
        return Trial(
            number,
            status,
            params.model_dump() | values,
            epochs=3,
            seconds=1.5,
            train_loss=loss,
            train_accuracy=accuracy,
            val_loss=loss,
            val_accuracy=accuracy,
            best_epoch=None if accuracy is None else 3,
            message="" if accuracy is not None else "its process was killed",
        )

    return make


@pytest.fixture
def trials(trial: Callable[..., Trial]) -> list[Trial]:
    return [
        trial(1, "finished", 0.97, lr=0.005),
        trial(2, "diverged", None, lr=0.1),
        trial(3, "failed", None, lr=0.02),
        trial(4, "finished", 0.98, lr=0.0123, activation="Tanh"),
        trial(5, "stopped", 0.3, lr=0.002),
    ]


def test_the_best_is_one_with_a_model(trials: list[Trial], trial: Callable[..., Trial]) -> None:
    assert [each.trial for each in best_first(trials)] == [4, 1, 5]
    lower_loss = replace(trial(6, "finished", 0.98), val_loss=0.001)
    assert best_first([*trials, lower_loss])[0] is lower_loss
    # None of these leaves a model, whatever it measured before.
    lost = [trial(7, "diverged", 0.99), trial(8, "failed", 0.99)]
    assert [each.trial for each in best_first([*trials, *lost])] == [4, 1, 5]


def test_equal_trials_rank_by_their_numbers(trial: Callable[..., Trial]) -> None:
    numbers = [2, 11, 10, 1]
    assert [each.trial for each in best_first([trial(number, "finished", 0.9) for number in numbers])] == [
        *(1, 2, 10, 11)
    ]


def test_an_interrupted_search_counts_what_is_left_and_names_no_best(
    trials: list[Trial], trial: Callable[..., Trial], capsys: pytest.CaptureFixture[str]
) -> None:
    begun = [*trials, trial(6, "unfinished", 0.99)]
    for given, samples, left in ((begun, 6, 1), (begun, 20, 15), (trials, 6, 1), (begun[-1:], 1, 1)):
        with pytest.raises(SystemExit) as ended:
            end_where_interrupted(given, samples)
        assert ended.value.code == 130
        printed = capsys.readouterr()
        assert printed.err == f"interrupted; trials unfinished: {left}; the same command resumes\n"
    none = replace(trial(1, "unfinished", None), epochs=0)
    with pytest.raises(SystemExit):
        end_where_interrupted([none], 3)
    assert capsys.readouterr() == ("", "interrupted; trials unfinished: 3; the same command resumes\n")
    end_where_interrupted(trials, 5)


def test_the_best_are_shown_and_the_best_of_them_is_chosen(
    trials: list[Trial], capsys: pytest.CaptureFixture[str]
) -> None:
    assert best_trial(trials).trial == 4
    print_best(trials, SPACE)
    heading, first, *_ = capsys.readouterr().out.splitlines()
    assert heading.split() == ["trial", "status", *SPACE, "epochs", "val_loss", "val_accuracy"]
    assert first.split()[0] == "4"


def test_a_search_of_which_nothing_is_left_says_where_to_look(
    trials: list[Trial], trial: Callable[..., Trial]
) -> None:
    with pytest.raises(UserError) as refused:
        best_trial(trials[1:3])
    assert str(refused.value) == "none of 2 trials finished; metrics/tune.csv says why"
    repeat = replace(trial(6, "diverged", None, seed=1), confirms=4)
    with pytest.raises(UserError) as refused:
        best_trial([*trials, repeat])
    assert str(refused.value) == "no trial was trained with every further seed; metrics/tune.csv says why"


def test_the_command_names_what_was_searched(trials: list[Trial]) -> None:
    now = trials[3].values
    words = command(trials[3], list(SPACE), now)
    assert " ".join(words) == "dvc exp run -S lr=0.0123 -S activation=Tanh"
    own = replace(trials[3], values=now | {"dataset": "größe"})
    assert command(own, [], now | {"dataset": "Digits"})[-1] == 'dataset="größe"'
    yaml_words = ("null", "True", "tRuE", "false", "fAlSe", "nan", "Inf")
    for name in (*yaml_words, "größe", "2024", "1e3", "2001-99-99", "my shapes", "a-1"):
        own = replace(trials[3], values=now | {"dataset": name})
        (override,) = to_hydra_overrides([command(own, [], now)[-1]])
        assert override.value() == name, "as DVC reads it"
    words = command(trials[3], list(SPACE), now | {"epochs": now["epochs"] + 1, "lr": 0.5})
    assert " ".join(words) == f"dvc exp run -S lr=0.0123 -S activation=Tanh -S epochs={now['epochs']}"


def test_a_row_per_trial_with_every_parameter(trials: list[Trial], params: Params) -> None:
    rows = table(trials)
    assert rows["trial"].tolist() == [1, 2, 3, 4, 5]
    assert set(params.model_dump()) <= set(rows.columns)
    assert rows["epochs"].tolist() == [3] * 5, "those of the trial"
    assert pd.isna(rows["val_accuracy"][2])
    assert rows["message"][2] == "its process was killed"


def test_the_figure_shows_every_measured_trial_at_its_place(trials: list[Trial]) -> None:
    repeat = replace(trials[0], trial=6, confirms=4)  # which is not drawn
    figure = search_figure([*trials, repeat], SPACE)
    FigureCanvasAgg(figure).draw()
    by_lr = figure.axes[1]
    assert by_lr.get_xlabel() == "lr"
    assert by_lr.get_xscale() == "log"
    points = np.concatenate([np.asarray(marks.get_offsets()) for marks in by_lr.collections])
    assert sorted(points[:, 0]) == [0.002, 0.005, 0.0123, 0.1]
    low, high = by_lr.get_ylim()
    assert low < 97 < 98 < high
    # Far below, or diverged: in a strip of its own, which has a name.
    strip, *ticks = by_lr.get_yticks()
    assert dict(points.tolist())[0.002] == dict(points.tolist())[0.1] == strip
    assert low < strip < min(ticks)
    assert by_lr.get_yticklabels()[0].get_text() == "lower\nor none"
    best = figure.axes[0].lines[0]
    (alone,) = search_figure(trials[:1], SPACE).axes[1:2]
    assert "lower\nor none" not in [text.get_text() for text in alone.get_yticklabels()]
    assert best.get_ydata().tolist() == [97, 97, 98, 98]
    assert best.get_xdata().tolist() == [1, 2, 4, 5]


def test_the_legend_tells_stopped_and_diverged_apart(
    trials: list[Trial], trial: Callable[..., Trial]
) -> None:
    figure = search_figure([*trials, trial(6, "unfinished", 0.5, lr=0.01)], SPACE)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["best so far", "finished", "stopped early", "unfinished", "diverged"]
    marks = {each.get_label(): each for each in figure.axes[1].collections}
    styles = {
        (each.get_paths()[0].vertices.tobytes(), each.get_facecolor().tobytes()) for each in marks.values()
    }
    assert len(styles) == 4
    for name, lr in (("stopped early", 0.002), ("unfinished", 0.01), ("diverged", 0.1)):
        assert marks[name].get_offsets()[:, 0].tolist() == [lr]
    assert [text.get_text() for text in search_figure(trials[:1], SPACE).legends[0].get_texts()] == names[:2]


@pytest.mark.parametrize("status", ["failed", "diverged"])
def test_where_nothing_is_measured_the_figure_says_so(trial: Callable[..., Trial], status: str) -> None:
    figure = search_figure([trial(1, status, None)], SPACE)
    assert not figure.axes
    assert [text.get_text() for text in figure.texts] == ["No trial has a validation accuracy."]


def test_long_names_of_a_choice_do_not_overlap(trial: Callable[..., Trial]) -> None:
    activations = ("Tanh", "ReLU", "LeakyReLU", "PReLU", "RReLU", "ELU", "SELU", "GELU")
    for choices, rotation in ((activations, 90), (("lenet5", "lenet5_1998", "convnet"), 0)):
        domain = Domain("choice", choices)
        figure = search_figure([trial(1, "finished", 0.5, lr=choices[0])], {"lr": domain})
        assert {tick.get_rotation() for tick in figure.axes[1].get_xticklabels()} == {rotation}
