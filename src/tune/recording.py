"""Trials of a search as DVC experiments, without touching the workspace, the index or a branch."""

from __future__ import annotations

import io
import os
import subprocess
import tempfile
from pathlib import Path

from dvc.repo import Repo
from dvc.repo.experiments.refs import ExpRefInfo
from ruamel.yaml import YAML

from src.runtime.errors import UserError, reason
from src.runtime.files import json_text
from src.runtime.paths import LOCK_FILE, PARAMS_FILE, PIPELINE_FILE, TRAIN_METRICS
from src.tune.identity import search_code
from src.tune.trials import FIGURE, TABLE, Trial

# What decides a result besides the parameters, which are part of each experiment.
DECISIVE = ("src", "stages", str(PIPELINE_FILE))
SEARCH_FILES = (TABLE, FIGURE)
MOST_SHOWN = 4


def refuse_uncommitted_code() -> None:
    """Raise a `UserError` where HEAD is not the code that results are made with here; names the files."""
    listed = _git("status", "--porcelain", "--untracked-files=all", "-z", "--no-renames", "--", *DECISIVE)
    changed = [line[3:] for line in listed.split("\0") if line]
    if changed:
        more = f" and {len(changed) - MOST_SHOWN} more" * (len(changed) > MOST_SHOWN)
        raise UserError(
            f"--record: uncommitted changes in {', '.join(changed[:MOST_SHOWN])}{more}; commit them, so that "
            "the experiments belong to the code that made them"
        )


def refuse_other_code(code: dict[str, str]) -> None:
    """Raise a `UserError` where HEAD is not the code that trained the trials; names the files.

    Args:
        code: the SHA-256 of each file of code when the search began; see `search_code`.
    """
    refuse_uncommitted_code()
    now = search_code()
    if changed := sorted(name for name in code.keys() | now.keys() if code.get(name) != now.get(name)):
        raise UserError(
            f"--record: the trials were made with another {', '.join(changed[:MOST_SHOWN])} than that of "
            "HEAD; call again with the code that made them"
        )


def record(trials: list[Trial], prefix: str) -> list[str]:
    """Make every trial that left a model an experiment of HEAD; `dvc exp show` lists it.

    It holds the trial's parameters and `metrics/train.json`, and no result of another training: model, plots
    and test metrics, in files and in `dvc.lock`, come with `dvc exp apply NAME` and `dvc repro`. Recorded
    again it replaces itself.

    Args:
        trials: as a search returns them.
        prefix: of the experiments' names, before the trial's number.

    Returns:
        The names.

    Raises:
        UserError: git refuses, for example because nobody has told it who you are.
    """
    head, results, lock = _git("rev-parse", "HEAD"), _tracked_results(), _lock_of_prepare()
    names = []
    for trial in trials:
        if trial.val_accuracy is None:
            continue
        changed = {PARAMS_FILE: _params(trial), TRAIN_METRICS: _metrics(trial), LOCK_FILE: lock}
        tree = _tree(head, results, {str(path): text for path, text in changed.items()})
        name = f"{prefix}-{trial.trial:03d}"
        commit = _git("commit-tree", tree, "-p", head, "-m", f"{name}: {trial.status}")
        _git("update-ref", str(ExpRefInfo(head, name)), commit)
        names.append(name)
    return names


def _tracked_results() -> list[str]:
    """The files in git that a pipeline or a search has made, and what DVC notes of them."""
    with Repo() as repo:
        outputs = {out.fspath for out in repo.index.outs}
    tracked = _git("ls-files", "-z").split("\0")
    return [
        name
        for name in tracked
        if str(Path.cwd() / name) in outputs
        or Path(name).name == LOCK_FILE.name
        or Path(name) in SEARCH_FILES
    ]


def _lock_of_prepare() -> str:
    """`dvc.lock` with the stage that made the images of the search, which is the same for all trials."""
    yaml, text = YAML(), io.StringIO()
    lock = yaml.load(LOCK_FILE.read_text(encoding="utf-8"))
    lock["stages"] = {"prepare": lock["stages"]["prepare"]}
    yaml.dump(lock, text)
    return text.getvalue()


def _tree(head: str, removed: list[str], changed: dict[str, str]) -> str:
    """Write the tree of `head` without some files and with others, and return its name."""
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder, "index"))}
        _git("read-tree", head, **index)
        _git("update-index", "--force-remove", "-z", "--stdin", given="\0".join(removed), **index)
        for name, text in changed.items():
            blob = _git("hash-object", "-w", "--stdin", given=text)
            _git("update-index", "--add", "--cacheinfo", f"100644,{blob},{name}", **index)
        return _git("write-tree", **index)


def _params(trial: Trial) -> str:
    yaml = YAML()
    yaml.preserve_quotes = True
    values = yaml.load(PARAMS_FILE.read_text(encoding="utf-8"))
    for key, value in trial.values.items():
        if values[key] != value:
            values[key] = value
    text = io.StringIO()
    yaml.dump(values, text)
    return text.getvalue()


def _metrics(trial: Trial) -> str:
    keys = ("val_accuracy", "val_loss", "train_accuracy", "train_loss", "best_epoch", "epochs")
    return json_text({key: getattr(trial, key) for key in keys})


def _git(*words: str, given: str = "", **env: str) -> str:
    result = subprocess.run(
        ("git", *words), input=given, env=os.environ | env, capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise UserError(f"git {words[0]}: {reason(Exception(result.stderr))}")
    return result.stdout.rstrip("\n")
