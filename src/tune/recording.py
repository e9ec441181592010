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
from src.runtime.paths import PARAMS_FILE, TRAIN_METRICS
from src.tune.trials import Trial


def record(trials: list[Trial], prefix: str) -> list[str]:
    """Make every trial that was measured an experiment of HEAD; `dvc exp show` lists it.

    It holds the trial's parameters and `metrics/train.json`, and no result of HEAD's own parameters: model,
    plots and test metrics come with `dvc exp apply NAME` and `dvc repro`. Recorded again it replaces itself.

    Args:
        trials: as a search returns them.
        prefix: of the experiments' names, before the trial's number.

    Returns:
        The names.

    Raises:
        UserError: git refuses, for example because nobody has told it who you are.
    """
    with Repo() as repo:
        outputs = {out.fspath for out in repo.index.outs}
        tracked = _git("ls-files", "-z").split("\0")
        results = [
            name for name in tracked if str(Path.cwd() / name) in outputs and name != str(TRAIN_METRICS)
        ]
    head = _git("rev-parse", "HEAD")
    names = []
    for trial in trials:
        if trial.val_accuracy is None:
            continue
        with tempfile.TemporaryDirectory() as folder:
            index = {"GIT_INDEX_FILE": str(Path(folder, "index"))}
            _git("read-tree", head, **index)
            _git("update-index", "--force-remove", "-z", "--stdin", given="\0".join(results), **index)
            for name, text in ((str(PARAMS_FILE), _params(trial)), (str(TRAIN_METRICS), _metrics(trial))):
                blob = _git("hash-object", "-w", "--stdin", given=text)
                _git("update-index", "--add", "--cacheinfo", f"100644,{blob},{name}", **index)
            tree = _git("write-tree", **index)
        name = f"{prefix}-{trial.trial:03d}"
        commit = _git("commit-tree", tree, "-p", head, "-m", f"{name}: {trial.status}")
        _git("update-ref", str(ExpRefInfo(head, name)), commit)
        names.append(name)
    return names


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
