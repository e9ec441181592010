"""Fixtures: a tiny configuration derived from the real one, temporary clones, and small datasets."""

from __future__ import annotations

import os
import pickle
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import settings

from benchmarks.browser import Browser
from src.data.splits import ImageFormat, Split
from src.params import Group, NetworkParams, Params, parse
from src.runtime.errors import UserError
from tests import committed
from tests.watching import Watched, run_watched

# Tests run three at a time, and some of them two clones at a time: with a thread each they do not contend.
os.environ.setdefault("LENET_THREADS", "1")
# What is committed and quoted was computed on a CPU; tests of a GPU name it.
os.environ["LENET_DEVICE"] = "cpu"
os.environ.setdefault("OMP_NUM_THREADS", "1")
# The tests' own servers are behind no proxy.
for variable in ("no_proxy", "NO_PROXY"):
    os.environ[variable] = ",".join(filter(None, [os.environ.get(variable), "127.0.0.1"]))

# Clones are thousands of small files, which are made and removed faster in memory.
MEMORY = Path("/dev/shm")
if MEMORY.is_dir() and not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC and shutil.disk_usage(MEMORY).free > 6e9:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

# The same inputs in every run.
settings.register_profile("repeatable", derandomize=True, database=None)
settings.load_profile("repeatable")

ROOT = committed.ROOT

# Of `dvc.yaml`, after `validate`.
STAGES = ["prepare", "train", "evaluate", "plot"]

# Fills an empty folder.
Maker = Callable[[Path], None]

# Of git and DVC: they may ask for signatures, or name a cache in which the results already are.
NO_USER_SETTINGS = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "DVC_GLOBAL_CONFIG_DIR": ".dvc/none",
    "DVC_SYSTEM_CONFIG_DIR": ".dvc/none",
}

# DVC takes longer to load than most of its commands take.
SEVERAL = """
import sys
from dvc.cli import main
for command in sys.argv[1:]:
    if code := main(command.split()):
        sys.exit(code)
    print("\\0", flush=True)
"""

# Small enough for a test, and still every stage, dropout's random numbers and a last, smaller batch.
TINY = {"epochs": 2, "batch_size": 100, "dropout": 0.1}


class Clone:
    """A temporary git clone with a DVC repository of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, *command: str, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the clone."""
        result = subprocess.run(
            command,
            cwd=self.path,
            env=self.environment | env,
            capture_output=True,
            text=True,
            timeout=240,
        )
        if check and result.returncode:
            pytest.fail(f"{' '.join(command)}: exit code {result.returncode}\n{output(result)}")
        return result

    def start(self, *command: str, stderr: int = subprocess.STDOUT, **env: str) -> subprocess.Popen[str]:
        """Begin a command in the clone, with its output at hand; it hears Ctrl-C."""
        return subprocess.Popen(
            command,
            cwd=self.path,
            env=self.environment | env,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            # Whoever runs the tests in the background may have had Ctrl-C ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def experiments(self) -> list[str]:
        """The names of the finished experiments of HEAD."""
        return sorted(self.dvc("exp", "list", "--name-only").stdout.split())

    def dvc(self, *arguments: str, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        return self.run("dvc", *arguments, check=check, **env)

    def several(self, *commands: str) -> list[str]:
        """What each of some `dvc` commands prints, all in one process."""
        return self.run("python", "-c", SEVERAL, *commands).stdout.split("\0\n")[:-1]

    def git(self, *arguments: str) -> str:
        return self.run("git", *arguments).stdout

    def read(self, name: str) -> str:
        return (self.path / name).read_text()

    def init(self) -> None:
        """Make it a git repository."""
        self.git("init", "--quiet", "--initial-branch=main")
        # Of the clone, not of each command: DVC commits, too, and this machine may know no name.
        self.git("config", "user.name", "Test")
        self.git("config", "user.email", "test@example.org")

    def replace(self, name: str, old: str, new: str) -> None:
        """Edit a file of the clone; the old text must be there."""
        text = self.read(name)
        assert old in text, f"{old!r} is not in {name}"
        (self.path / name).write_text(text.replace(old, new))

    def set_params(self, **values: object) -> None:
        """Change values in params.yaml, and leave its comments."""
        text = self.read("params.yaml")
        for key, value in values.items():
            text = re.sub(rf"(?m)^{key}:.*?(?= +#|$)", f"{key}: {value}", text)
        (self.path / "params.yaml").write_text(text)

    def copy(self, path: Path) -> Clone:
        """A copy of the whole folder, DVC's cache included."""
        shutil.copytree(self.path, path, symlinks=True)
        copy = Clone(path)
        copy.git("status", "--porcelain")  # which refreshes the index
        return copy

    @property
    def environment(self) -> dict[str, str]:
        """The environment with this interpreter's programs first on the PATH, without the user's settings."""
        programs = Path(sys.executable).parent
        return os.environ | NO_USER_SETTINGS | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}


# What a machine may lack. Any other skip fails a run on a CI service, where all packages are installed.
ALLOWED_SKIPS = (
    "no CUDA device",
    "no MNIST here",
    "LENET_DATA_ROOT names no folder",
    "no mount namespaces here",
    "none of chromium",
    "needs Debian's package chromium",
    "qemu-x86_64 is not on the PATH",
    "gh is not on the PATH",
    *(f"{program} is not on the PATH" for program in ("slurmctld", "slurmd", "munged", "sbatch")),
    "only root can start Slurm",
    "this processor",
    "other parameters than `PARAMS` are committed",
)


def unexpected_skips(config: pytest.Config) -> list[str]:
    """The reasons of tests that were skipped and should not have been."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    reports = reporter.stats.get("skipped", []) if reporter else []
    reasons = [str(report.longrepr[2]).removeprefix("Skipped: ") for report in reports]
    return [reason for reason in reasons if not reason.startswith(ALLOWED_SKIPS)]


def pytest_sessionfinish(session: pytest.Session) -> None:
    if os.environ.get("CI") and unexpected_skips(session.config) and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for why in unexpected_skips(terminalreporter.config):
        terminalreporter.write_line(f"skipped, which fails on a CI service: {why}")


# What takes long to make comes first: the process that begins with the first half of the tests has made it by
# the time when the other one, done with the second half, takes over tests from the end of the first.
FIRST = ("experimented", "tracked", "served", "reproduced")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests with a clone first, which are the long ones: no core is to wait for another at the end."""
    items.sort(key=lambda item: [name not in getattr(item, "fixturenames", ()) for name in FIRST])


@pytest.fixture(autouse=True)
def denormal_numbers() -> Iterator[None]:
    """What `set_up_process` sets for the whole process is put back: other tests are not about PyTorch."""
    yield
    if torch := sys.modules.get("torch"):
        torch.set_flush_denormal(False)


def skip_if_outdated(*studies: str) -> None:
    """Skip a test of studies that are outdated; that fails on a CI service, as every unexpected skip does."""
    if outdated := sorted({*studies} & {*committed.outdated_studies()}):
        pytest.skip(
            "studies made with earlier code or another model (`dvc repro studies/<name>/dvc.yaml` makes them "
            f"anew): {', '.join(outdated)}"
        )


def output(result: subprocess.CompletedProcess[str]) -> str:
    return result.stdout + result.stderr


# What tests of the library, and their clones, start from. Other parameters, in the workspace or committed,
# make no test fail.
PARAMS = {
    "dataset": "Digits",
    "val_fraction": 0.16667,
    "split_seed": 0,
    "test_fraction": 0.16667,
    "model": "lenet5",
    "input": "pad",
    "activation": "ReLU",
    "pooling": "max",
    "dropout": 0.1,
    "init": "default",
    "optimizer": "AdamW",
    "lr": 0.005,
    "momentum": 0.9,
    "weight_decay": 0.01,
    "schedule": "onecycle",
    "batch_size": 64,
    "epochs": 12,
    "warmup_epochs": 0,
    "label_smoothing": 0.0,
    "clip_norm": 0.0,
    "augment": "affine",
    "ema": 0.0,
    "patience": 0,
    "seed": 0,
    "folds": 5,
}
# A network of these, without dropout; with the committed value of a parameter that somebody has added.
NETWORK: dict[str, Any] = {
    key: value for key, value in (committed.params() | PARAMS).items() if key in NetworkParams.model_fields
} | {"dropout": 0.0}


@pytest.fixture
def params() -> Params:
    """`PARAMS`, and the committed value of a parameter that somebody has added."""
    return parse(committed.params() | PARAMS, Params)


def changed(params: Group, **values: object) -> Group:
    """Parameters with other values, which are not validated."""
    return params.model_copy(update=values)


def copy_repository(folder: Path) -> None:
    """Copy this repository into a folder: the code of the working tree, parameters and results of HEAD."""
    command = ("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and not committed.is_of_a_run(name):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    for name, content in committed.files().items():
        if committed.is_of_a_run(name):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    (folder / "params.yaml").write_text(committed.params_text())


def new_clone(path: Path) -> Clone:
    """A clone of this repository, see `copy_repository`, with `PARAMS` and the tiny configuration."""
    clone = Clone(path)
    copy_repository(clone.path)
    clone.set_params(**(PARAMS | TINY))
    clone.init()
    clone.git("add", "--all")
    clone.git("commit", "--quiet", "--message=The repository, tiny")
    return clone


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clone:
    """An empty git repository, which is the current directory."""
    monkeypatch.chdir(tmp_path)
    clone = Clone(tmp_path)
    clone.init()
    return clone


@pytest.fixture(scope="session")
def fresh_clone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Clone]:
    """Make clones of this repository with the tiny configuration."""
    return lambda: new_clone(tmp_path_factory.mktemp("clone"))


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Callable[[str, Maker], Path]:
    """Make a folder once for all processes that run these tests; its name says what is in it."""
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent  # see the documentation of pytest-xdist

    def folder(name: str, make: Maker) -> Path:
        place, made = shared / name, shared / f"{name}.made"
        with FileLock(shared / f"{name}.lock"):
            if not made.exists():
                shutil.rmtree(place, ignore_errors=True)  # what a process that failed has left
                place.mkdir()
                make(place)
                made.touch()
        return place

    return folder


@pytest.fixture(scope="session")
def watched_repro(made_once: Callable[[str, Maker], Path]) -> tuple[Clone, Watched]:
    """A clone in which `dvc repro` has run and its results are committed, and what was seen of that run."""

    def make(folder: Path) -> None:
        clone = new_clone(folder / "clone")
        watched = run_watched(clone, folder / "watch", "dvc", "repro")
        clone.git("add", "--all")
        clone.git("commit", "--quiet", "--message=Results")
        (folder / "watched").write_bytes(pickle.dumps(watched))

    folder = made_once("reproduced", make)
    return Clone(folder / "clone"), pickle.loads((folder / "watched").read_bytes())


@pytest.fixture(scope="session")
def reproduced(watched_repro: tuple[Clone, Watched]) -> Clone:
    """A clone in which `dvc repro` has run and its results are committed. Not to be changed: see `clone`."""
    return watched_repro[0]


# The first command of the README's quick start.
EXPERIMENT = "dvc exp run -n lr-0.01 -S lr=0.01"


@pytest.fixture(scope="session")
def experimented(reproduced: Clone, made_once: Callable[[str, Maker], Path]) -> tuple[Clone, str]:
    """`reproduced` after `EXPERIMENT`, and what that printed; to be copied."""

    def make(folder: Path) -> None:
        clone = reproduced.copy(folder / "clone")
        printed = clone.run(*shlex.split(EXPERIMENT))
        (folder / "printed").write_text(output(printed))

    folder = made_once("experimented", make)
    return Clone(folder / "clone"), (folder / "printed").read_text()


@pytest.fixture
def clone(reproduced: Clone, tmp_path: Path) -> Clone:
    """A copy of `reproduced`, DVC's cache included, that a test may change."""
    return reproduced.copy(tmp_path / "clone")


Command = Callable[..., subprocess.CompletedProcess[str]]
Predict = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`python -m <module>` in a clone, but in this process, which has loaded PyTorch and DVC already."""

    def call(clone: Clone, module: str, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        from src.runtime.errors import run

        main = import_module(f"{module}.__main__").main
        monkeypatch.chdir(clone.path)
        monkeypatch.setattr(sys, "argv", [module, *words])
        for name, value in NO_USER_SETTINGS.items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        try:
            run(main)
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        assert not (check and code), capsys.readouterr()
        return subprocess.CompletedProcess(words, code, *capsys.readouterr())

    return call


@pytest.fixture
def predict(command: Command) -> Predict:
    """`python -m src.predict` in a clone, see `command`."""
    return lambda clone, *words, check=True: command(clone, "src.predict", *words, check=check)


def bright_squares(per_class: int, seed: int = 0, classes: int = 4) -> Split:
    """Images that a network learns in a few steps: a bright square whose place is the class, and noise."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes, dtype=np.uint8), per_class)
    images = generator.integers(0, 40, (len(labels), 28, 28), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[4 + 12 * row : 12 + 12 * row, 4 + 12 * column : 12 + 12 * column] = 250
    names = [f"place {label}" for label in range(classes)]
    return Split("Squares", names, mean=0.15, std=0.25, mirror_symmetric=False, images=images, labels=labels)


def coloured_squares(per_class: int, seed: int = 0) -> Split:
    """Images of 32×32 whose class is the colour of a square: red, green, blue or white."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(4, dtype=np.uint8), per_class)
    images = generator.integers(0, 40, (len(labels), 32, 32, 3), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[8:24, 8:24, label if label < 3 else slice(None)] = 250
    names = ["red", "green", "blue", "white"]
    return Split("Colours", names, 0.15, 0.25, False, images, labels, ImageFormat(32, 3))


@contextmanager
def protected_ray() -> Iterator[None]:
    """For tests that load Ray, which reads what protects it when it is loaded."""
    from src.cluster.protection import protect_ray

    before = dict(os.environ)
    protect_ray(None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A real one, without a page."""
    try:
        started = Browser(tmp_path_factory.mktemp("browser"))
    except UserError as absent:
        pytest.skip(str(absent))
    yield started
    started.close()
