"""The same numbers on every processor: libraries are held to the instructions that all of them have.

PyTorch, oneDNN, MKL, OpenBLAS and NumPy each choose their kernels by the processor they find, and kernels for
other instructions add up in another order: the last bits of a sum change, and with them every weight. Each of
these libraries reads a variable when it is loaded or first used, so `src` calls `pin` before all else.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from pathlib import Path

# The processors on which results are the same bytes: Intel since Haswell (2013), AMD since Zen (2017).
REFERENCE = "x86-64 AVX2"

PINNED = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    # MKL prefers other kernels on AMD's processors than on Intel's, unless told to take those that all have.
    "MKL_CBWR": "COMPATIBLE",
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V3,X86_V4,AVX512_ICL,AVX512_SPR",
    # A pool of threads that wait for work spins, and slows down whoever else needs the cores.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


def pin() -> None:
    """Hold the numerical libraries to AVX2 and one thread, whatever the environment says.

    Without effect on a processor that has no AVX2, where these kernels could not run, and on a library that
    has been loaded before.
    """
    if not has_avx2():
        return
    os.environ.pop("NPY_ENABLE_CPU_FEATURES", None)  # NumPy refuses to load with both
    for name, value in PINNED.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
            _late.update(module for module in ("numpy", "torch") if module in sys.modules)


def is_pinned() -> bool:
    """Whether this process computes as every other one on an x86-64 processor with AVX2."""
    pinned = all(os.environ.get(name) == value for name, value in PINNED.items())
    return pinned and not _late and has_avx2()


def has_avx2() -> bool:
    """Whether this is Linux on an x86-64 processor with AVX2 and FMA."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    try:
        # The processor itself, as glibc has asked it; the kernel's list is the host's where one is emulated.
        leaf = ctypes.CDLL(None)["__x86_get_cpuid_feature_leaf"]
    except AttributeError:  # glibc before 2.33, or musl
        words = Path("/proc/cpuinfo").read_text().split()
        return "avx2" in words and "fma" in words
    # Of <sys/platform/x86.h>: EAX to EDX as the processor reports them, then what of it can be used.
    leaf.argtypes, leaf.restype = [ctypes.c_uint], ctypes.POINTER(ctypes.c_uint32 * 8)
    usable_1, usable_7 = leaf(0).contents[4:], leaf(1).contents[4:]
    fma, avx2 = usable_1[2] >> 12 & 1, usable_7[1] >> 5 & 1
    return bool(fma and avx2)


def cores() -> int:
    """How many processor cores this process may use, also by the limit of a container."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = CONTAINER_LIMIT.read_text().split()
    except OSError:
        return there
    return there if quota == "max" else max(1, min(there, int(quota) // int(period)))


def processor_name() -> str:
    """The processor's name, and the widest vectors it has: the pinned kernels do not use more than AVX2."""
    facts = Path("/proc/cpuinfo")
    if not facts.exists():
        return platform.processor() or platform.machine()
    lines = dict(line.split(":", 1) for line in facts.read_text().splitlines() if ":" in line)
    found = {name.strip(): value.strip() for name, value in lines.items()}
    wide = " (AVX-512)" if "avx512f" in found.get("flags", "") else ""
    return f"{found.get('model name', platform.machine())}{wide}"


# Microseconds of all cores together, or "max", and the period in which they may be used (Linux's cgroups).
CONTAINER_LIMIT = Path("/sys/fs/cgroup/cpu.max")

# Libraries that were loaded before they could be pinned.
_late: set[str] = set()
