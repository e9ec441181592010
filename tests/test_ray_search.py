"""Searches by a real Ray on images that a network learns in a few steps: what becomes of trials."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

from src.cluster.protection import QUESTION
from src.params import Params, RunParams
from src.tune.early_stopping import grace_epochs
from src.tune.engine import Problem
from src.tune.search_space import Domain
from src.tune.trials import DIVERGED_ACCURACY, Trial, best_first, table
from tests.conftest import ROOT, bright_squares, protected_ray

# Not imported here: Ray reads what protects it when it is loaded.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="pip install -r requirements-tune.txt"),
]

RETRIES = 3  # of a trial whose process was lost
STARTUP = 10  # random proposals of Optuna's TPE


@pytest.fixture(scope="module")
def protected() -> Iterator[None]:
    with protected_ray():
        yield


@pytest.fixture
def problem(params: Params, tmp_path: Path, protected: None) -> Problem:
    """One in which SGD learns nothing with a small learning rate, and diverges with a large one."""
    base = params.model_dump(include=set(RunParams.model_fields))
    base |= {"epochs": 6, "batch_size": 10, "optimizer": "SGD", "schedule": "constant", "dropout": 0.0}
    splits = (bright_squares(20), bright_squares(25, seed=1))
    return Problem({"lr": Domain("log_uniform", (1e-5, 1e3))}, base, splits, tmp_path / "search")


def search(problem: Problem, *, samples: int, seed: int = 0, cpus: int = 1) -> list[Trial]:
    from src.tune.ray_search import RayEngine

    return RayEngine(None, cpus, 0, "cpu").search(problem, samples, seed)


def test_finished_diverged_and_failed_are_rows_and_stop_nothing(
    problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    from src.tune.ray_search import RayEngine

    monkeypatch.setenv("LENET_DEVICE", "cuda")  # which trials inherit, and no trial asked for
    good = problem.base | {"lr": 0.01}
    # A last batch of one image has no statistics for batch norm.
    alone = good | {"model": "convnet", "batch_size": len(problem.splits[0].labels) - 1}
    trials = RayEngine(None, 1, 0, "cpu").train(problem, [good, good | {"lr": 1000.0}, alone], "given")
    rows = table(trials)
    assert rows["status"].tolist() == ["finished", "diverged", "failed"]
    assert rows["epochs"].tolist() == [6, 0, 0]
    assert rows["val_accuracy"].notna().tolist() == [True, False, False]
    assert rows["message"][1].endswith("try a smaller lr")
    assert rows["message"][2].startswith("batch_size: 79 leaves one of the")
    assert [trial.trial for trial in best_first(trials)] == [1]


@contextmanager
def killing(times: int) -> Iterator[list[int]]:
    """During this block, kill so many processes of trials, one after the other; the list has their IDs."""
    killed: list[int] = []
    ended = threading.Event()

    def watch() -> None:
        while len(killed) < times and not ended.wait(0.05):
            for child in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    if "ray::ImplicitFunc.train" in child.cmdline() and child.pid not in killed:
                        child.kill()
                        killed.append(child.pid)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield killed
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize(("kills", "status"), [(1, "finished"), (RETRIES + 1, "failed")])
def test_a_trial_whose_process_is_killed_starts_again_until_it_has_failed(
    problem: Problem, kills: int, status: str
) -> None:
    from src.tune.ray_search import RayEngine

    given = problem.base | {"lr": 0.01, "epochs": 400}
    with killing(kills) as killed:
        trials = RayEngine(None, 1, 0, "cpu").train(problem, [given], "given")
    assert len(killed) == kills
    (row,) = table(trials).to_dict("records")
    assert row["status"] == status
    assert (row["trial"], row["lr"]) == (1, 0.01)
    if status == "finished":
        assert row["epochs"] == 400
        assert row["message"] == ""
        assert row["val_accuracy"] > 0.5
        assert len(best_first(trials)) == 1
    else:
        assert row["message"] == "its process was killed 4 times"
        assert row["epochs"] < 400
        assert pd.isna(row["val_accuracy"])
        assert best_first(trials) == []


def test_a_trial_that_raises_says_what(problem: Problem) -> None:
    from src.tune.ray_search import RayEngine

    train, val = problem.splits
    damaged = replace(train, labels=train.labels + np.uint8(200))
    broken = replace(problem, splits=(damaged, val))
    (trial,) = RayEngine(None, 1, 0, "cpu").train(broken, [broken.base], "given")
    assert trial.status == "failed"
    assert re.fullmatch(r"IndexError: Target 20[0-3] is out of bounds\.", trial.message)


def test_a_search_climbs_and_stops_poor_trials_but_not_before_their_grace(problem: Problem) -> None:
    trials = search(problem, samples=80)
    assert len(trials) == 80
    accuracy = np.array([trial.val_accuracy or DIVERGED_ACCURACY for trial in trials])
    diverged = np.array([trial.status == "diverged" for trial in trials])
    random, later = slice(STARTUP), slice(4 * STARTUP, None)
    assert diverged.any()
    assert accuracy[later].mean() > accuracy[random].mean() + 0.1
    assert diverged[later].mean() < diverged[random].mean()
    stopped = [trial for trial in trials if trial.status == "stopped"]
    grace = grace_epochs(problem.base, problem.space)
    assert stopped
    assert grace is not None
    assert all(grace <= trial.epochs < problem.base["epochs"] for trial in stopped)
    # They were behind: the best that was stopped is no better than the best that went on.
    finished = [trial for trial in trials if trial.status == "finished"]
    assert max(trial.val_accuracy or 0 for trial in stopped) <= max(t.val_accuracy or 0 for t in finished)


def test_with_onecycle_no_trial_is_stopped_while_the_learning_rate_rises(
    problem: Problem, capfd: pytest.CaptureFixture[str]
) -> None:
    problem.base.update(epochs=10, schedule="onecycle")
    problem.space["lr"] = Domain("choice", (1e-6, 1e-5, 0.01))
    trials = search(problem, samples=14)
    stopped = [trial for trial in trials if trial.status == "stopped"]
    assert stopped
    # It rises in the first three of ten epochs, and turns in the fourth.
    assert all(4 <= trial.epochs < 10 for trial in stopped)
    for row in table(stopped).to_dict("records"):
        assert 0 <= row["best_epoch"] <= row["epochs"], "of its best epoch until then"
        assert 0 <= row["val_accuracy"] < 1
        assert row["val_loss"] > 0
        assert row["message"] == ""
    assert "none is stopped" not in capfd.readouterr().err


def test_where_no_epoch_is_left_to_compare_trials_it_is_said_and_none_is_stopped(
    problem: Problem, capfd: pytest.CaptureFixture[str]
) -> None:
    problem.base.update(epochs=2, warmup_epochs=1)
    problem.space["lr"] = Domain("choice", (1e-6, 1e-5, 0.01))
    trials = search(problem, samples=6)
    assert [(trial.status, trial.epochs) for trial in trials] == [("finished", 2)] * 6
    lines = capfd.readouterr().err.splitlines()
    assert lines.count("epochs: 2 are too few to compare trials early; none is stopped") == 1


def test_a_seed_repeats_the_proposals_and_cores_are_reserved(problem: Problem, tmp_path: Path) -> None:
    """With all cores for each trial they come one after the other, each on as many threads."""
    cpus = os.cpu_count() or 1

    def rates(seed: int) -> list[float]:
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        trials = search(replace(problem, folder=folder), samples=12, seed=seed, cpus=cpus)
        reports = [
            [json.loads(line) for line in file.read_text().splitlines()]
            for file in folder.glob("*/result.json")
        ]
        # Whole seconds since 1970, of the first and the last report of each trial.
        spans = sorted((rows[0]["timestamp"], rows[-1]["timestamp"]) for rows in reports if rows)
        assert len(spans) == 12
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
        return [trial.values["lr"] for trial in trials]

    first = rates(0)
    assert len(set(first)) == 12
    assert rates(0) == first
    assert not set(rates(1)) & set(first)


def test_threads_are_those_of_the_trial(problem: Problem) -> None:
    """Two trainings that differ in the last bits: the note of a process says how many threads it has."""
    sessions = Path("/tmp/ray")
    before = set(sessions.glob("session_*")) if sessions.exists() else set()
    search(problem, samples=1, cpus=2)
    (session,) = [path for path in set(sessions.glob("session_2*")) - before if not path.is_symlink()]
    said = "".join(log.read_text(errors="replace") for log in session.glob("logs/worker-*.err"))
    assert "2 threads, the last bits of results are not those" in said


def test_a_local_search_listens_on_this_machine_alone_and_to_nobody_without_a_token() -> None:
    program = (
        "import src, sys\n"
        "from src.cluster.protection import protect_ray\n"
        "protect_ray(None)\n"
        "import ray\n"
        "from src.cluster.connection import ray_runtime\n"
        "with ray_runtime(None):\n"
        "    print(ray.get_runtime_context().gcs_address, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    # What a user may have typed changes nothing.
    environment = clean | {"RAY_AUTH_MODE": "disabled"}
    with subprocess.Popen(
        (sys.executable, "-c", program),
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address, process.communicate()[1]
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        listening = [
            connection.laddr.ip
            for member in family
            for connection in member.net_connections(kind="inet")
            if connection.status == psutil.CONN_LISTEN
        ]
        stranger = subprocess.run(
            (sys.executable, "-c", QUESTION, address),
            env=clean | {"RAY_AUTH_MODE": "disabled"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        process.stdin.close()
    assert listening
    assert set(listening) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert stranger.returncode != 0
    assert "token" in stranger.stderr.lower() or "unauthenticated" in stranger.stderr.lower()
