from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import termios

import pytest

from tests.conftest import ROOT

PROGRAM = """
from src.training.progress import TrainingProgress
from src.training.history import Epoch
from src.training.loop import Progress
shown = TrainingProgress(epochs=2, steps_per_epoch=3)
history = []
for epoch in range(3):
    if epoch:
        for _ in range(3):
            shown.on_step()
    history.append(Epoch(epoch, 0.1, 2.0 - epoch, 2.5 - epoch, 0.1, 0.1 + epoch / 4))
    shown.on_epoch(Progress(history, history[-1], [], snapshot=None))
"""


GOES_ON = """
from src.training.progress import TrainingProgress
from src.training.history import Epoch
from src.training.loop import Progress
shown = TrainingProgress(epochs=4, steps_per_epoch=3)
history = [Epoch(epoch, 0.1, 2.0, 2.5, 0.1, 0.1) for epoch in range(3)]
shown.on_epoch(Progress(history, history[-1], [], snapshot=None))
"""


def test_a_log_gets_a_plain_line_per_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    exec(PROGRAM, {})
    shown = capsys.readouterr().err
    lines = shown.splitlines()
    assert [line.split(":")[0] for line in lines] == ["epoch 0/2", "epoch 1/2", "epoch 2/2"]
    assert "train loss 1.0000, validation loss 1.5000, validation accuracy 35.00%" in lines[1]
    assert lines[1].endswith(" left")
    assert "\r" not in shown


def test_going_on_from_a_checkpoint_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    exec(GOES_ON, {})
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "resuming from the checkpoint of epoch 2"
    assert lines[1].startswith("epoch 2/4: train loss 2.0000")
    assert "left" not in lines[1], "nothing is known yet of the time that an epoch takes"


def on_a_terminal(program: str) -> list[str]:
    """The states of the line that a program draws on a terminal, the first one first."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 150))
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 4096):
            shown += chunk
    except OSError:  # Linux reports the other end's closing this way
        pass
    assert process.wait() == 0
    return [state for state in shown.decode().split("\r") if state.strip()]


def test_a_terminal_gets_a_bar_with_loss_accuracy_and_time_left() -> None:
    last = on_a_terminal(PROGRAM)[-1]
    for part in ("epoch 2/2", "100%", "left", "train loss 0.0000", "validation accuracy 60.00%"):
        assert part in last


def test_the_time_left_is_not_that_of_restored_epochs() -> None:
    a_step = "\nimport time\ntime.sleep(1)\nshown.on_step()\nshown.bar.refresh()"
    last = on_a_terminal(GOES_ON + a_step)[-1]
    # Of twelve steps six were restored and one was taken, in a second: five are left.
    assert re.search(r" 00:0[5-9] left", last), last
