"""Trials of a search as DVC experiments, without touching the workspace, the index or a branch."""

from __future__ import annotations

import io
from pathlib import Path

from dvc.repo import Repo
from ruamel.yaml import YAML

from src.experiments.git import git, head
from src.experiments.record import changed_tree, record_experiment
from src.params import RunParams, read
from src.runtime.errors import UserError
from src.runtime.files import json_text
from src.runtime.paths import LOCK_FILE, PARAMS_FILE, PIPELINE_FILE, TRAIN_METRICS
from src.tune.identity import search_code, shortened
from src.tune.trials import FIGURE, TABLE, Trial

# What decides a result besides the parameters, which are part of each experiment.
DECISIVE = ("src", "stages", str(PIPELINE_FILE))
SEARCH_FILES = (TABLE, FIGURE)


def refuse_uncommitted_code() -> None:
    """Raise a `UserError` where HEAD is not the code that results are made with here; names the files."""
    listed = git("status", "--porcelain", "--untracked-files=all", "-z", "--no-renames", "--", *DECISIVE)
    changed = [line[3:] for line in listed.split("\0") if line]
    if changed:
        raise UserError(
            f"--record: uncommitted changes in {shortened(changed, ', ')}; commit them, so that "
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
            f"--record: changed since the search began: {shortened(changed, ', ')}; expected the code that "
            "trained the trials"
        )


def record(trials: list[Trial], prefix: str, lock: str) -> list[str]:
    """Make every trial that left a model an experiment of HEAD; `dvc exp show` lists it.

    It holds the trial's parameters and `metrics/train.json`, and no result of another training: model, plots
    and test metrics, in files and in `dvc.lock`, come with `dvc exp apply NAME`, which reports that they are
    missing, and `dvc repro`. Recorded again it replaces itself.

    Args:
        trials: as a search returns them.
        prefix: of the experiments' names, before the trial's number.
        lock: see `lock_of_prepare`.

    Returns:
        The names.

    Raises:
        UserError: git refuses, for example because nobody has told it who you are.
    """
    baseline, results = head(), _tracked_results()
    names = []
    for trial in trials:
        if trial.val_accuracy is None:
            continue
        changed = {PARAMS_FILE: _params(trial), TRAIN_METRICS: _metrics(trial), LOCK_FILE: lock}
        files = {str(path): text.encode() for path, text in changed.items()}
        tree = changed_tree(baseline, removed=results, changed=files)
        name = f"{prefix}-{trial.trial:03d}"
        record_experiment(baseline, name, tree, f"{name}: {trial.status}")
        names.append(name)
    return names


def _tracked_results() -> list[str]:
    """The files in git that a pipeline or a search has made, and what DVC notes of them."""
    with Repo() as repo:
        outputs = {out.fspath for out in repo.index.outs}
    tracked = git("ls-files", "-z").split("\0")
    return [
        name
        for name in tracked
        if str(Path.cwd() / name) in outputs
        or Path(name).name == LOCK_FILE.name
        or Path(name) in SEARCH_FILES
    ]


def lock_of_prepare() -> str:
    """`dvc.lock` with the stage that made the images of the search, which is the same for all trials.

    To be read when it has made them: by the end of a search, another run may have replaced it.
    """
    yaml, text = YAML(), io.StringIO()
    lock = yaml.load(LOCK_FILE.read_text(encoding="utf-8"))
    lock["stages"] = {"prepare": lock["stages"]["prepare"]}
    yaml.dump(lock, text)
    return text.getvalue()


def _params(trial: Trial) -> str:
    yaml = YAML()
    yaml.preserve_quotes = True
    values = yaml.load(PARAMS_FILE.read_text(encoding="utf-8"))
    before = read(RunParams).model_dump()
    for key, value in trial.values.items():
        if before[key] != value:  # a fraction such as 1/6 stays as it is written
            values[key] = value
    text = io.StringIO()
    yaml.dump(values, text)
    return text.getvalue()


def _metrics(trial: Trial) -> str:
    keys = ("val_accuracy", "val_loss", "train_accuracy", "train_loss", "best_epoch", "epochs")
    return json_text({key: getattr(trial, key) for key in keys})
