"""Recorded trials belong to the code that ran, and carry no result of another commit."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from src.params import RunParams, parse
from src.runtime.errors import UserError
from src.runtime.yaml_text import read_yaml
from src.tune.__main__ import main
from src.tune.identity import search_code
from src.tune.trials import Trial
from tests.conftest import Clone, output

pytest.importorskip("optuna", reason="pip install -r requirements-tune.txt")


def refusal(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> str:
    """Why `python -m src.tune --record` ends at once in a clone, before anything is trained."""
    monkeypatch.chdir(clone.path)
    monkeypatch.setattr(sys, "argv", ["src.tune", "--record"])
    with pytest.raises(UserError) as refused:
        main()
    assert not (clone.path / ".dvc/tmp/tune").exists()
    return str(refused.value)


def test_with_uncommitted_code_nothing_is_trained(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    clone.replace("src/training/loop.py", "import math", "import math  # edited")
    clone.replace("stages/train.py", "import asdict", "import asdict  # edited")
    (clone.path / "src/networks/mine.py").write_text("")
    assert refusal(clone, monkeypatch) == (
        "--record: uncommitted changes in src/training/loop.py, stages/train.py, src/networks/mine.py; "
        "commit them, so that the experiments belong to the code that made them"
    )


def test_who_records_is_asked_before_anything_is_trained(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    clone.git("config", "--unset-all", "user.name")
    clone.git("config", "--unset-all", "user.email")
    clone.git("config", "user.useConfigOnly", "true")
    assert refusal(clone, monkeypatch) == (
        "git does not know who you are; expected `git config --global user.name NAME` and "
        "`git config --global user.email ADDRESS`"
    )


def test_trials_of_other_code_are_not_recorded(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    from src.tune.recording import refuse_other_code

    monkeypatch.chdir(clone.path)
    code = search_code()
    refuse_other_code(code)
    clone.replace("src/training/loop.py", "import math", "import math  # edited")
    clone.git("commit", "--quiet", "--all", "--message=Edited while the search ran")
    with pytest.raises(
        UserError, match=r"^--record: changed since the search began: src/training/loop\.py; "
    ):
        refuse_other_code(code)


def test_a_recorded_trial_has_its_own_results_alone(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    from src.tune.recording import lock_of_prepare, record

    monkeypatch.chdir(clone.path)
    clone.replace("params.yaml", "val_fraction: 0.16667", "val_fraction: 1/6")
    values = parse(read_yaml(Path("params.yaml")), RunParams).model_dump() | {"lr": 0.03}
    measured = {"train_loss": 0.5, "train_accuracy": 0.8, "val_loss": 0.4, "val_accuracy": 0.9}
    finished = Trial(1, "finished", values, 2, 0.1, **measured, best_epoch=2)
    diverged = Trial(2, "diverged", values, 0, 0.1, message="epoch 1: …")
    assert record([finished, diverged], "mine", lock_of_prepare()) == ["mine-001"]
    (reference,) = clone.git("for-each-ref", "--format=%(objectname)", "refs/exps").split()
    files = clone.git("ls-tree", "-r", "--name-only", reference).splitlines()
    committed = clone.git("ls-tree", "-r", "--name-only", "HEAD").splitlines()
    gone = set(committed) - set(files)
    assert {"metrics/test.json", "plots/predictions.csv", "plots/history.csv"} <= gone
    lock = YAML(typ="safe").load(clone.git("show", f"{reference}:dvc.lock"))
    assert list(lock["stages"]) == ["prepare"], "whose images are those of the trial"
    assert [name for name in files if name.endswith("dvc.lock")] == ["dvc.lock"], "none of the studies"
    assert not [name for name in files if name.startswith(("plots/", "models/"))]
    assert json.loads(clone.git("show", f"{reference}:metrics/train.json"))["val_accuracy"] == 0.9
    params = clone.git("show", f"{reference}:params.yaml")
    assert "lr: 0.03" in params
    assert "val_fraction: 1/6 " in params
    assert clone.git("rev-parse", f"{reference}^").strip() == clone.git("rev-parse", "HEAD").strip()
    clone.git("checkout", "params.yaml")
    applied = clone.dvc("exp", "apply", "mine-001", check=False)
    assert "models/model.pt" in output(applied)
    assert clone.read("params.yaml") == params, "all but the model, which `dvc repro` makes"
