"""Several processes at once, with one cache directory, in one repository, in one workspace."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from src.runtime.paths import HISTORY, STEPS
from stages import train
from tests.conftest import ROOT, Clone, output
from tests.idx_files import archives, source
from tests.server import serve
from tests.watching import Watched

PREPARE = """
import json, os, sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, os.getcwd())
from src.data.archives import Archive
from src.data import mnist
from src.data.torchvision_archives import IdxSource, load_idx_dataset
from stages import prepare
listed = tuple(Archive(*archive) for archive in json.loads(sys.argv[2]))
listed = IdxSource(listed, (sys.argv[1],))
load = lambda: load_idx_dataset("MNIST", 10, listed, Path(sys.argv[3]))
mnist.DATASET = replace(mnist.DATASET, load=load)
prepare.main()
"""


def test_two_prepare_stages_share_one_cache_directory(clone: Clone, tmp_path: Path) -> None:
    files = archives("MNIST", train=600, test=100)
    clones = [clone.copy(tmp_path / name) for name in ("one", "two", "alone")]
    for each in clones:
        each.set_params(dataset="MNIST")
    with serve(files) as mirror:
        listed = json.dumps([[archive.name, archive.md5] for archive in source("MNIST", files).archives])

        def prepare(each: Clone, cache: str) -> None:
            each.run(sys.executable, "-c", PREPARE, mirror.url, listed, str(tmp_path / cache))

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(prepare, clones[:2], ["shared", "shared"]))
        assert sorted(mirror.asked) == sorted(files), "each archive was asked for once"
        prepare(clones[2], "of its own")
    for name in ("train", "val", "test"):
        assert len({(each.path / f"data/prepared/{name}.npz").read_bytes() for each in clones}) == 1


@pytest.mark.slow
def test_two_experiments_at_once_give_what_each_gives_alone(clone: Clone, tmp_path: Path) -> None:
    alone = clone.copy(tmp_path / "alone")

    def experiment(where: Clone, lr: str) -> dict[str, str]:
        where.dvc("exp", "run", "--temp", "--name", f"lr-{lr}", "--set-param", f"lr={lr}", "train")
        commit = where.git("for-each-ref", "--format=%(objectname)", f"refs/exps/**/lr-{lr}").strip()
        files = ("dvc.lock", "metrics/train.json", "plots/history.csv")
        return {name: where.git("show", f"{commit}:{name}") for name in files}

    with ThreadPoolExecutor(2) as pool:
        slow, fast = pool.map(experiment, (clone, clone), ("0.002", "0.003"))
    assert experiment(alone, "0.002") == slow
    assert all(fast[name] != slow[name] for name in fast)
    assert clone.git("status", "--porcelain") == ""


def test_a_stage_of_another_clone_is_refused(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    refused = subprocess.run(
        (sys.executable, "-m", "stages.validate"),
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 1
    assert refused.stderr == (
        f"error: the code of {ROOT} would run in {tmp_path}; expected its own: run from the repository's "
        "root, with PYTHONPATH and PYTHONSAFEPATH unset\n"
    )


def test_a_stage_waits_for_another_process_at_the_same_stage(clone: Clone) -> None:
    hold = """
import sys
from src.runtime.workspace import run_stage
sys.argv = ["stages/validate.py"]
def main():
    print("at work", flush=True)
    sys.stdin.read()
run_stage(main)
"""
    first = subprocess.Popen(
        [sys.executable, "-c", hold], cwd=clone.path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None
    assert first.stdin is not None
    assert first.stdout.readline() == "at work\n"
    second = subprocess.Popen(
        [sys.executable, "-m", "stages.validate"], cwd=clone.path, stderr=subprocess.PIPE, text=True
    )
    assert second.stderr is not None
    said = second.stderr.readline()
    assert said == "validate: a process of an earlier run is still at work here; waiting\n"
    time.sleep(1)
    assert second.poll() is None
    # Another stage does not have to wait.
    clone.run(sys.executable, "-m", "stages.prepare")
    first.stdin.close()
    assert first.wait(timeout=30) == 0
    assert second.wait(timeout=60) == 0
    first.stdout.close()
    second.stderr.close()


def test_what_dvc_puts_back_while_it_queues_is_no_part_of_the_results(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a training runs, `dvc exp run --queue` resets git's files, and so the tables that it adds to."""
    epochs: list[None] = []

    class Queued(train.TrackedTraining):
        def on_epoch(self, *arguments: Any) -> None:  # noqa: ANN401
            super().on_epoch(*arguments)
            HISTORY.write_text("of an older commit")
            STEPS.write_text("")
            epochs.append(None)

    tables = ("plots/history.csv", "plots/steps.csv")
    expected = [clone.read(name) for name in tables]
    monkeypatch.setattr(train, "TrackedTraining", Queued)
    monkeypatch.delenv("TRACKERS", raising=False)
    monkeypatch.chdir(clone.path)
    train.main()
    assert len(epochs) == 3
    assert [clone.read(name) for name in tables] == expected


@pytest.mark.slow
def test_a_sweep_waits_until_no_stage_runs_here(clone: Clone) -> None:
    with FileLock(clone.path / ".dvc/tmp/stages/train.lock"):
        sweep = clone.start(sys.executable, "-m", "src.sweep", "--workers", "1", "lr=0.01")
        assert sweep.stdout is not None
        assert sweep.stdout.readline() == (
            "stage train is running here; waiting for its pipeline to end before queueing\n"
        )
        time.sleep(1)
        assert "No experiment tasks" in output(clone.dvc("queue", "status"))
    assert sweep.stdout.readline() == "queued: lr=0.01\n"
    sweep.send_signal(signal.SIGINT)
    sweep.communicate(timeout=60)
    clone.dvc("queue", "stop", "--kill")


def test_nothing_listens_on_a_port(watched_repro: tuple[Clone, Watched]) -> None:
    _, watched = watched_repro
    assert {f"-m stages.{stage}" for stage in ("prepare", "train", "evaluate", "plot")} <= watched.commands
    assert watched.listening == []
