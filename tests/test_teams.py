"""Sharing: data through a DVC remote, code and experiments through git."""

from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from src.params import Params, parse
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


@pytest.mark.slow
def test_branches_with_results_are_merged_by_making_them_anew(clone: Clone) -> None:
    results = ("dvc.lock", "metrics", "plots")
    for branch, change in (("ada", {"lr": 0.001}), ("ben", {"weight_decay": 0.1})):
        clone.git("checkout", "--quiet", "-b", branch, "main")
        clone.set_params(**change)
        clone.dvc("repro")
        clone.git("commit", "--quiet", "--all", f"--message={branch}")
    assert clone.run("git", "merge", "--quiet", "ada", check=False).returncode == 1
    conflicts = clone.git("diff", "--name-only", "--diff-filter=U").split()
    assert "dvc.lock" in conflicts
    assert all(name.startswith(results) for name in conflicts)
    clone.git("checkout", "--quiet", "--ours", "--", *results)
    clone.git("add", *results)
    clone.dvc("repro")
    clone.git("commit", "--quiet", "--all", "--no-edit")
    values = parse(YAML(typ="safe").load(clone.read("params.yaml")), Params)
    assert (values.lr, values.weight_decay) == (0.001, 0.1)
    assert clone.git("status", "--porcelain") == ""
    assert "up to date" in clone.dvc("status", "dvc.yaml").stdout
    found = clone.run("python", "-m", "src.versions", "find").stdout
    assert found.startswith(f"commit {clone.git('rev-parse', 'HEAD')[:7]}: ")


@pytest.mark.slow
def test_an_experiment_is_merged_into_what_has_been_committed_since(clone: Clone) -> None:
    clone.dvc("exp", "run", "--name", "slower", "-S", "lr=0.001")
    clone.git("checkout", "--quiet", ".")
    clone.replace("README.md", "# LeNet-5", "# Our LeNet-5")
    clone.git("commit", "--quiet", "--all", "--message=A colleague's line")
    clone.dvc("exp", "branch", "slower", "lr")
    clone.git("merge", "--quiet", "--no-edit", "lr")
    assert "Running stage" not in output(clone.dvc("repro"))
    assert clone.read("README.md").startswith("# Our LeNet-5")
    assert "\nlr: 0.001 " in clone.read("params.yaml")
