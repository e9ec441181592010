"""Which commits a model's file is of."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from src.experiments.record import git
from src.runtime.errors import UserError
from src.runtime.paths import LOCK_FILE, PARAMS_FILE, TEST_METRICS, TRAIN_METRICS


@dataclass(frozen=True)
class Origin:
    """A commit whose results hold a model.

    Attributes:
        commit: in full.
        names: branches, tags and experiments that point at it.
        params: `params.yaml`, without its comments.
        val_accuracy, test_accuracy: fractions; None where the commit lacks them.
    """

    commit: str
    names: list[str]
    params: str
    val_accuracy: float | None
    test_accuracy: float | None


def origins(path: Path) -> list[Origin]:
    """The commits of this repository, experiments among them, whose results hold a model; the oldest first.

    Args:
        path: `model.pt`, or what was exported of it.

    Raises:
        UserError: the file cannot be read.
    """
    md5 = _model_md5(path)
    found = git("log", "--all", "--reverse", "--format=%H", f"-S{md5}", "--", str(LOCK_FILE)).splitlines()
    return [_origin(commit) for commit in found if md5 in git("show", f"{commit}:{LOCK_FILE}")]


def _model_md5(path: Path) -> str:
    """Of the `model.pt` that a file is, or was made of."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        metadata = session.get_modelmeta().custom_metadata_map
        if "model_md5" in metadata:
            return metadata["model_md5"]
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _origin(commit: str) -> Origin:
    names = git("for-each-ref", "--format=%(refname)", f"--points-at={commit}").splitlines()
    lines = git("show", f"{commit}:{PARAMS_FILE}").splitlines()
    return Origin(
        commit,
        [
            name.rpartition("/")[2] if name.startswith("refs/exps/") else name.split("/", 2)[2]
            for name in names
        ],
        " ".join(
            line.partition("#")[0].strip().replace(": ", "=") for line in lines if line and line[0] != "#"
        ),
        _metric(commit, TRAIN_METRICS, "val_accuracy"),
        _metric(commit, TEST_METRICS, "accuracy"),
    )


def _metric(commit: str, path: Path, key: str) -> float | None:
    try:
        return json.loads(git("show", f"{commit}:{path}"))[key]
    except (UserError, ValueError, KeyError):
        return None
