"""Searches by a real Ray, on this machine and on a cluster of two nodes of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
import torch
from PIL import Image

from benchmarks.ray_clusters import kill, ray_cluster
from src.runtime.errors import UserError
from src.tune.__main__ import arguments, build_engine
from src.tune.engine import Problem
from src.tune.trials import Trial
from tests.conftest import NO_USER_SETTINGS, ROOT, Clone, Command, output

# Not imported here: Ray reads what protects it when it is loaded.
if find_spec("ray") is None or find_spec("optuna") is None:
    pytest.skip("pip install -r requirements-tune.txt", allow_module_level=True)

SPACE = """lr: {choice: [1000, 0.01, 0.02]}
dropout: {uniform: [0.0, 0.3]}
"""


def tune(clone: Clone, *options: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return clone.run("python", "-m", "src.tune", *options, check=check)


@pytest.mark.slow
def test_trials_become_a_table_a_figure_and_an_experiment(clone: Clone) -> None:
    (clone.path / "search_space.yaml").write_text(SPACE)
    head, status = clone.git("rev-parse", "HEAD"), clone.git("status", "--short")
    result = tune(clone, "--samples", "5", "--record")
    trials = pd.read_csv(clone.path / "metrics/tune.csv")
    assert trials["trial"].tolist() == [1, 2, 3, 4, 5]
    assert trials["dropout"].between(0, 0.3).all()
    diverged = trials["lr"] == 1000
    assert 0 < diverged.sum() < 5, "the seed proposes both"
    assert set(trials["status"][diverged]) == {"diverged"}
    assert trials["message"][diverged].str.contains("try a smaller lr").all()
    assert set(trials["status"][~diverged]) <= {"finished", "stopped"}
    assert (trials["epochs"][trials["status"] == "finished"] == 2).all()
    assert (trials["batch_size"] == 100).all(), "as in params.yaml"
    with Image.open(clone.path / "plots/tune.png") as image:
        image.load()

    best = trials[~diverged].sort_values(["val_accuracy", "val_loss"], ascending=[False, True]).iloc[0]
    command = f"dvc exp run -S lr={best['lr']} -S dropout={best['dropout']}"
    assert result.stdout.splitlines()[-1] == command
    # Recorded beside the branch and the workspace, which are as before but for the results of the search.
    assert clone.git("rev-parse", "HEAD") == head
    assert set(clone.git("status", "--short").splitlines()) - set(status.splitlines()) == {
        "?? metrics/tune.csv",
        "?? plots/tune.png",
    }
    shown = json.loads(clone.dvc("exp", "show", "--json").stdout)
    experiments = [row for rev in shown for row in rev.get("experiments") or []]
    recorded = {
        row["name"]: (
            row["revs"][0]["data"]["metrics"]["metrics/train.json"]["data"]["val_accuracy"],
            row["revs"][0]["data"]["params"]["params.yaml"]["data"]["dropout"],
        )
        for row in experiments
    }
    measured = trials[trials["val_accuracy"].notna()]
    assert len(recorded) == len(measured)
    assert sorted(recorded.values()) == sorted(
        zip(measured["val_accuracy"], measured["dropout"], strict=True)
    )
    # The command trains what the trial trained.
    clone.run(*command.split(), "train", LENET_THREADS="1")
    assert json.loads(clone.read("metrics/train.json"))["val_accuracy"] == best["val_accuracy"]


def start(clone: Clone, *options: str, **env: str) -> tuple[subprocess.Popen[bytes], Path]:
    """A search in a session of its own, and its log."""
    log = clone.path.with_suffix(".log")
    with log.open("w") as file:
        process = subprocess.Popen(
            ("python", "-m", "src.tune", *options),
            cwd=clone.path,
            env=clone.environment | env,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # Whoever runs the tests in the background may have had Ctrl-C ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
    return process, log


def wait_for(condition: Callable[[], object], process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.2)


@pytest.mark.slow
def test_a_killed_search_goes_on(clone: Clone) -> None:
    (clone.path / "search_space.yaml").write_text("lr: {log_uniform: [1e-3, 1e-2]}\n")
    clone.set_params(epochs=6)
    process, log = start(clone, "--samples", "4", "--name", "mine")
    folder = clone.path / ".dvc/tmp/tune/mine"
    wait_for(lambda: list(folder.glob("*/result.json")), process, log)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    begun = {path.parent.name.split("_")[2] for path in folder.glob("*/result.json")}
    refused = tune(clone, "--samples", "5", "--name", "mine", check=False)
    assert refused.returncode == 1
    assert output(refused).splitlines()[-1] == (
        "error: --name: 'mine' is a search with other settings (--samples: 4, now 5); "
        "expected the same settings or another name"
    )
    tune(clone, "--samples", "4", "--name", "mine", "--apply")
    assert json.loads(clone.read("metrics/test.json"))["accuracy"] > 0
    assert len(clone.dvc("exp", "list", "--name-only").stdout.split()) == 1
    trials = pd.read_csv(clone.path / "metrics/tune.csv")
    assert len(trials) == 4
    assert set(trials["status"]) <= {"finished", "stopped"}
    assert begun <= {path.parent.name.split("_")[2] for path in folder.glob("*/result.json")}


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ray", "vectorized"])
def test_an_interrupted_search_says_what_is_unfinished_and_resumes(clone: Clone, engine: str) -> None:
    (clone.path / "search_space.yaml").write_text("lr: {log_uniform: [1e-3, 1e-2]}\n")
    clone.set_params(epochs=60)
    options = ("--samples", "3", "--name", "mine", "--engine", engine, "--confirm", "1")
    process, log = start(clone, *options)
    folder = clone.path / ".dvc/tmp/tune/mine"
    wait_for(
        lambda: (
            [path for path in folder.glob("*/result.json") if path.read_text().count("\n") > 2]
            or "epoch 2/60" in log.read_text()
        ),
        process,
        log,
    )
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C in a terminal does
    assert process.wait(timeout=120) == 130, log.read_text()
    said = log.read_text()
    trials = pd.read_csv(clone.path / "metrics/tune.csv")
    unfinished = trials[trials["status"] == "unfinished"]
    assert "Traceback" not in said
    left = 3 - len(trials) + len(unfinished)  # also what had not begun
    assert said.endswith(f"interrupted; trials unfinished: {left}; the same command resumes\n")
    assert 1 <= len(unfinished) <= len(trials) <= 3
    assert trials["confirms"].isna().all(), "the best is not known yet"
    assert (unfinished["epochs"] >= 0).all()
    assert (unfinished["epochs"] < 60).all()
    assert unfinished["epochs"].max() >= 2
    assert unfinished["message"].isna().all()

    tune(clone, *options)
    trials = pd.read_csv(clone.path / "metrics/tune.csv")
    assert trials["trial"].tolist() == [1, 2, 3, 4, 5, 6]
    assert trials["confirms"].notna().tolist() == [False] * 3 + [True] * 3
    assert set(trials["status"]) <= {"finished", "stopped"}


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ray", "vectorized"])
def test_interrupted_among_the_further_seeds_it_resumes(clone: Clone, engine: str) -> None:
    (clone.path / "search_space.yaml").write_text("lr: {choice: [0.005, 0.01, 0.02]}\n")
    clone.set_params(epochs=30)
    options = ("--samples", "2", "--name", "mine", "--engine", engine, "--confirm", "1")
    process, log = start(clone, *options)
    # Ray names what it runs and the trials that it starts; it writes their results later.
    wait_for(
        lambda: (
            "started with configuration" in log.read_text().partition("confirm-1")[2]
            or log.read_text().count("epoch 3/30") == 2
        ),
        process,
        log,
    )
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=120) == 130, log.read_text()
    said = log.read_text()
    assert "Traceback" not in said
    assert "with further seeds:" not in said
    before = pd.read_csv(clone.path / "metrics/tune.csv")
    assert set(before["status"][:2]) <= {"finished", "stopped"}
    assert "unfinished" in set(before["status"][2:])

    result = tune(clone, *options)
    trials = pd.read_csv(clone.path / "metrics/tune.csv")
    assert trials[:2].equals(before[:2].astype(trials.dtypes)), "none of the search ran again"
    assert sorted(trials["confirms"][2:]) == [1, 2]
    assert set(trials["status"][2:]) == {"finished"}
    assert "with further seeds:" in result.stdout


@pytest.mark.slow
def test_the_best_trials_get_further_seeds_through_make(clone: Clone) -> None:
    (clone.path / "search_space.yaml").write_text("lr: {choice: [1e-5, 0.002, 0.01, 0.02]}\n")
    result = clone.run(
        *("make", "--silent", "--assume-old=.venv/installed", "--assume-old=.venv/tune"),
        *("tune", "SAMPLES=4", "CONFIRM=2"),
    )
    trials = pd.read_csv(clone.path / "metrics/tune.csv")
    found, repeats = trials[trials["confirms"].isna()], trials[trials["confirms"].notna()]
    assert found["trial"].tolist() == [1, 2, 3, 4]
    ranked = found.sort_values(["val_accuracy", "val_loss"], ascending=[False, True])
    candidates = ranked.drop_duplicates("lr")["trial"].tolist()[:3]  # a search may try one setting twice
    assert repeats["trial"].tolist() == list(range(5, 11))
    assert repeats["confirms"].tolist() == [number for number in candidates for _ in range(2)]
    assert repeats["seed"].tolist() == [1, 2] * 3
    assert set(repeats["status"]) == {"finished"}
    for number, of_candidate in repeats.groupby("confirms"):
        assert set(of_candidate["lr"]) == set(found["lr"][found["trial"] == number])
    # It is chosen by the further seeds alone, and the command that is printed makes it.
    means = repeats.groupby("confirms")[["val_accuracy", "val_loss"]].mean().round(9)
    best = means.sort_values(["val_accuracy", "val_loss"], ascending=[False, True]).index[0]
    lines = result.stdout.splitlines()
    assert lines[-1] == f"dvc exp run -S lr={found.set_index('trial')['lr'][best]}"
    number, accuracy, _, n = lines[lines.index("with further seeds:") + 2].split()
    assert (number, accuracy, n) == (f"{best:.0f}", f"{means['val_accuracy'][best]:.2%}", "2")


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (("tune", "SAMPLES=20", "CONFIRM=4"), "src.tune --samples 20 --confirm 4"),
        (("tune",), "src.tune"),
        (
            ("sweep", "GRID=lr=0.1,0.2", "SEEDS=auto", "BUDGET=9"),
            "src.sweep --seeds auto --budget 9 lr=0.1,0.2",
        ),
        (("sweep", "GRID=lr=0.1", "WORKERS=2"), "src.sweep --workers 2 lr=0.1"),
        (("sweep", "GRID=lr=0.1", "ADDRESS=a:1"), "src.sweep --address a:1 lr=0.1"),
        (("demo", "MODELS=a b"), "src.serve --open a b"),
        (("same-results", "A=x", "B=y"), "benchmarks.same_results x y"),
    ],
)
def test_make_hands_its_variables_on(words: tuple[str, ...], command: str) -> None:
    installed = [f"--assume-old=.venv/{name}" for name in ("installed", "tune", "serve")]
    made = subprocess.run(
        ("make", "--no-print-directory", "--dry-run", *installed, *words),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    # The shell leaves `*` in what it is given to the command.
    given = made.stdout.removeprefix("set -f; ").replace("\\\n", " ").split()
    assert given == ["python", "-m", *command.split()]


@pytest.mark.slow
def test_trials_are_not_recorded_where_the_code_was_committed_anew_while_they_ran(clone: Clone) -> None:
    clone.set_params(epochs=30)
    clone.git("commit", "--quiet", "--all", "--message=Longer")
    (clone.path / "search_space.yaml").write_text("lr: {log_uniform: [1e-3, 1e-2]}\n")
    process, log = start(clone, "--samples", "2", "--engine", "vectorized", "--record")
    wait_for(lambda: "epoch 2/30" in log.read_text(), process, log)
    clone.replace("src/training/loop.py", "import math", "import math  # edited")
    clone.git("commit", "--quiet", "--message=Edited while the search ran", "src/training/loop.py")
    assert process.wait(timeout=120) == 1
    assert (
        log.read_text()
        .splitlines()[-1]
        .startswith(
            "error: --record: changed since the search began: src/training/loop.py; expected the code that"
        )
    )
    assert clone.git("for-each-ref", "refs/exps") == ""


@pytest.mark.slow
def test_a_search_on_two_nodes_survives_the_loss_of_one(clone: Clone) -> None:
    (clone.path / "search_space.yaml").write_text("lr: {log_uniform: [1e-3, 1e-2]}\n")
    clone.set_params(epochs=60)
    with ray_cluster() as cluster:
        second = cluster.add_node()
        process, log = start(clone, "--samples", "4", "--address", cluster.address, **cluster.environment)
        wait_for(lambda: busy(second) and busy(cluster.head), process, log)
        kill(second)
        assert process.wait(timeout=200) == 0, log.read_text()
    trials = pd.read_csv(clone.path / "metrics/tune.csv")
    assert len(trials) == 4
    assert set(trials["status"]) <= {"finished", "stopped"}


def busy(raylet: psutil.Process) -> bool:
    """Whether a node runs a trial."""
    for child in raylet.children(recursive=True):
        with suppress(psutil.Error):
            if "ray::ImplicitFunc.train" in child.cmdline():
                return True
    return False


@pytest.mark.slow
def test_a_vectorized_search_is_killed_and_goes_on(clone: Clone) -> None:
    (clone.path / "search_space.yaml").write_text(
        "lr: {choice: [1000, 0.01, 0.02]}\nactivation: {choice: [PReLU, ReLU]}\n"
        "dropout: {uniform: [0.0, 0.3]}\n"
    )
    options = ("--engine", "vectorized", "--samples", "9", "--at-once", "4", "--name", "mine")
    process, log = start(clone, *options)
    file = clone.path / ".dvc/tmp/tune/mine/trials.json"
    wait_for(file.exists, process, log)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = json.loads(file.read_text())
    result = tune(clone, *options, "--record")
    assert f"{len(done)} of 9 trials were done before" in result.stderr
    assert json.loads(file.read_text())[: len(done)] == done
    trials = pd.read_csv(clone.path / "metrics/tune.csv")
    assert trials["trial"].tolist() == list(range(1, 10))
    rounds = trials.groupby((trials["trial"] - 1) // 4)
    assert (rounds["activation"].nunique() == 1).all(), "a round shares what decides the shapes"
    assert (rounds["dropout"].nunique() == rounds.size()).all()
    diverged = trials["lr"] == 1000
    assert 0 < diverged.sum() < 9, "the seed proposes both"
    assert set(trials["status"][diverged]) == {"diverged"}
    assert set(trials["status"][~diverged]) == {"finished"}
    assert len(clone.dvc("exp", "list", "--name-only").stdout.split()) == (~diverged).sum()
    best = trials[~diverged].sort_values(["val_accuracy", "val_loss"], ascending=[False, True]).iloc[0]
    command = result.stdout.splitlines()[-1]
    assert command == (
        f"dvc exp run -S lr={best['lr']} -S activation={best['activation']} -S dropout={best['dropout']}"
    )
    # The command trains what the trial trained, but for the rounding of sums.
    clone.run(*command.split(), LENET_THREADS="1")
    alone = json.loads(clone.read("metrics/train.json"))
    assert alone["val_loss"] == pytest.approx(best["val_loss"], rel=1e-2)
    assert alone["val_accuracy"] == pytest.approx(best["val_accuracy"], abs=0.01)

    (clone.path / "search_space.yaml").write_text("activation: {choice: [ReLU, RReLU]}\n")
    refused = tune(clone, "--engine", "vectorized", check=False)
    assert refused.returncode == 1
    assert (
        output(refused).splitlines()[-1].startswith("error: activation: RReLU cannot be trained together; ")
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--samples", "0"], "--samples: 0 is invalid; expected 1 to 1,000,000"),
        (["--name", "../mine"], "--name: '../mine' is invalid; expected letters, digits, . _ and -"),
        # Git accepts it in no reference.
        (["--name", "a..b"], "--name: 'a..b' is invalid; expected letters, digits, . _ and -"),
        (
            ["--engine", "vectorized", "--gpus-per-trial", "1"],
            "--gpus-per-trial: 1.0 is invalid; expected only with --engine ray",
        ),
        (["--at-once", "4"], "--at-once: 4 is invalid; expected only with --engine vectorized"),
    ],
)
def test_options_that_are_refused(words: list[str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["tune", *words])
    with pytest.raises(UserError) as refusal:
        arguments()
    assert str(refusal.value) == said


def test_a_gpu_for_trials_is_refused_where_there_is_none_to_compare_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["tune", "--gpus-per-trial", "0.5"])
    with pytest.raises(
        UserError, match=r"^--gpus-per-trial: 0.5 is invalid where PyTorch computes on the CPU; "
    ):
        build_engine(arguments())


class StandIn:
    """An engine whose search does what it is told, on the images of a clone that are prepared already."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, search: Callable[[Problem], list[Trial]]) -> None:
        self.found = search
        for name, value in NO_USER_SETTINGS.items():
            monkeypatch.setenv(name, value)
        built = self, torch.device("cpu"), 1
        monkeypatch.setattr("src.tune.__main__.build_engine", lambda options: built)

    def search(self, problem: Problem, samples: int, seed: int) -> list[Trial]:
        return self.found(problem)

    def train(self, problem: Problem, configurations: list[dict[str, Any]], name: str) -> list[Trial]:
        raise AssertionError


def finished(problem: Problem) -> Trial:
    return Trial(1, "finished", problem.base | {"lr": 0.01}, 2, 0.1, 0.5, 0.8, 0.4, 0.9, 2)


def test_parameters_edited_while_the_images_are_prepared_are_refused(
    clone: Clone, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clone.path / "search_space.yaml").write_text("lr: {choice: [0.01]}")
    StandIn(monkeypatch, lambda problem: pytest.fail("it went on"))
    run = subprocess.run

    def edited_meanwhile(words: tuple[str, ...], **options: Any) -> object:  # noqa: ANN401
        if words[:2] != ("dvc", "repro"):
            return run(words, **options)
        clone.set_params(split_seed=7)
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr(subprocess, "run", edited_meanwhile)
    refused = command(clone, "src.tune", check=False)
    assert refused.stderr == (
        "error: params.yaml was edited while the images were prepared; the same command begins anew with "
        "what it says now\n"
    )
    assert not (clone.path / ".dvc/tmp/tune").exists()


def test_interrupted_before_its_first_trial_a_search_writes_nothing(
    clone: Clone, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clone.path / "search_space.yaml").write_text("lr: {choice: [0.01]}")
    StandIn(monkeypatch, lambda problem: [])
    ended = command(clone, "src.tune", "--samples", "3", check=False)
    assert (ended.returncode, ended.stdout) == (130, "")
    assert ended.stderr == "interrupted; trials unfinished: 3; the same command resumes\n"
    assert not (clone.path / "metrics/tune.csv").exists()


def test_a_trial_is_recorded_with_the_images_that_it_was_trained_on(
    clone: Clone, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clone.path / "search_space.yaml").write_text("lr: {choice: [0.01]}")
    lock = clone.read("dvc.lock")

    def search(problem: Problem) -> list[Trial]:
        (clone.path / "dvc.lock").write_text(lock.replace("split_seed: 0", "split_seed: 7"))
        return [finished(problem)]

    StandIn(monkeypatch, search)
    command(clone, "src.tune", "--samples", "1", "--name", "mine", "--record")
    recorded = clone.git("for-each-ref", "--format=%(objectname)", "refs/exps").strip()
    assert "split_seed: 0" in clone.git("show", f"{recorded}:dvc.lock")


def test_a_refused_search_is_one_line(clone: Clone, command: Command) -> None:
    (clone.path / "search_space.yaml").write_text("lr: {choice: [-1]}\n")
    refused = command(clone, "src.tune", check=False)
    assert refused.returncode == 1
    assert output(refused) == (
        "error: search_space.yaml: lr: -1 is invalid; expected a number > 0 and ≤ 1000\n"
    )
