"""Sharing: data through a DVC remote, code and experiments through git."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Clone, output


@pytest.mark.slow
def test_a_colleague_has_nothing_to_compute(clone: Clone, tmp_path: Path) -> None:
    clone.run("git", "init", "--quiet", "--bare", str(tmp_path / "origin.git"))
    clone.git("remote", "add", "origin", str(tmp_path / "origin.git"))
    clone.dvc("remote", "add", "--default", "team", str(tmp_path / "storage"))
    clone.git("commit", "--quiet", "--all", "--message=A remote for the team")
    clone.git("push", "--quiet", "origin", "HEAD:main")
    clone.dvc("push")
    clone.dvc("exp", "run", "--name", "slower", "-S", "lr=0.001")
    clone.dvc("exp", "push", "origin", "slower")

    clone.run(
        "git", "clone", "--quiet", "--branch=main", str(tmp_path / "origin.git"), str(tmp_path / "colleague")
    )
    colleague = Clone(tmp_path / "colleague")
    colleague.dvc("pull")
    result = output(colleague.dvc("repro"))
    assert "Running stage" not in result
    assert "up to date" in colleague.dvc("status", "dvc.yaml").stdout

    colleague.dvc("exp", "pull", "origin", "slower")
    colleague.dvc("exp", "apply", "slower")
    for name in ("metrics/test.json", "models/model.pt"):
        assert (colleague.path / name).read_bytes() == (clone.path / name).read_bytes(), name
    assert "Running stage" not in output(colleague.dvc("repro"))
