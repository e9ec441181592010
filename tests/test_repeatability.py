from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch

from benchmarks.clones import Hashes, call, environment, remove_results
from benchmarks.repeatability import (
    EMULATED,
    EMULATOR,
    SkippedError,
    attempt,
    busy_cores,
    run_short,
    weights_sha256,
    why_not_emulated,
)
from src.runtime.errors import UserError
from src.runtime.processor import REFERENCE, has_avx2
from tests.conftest import ROOT, Clone

needs_avx2 = pytest.mark.skipif(not has_avx2(), reason=f"this processor is not one of {REFERENCE}")
needs_emulator = pytest.mark.skipif(why_not_emulated() is not None, reason=str(why_not_emulated()))

# What a shell may have set, each of it for other kernels or more threads.
HOSTILE = {
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "DNNL_MAX_CPU_ISA": "SSE41",
    "MKL_CBWR": "AVX2",
    "MKL_NUM_THREADS": "2",
    "OPENBLAS_CORETYPE": "Prescott",
    "OPENBLAS_NUM_THREADS": "2",
    "NPY_DISABLE_CPU_FEATURES": "",
    "NPY_ENABLE_CPU_FEATURES": "AVX2",
    "OMP_NUM_THREADS": "2",
}

# Says what each library says of itself; oneDNN and MKL do so when they first compute.
LOOK = """
import {package}
import json
import numpy as np
import scipy.linalg
import torch
from threadpoolctl import threadpool_info
from src.runtime.devices import bit_class, set_up_process

device = set_up_process()
torch.nn.functional.conv2d(torch.ones(64, 1, 32, 32), torch.ones(6, 1, 5, 5))
torch.ones(64, 64) @ torch.ones(64, 64)
numpy = np.lib.introspect.opt_func_info()
print(json.dumps({{
    "bits": bit_class(device),
    "aten": torch.backends.cpu.get_cpu_capability(),
    "threads": torch.get_num_threads(),
    "pools": [pool["num_threads"] for pool in threadpool_info()],
    "openblas": [pool["architecture"] for pool in threadpool_info() if "architecture" in pool],
    "numpy": sorted({{one["current"].partition("(")[0] for by in numpy.values() for one in by.values()}}),
}}))
"""


@needs_avx2
@pytest.mark.parametrize(
    ("package", "variables"),
    [
        pytest.param("src", {}, marks=pytest.mark.slow),
        ("stages", HOSTILE),  # which says `import src`, as the others do: see test_stages.py
        *(
            pytest.param(package, HOSTILE, marks=pytest.mark.slow)
            for package in ("src", "studies", "benchmarks")
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "hostile" if value else "clean",
)
def test_every_library_is_held_to_avx2_and_one_thread(package: str, variables: dict[str, str]) -> None:
    said = subprocess.run(
        (sys.executable, "-c", LOOK.format(package=package)),
        cwd=ROOT,
        env={"ONEDNN_VERBOSE": "1", "MKL_VERBOSE": "1", "LENET_DEVICE": "cpu"} | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stderr == ""
    *verbose, last = said.stdout.splitlines()
    found = json.loads(last)
    assert set(found.pop("pools")) == {1}
    assert set(found.pop("openblas")) == {"Haswell"}
    assert found == {"bits": REFERENCE, "aten": "AVX2", "threads": 1, "numpy": ["baseline"]}
    assert "onednn_verbose,v1,info,cpu,isa:Intel AVX2" in verbose
    products = [line for line in verbose if line.startswith("MKL_VERBOSE SGEMM")]
    assert products
    assert all("CNR:COMPATIBLE" in line and "NThr:1" in line for line in products)


def test_a_clone_gets_no_pin_from_the_process_that_checks_it(tmp_path: Path) -> None:
    assert os.environ["OMP_NUM_THREADS"] == os.environ["LENET_THREADS"] == "1"
    program = "import os; print(*(os.environ.get(name) for name in ('OMP_NUM_THREADS', 'LENET_THREADS')))"
    assert call(tmp_path, sys.executable, "-c", program) == "None None\n"


def test_a_command_that_fails_says_why_in_one_line(tmp_path: Path) -> None:
    program = "print('error: no such thing\\nERROR: failed to reproduce'); exit(1)"
    with pytest.raises(UserError) as refusal:
        call(tmp_path, sys.executable, "-c", program)
    assert str(refusal.value).endswith(": error: no such thing")


@pytest.mark.parametrize(
    ("found", "result", "good"),
    [
        ({"a": "1", "b": "2"}, "the same", True),
        ({"a": "1", "b": "3"}, "1 DIFFER: b", False),
        ({"a": "1"}, "1 DIFFER: b", False),
        ({"a": "1", "b": "2", "c": "3"}, "1 DIFFER: c", False),
        (SkippedError("no Ray"), "skipped: no Ray", True),
        (UserError("dvc repro: killed"), "failed: dvc repro: killed", False),
    ],
    ids=["same", "differs", "missing", "more", "skipped", "failed"],
)
def test_what_a_row_of_the_table_says(found: Hashes | Exception, result: str, good: bool) -> None:
    def run_both() -> tuple[Hashes, Hashes]:
        if isinstance(found, Exception):
            raise found
        return {"a": "1", "b": "2"}, found

    row = attempt("a way", run_both)
    assert (row.result, row.good) == (result, good)


def test_weights_are_told_apart_by_name_shape_and_bits() -> None:
    one = {"a": torch.zeros(2, 3), "b": torch.ones(1)}
    others = [
        {"a": torch.zeros(3, 2), "b": torch.ones(1)},
        {"a": torch.zeros(2, 3), "c": torch.ones(1)},
        {"a": -torch.zeros(2, 3), "b": torch.ones(1)},
        {"a": torch.zeros(2, 3), "b": torch.ones(1) + 2**-23},
        {"a": torch.zeros(2, 3, dtype=torch.int32), "b": torch.ones(1)},
    ]
    assert weights_sha256(dict(reversed(one.items()))) == weights_sha256(one)
    assert len({weights_sha256(weights) for weights in [one, *others]}) == 1 + len(others)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system holds no process to a core")
def test_busy_processes_end_with_the_block_whatever_ends_it() -> None:
    before = set(psutil.Process().children())
    with pytest.raises(KeyboardInterrupt), busy_cores():
        busy = set(psutil.Process().children()) - before
        assert len(busy) == len(os.sched_getaffinity(0))
        raise KeyboardInterrupt
    assert not any(process.is_running() for process in busy)


@pytest.fixture(scope="module")
def native(fresh_clone: Callable[[], Clone]) -> Hashes:
    """A short training on this processor."""
    clone = fresh_clone()
    remove_results(clone.path)
    return run_short(clone.path)


@pytest.mark.slow
@needs_emulator
@pytest.mark.parametrize("processor", EMULATED.values())
def test_an_emulated_processor_gives_the_same_bytes(
    fresh_clone: Callable[[], Clone], native: Hashes, processor: str
) -> None:
    clone = fresh_clone()
    remove_results(clone.path)
    assert run_short(clone.path, EMULATOR, "-cpu", processor) == native


@pytest.mark.slow
@needs_emulator
def test_a_processor_without_avx2_computes_too_and_says_so(fresh_clone: Callable[[], Clone]) -> None:
    clone = fresh_clone()
    call(clone.path, sys.executable, "-m", "stages.prepare")
    trained = subprocess.run(
        (EMULATOR, "-cpu", "Nehalem", sys.executable, "-m", "stages.train"),
        cwd=clone.path,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert trained.returncode == 0, trained.stderr
    notes = [line for line in trained.stderr.splitlines() if line.startswith("note: ")]
    said = r"note: on (x86_64 \w+, not pinned), the last bits of results are not those of " + REFERENCE
    (bits,) = (re.match(said, note) for note in notes)
    assert bits
    assert json.loads(clone.read("metrics/environment.json"))["bits"] == bits[1]
    assert (clone.path / "models" / "model.pt").exists()
