"""Snapshots of a training on disk, from which the same training resumes after it was killed.

They are found by a key made of everything that decides the result, so that a training with another
parameter, other code or other data never meets them. They are no outputs: DVC does not know of them, and a
training that ends removes its own.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import math
import pickle
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from src.runtime.digests import sha256
from src.runtime.files import GrowingFile, replacing
from src.training.history import Epoch, Step
from src.training.loop import Snapshot, State

# The last one may have been damaged by a power cut; the one before it was on the disk by then.
KEPT = 2
ABANDONED_AFTER_SECONDS = 30 * 24 * 3600
_DIGEST_BYTES = hashlib.sha256().digest_size


class Checkpoints:
    """The snapshots of one training in one folder, which nobody else uses.

    The state after an epoch is a file of its own. The history of all of them is one that each epoch adds a
    line to: what an epoch writes does not grow with their number.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._history = GrowingFile(folder / "history.jsonl")
        self._epochs = self._steps = 0  # how many of a snapshot are in that file

    def save(self, snapshot: Snapshot) -> None:
        """Write a snapshot, and remove the states of all epochs but the last `KEPT`.

        The history is on the disk before the state that refers to it.

        Raises:
            UserError: the disk is full, or the folder cannot be written to.
        """
        new = [[asdict(row) for row in snapshot.history[self._epochs :]]]
        new += [[asdict(step) for step in snapshot.steps[self._steps :]]]
        self._history.append(json.dumps(new).encode() + b"\n")
        self._epochs, self._steps = len(snapshot.history), len(snapshot.steps)
        state = {field.name: getattr(snapshot.state, field.name) for field in fields(State)}
        buffer = io.BytesIO()
        torch.save({"state": state, "history": self._history.mark()}, buffer)
        content = buffer.getbuffer()
        with replacing(self._path(snapshot.history[-1].epoch)) as temporary, temporary.open("wb") as file:
            file.write(hashlib.sha256(content).digest())
            file.write(content)
        for outdated in self._newest_first()[KEPT:]:
            outdated.unlink(missing_ok=True)

    def latest(self) -> Snapshot | None:
        """The newest snapshot that is whole, or None; those that are not are removed with a warning."""
        for path in self._newest_first():
            if saved := _load(path):
                history = self._history.back_to(saved["history"])
                if history is not None:
                    return self._snapshot(history, State(**saved["state"]))
            print(f"{path.name}: damaged, skipped", file=sys.stderr)
            # `save` would take it for newer than what it writes after an earlier epoch, and remove that.
            path.unlink()
        return None

    def remove(self) -> None:
        """Remove all snapshots."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _snapshot(self, history: bytes, state: State) -> Snapshot:
        lines = [json.loads(line) for line in history.splitlines()]
        epochs = [Epoch(**row) for new, _ in lines for row in new]
        steps = [Step(**row) for _, new in lines for row in new]
        self._epochs, self._steps = len(epochs), len(steps)
        return Snapshot(epochs, steps, state)

    def _path(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch:07}.ckpt"

    def _newest_first(self) -> list[Path]:
        return sorted(self.folder.glob("epoch-*.ckpt"), reverse=True)


def _load(path: Path) -> dict[str, Any] | None:
    """What `Checkpoints.save` wrote; None for anything else, of which nothing is executed."""
    content = path.read_bytes()
    digest, payload = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(payload).digest() != digest:
        return None
    try:
        return torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError):
        return None


@contextmanager
def checkpoints_of(key: str, root: Path) -> Iterator[Checkpoints]:
    """The checkpoints of the training `key` (see `training_key`) below `root`, for this process alone.

    Where another process is at the same training right now, a second set is used, and so on. Sets of other
    trainings that nobody has come back to for 30 days are removed.
    """
    root.mkdir(parents=True, exist_ok=True)
    for number in itertools.count():
        # Beside the folder, not in it: a lock that is removed while it is held protects nothing.
        lock = FileLock(root / f"{key}-{number}.lock")
        try:
            held = lock.acquire(timeout=0)
        except Timeout:
            continue
        with held:
            Path(lock.lock_file).touch()
            _remove_abandoned(root)  # from here on this training's own are younger
            yield Checkpoints(root / f"{key}-{number}")
        return


def training_key(settings: Mapping[str, Any], files: Sequence[Path]) -> str:
    """A name for a training, another one whenever its result could be another.

    Args:
        settings: parameters and facts of the machine that decide the result; JSON's types.
        files: read by the training: their content counts, their names do not.

    Returns:
        The first 32 hexadecimal digits of a SHA-256 over `settings`, the files, and the code of this
        repository that the process has loaded.
    """
    digests = [sha256(path) for path in files]
    code = {name: sha256(path) for name, path in _loaded_code().items()}
    facts = json.dumps([dict(settings), digests, code], sort_keys=True)
    return hashlib.sha256(facts.encode()).hexdigest()[:32]


def _loaded_code() -> dict[str, Path]:
    """The files of this package and of the program that runs, by module.

    A notebook, or a program typed into Python, is no file.
    """
    loaded = {}
    for name, module in list(sys.modules.items()):
        path = Path(getattr(module, "__file__", None) or "")
        if (name == "__main__" or name.split(".")[0] == "src") and path.is_file():
            loaded[name] = path
    return loaded


def _remove_abandoned(root: Path) -> None:
    for path in root.glob("*.lock"):
        # The lock as its training left it at its start, the folder after each epoch.
        places = [each for each in (path, path.with_suffix("")) if each.exists()]
        try:
            changed = max((each.stat().st_mtime for each in places), default=math.inf)
        except FileNotFoundError:  # another process has removed it
            continue
        if time.time() - changed < ABANDONED_AFTER_SECONDS:
            continue
        lock = FileLock(path)
        try:
            held = lock.acquire(timeout=0)
        except Timeout:
            continue
        with held:
            shutil.rmtree(path.with_suffix(""), ignore_errors=True)
            path.unlink(missing_ok=True)
