"""Whatever lies in the workspace, the tests of what is committed look at the commit."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from src.params import Params, parse, read
from studies.benchmark.recipes import code_digest
from tests import committed
from tests.conftest import ROOT, Clone, copy_repository, output

CHECKS = [f"tests/test_{name}.py" for name in ("committed", "params", "search_space", "stages")]
PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--numprocesses", "0")


def test_copies_for_tests_have_the_committed_parameters_and_results(tmp_path: Path) -> None:
    copy_repository(tmp_path)
    copied = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    of_runs = {name for name in committed.files() if committed.is_of_a_run(name)}
    assert {name for name in copied if committed.is_of_a_run(name)} == of_runs
    for name in of_runs - {"params.yaml"}:
        assert (tmp_path / name).read_bytes() == committed.files()[name], name
    params = read(Params, tmp_path / "params.yaml")
    assert params == parse(committed.params(), Params)
    for key, value in committed.yaml("params.yaml").items():
        assert getattr(params, key, value) == value, key
    for name in copied - of_runs:
        assert (tmp_path / name).read_bytes() == (ROOT / name).read_bytes(), name


def test_git_changes_no_line_ending(clone: Clone, tmp_path: Path) -> None:
    """With other bytes than the committed ones, `dvc status` would name every stage."""
    clone.git("clone", "--quiet", "--config=core.autocrlf=true", ".", str(tmp_path / "windows"))
    for name in ("params.yaml", "dvc.lock", "stages/train.py", "metrics/train.json", "plots/history.csv"):
        assert (tmp_path / "windows" / name).read_bytes() == (clone.path / name).read_bytes(), name


def test_a_parameter_that_is_not_committed_yet_has_its_value_in_the_workspace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = {"params.yaml": b"# Data\nlr: 0.25  # not that of the workspace\nno_longer: 1\n"}
    monkeypatch.setattr(committed, "files", lambda: files)
    text = committed.params_text()
    assert text.startswith("# Data\nlr: 0.25  # not that of the workspace\n")
    values = committed.params()
    assert values.keys() == Params.model_fields.keys()
    assert values.pop("lr") == 0.25
    assert values.items() < YAML(typ="safe").load(ROOT / "params.yaml").items()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A commit with one study of a model, committed as it was made; for `committed.files`."""
    files = {"src/code.py": b"print()\n", "params.yaml": b"lr: 0.1\nepochs: 3\n"}
    monkeypatch.setattr(committed, "files", lambda: files)
    deps = [
        {"path": "src/code.py", "md5": committed.md5("src/code.py")},
        {"path": "models/model.pt", "md5": "0a1b"},
    ]
    stage = {"cmd": "python", "deps": [dep["path"] for dep in deps], "params": ["lr"]}
    lock = {"cmd": "python", "deps": deps, "params": {"params.yaml": {"lr": 0.1}}, "outs": []}
    model = {"train": {"outs": [{"path": "models/model.pt", "md5": "0a1b"}]}}
    files |= {
        name: json.dumps({"stages": content}).encode()
        for name, content in {
            "dvc.lock": model,
            "studies/one/dvc.yaml": {"measure": stage},
            "studies/one/dvc.lock": {"measure": lock},
            "studies/not-yet/dvc.yaml": {"measure": stage},
        }.items()
    }
    return files


@pytest.mark.parametrize(
    ("name", "old", "new", "outdated"),
    [
        ("params.yaml", "epochs: 3", "epochs: 4", False),
        ("params.yaml", "lr: 0.1", "lr: 0.2", True),
        ("src/code.py", "print()", "print(1)", True),
        ("dvc.lock", "0a1b", "2c3d", True),
        ("studies/one/dvc.yaml", '"src/code.py"', '"src/code.py", "params.yaml"', True),
        ("studies/one/dvc.yaml", '"measure"', '"measured"', True),
    ],
)
def test_a_study_is_outdated_once_what_it_was_made_of_has_changed(
    made: dict[str, bytes], name: str, old: str, new: str, outdated: bool
) -> None:
    assert committed.studies() == ["one"]
    assert committed.outdated_studies() == []
    assert old.encode() in made[name]
    made[name] = made[name].replace(old.encode(), new.encode())
    assert committed.outdated_studies() == (["one"] if outdated else [])


def test_the_benchmark_is_outdated_once_its_code_does_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    code, recipe = "src/code.py", "studies/benchmark/recipes/one.json"
    files = {code: b"RATE = 1\n"}
    files[recipe] = json.dumps({"code": code_digest([files[code]])}).encode()
    stage = {"cmd": "python", "deps": ["src"]}
    locked = {"cmd": "python", "deps": [{"path": "src", "md5": "0.dir"}], "outs": []}
    for name, stages in {
        "dvc.lock": {},
        "studies/benchmark/dvc.yaml": {"recipes": stage},
        "studies/benchmark/dvc.lock": {"recipes": locked},
    }.items():
        files[name] = json.dumps({"stages": stages}).encode()
    monkeypatch.setattr(committed, "files", lambda: files)
    assert committed.outdated_studies() == []
    files[code] = b"RATE = 1  # the same, and DVC writes the recipes again in a moment\n"
    assert committed.outdated_studies() == []
    files[code] = b"RATE = 2\n"
    assert committed.outdated_studies() == ["benchmark"]


def add_line(path: Path) -> None:
    path.write_text(path.read_text() + "\n# Another line.\n")


@pytest.mark.slow
def test_the_checks_pass_whatever_lies_in_the_workspace(tmp_path: Path) -> None:
    clone = Clone(tmp_path / "clone")
    subprocess.run(("git", "clone", "--quiet", "--no-checkout", ROOT, clone.path), check=True)
    copy_repository(clone.path)
    clone.git("reset", "--quiet")
    # A study whose code has moved on since.
    add_line(clone.path / "studies/robustness/measure.py")
    author = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    clone.git(*author, "commit", "--quiet", "--message=Moved on", "studies/robustness/measure.py")
    # What `dvc exp run` and `dvc exp apply` leave, an edit of the code, and a study of other seeds.
    clone.set_params(lr=0.01, dataset="MNIST")
    for name in ("dvc.lock", "studies/crossval/dvc.lock"):
        text = re.sub(r"\bmd5: .*", f"md5: {'0' * 32}", clone.read(name))
        (clone.path / name).write_text(text.replace("lr: 0.005", "lr: 0.01"))
    for name in ("metrics/train.json", "metrics/test.json", "plots/history.csv"):
        (clone.path / name).write_text("{}\n")
    (clone.path / "metrics/tune.csv").write_text("trial\n")
    (clone.path / "plots/steps.csv").unlink()
    add_line(clone.path / "src/training/loop.py")
    clone.replace("search_space.yaml", "1e-3", "1e-4")
    clone.replace("studies/benchmark/params.yaml", "lenet5-plain: 5", "lenet5-plain: 7")
    result = clone.run(
        *PYTEST,
        *CHECKS,
        *("--deselect", "tests/test_committed.py::test_the_checks_pass_whatever_lies_in_the_workspace"),
        CI="",
    )
    (said,) = [line for line in output(result).splitlines() if "studies made with earlier code" in line]
    assert said.startswith("skipped, which fails on a CI service: ")
    assert "robustness" in said


@pytest.mark.slow
def test_the_checks_pass_after_other_parameters_and_their_results_are_committed(clone: Clone) -> None:
    clone.set_params(model="convnet", lr=0.01)
    clone.dvc("repro")
    clone.git("commit", "--quiet", "--all", "--message=Other defaults")
    checks = [*CHECKS, "tests/test_model_card.py"]
    checks.append(
        "tests/test_compare.py::test_results_of_other_parameters_or_of_another_model_are_not_compared"
    )
    clone.run(*PYTEST, *checks, CI="")
