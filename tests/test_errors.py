from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ("raise UserError('lr: 0 is invalid')", 1, "error: lr: 0 is invalid\n"),
        ("open('/dev/full', 'wb', 0).write(b'x')", 1, "error: No space left on device\n"),
        ("open('absent/file')", 1, "error: absent/file: No such file or directory\n"),
        ("os.kill(os.getpid(), signal.SIGINT)", 130, "interrupted\n"),
        ("pass", 0, ""),
    ],
)
def test_what_a_user_can_mend_is_one_line_without_a_traceback(body: str, code: int, said: str) -> None:
    # A process started in the background inherits that SIGINT is ignored; this one is to hear it.
    heard = "import os, signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)"
    program = f"{heard}\nfrom src.runtime.errors import UserError, run\ndef main():\n    {body}\nrun(main)"
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (code, said)


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_that_has_seen_enough_is_no_error(lines: int) -> None:
    body = f"for _ in range({lines}): print('a line')"
    program = f"from src.runtime.errors import run\ndef main():\n    {body}\nrun(main)"
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        result = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, stdout=pipe, stderr=subprocess.PIPE, text=True
        )
    assert (result.returncode, result.stderr) == (141, "")


@pytest.mark.parametrize(("closed", "said"), [(">&-", ""), ("2>&-", "a line False\n"), (">&- 2>&-", "")])
def test_closed_streams_are_no_error(closed: str, said: str) -> None:
    program = (
        "import sys; from src.runtime.errors import run; run(lambda: print('a line', sys.stderr.isatty()))"
    )
    line = f'"$0" -c "$1" {closed}'
    result = subprocess.run(
        ["sh", "-c", line, sys.executable, program], cwd=ROOT, capture_output=True, text=True
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, said, "")


def test_what_a_terminal_cannot_show_is_escaped() -> None:
    program = "from src.runtime.errors import run\nrun(lambda: print('0.005 → 0.01'))"
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    printed = subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, env=environment, text=True)
    assert printed == "0.005 \\u2192 0.01\n"


def test_a_defect_keeps_its_traceback() -> None:
    program = "from src.runtime.errors import run\nrun(lambda: 1 / 0)"
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert "ZeroDivisionError" in result.stderr
