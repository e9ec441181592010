from __future__ import annotations

import re
import signal
import subprocess
import time

import psutil
import pytest

from src.params import Params
from src.runtime.errors import UserError
from src.sweep.grid import parse_grid
from src.sweep.workers import queue_workers
from tests.conftest import Clone, output


def test_every_combination_once_with_a_name_of_its_own(params: Params) -> None:
    grid = parse_grid(["lr=0.01,1e-3,0.01", "optimizer=SGD,Adam"], params.model_dump())
    assert [str(combination) for combination in grid] == [
        "lr=0.01 optimizer=SGD",
        "lr=0.01 optimizer=Adam",
        "lr=1e-3 optimizer=SGD",
        "lr=1e-3 optimizer=Adam",
    ]
    names = [combination.name for combination in grid]
    assert len(set(names)) == 4
    assert re.fullmatch(r"lr-0\.01-optimizer-SGD-[0-9a-f]{6}", names[0])
    for name in names:
        assert subprocess.run(("git", "check-ref-format", f"refs/exps/{name}"), check=False).returncode == 0


def test_a_name_stands_for_parameters_and_code(params: Params) -> None:
    def name(word: str, base: dict[str, object], code: str = "") -> str:
        return parse_grid([word], base, code)[0].name

    base = params.model_dump()
    assert name("val_fraction=1/6", base) == name("val_fraction=1/6", base)
    assert name("lr=0.01", base) != name("lr=0.01", base | {"epochs": 3})
    assert name("lr=0.01", base) != name("lr=0.01", base, code="+ a changed line")
    assert parse_grid(
        ["epochs=1"] + [f"{key}={value}" for key, value in base.items() if key != "epochs"], base
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lr"], "'lr' is invalid; expected key=value,value,…"),
        (["=0.1"], "'=0.1' is invalid"),
        (["lr=0.1,"], "'lr=0.1,' is invalid"),
        (["lr=0.1", "lr=0.2"], "lr is given twice"),
        (["learning_rate=0.1"], "grid: unknown key 'learning_rate'; expected dataset"),
        (["optimizer=SGD,SGDX"], "grid: optimizer: 'SGDX' is invalid; expected one of SGD"),
        (["lr=0.1,[0.2"], "grid: lr: '[0.2' is invalid; expected a number > 0"),
        (["warmup_epochs=50"], "grid: warmup_epochs: 50 is invalid"),
    ],
)
def test_a_mistake_is_refused_before_anything_is_queued(params: Params, words: list[str], said: str) -> None:
    with pytest.raises(UserError) as refusal:
        parse_grid(words, params.model_dump())
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def experiments(clone: Clone) -> list[str]:
    return sorted(clone.dvc("exp", "list", "--name-only").stdout.split())


def test_interrupted_it_goes_on_and_a_failure_stops_nothing(clone: Clone) -> None:
    command = ("python", "-m", "src.sweep", "--workers", "1", "lr=1e30,0.01,1e-5")
    process = subprocess.Popen(
        command,
        cwd=clone.path,
        env=clone.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Whoever runs the tests in the background may have had Ctrl-C ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None
    first = []
    for line in process.stdout:
        first.append(line.strip())
        if line.startswith("1/3"):
            break
    assert first == ["queued: lr=1e30", "queued: lr=0.01", "queued: lr=1e-5", "1/3 lr=1e30: failed"]
    process.send_signal(signal.SIGINT)
    assert "the same command goes on" in process.communicate(timeout=60)[0]
    assert process.returncode == 130
    assert "Queued" in clone.dvc("queue", "status").stdout

    result = clone.run(*command, check=False)
    assert result.returncode == 1
    lines = output(result).splitlines()
    # What a worker was about to begin may be lost by DVC, and is then queued again.
    assert "queued: lr=1e-5" not in lines, "it was in the queue still"
    failed = next(number for number, line in enumerate(lines) if re.match(r"\d/3 lr=1e30: failed", line))
    assert any("try a smaller lr" in line for line in lines[failed + 1 : failed + 6]), "the end of its log"
    assert sum(": validation accuracy " in line for line in lines) == 2
    table = [line.split()[0] for line in lines if "%" in line and line.strip().startswith("lr-")]
    assert [name.rpartition("-")[0] for name in table] == ["lr-0.01", "lr-1e-5"]
    assert f"the best: dvc exp apply {table[0]}" in lines
    assert "error: 1 of 3 experiments failed; their logs are above" in lines
    assert experiments(clone) == sorted(table)
    assert "Running stage 'prepare'" not in clone.dvc("queue", "logs", table[0]).stdout
    clone.dvc("exp", "apply", table[0])
    assert "lr: 0.01" in clone.read("params.yaml")


def sweep(clone: Clone, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ("python", "-m", "src.sweep", *words),
        cwd=clone.path,
        env=clone.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_a_grid_through_dvcs_own_queue(clone: Clone) -> None:
    clone.dvc("exp", "run", "--queue", "-S", "optimizer=SGD,Adam", "-S", "lr=0.01,0.05")
    clone.dvc("queue", "start", "-j", "2")
    until = time.monotonic() + 240
    while len(experiments(clone)) < 4:
        status = clone.dvc("queue", "status").stdout
        assert time.monotonic() < until and "Failed" not in status, status
        if not queue_workers(clone.path):  # DVC's may stop early
            clone.dvc("queue", "start", "-j", "2")
        time.sleep(2)
    for name in experiments(clone):
        log = clone.dvc("queue", "logs", name).stdout
        assert "Running stage 'train'" in log
        assert "Running stage 'prepare'" not in log


@pytest.mark.slow
def test_two_sweeps_at_once_share_what_both_want_and_prepare_it_once(clone: Clone) -> None:
    grid = ("val_fraction=0.2", "lr=0.01,0.02"), ("val_fraction=0.2", "lr=0.02,0.03")
    running = [sweep(clone, *words) for words in grid]
    said = [one.communicate(timeout=240)[0] for one in running]
    assert [one.returncode for one in running] == [0, 0], said
    assert sum(text.count("queued: ") for text in said) == 3
    assert all("2/2 " in text for text in said)
    names = experiments(clone)
    assert len(names) == 3
    logs = [clone.dvc("queue", "logs", name).stdout for name in names]
    made = [log for log in logs if "Digits: 1,150 train images" in log]
    assert len(made) == 1, "the others have it from that one, or from DVC's cache"


def test_a_locked_repository_and_a_full_disk_leave_the_queue_as_it_was(clone: Clone) -> None:
    clone.dvc("exp", "run", "--queue", "--name", "mine", "-S", "lr=0.5")
    status = clone.dvc("queue", "status").stdout
    with subprocess.Popen(
        ("python", "-c", "from dvc.repo import Repo\nwith Repo().lock: print(); input()"),
        cwd=clone.path,
        env=clone.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdout.readline()
        refused = clone.run("python", "-m", "src.sweep", "lr=0.01", check=False)
        holder.stdin.close()
    assert refused.returncode == 1
    assert output(refused) == (
        "error: another DVC command is at work in this repository; call again when it has ended\n"
    )
    assert clone.dvc("queue", "status").stdout == status

    mount = 'mount -t tmpfs -o size=64k tmpfs .dvc/tmp/exps && exec "$@"'
    words = ("unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh")
    if clone.run(*words, "true", check=False).returncode:
        pytest.skip("no mount namespaces here")
    refused = clone.run(*words, "python", "-m", "src.sweep", "lr=0.01", check=False)
    assert refused.returncode == 1
    assert re.fullmatch(
        r"error: \.dvc/tmp/exps: 0\.\d MB of the disk are free; expected at least 100 MB; "
        r"the queue is as it was\n",
        output(refused),
    )
    assert clone.dvc("queue", "status").stdout == status


@pytest.mark.slow
def test_a_killed_worker_is_replaced(clone: Clone) -> None:
    clone.set_params(epochs=30)
    log = clone.path.with_suffix(".log")
    with log.open("w") as file:
        process = subprocess.Popen(
            ("python", "-m", "src.sweep", "--workers", "1", "lr=0.01,0.005"),
            cwd=clone.path,
            env=clone.environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    until = time.monotonic() + 120
    while not (running := [one for one in psutil.process_iter(["cmdline", "cwd"]) if works_for(one, clone)]):
        assert time.monotonic() < until, log.read_text()
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    for one in running:
        one.kill()
    assert process.wait(timeout=200) == 0, log.read_text()
    assert len(experiments(clone)) == 2


def works_for(process: psutil.Process, clone: Clone) -> bool:
    """Whether it is a stage of one of the clone's temporary workspaces, its `dvc`, or its queue's worker."""
    place, command = process.info["cwd"] or "", process.info["cmdline"] or []
    return place.startswith(str(clone.path / ".dvc" / "tmp")) or (
        place == str(clone.path) and "queue-worker" in command
    )
