"""Where to compute: a fact of the machine, chosen at run time and never a parameter."""

from __future__ import annotations

import ctypes
import os
import platform
import sys

import numpy as np
import torch

from src.runtime.errors import UserError
from src.runtime.processor import REFERENCE, is_pinned

DEVICE_VARIABLE = "LENET_DEVICE"
THREADS_VARIABLE = "LENET_THREADS"
MAX_THREADS = 1024


def select_device() -> torch.device:
    """The device that `LENET_DEVICE` names (`cuda`, `mps` or `cpu`), else the first of these at hand.

    Raises:
        UserError: the variable names something else, or a device that this machine lacks.
    """
    at_hand = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    wanted = os.environ.get(DEVICE_VARIABLE) or "auto"
    if wanted == "auto":
        return torch.device(next(name for name, present in at_hand.items() if present))
    if not at_hand.get(wanted, False):
        present = ", ".join(name for name, present in at_hand.items() if present)
        raise UserError(f"{DEVICE_VARIABLE}: {wanted!r} is invalid; expected here: auto, {present}")
    return torch.device(wanted)


def set_up_process() -> torch.device:
    """Prepare this process for repeatable, fast computing and return the device to use.

    Deterministic kernels only; `LENET_THREADS` threads, by default one, however many cores there are: a sum
    over several threads is added up in another order. Denormal numbers count as zero. On Linux also an
    allocator that keeps the memory it is given back. Where results are not those of every x86-64 processor,
    one line on standard error says so.

    Raises:
        UserError: `LENET_DEVICE` or `LENET_THREADS` holds something unusable.
    """
    threads = os.environ.get(THREADS_VARIABLE) or "1"
    if not threads.isdecimal() or not 1 <= int(threads) <= MAX_THREADS:
        raise UserError(
            f"{THREADS_VARIABLE}: {threads!r} is invalid; expected an integer from 1 to {MAX_THREADS}"
        )
    torch.set_num_threads(int(threads))
    # cuBLAS asks for a fixed workspace before it promises the same sums twice.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Short for use_deterministic_algorithms(True, warn_only=True), which would also load torch.compile's
    # back end, more than a second, to tell it the same.
    torch.set_deterministic_debug_mode("warn")
    # It also fills memory that is about to be overwritten, in case a program reads it first; none does.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    # It would round what convolutions are fed to 11 bits.
    torch.backends.cudnn.allow_tf32 = False
    # Late in a training, gradients fall below the normal numbers of float32, and Intel's processors take
    # several times as long for a step. Threads that are started later inherit this.
    torch.set_flush_denormal(True)
    if sys.platform == "linux":
        _keep_freed_memory()
    device = select_device()
    _say_where_bits_differ(device)
    return device


def bit_class(device: torch.device) -> str:
    """The class of processors on which a computation has the same bits as here, given the same versions.

    `x86-64 AVX2` is that of the committed results; any other name is this machine's own.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        capability = torch.backends.cpu.get_cpu_capability()
        if is_pinned() and capability == "AVX2":
            return REFERENCE
        return f"{platform.machine()} {capability}, not pinned"
    return f"{platform.machine()} {device.type}"


def environment(device: torch.device) -> dict[str, str | int]:
    """What decides the bits of a result besides its inputs and its code: versions, processor and threads.

    Without the parts of a version that do not: the last number of Python's, and on a CPU the `+cpu` or
    `+cu130` of a build of PyTorch.
    """
    return {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "torch": torch.__version__ if device.type == "cuda" else torch.__version__.partition("+")[0],
        "numpy": np.__version__,
        "bits": bit_class(device),
        "device": device.type,
        "threads": torch.get_num_threads(),
    }


def _say_where_bits_differ(device: torch.device) -> None:
    threads, bits = torch.get_num_threads(), bit_class(device)
    if bits != REFERENCE or threads > 1:
        on = bits if threads == 1 else f"{bits}, {threads} threads"
        print(
            f"note: on {on}, the last bits of results are not those of {REFERENCE} on one thread",
            file=sys.stderr,
            flush=True,
        )


def _keep_freed_memory() -> None:
    # glibc gives every freed activation of a few MB back to the system, which has to clear those pages
    # anew for the next batch: about a fifth of a training step on a CPU (`make bench`).
    m_trim_threshold, m_mmap_threshold = -1, -3  # glibc's malloc.h
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # musl has no mallopt
        mallopt(m_mmap_threshold, 1 << 25)
        mallopt(m_trim_threshold, (1 << 31) - 1)
