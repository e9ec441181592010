from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from src.runtime import processor
from src.runtime.devices import environment, select_device, set_up_process
from src.runtime.errors import UserError
from src.runtime.files import write_text
from src.runtime.processor import REFERENCE, has_avx2
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


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("max 100000", 64), ("350000 100000", 3), ("50000 100000", 1), ("9900000 100000", 64), (None, 64)],
)
def test_a_container_may_use_fewer_cores_than_there_are(
    limit: str | None, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)))
    monkeypatch.setattr(processor, "CONTAINER_LIMIT", tmp_path / "cpu.max")
    if limit is not None:
        (tmp_path / "cpu.max").write_text(f"{limit}\n")
    assert processor.cores() == expected


@pytest.mark.parametrize(
    ("flags", "shown"),
    [("fma avx2 avx512f", "A 7 (AVX-512)"), ("fma avx2", "A 7"), (None, "from elsewhere")],
)
def test_a_processor_is_named_with_its_widest_vectors(
    flags: str | None, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "Path", lambda name: tmp_path / name.lstrip("/"))
    monkeypatch.setattr(platform, "processor", lambda: "from elsewhere")
    if flags:
        facts = f"processor\t: 0\nmodel name\t: A 7\nflags\t\t: fpu {flags}\n\n"
        write_text(tmp_path / "proc/cpuinfo", facts * 2)
    assert processor.processor_name() == shown


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = "tpu" if torch.cuda.is_available() else "cuda"
    monkeypatch.setenv("LENET_DEVICE", absent)
    with pytest.raises(UserError, match=f"^LENET_DEVICE: '{absent}' is invalid; expected here: auto, .*cpu$"):
        select_device()


# Twice in one process, which takes seconds to load PyTorch: in between everything is as PyTorch has it.
SET_UP = """
import os, sys
import torch
from src.runtime.devices import set_up_process
from src.runtime.errors import run
for threads in ("", "3"):
    torch.set_deterministic_debug_mode("default")
    torch.set_flush_denormal(False)
    torch.backends.cudnn.allow_tf32 = True
    os.environ["LENET_THREADS"] = threads
    run(set_up_process)
    print(torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), end=" ")
    print(float(torch.tensor(1e-39) / 2), torch.backends.cudnn.allow_tf32)
    print("---", file=sys.stderr)
"""


def test_deterministic_without_denormals_on_one_thread_unless_a_variable_asks_for_more() -> None:
    command = (sys.executable, "-c", SET_UP)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["1 True 0.0 False", "3 True 0.0 False"]
    by_default, more, _ = done.stderr.split("---\n")
    assert "threads" not in by_default
    said = r"note: on .*, 3 threads, the last bits of results are not those of x86-64 AVX2 on one thread\n"
    assert re.fullmatch(said, more)


def test_the_environment_names_what_decides_the_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    here = environment(torch.device("cpu"))
    assert list(here) == ["python", "torch", "numpy", "bits", "device", "threads"]
    assert here["torch"] == "2.14.0"
    if has_avx2():
        assert here["bits"] == REFERENCE
        monkeypatch.setenv("MKL_CBWR", "AVX2")
        assert environment(torch.device("cpu"))["bits"] == "x86_64 AVX2, not pinned"


@pytest.mark.skipif(not has_avx2(), reason="needs a processor with AVX2")
@pytest.mark.parametrize(("first", "pinned"), [("src", True), ("numpy", False), ("torch", False)])
def test_a_library_that_is_loaded_before_src_is_not_pinned(first: str, pinned: bool) -> None:
    program = f"import {first}, src; from src.runtime.processor import is_pinned; print(is_pinned())"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    said = subprocess.run((sys.executable, "-c", program), env=environment, capture_output=True, text=True)
    assert said.stdout == f"{pinned}\n", said.stderr


@pytest.mark.parametrize("threads", ["0", "-1", "two", "2147483648"])
def test_unusable_numbers_of_threads_are_refused(threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LENET_THREADS", threads)
    with pytest.raises(UserError) as refusal:
        set_up_process()
    assert str(refusal.value) == f"LENET_THREADS: {threads!r} is invalid; expected an integer from 1 to 1024"
