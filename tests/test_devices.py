from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from src.devices import select_device
from src.errors import UserError
from src.processes import threads_per_worker
from tests.conftest import ROOT


def test_automatic_choice_is_the_first_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    for unset in (None, "", "auto"):
        if unset is None:
            monkeypatch.delenv("LENET_DEVICE", raising=False)
        else:
            monkeypatch.setenv("LENET_DEVICE", unset)
        chosen = select_device().type
        assert chosen == ("cuda" if torch.cuda.is_available() else chosen)
        assert chosen in ("cuda", "mps", "cpu")
    monkeypatch.setenv("LENET_DEVICE", "cpu")
    assert select_device() == torch.device("cpu")


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = "tpu" if torch.cuda.is_available() else "cuda"
    monkeypatch.setenv("LENET_DEVICE", absent)
    with pytest.raises(
        UserError, match=f"^LENET_DEVICE: '{absent}' is not accepted; accepted here: auto, .*cpu$"
    ):
        select_device()


def set_up(threads: str) -> subprocess.CompletedProcess[str]:
    program = (
        "import torch; from src.devices import set_up_process; from src.errors import run;"
        "run(set_up_process);"
        "print(torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())"
    )
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | {"LENET_THREADS": threads},
        capture_output=True,
        text=True,
    )


def test_threads_are_a_constant_that_a_variable_overrides() -> None:
    assert set_up("").stdout.split() == ["2", "True"]
    assert set_up("1").stdout.split() == ["1", "True"]


@pytest.mark.parametrize("threads", ["0", "-1", "two"])
def test_unusable_numbers_of_threads_are_refused(threads: str) -> None:
    refused = set_up(threads)
    assert refused.returncode == 1
    assert refused.stderr == (
        f"error: LENET_THREADS: {threads!r} is not accepted; accepted: an integer ≥ 1\n"
    )


@pytest.mark.parametrize(
    ("workers", "cores", "threads"), [(1, 1, 2), (1, 8, 2), (2, 2, 1), (4, 2, 1), (2, 8, 2), (3, 8, 2)]
)
def test_workers_share_the_cores(workers: int, cores: int, threads: int) -> None:
    assert threads_per_worker(workers, cores) == threads
