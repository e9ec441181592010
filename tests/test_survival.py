"""Stages killed at random moments in real `dvc` runs: what they leave behind, and how the next run ends."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
from PIL import Image

from src.networks.model_file import load_model
from src.runtime.paths import OWN_DATA
from tests.conftest import STAGES, Clone, output

TRAINED = ["dvc.lock", "models/model.pt", "metrics/train.json", "plots/history.csv", "plots/steps.csv"]


def kill(
    clone: Clone,
    command: Iterable[str],
    after: str,
    delay: float,
    whom: str = "all",
    lines: int = 1,
    **env: str,
) -> list[str]:
    """Run a command until lines begin with `after`, wait `delay` seconds, and kill with SIGKILL.

    Args:
        lines: how many lines.
        whom: `all` of its processes, as when a machine goes down, only `dvc`, or only the `stage`.

    Returns:
        The lines that were printed.
    """
    log = clone.path.with_suffix(".log")
    with log.open("w") as file:
        process = subprocess.Popen(
            command,
            cwd=clone.path,
            env=clone.environment | env,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    until = time.monotonic() + 120
    while sum(line.startswith(after) for line in log.read_text().splitlines()) < lines:
        assert process.poll() is None, f"ended by itself:\n{log.read_text()}"
        assert time.monotonic() < until, f"no {after!r}:\n{log.read_text()}"
        time.sleep(0.01)
    time.sleep(delay)
    assert process.poll() is None, f"ended by itself:\n{log.read_text()}"
    if whom == "all":
        os.killpg(process.pid, signal.SIGKILL)
    elif whom == "dvc":
        process.kill()
    else:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
    assert process.wait(timeout=30) != 0
    return log.read_text().splitlines()


def contents(clone: Clone, names: Iterable[str]) -> dict[str, bytes]:
    return {name: (clone.path / name).read_bytes() for name in names}


def epochs(lines: Iterable[str]) -> list[int]:
    """The epochs that were shown, in order."""
    return [int(line.split()[1].split("/")[0]) for line in lines if line.startswith("epoch ")]


def gone_on_from(lines: Iterable[str]) -> int:
    """The epoch of the checkpoint that was used; 0 for none."""
    start = "resuming from the checkpoint of epoch "
    return next((int(line.removeprefix(start)) for line in lines if line.startswith(start)), 0)


# DVC runs its commands in $SHELL. Bash gives way to the command; Debian's sh stays between the two. That all
# pairs of optimizer, schedule and activation resume with the same bits is tested without any process.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("several", "shell", "killed_first"),
    [
        ([1], "/bin/sh", ["dvc"]),
        ([0, 1], "/bin/sh", ["all", "dvc", "stage", "all"]),
        ([2, 3], "/bin/bash", ["all", "dvc", "stage", "all"]),
    ],
    ids=["Adam", "SGD-Adam", "RMSprop-AdamW"],
)
def test_training_killed_at_random_moments_ends_with_the_same_bytes(
    reproduced: Clone, tmp_path: Path, several: list[int], shell: str, killed_first: list[str]
) -> None:
    configurations = [
        {"optimizer": "SGD", "schedule": "constant", "activation": "RReLU", "lr": 0.01},
        {"optimizer": "Adam", "schedule": "cosine", "activation": "ReLU", "lr": 0.002},
        {"optimizer": "RMSprop", "schedule": "cosine", "activation": "PReLU", "lr": 0.0005},
        {"optimizer": "AdamW", "schedule": "onecycle", "activation": "Tanh", "lr": 0.004},
    ]

    # More than the kills can reach.
    several_epochs = 9 * (len(killed_first) + 1)

    def kills(number: int) -> None:
        chance = random.Random(number)
        undisturbed = reproduced.copy(tmp_path / f"undisturbed-{number}")
        undisturbed.set_params(**configurations[number], epochs=several_epochs)
        undisturbed.dvc("repro", "train")

        killed = reproduced.copy(tmp_path / f"killed-{number}")
        killed.set_params(**configurations[number], epochs=several_epochs)
        reached = 0
        for whom in (*killed_first, "stage" if number % 2 else "all"):
            # Epochs, not seconds: a fast machine is not to come to the end.
            many, delay = chance.randint(1, 5), chance.uniform(0, 0.05)
            lines = kill(killed, ("dvc", "repro", "train"), "epoch ", delay, whom, many, SHELL=shell)
            assert gone_on_from(lines) in (reached, reached + 1), "a finished epoch was lost"
            reached = max(epochs(lines))
            check_whole(killed)
        # Where only dvc was killed, the stage it left behind has ended by itself.
        last = output(killed.dvc("repro", "train")).splitlines()
        assert gone_on_from(last) in (reached, reached + 1)
        assert reached > 0
        assert contents(killed, TRAINED) == contents(undisturbed, TRAINED)
        assert not list(killed.path.glob(".dvc/tmp/checkpoints/*/*")), "a finished training keeps none"

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(kills, several))


def edit_while_running(clone: Clone, edit: Callable[[], object], *command: str) -> list[str]:
    """Run a command, `edit` when an epoch is over, and return the lines of the error with which it ends."""
    with clone.start(*command) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line.strip())
            if line.startswith("epoch 1/"):
                edit()
    assert process.returncode != 0
    return [line for line in lines if line.startswith("error: ")]


@pytest.mark.slow
def test_what_was_edited_while_a_training_ran_is_not_recorded_with_its_result(
    reproduced: Clone, tmp_path: Path
) -> None:
    clone = reproduced.copy(tmp_path / "edited")
    clone.set_params(lr=0.006, epochs=8)
    errors = edit_while_running(clone, lambda: clone.set_params(lr=0.021), "dvc", "repro", "train")
    again = "run the same command again, with the edits or without"
    assert errors == [f"error: edited while this stage ran (by another command?): lr in params.yaml; {again}"]
    assert "0.021" not in (clone.path / "dvc.lock").read_text()
    clone.set_params(lr=0.006)
    assert gone_on_from(output(clone.dvc("repro", "train")).splitlines()) == 8, "nothing is trained twice"
    kept = contents(clone, TRAINED)

    def edit() -> None:
        clone.replace("src/training/history.py", "import math", "import math  # edited")

    clone.dvc("repro", "--force", "--single-item", "train")
    assert contents(clone, TRAINED) == kept
    errors = edit_while_running(clone, edit, "dvc", "repro", "--force", "--single-item", "train")
    assert errors[0].startswith(
        "error: edited while this stage ran (by another command?): src/training/history.py; "
    )


def check_whole(clone: Clone) -> None:
    """Every output that is there can be read to its end."""
    for path in [
        path
        for folder in ("data", "models", "metrics", "plots")
        for path in clone.path.glob(f"{folder}/**/*")
    ]:
        if path.name.startswith(".") or path.is_dir() or path.is_relative_to(clone.path / OWN_DATA):
            continue
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                assert all(arrays[name].size for name in arrays)
        elif path.suffix == ".pt":
            load_model(path)
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".csv":
            assert path.read_bytes().endswith(b"\n")
            assert len({len(row) for row in csv.reader(path.read_text().splitlines())}) == 1
        elif path.suffix == ".onnx":
            onnx.checker.check_model(onnx.load(path))
        elif path.suffix == ".md":
            assert path.read_text().endswith("\n")
        else:
            assert path.suffix == ".png"
            with Image.open(path) as image:
                image.load()


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [1, pytest.param(6, marks=pytest.mark.slow)])
def test_every_stage_killed_at_random_moments_is_finished_by_the_next_repro(
    reproduced: Clone, tmp_path: Path, rounds: int
) -> None:
    chance = random.Random(rounds)
    clone = reproduced.copy(tmp_path / "clone")
    for _ in range(rounds):
        # Another seed and back: every stage has outputs of another configuration when it is killed.
        clone.set_params(split_seed=chance.randrange(1, 1000))
        for stage in STAGES:
            whom = chance.choice(["all", "dvc", "stage"])
            kill(clone, ("dvc", "repro"), f"Running stage '{stage}'", chance.uniform(0, 1.5), whom)
            check_whole(clone)
        clone.set_params(split_seed=0)
        # What DVC has in its run cache it would not run again.
        stage = chance.choice(STAGES)
        kill(clone, ("dvc", "repro", "--force"), f"Running stage '{stage}'", chance.uniform(0, 1.5))
        check_whole(clone)
    result = clone.dvc("repro", "--no-run-cache")
    assert "Running stage 'train'" in output(result)
    outs = [line for line in reproduced.git("ls-files", "plots", "metrics").split() if line]
    outs += ["dvc.lock", "models/model.pt", "data/test_examples.npz"]
    outs += [f"data/prepared/{name}.npz" for name in ("train", "val", "test")]
    assert contents(clone, outs) == contents(reproduced, outs)
    assert "up to date" in clone.dvc("status", "dvc.yaml").stdout


@pytest.mark.slow
def test_another_parameter_code_or_data_never_goes_on_from_a_checkpoint(clone: Clone) -> None:
    clone.set_params(epochs=40)
    # The stage alone, as DVC starts it: the trainings themselves are short.
    command = (sys.executable, "-m", "stages.train")
    kill(clone, command, "epoch 3/", 0)
    changes = [
        ("params.yaml", "weight_decay: 0.01", "weight_decay: 0.02"),
        ("src/networks/lenet5.py", "Gradient-based", "Gradient based"),
        ("params.yaml", "split_seed: 0", "split_seed: 7"),
    ]
    for file, old, new in changes:
        clone.replace(file, old, new)
        if "split_seed" in old:
            clone.run(sys.executable, "-m", "stages.prepare")
        assert gone_on_from(kill(clone, command, "epoch 1/", 0)) == 0, new
        clone.replace(file, new, old)
    clone.run(sys.executable, "-m", "stages.prepare")
    assert gone_on_from(kill(clone, command, "epoch 5/", 0)) in (3, 4)


@pytest.mark.slow
def test_an_experiment_goes_on_where_another_workspace_was_killed(clone: Clone, tmp_path: Path) -> None:
    undisturbed = clone.copy(tmp_path / "undisturbed")
    change = ("train", "-S", "lr=0.003", "-S", "epochs=30")
    undisturbed.dvc("exp", "run", *change)

    reached = max(epochs(kill(clone, ("dvc", "exp", "run", *change), "epoch 8/", 0)))
    clone.git("reset", "--hard")
    lines = kill(clone, ("dvc", "exp", "run", "--temp", *change), f"epoch {reached + 5}/", 0)
    assert gone_on_from(lines) in (reached, reached + 1)
    reached = max(epochs(lines))
    lines = output(clone.dvc("exp", "run", *change)).splitlines()
    assert gone_on_from(lines) in (reached, reached + 1)
    assert contents(clone, TRAINED) == contents(undisturbed, TRAINED)


@pytest.mark.slow
def test_the_queue_goes_on_where_an_experiment_was_killed(clone: Clone, tmp_path: Path) -> None:
    undisturbed = clone.copy(tmp_path / "undisturbed")
    change = ("-S", "lr=0.003", "-S", "epochs=30")
    undisturbed.dvc("exp", "run", *change)

    reached = max(epochs(kill(clone, ("dvc", "exp", "run", *change), "epoch 8/", 0)))
    clone.git("reset", "--hard")
    clone.dvc("exp", "run", "--queue", "--name", "again", *change)
    clone.dvc("queue", "start")
    until = time.monotonic() + 120
    while "again" not in clone.dvc("exp", "list", "--name-only").stdout:
        assert time.monotonic() < until, clone.dvc("queue", "status").stdout
        time.sleep(0.5)
    assert gone_on_from(output(clone.dvc("queue", "logs", "again")).splitlines()) in (reached, reached + 1)
    clone.dvc("exp", "apply", "again")
    names = [*TRAINED, "metrics/test.json"]
    assert contents(clone, names) == contents(undisturbed, names)
