"""Which commits a model's file is of."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from src.experiments.git import SHALLOW, git
from src.runtime.errors import UserError, reason
from src.runtime.paths import LOCK_FILE, PARAMS_FILE, TEST_METRICS, TRAIN_METRICS


@dataclass(frozen=True)
class Origin:
    """A commit, or an experiment, that brought a model.

    Attributes:
        commit: in full.
        params: `params.yaml`, without its comments.
        val_accuracy, test_accuracy: fractions; None where the commit lacks them.
    """

    commit: str
    params: str
    val_accuracy: float | None
    test_accuracy: float | None


def origins(path: Path) -> tuple[list[Origin], list[str]]:
    """Where in this repository a model is from.

    Args:
        path: `model.pt`, or `model.onnx`, which says of which one it was made.

    Returns:
        The commits that brought it, the oldest first; and the tags, branches and experiments that hold it.

    Raises:
        UserError: the file is no ONNX model of this project, or the clone lacks a part of the history.
        OSError: it cannot be read.
    """
    if git("rev-parse", "--is-shallow-repository") == "true":
        raise UserError(SHALLOW)
    md5, lock = _model_md5(path), str(LOCK_FILE)
    # -m: also what a merge holds and none of its parents does, as after `git merge` and `dvc repro`.
    found = git("log", "-m", "--all", "--reverse", "--format=%H", f"-S{md5}", "--", lock).splitlines()
    brought = [_origin(commit) for commit in dict.fromkeys(found) if _brings(commit, md5)]
    # An experiment is refs/exps/<2 digits>/<38 digits>/<name>; DVC keeps other references there for itself.
    kinds = ("refs/tags", "refs/heads", "refs/remotes", "refs/exps/??/*/*")
    # The HEAD of a remote is another name of one of its branches.
    references = [
        name
        for name in git("for-each-ref", "--format=%(refname)", *kinds).splitlines()
        if not (name.startswith("refs/remotes/") and name.endswith("/HEAD"))
    ]
    return brought, [_short(name) for name in references if brought and _holds(name, md5)]


def _brings(commit: str, md5: str) -> bool:
    """Whether a commit holds a model that none of its parents holds."""
    parents = git("rev-parse", f"{commit}^@").split()
    return _holds(commit, md5) and not any(_holds(parent, md5) for parent in parents)


def _holds(commit: str, md5: str) -> bool:
    try:
        return md5 in git("show", f"{commit}:{LOCK_FILE}")
    except UserError:  # it has none
        return False


def _short(reference: str) -> str:
    """As a user writes it: experiments by their names alone."""
    return reference.rpartition("/")[2] if reference.startswith("refs/exps/") else reference.split("/", 2)[2]


def onnx_source_md5(content: bytes, path: Path) -> str:
    """The MD5 of the `model.pt` that an exported model, the content of `path`, was made of.

    Raises:
        UserError: it is no ONNX model of this project.
    """
    import onnx

    try:
        metadata = {one.key: one.value for one in onnx.load_from_string(content).metadata_props}
        return metadata["model_md5"]
    except Exception as error:  # protobuf has types of its own
        raise UserError(f"{path}: not a model written by this project ({reason(error)})") from None


def _model_md5(path: Path) -> str:
    """Of the `model.pt` that a file is, or was made of."""
    content = path.read_bytes()
    if path.suffix.lower() == ".onnx":
        return onnx_source_md5(content, path)
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _origin(commit: str) -> Origin:
    lines = [line.partition("#")[0].strip() for line in git("show", f"{commit}:{PARAMS_FILE}").splitlines()]
    return Origin(
        commit,
        " ".join(line.replace(": ", "=") for line in lines if line),
        _metric(commit, TRAIN_METRICS, "val_accuracy"),
        _metric(commit, TEST_METRICS, "accuracy"),
    )


def _metric(commit: str, path: Path, key: str) -> float | None:
    try:
        return json.loads(git("show", f"{commit}:{path}"))[key]
    except (UserError, ValueError, KeyError):
        return None
