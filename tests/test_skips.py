"""A run on a CI service fails where a test is skipped that should not be, see conftest.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ALLOWED_SKIPS, ROOT, output


@pytest.mark.parametrize(
    ("reason", "ci", "code"),
    [(ALLOWED_SKIPS[0], "true", 0), ("no reason", "true", 1), ("no reason", "", 0)],
    ids=["allowed", "not allowed", "not on a CI service"],
)
def test_a_skip_that_is_not_allowed_fails_on_a_ci_service(
    tmp_path: Path, reason: str, ci: str, code: int
) -> None:
    file = tmp_path / "test_skipped.py"
    file.write_text(f"import pytest\n\ndef test_it():\n    pytest.skip({reason!r})\n")
    result = subprocess.run(
        (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "tests.conftest", str(file)),
        cwd=ROOT,
        env=os.environ | {"CI": ci},
        capture_output=True,
        text=True,
    )
    assert result.returncode == code, output(result)
    assert ("skipped, which fails on a CI service: no reason" in output(result)) == (reason == "no reason")
