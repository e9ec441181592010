"""Where to compute: a fact of the machine, chosen at run time and never a parameter."""

from __future__ import annotations

import ctypes
import os
import platform
import sys

import torch

from src.errors import UserError
from src.processes import (
    THREADS_VARIABLE,
    cores,
    queue_workers,
    started_by_queue_worker,
    threads_per_worker,
)
from src.workspace import STAGE_VARIABLE

DEVICE_VARIABLE = "LENET_DEVICE"


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
        raise UserError(f"{DEVICE_VARIABLE}: {wanted!r} is not accepted; accepted here: auto, {present}")
    return torch.device(wanted)


def set_up_process() -> torch.device:
    """Prepare this process for repeatable, fast computing and return the device to use.

    Deterministic kernels only; on a CPU `LENET_THREADS` threads, by default 2, or fewer where this is
    one of several workers of DVC's queue; and on Linux an allocator that keeps the memory it is given back.

    Raises:
        UserError: `LENET_DEVICE` or `LENET_THREADS` holds something unusable.
    """
    workers = queue_workers() if STAGE_VARIABLE in os.environ and started_by_queue_worker() else 1
    threads = os.environ.get(THREADS_VARIABLE) or str(threads_per_worker(workers, cores()))
    if not threads.isdecimal() or int(threads) < 1:
        raise UserError(f"{THREADS_VARIABLE}: {threads!r} is not accepted; accepted: an integer ≥ 1")
    torch.set_num_threads(int(threads))
    # cuBLAS asks for a fixed workspace before it promises the same sums twice.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Short for use_deterministic_algorithms(True, warn_only=True), which would also load torch.compile's
    # back end, more than a second, to tell it the same.
    torch.set_deterministic_debug_mode("warn")
    # It also fills memory that is about to be overwritten, in case a program reads it first; none does.
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = False
    if sys.platform == "linux":
        _keep_freed_memory()
    return select_device()


def numerics(device: torch.device) -> dict[str, str | int]:
    """What else than its inputs decides the last bits of a result: versions, processor and threads."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    return {
        "torch": torch.__version__,
        "device": device.type,
        "processor": name,
        "threads": torch.get_num_threads(),
    }


def _keep_freed_memory() -> None:
    # glibc gives every freed activation of a few MB back to the system, which has to clear those pages
    # anew for the next batch: about a fifth of a training step on a CPU (`make bench`).
    m_trim_threshold, m_mmap_threshold = -1, -3  # glibc's malloc.h
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # musl has no mallopt
        mallopt(m_mmap_threshold, 1 << 25)
        mallopt(m_trim_threshold, (1 << 31) - 1)
