from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from src.runtime import workspace
from src.runtime.errors import UserError
from tests.conftest import ROOT

EDITED = "edited while this stage ran (by another command?): lr in params.yaml; run the same command again, "


@pytest.fixture
def edited(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A parameter that is another one whenever it is looked at."""
    looks = iter(range(9))
    monkeypatch.setattr(
        workspace, "_edited", lambda: {"seed in params.yaml": 0, "lr in params.yaml": next(looks)}
    )
    workspace._edited_at_start.cache_clear()
    yield
    workspace._edited_at_start.cache_clear()


@pytest.mark.usefixtures("edited")
def test_a_stage_whose_parameters_are_edited_at_its_end_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["stages/mine.py"])
    monkeypatch.delenv(workspace.STAGE_VARIABLE, raising=False)
    monkeypatch.setattr(workspace, "STAGE_LOCKS", tmp_path)
    monkeypatch.setattr(workspace, "_dvc", lambda: None)
    with pytest.raises(SystemExit) as ended:
        workspace.run_stage(lambda: print("done"))
    assert ended.value.code == 1
    assert capsys.readouterr() == ("done\n", f"error: {EDITED}with the edits or without\n")


def test_a_stage_whose_dvc_is_killed_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = r"^the dvc process that started this stage is gone; run the same command again$"
    for dvc in (None, psutil.Process()):
        monkeypatch.setattr(workspace, "_dvc", lambda dvc=dvc: dvc)
        workspace.stop_if_abandoned()
    with subprocess.Popen(["true"]) as process:
        killed = psutil.Process(process.pid)
        monkeypatch.setattr(workspace, "_dvc", lambda: killed)
        while killed.status() != psutil.STATUS_ZOMBIE:  # nobody has asked how it ended
            time.sleep(0.01)
        with pytest.raises(UserError, match=gone):
            workspace.stop_if_abandoned()
    with pytest.raises(UserError, match=gone):
        workspace.stop_if_abandoned()
