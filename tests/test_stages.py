"""dvc.yaml says what the stages really do."""

from __future__ import annotations

import ast
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from src.params import Params, PrepareParams, TrainParams
from studies.benchmark.setups import code_digest
from studies.benchmark.table import GROUPS
from tests.conftest import ROOT

PIPELINE: dict[str, Any] = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())
LOCK: dict[str, Any] = YAML(typ="safe").load((ROOT / "dvc.lock").read_text())
STAGES = list(PIPELINE["stages"])
SETUP = "studies/benchmark/setups/${item.setup}.json"
STUDIES = sorted(path.parent.name for path in (ROOT / "studies").glob("*/dvc.yaml"))


def imported_by(path: Path) -> set[Path]:
    """The repository's modules that a file imports, wherever in it, directly or through another."""
    found: set[Path] = set()
    todo = [path]
    while todo:
        for node in ast.walk(ast.parse(todo.pop().read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, "relative imports are not followed here"
                names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
            for name in names:
                module = ROOT / Path(*name.split(".")).with_suffix(".py")
                if module.is_file() and module not in found:
                    found.add(module)
                    todo.append(module)
    return found


def names(entries: list[Any]) -> list[str]:
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def test_the_stages_and_their_order() -> None:
    assert STAGES == ["prepare", "train", "evaluate", "plot"]


@pytest.mark.parametrize("name", STAGES)
def test_dependencies_are_the_imports(name: str) -> None:
    stage = PIPELINE["stages"][name]
    script = ROOT / "stages" / f"{name}.py"
    assert stage["cmd"] == f"python -m stages.{name}"
    code = {ROOT / path for path in stage["deps"] if path.endswith(".py")}
    assert code == {script} | imported_by(script)
    assert stage["desc"]


def study_of(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The stages of a study's dvc.yaml, and of its dvc.lock."""
    files = (ROOT / "studies" / name / file for file in ("dvc.yaml", "dvc.lock"))
    pipeline, lock = (YAML(typ="safe").load(file)["stages"] for file in files)
    return pipeline, lock


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_depends_on_its_imports_and_never_on_the_test_split(study: str) -> None:
    for name, stage in study_of(study)[0].items():
        assert stage["wdir"] == "../.."
        module = stage["cmd"].removeprefix("python -m ").split()[0]
        scripts = {ROOT / Path(*module.split(".")).with_suffix(".py")}
        if name in GROUPS:
            assert stage["deps"] == [SETUP], "which stands for the code, see below"
            continue
        if name == "setups":
            scripts.add(ROOT / "studies/benchmark/run.py")
        code = {ROOT / path for path in stage["deps"] if path.endswith(".py")}
        assert code == scripts.union(*map(imported_by, scripts))
        data = {path for path in stage["deps"] if not path.endswith(".py")}
        assert data <= {
            "models/model.pt",
            "data/prepared/train.npz",
            "data/prepared/val.npz",
            "studies/benchmark/runs",
        }


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_is_committed_with_the_code_and_the_model_that_it_is_of(study: str) -> None:
    pipeline, lock = study_of(study)
    assert {name.split("@")[0] for name in lock} == set(pipeline)
    outputs = {out["path"]: out["md5"] for stage in LOCK["stages"].values() for out in stage["outs"]}
    for locked in lock.values():
        for entry in [*locked["deps"], *locked["outs"]]:
            if entry["path"] in outputs:
                assert entry["md5"] == outputs[entry["path"]], "not of what the pipeline last made"
            elif (ROOT / entry["path"]).is_file():
                assert entry["md5"] == md5(entry["path"]), entry["path"]


def test_every_run_of_the_benchmark_is_committed_as_it_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    study = YAML(typ="safe").load(ROOT / "studies/benchmark/params.yaml")
    pipeline, lock = study_of("benchmark")
    runs = {
        (group, setup, seed)
        for group in GROUPS
        for setup in study[group]["setups"]
        for seed in study[group]["seeds"]
    }
    assert {f"{group}@{setup}-{seed}" for group, setup, seed in runs} == set(lock) - {"setups", "table"}
    assert set(pipeline) == {"setups", *GROUPS, "table"}
    for group, setup, seed in runs:
        locked = lock[f"{group}@{setup}-{seed}"]
        path = SETUP.replace("${item.setup}", setup)
        assert [dep["path"] for dep in locked["deps"]] == [path]
        assert json.loads(Path(path).read_text()) == {
            "params": study["defaults"] | study["setups"][setup],
            "code": code_digest(),
        }
        assert [out["path"] for out in locked["outs"]] == [f"studies/benchmark/runs/{setup}-{seed}.json"]


def test_packages_hold_no_code_that_a_dependency_would_miss() -> None:
    packages = ("src", "src/networks", "src/trackers", "stages", "studies")
    for package in (*packages, *(f"studies/{study}" for study in STUDIES)):
        tree = ast.parse((ROOT / package / "__init__.py").read_text())
        assert [type(node) for node in tree.body] == [ast.Expr], "a docstring and nothing else"


@pytest.mark.parametrize(
    ("name", "group"),
    [("prepare", PrepareParams), ("train", TrainParams), ("evaluate", None), ("plot", None)],
)
def test_params_are_those_that_the_stage_reads(name: str, group: type[Params] | None) -> None:
    declared = PIPELINE["stages"][name].get("params", [])
    assert declared == (list(group.model_fields) if group else [])
    source = (ROOT / "stages" / f"{name}.py").read_text()
    assert ("src.params" in source) == bool(group)
    if group:
        assert f"read({group.__name__})" in source


@pytest.mark.parametrize("name", STAGES)
def test_what_flows_between_stages_is_declared_once(name: str) -> None:
    """Every data dependency is an output of an earlier stage."""
    earlier = [
        path
        for stage in STAGES[: STAGES.index(name)]
        for kind in ("outs", "metrics")
        for path in names(PIPELINE["stages"][stage].get(kind, []))
    ]
    data = [path for path in PIPELINE["stages"][name]["deps"] if not path.endswith(".py")]
    assert set(data) <= set(earlier)
    if name != "evaluate":
        assert "data/prepared/test.npz" not in data, "only evaluate reads the test split"


def test_a_code_of_figures_or_downloads_is_not_a_dependency_of_training() -> None:
    deps = PIPELINE["stages"]["train"]["deps"]
    for module in ("figures", "datasets", "archives", "idx", "evaluation"):
        assert f"src/{module}.py" not in deps


def test_small_results_are_in_git_and_large_ones_in_dvc() -> None:
    for stage in PIPELINE["stages"].values():
        for entry in [*stage.get("outs", []), *stage.get("metrics", [])]:
            path = entry if isinstance(entry, str) else next(iter(entry))
            in_git = isinstance(entry, dict) and entry[path] == {"cache": False}
            assert in_git == path.startswith(("metrics/", "plots/"))


def md5(path: str) -> str:
    return hashlib.md5((ROOT / path).read_bytes()).hexdigest()


@pytest.mark.parametrize("name", STAGES)
def test_the_committed_lock_matches_code_params_and_results(name: str) -> None:
    stage, locked = PIPELINE["stages"][name], LOCK["stages"][name]
    assert locked["cmd"] == stage["cmd"]
    assert sorted(dep["path"] for dep in locked["deps"]) == sorted(stage["deps"])
    for entry in [*locked["deps"], *locked["outs"]]:
        if entry["path"].endswith(".py") or entry["path"].startswith(("metrics/", "plots/")):
            assert entry["md5"] == md5(entry["path"]), entry["path"]
    values = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    assert locked.get("params", {}) == (
        {"params.yaml": {key: values[key] for key in stage["params"]}} if "params" in stage else {}
    )


def test_top_level_plots_and_artifacts() -> None:
    plots = {next(iter(plot)): plot for plot in PIPELINE["plots"] if isinstance(plot, dict)}
    history = "plots/history.csv"
    assert plots["loss"]["loss"]["y"] == {history: ["train_loss", "val_loss"]}
    assert plots["accuracy"]["accuracy"]["y"] == {history: ["train_accuracy", "val_accuracy"]}
    assert plots["learning_rate"]["learning_rate"]["y"] == {history: "lr"}
    assert plots["confusion"]["confusion"]["template"] == "confusion_normalized"
    pictures = [plot for plot in PIPELINE["plots"] if isinstance(plot, str)]
    assert pictures == names(PIPELINE["stages"]["plot"]["outs"])
    model = PIPELINE["artifacts"]["lenet5"]
    assert model["path"] in PIPELINE["stages"]["train"]["outs"]
    assert model["type"] == "model"
    assert model["desc"]
    assert model["labels"]


def test_the_committed_results_are_those_of_a_network_that_learnt() -> None:
    for name, measure in (("test", "accuracy"), ("train", "val_accuracy")):
        assert json.loads((ROOT / "metrics" / f"{name}.json").read_text())[measure] >= 0.97
