"""Does one commit give the same bytes, however it is run? `python -m benchmarks.repeatability` says.

Runs the pipeline of HEAD from nothing in several ways: in two folders, on one core and on all of them, while
other programs want every core, by a worker of DVC's queue, as a trial of a Ray search, and, shortened, on
emulated processors of Intel and of AMD. Compares the SHA-256 of every output, prints a table of what differs,
and fails if anything does. On a processor without AVX2 the ways are compared with each other only.

What is run lies in clones of HEAD, so changes that are not committed do not count.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path

import psutil
from ruamel.yaml import YAML
from torch import Tensor

from benchmarks.clones import Hashes, call, clone_without_results, hashes, outputs
from src.data.splits import Split, load_split
from src.networks.model_file import load_model
from src.params import RunParams, parse, read
from src.runtime import paths
from src.runtime.devices import set_up_process
from src.runtime.digests import sha256
from src.runtime.errors import UserError, run
from src.runtime.files import GrowingTable
from src.runtime.processor import REFERENCE, cores, has_avx2
from src.training.from_splits import train_on_splits
from src.training.history import Epoch

EMULATOR = "qemu-x86_64"
# As `qemu-x86_64 -cpu help` names them: one that MKL knows as Intel's, and one that it knows as AMD's.
EMULATED = {"Intel Haswell": "Haswell-noTSX", "AMD EPYC": "EPYC"}
# An emulated step takes about thirty times as long.
SHORT_STAGES = ("prepare", "train", "evaluate")
# Without the affine augmentation: QEMU 7.2 crashes in its gather instructions (PyTorch's `grid_sample`).
SHORT_PARAMS = {"dataset": "Digits", "epochs": 2, "warmup_epochs": 0, "augment": "shift_flip"}

HISTORY, MODEL = str(paths.HISTORY), str(paths.MODEL)
ENVIRONMENT = str(paths.ENVIRONMENT)

# Of one core, the first argument, for as long as the process lives whose number is the second.
BUSY = """
import os, sys
os.sched_setaffinity(0, {int(sys.argv[1])})
while os.getppid() == int(sys.argv[2]):
    pass
"""


class SkippedError(Exception):
    """This machine lacks what a way of running needs; says what."""


@dataclass(frozen=True)
class Row:
    """What came of one way of running.

    Attributes:
        way: its name.
        files: how many were compared.
        result: in words.
        good: whether nothing differed and nothing failed.
    """

    way: str
    files: int
    result: str
    good: bool = True


def reproduce(folder: Path, where: Callable[[], AbstractContextManager[None]] = nullcontext) -> Hashes:
    """`dvc repro` from nothing, in the surroundings that `where` makes: every output and dvc.lock."""
    clone_without_results(folder)
    with where():
        call(folder, "dvc", "repro")
    return hashes(folder, [*outputs(folder), "dvc.lock"])


@contextmanager
def one_core() -> Iterator[None]:
    """What is started in this block has one core of all."""
    if not hasattr(os, "sched_setaffinity"):
        raise SkippedError("this system holds no process to a core")
    usable = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(usable)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, usable)


@contextmanager
def busy_cores() -> Iterator[None]:
    """During this block another process keeps each core busy."""
    if not hasattr(os, "sched_setaffinity"):
        raise SkippedError("this system holds no process to a core")
    busy: list[subprocess.Popen[bytes]] = []
    try:
        for core in os.sched_getaffinity(0):
            command = (sys.executable, "-c", BUSY, str(core), str(os.getpid()))
            busy.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
        yield
        if any(process.poll() is not None for process in busy):
            raise UserError("the processes that were to keep the cores busy ended early")
    finally:
        for process in busy:
            process.kill()
            process.wait()


def by_queue_worker(folder: Path) -> Hashes:
    """An experiment with the committed parameters through DVC's queue: every output and dvc.lock."""
    clone_without_results(folder)
    # DVC drops an experiment that changes nothing: its baseline has no results at all.
    call(folder, "git", "commit", "--all", "--quiet", "--message=Without results")
    seed = YAML(typ="safe").load(folder / "params.yaml")["seed"]
    call(folder, sys.executable, "-m", "src.sweep", "--workers", "1", f"seed={seed}")
    call(folder, "dvc", "exp", "apply", call(folder, "dvc", "exp", "list", "--name-only").strip())
    return hashes(folder, [*outputs(folder), "dvc.lock"])


def weights_sha256(weights: dict[str, Tensor]) -> str:
    """Of a network's weights in the order of their names: each name, type and shape, and the bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def as_ray_trial(folder: Path) -> tuple[Hashes, Hashes]:
    """The training of a clone in which the pipeline has run, and the same one as a trial: the network's
    weights and its history."""
    if missing := [name for name in ("ray", "optuna") if find_spec(name) is None]:
        raise SkippedError(f"{missing[0]} is not installed (requirements-tune.txt)")
    expected = {
        "weights": weights_sha256(load_model(folder / MODEL).weights),
        HISTORY: sha256(folder / HISTORY),
    }
    # In the clone, so that Ray hands its workers the code of HEAD.
    program = "from benchmarks.repeatability import print_trial; print_trial()"
    return expected, json.loads(call(folder, sys.executable, "-c", program).splitlines()[-1])


def print_trial() -> None:
    """Train in Ray's process for a trial, as the current directory says, and print `Hashes` as JSON."""
    from src.cluster.protection import protect_ray

    protect_ray(None)
    import ray

    from src.cluster.connection import ray_runtime

    params = read(RunParams).model_dump()
    splits = [load_split(path) for path in (paths.TRAIN_SPLIT, paths.VAL_SPLIT)]
    with ray_runtime(None):
        print(json.dumps(ray.get(ray.remote(num_cpus=1)(trial).remote(params, *splits))))


def trial(values: dict[str, object], train: Split, val: Split) -> Hashes:
    params = parse(values, RunParams, whole=RunParams)
    trained, result = train_on_splits(train, val, params.network(), params, set_up_process())
    with tempfile.TemporaryDirectory() as temporary:
        history = Path(temporary) / "history.csv"
        GrowingTable(history, Epoch).update(result.history)
        return {"weights": weights_sha256(trained.weights), HISTORY: sha256(history)}


@cache
def short_run(folder: Path, *emulator: str) -> Hashes:
    """The stages that compute, with a short training, from nothing: every output; the same run only once."""
    clone_without_results(folder)
    return run_short(folder, *emulator)


def run_short(folder: Path, *emulator: str) -> Hashes:
    """Shorten the training in a clone, and run its stages that compute: every output."""
    yaml = YAML()
    params = yaml.load(folder / "params.yaml")
    yaml.dump(params | SHORT_PARAMS, folder / "params.yaml")
    for stage in SHORT_STAGES:
        # Without DVC, which would take minutes.
        call(folder, *emulator, sys.executable, "-m", f"stages.{stage}")
    return hashes(folder, outputs(folder, *SHORT_STAGES))


def why_not_emulated() -> str | None:
    """Why nothing can be compared with an emulated processor here."""
    if shutil.which(EMULATOR) is None:
        return f"{EMULATOR} is not on the PATH"
    return None if has_avx2() else f"this processor is not one of {REFERENCE}"


def emulated(folder: Path, processor: str) -> tuple[Hashes, Hashes]:
    """The short run, and the same one on an emulated processor."""
    if why := why_not_emulated():
        raise SkippedError(why)
    return short_run(folder / "native"), short_run(folder / processor, EMULATOR, "-cpu", processor)


def committed(folder: Path) -> tuple[Hashes, Hashes]:
    """What HEAD's dvc.lock says, and what that of the clone says in which the pipeline has run."""
    environments = (
        json.loads(call(folder, "git", "show", f"HEAD:{ENVIRONMENT}")),
        json.loads((folder / ENVIRONMENT).read_text()),
    )
    then, now = (set(environment.items()) for environment in environments)
    differing = {name for name, _ in then ^ now}
    # On a processor of the class, other bits are a defect.
    if differing - ({"bits"} if has_avx2() else set()):
        words = (f"{name} {environments[1].get(name)}" for name in sorted(differing))
        raise SkippedError(f"HEAD's results are of another environment; here: {', '.join(words)}")
    return recorded(call(folder, "git", "show", "HEAD:dvc.lock")), recorded((folder / "dvc.lock").read_text())


def recorded(lock: str) -> Hashes:
    """The MD5 that a `dvc.lock` holds of code, data and results, and the SHA-256 of the file itself."""
    stages = YAML(typ="safe").load(lock)["stages"].values()
    found = {
        file["path"]: file["md5"] for stage in stages for file in [*stage["deps"], *stage.get("outs", [])]
    }
    return found | {"dvc.lock": hashlib.sha256(lock.encode()).hexdigest()}


def attempt(way: str, run_both: Callable[[], tuple[Hashes, Hashes]]) -> Row:
    """Run in one way, and compare with what was to be expected."""
    print(f"{way} …", file=sys.stderr, flush=True)
    try:
        expected, found = run_both()
    except SkippedError as why:
        return Row(way, 0, f"skipped: {why}")
    except UserError as error:
        return Row(way, 0, f"failed: {error}", good=False)
    names = {**expected, **found}
    differing = [name for name in names if expected.get(name) != found.get(name)]
    if differing:
        return Row(way, len(names), f"{len(differing)} DIFFER: {', '.join(differing)}", good=False)
    return Row(way, len(names), "the same")


def beside(expected: Hashes, run_it: Callable[[], Hashes]) -> tuple[Hashes, Hashes]:
    return expected, run_it()


def check(folder: Path) -> Iterator[Row]:
    """Run in every way, each in folders of its own below `folder`."""
    everywhere = f"all cores ({cores()})"
    print(f"{everywhere} …", file=sys.stderr, flush=True)
    first = reproduce(folder / "first")
    yield Row(everywhere, len(first), "what the next three are compared with")
    ways = {
        "one core, another folder": partial(reproduce, folder / "with a longer name" / "second", one_core),
        "all cores, each of them busy": partial(reproduce, folder / "busy", busy_cores),
        "a worker of DVC's queue": partial(by_queue_worker, folder / "queue"),
    }
    for way, run_it in ways.items():
        yield attempt(way, partial(beside, first, run_it))
    yield attempt("a trial of a Ray search", partial(as_ray_trial, folder / "first"))
    for name, processor in EMULATED.items():
        yield attempt(f"emulated {name}, short", partial(emulated, folder / "emulated", processor))
    yield attempt("the commit's own results", partial(committed, folder / "first"))


def end_processes(folder: Path) -> None:
    """End what still runs in a folder: a worker of DVC's queue waits some seconds for more to do."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if Path(process.cwd()).is_relative_to(folder):
                process.kill()


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="repeatability-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary).resolve()
        try:
            rows = list(check(folder))
        finally:
            end_processes(folder)
    width = max(len(row.way) for row in rows)
    print(f"\n{'run':{width}}  files  result")
    for row in rows:
        print(f"{row.way:{width}}  {row.files or '':>5}  {row.result}")
    if bad := [row.way for row in rows if not row.good]:
        raise UserError(f"not repeatable: {'; '.join(bad)}")
    print("repeatable: nothing differs")


if __name__ == "__main__":
    run(main)
