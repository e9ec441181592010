"""dvc.yaml says what the stages really do, and what is committed is what they made."""

from __future__ import annotations

import ast
import json
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from src.params import BUILT_IN, Params, PrepareParams, TrainParams
from src.runtime.paths import OWN_DATA
from tests import committed
from tests.conftest import PARAMS, ROOT, skip_if_outdated

# Of the workspace. The committed ones are read by the tests of what is committed.
PIPELINE: dict[str, Any] = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())
STAGES = list(PIPELINE["stages"])
STUDIES = sorted(path.parent.name for path in (ROOT / "studies").glob("*/dvc.yaml"))
RECIPE = "studies/benchmark/recipes/${key}.json"

# A folder of the user's images, or the file that stands for a dataset that is built in.
DATASET = "data/own/${dataset}"

# What a study may read of the pipeline: nothing of it is of the test split.
FOR_STUDIES = {
    *("data/prepared/train.npz", "data/prepared/val.npz", "models/model.pt"),
    *("metrics/train.json", "metrics/environment.json"),
    *("plots/history.csv", "plots/steps.csv", "plots/val_predictions.csv"),
}

# All that a package but `src` may hold besides its docstring: the libraries are pinned before any is loaded.
PINS = ["import src as src"]


def imported_by(path: Path) -> set[Path]:
    """The repository's modules that a file imports, wherever in it, directly or through another.

    With a module, the packages around it are imported, too; those without any code of their own are left out,
    and so is what only a type checker imports.
    """
    found = set(_packages(path))
    todo = [path, *found]
    while todo:
        tree = _parsed(todo.pop())
        tree.body = [node for node in tree.body if not ast.unparse(node).startswith("if TYPE_CHECKING:")]
        for node in ast.walk(tree):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, "relative imports are not followed here"
                names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "import_module":
                # One of a package's modules, by its name: any of them. No result depends on a tracker.
                package = re.match(r"f'(\w+(?:\.\w+)+)\.\{", ast.unparse(node.args[0]))
                assert package, "another way to name a module than `import_module(f'src.networks.{name}')`"
                folder = Path(*package[1].split("."))
                if folder != Path("src/tracking"):
                    names = [".".join((folder / path.stem).parts) for path in (ROOT / folder).glob("*.py")]
            for name in names:
                module = ROOT / Path(*name.split("."))
                file = module / "__init__.py" if module.is_dir() else module.with_suffix(".py")
                if file.is_file():
                    new = {file, *_packages(file)} - found
                    found |= new
                    todo += new
    return {file for file in found if file.name != "__init__.py" or _code_of(file) not in ([], PINS)}


def _packages(file: Path) -> list[Path]:
    """The packages around a file, as their own files."""
    return [folder / "__init__.py" for folder in file.parents if ROOT in folder.parents]


def _parsed(module: Path) -> ast.Module:
    expected = "; expected a docstring and no code in it" if module.name == "__init__.py" else ""
    assert module.is_file(), f"{module.relative_to(ROOT)} is missing{expected}"
    return ast.parse(module.read_text())


def _code_of(package: Path) -> list[str]:
    body = _parsed(package).body
    assert body and isinstance(body[0], ast.Expr), f"{package.relative_to(ROOT)}: expected a docstring"
    return [ast.unparse(line) for line in body[1:]]


def data_of(deps: list[str]) -> set[str]:
    """Those dependencies of a stage that are no code."""
    return {path for path in deps if not path.endswith(".py") and not path.startswith("src/")}


def check_code(deps: list[str], needed: set[Path]) -> None:
    """A stage names every module that it needs, or its package where it needs most of that."""
    files = {ROOT / path for path in deps if path.endswith(".py")}
    folders = {ROOT / path for path in set(deps) - data_of(deps) if not path.endswith(".py")}
    covered = {module for module in needed if folders & set(module.parents)}
    assert files == needed - covered
    for folder in folders:
        modules = set(folder.rglob("*.py")) - {folder / "__init__.py"}
        assert len(modules & needed) > len(modules) / 2, f"{folder} is named, and little of it is needed"


def names(entries: list[Any]) -> list[str]:
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def outs_of(stage: dict[str, Any]) -> list[str]:
    return [path for kind in ("outs", "metrics", "plots") for path in names(stage.get(kind, []))]


def test_the_stages_and_their_order() -> None:
    assert STAGES == ["validate", "prepare", "train", "evaluate", "plot"]


@pytest.mark.parametrize("name", STAGES)
def test_dependencies_are_the_imports(name: str) -> None:
    stage = PIPELINE["stages"][name]
    script = ROOT / "stages" / f"{name}.py"
    assert stage["cmd"] == f"python -m stages.{name}"
    check_code(stage["deps"], {script} | imported_by(script))
    assert stage["desc"]


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_depends_on_its_imports_and_never_on_the_test_split(study: str) -> None:
    stages = YAML(typ="safe").load(ROOT / "studies" / study / "dvc.yaml")["stages"]
    stages = {name: stage.get("do", stage) for name, stage in stages.items()}
    written = {path for stage in stages.values() for path in outs_of(stage)}
    for name, stage in stages.items():
        assert stage["wdir"] == "../.."
        module = stage["cmd"].removeprefix("python -m ").split()[0]
        scripts = {ROOT / Path(*module.split(".")).with_suffix(".py")}
        if name == "run":
            assert stage["deps"] == [RECIPE], "which stands for the code, see below"
            continue
        if (study, name) == ("benchmark", "crossval"):
            own = [f"studies/benchmark/{name}.py" for name in ("crossval", "study")]
            of_another = [f"studies/crossval/{name}.py" for name in ("folds", "measure")]
            assert stage["deps"] == [*own, RECIPE.replace("key", "crossval.recipe"), *of_another]
            continue
        if name == "recipes":
            scripts.add(ROOT / "studies/benchmark/run.py")
        check_code(stage["deps"], scripts.union(*map(imported_by, scripts)))
        data = data_of(stage["deps"])
        if (study, name) == ("export", "card"):
            # It reports what the pipeline has found of the test split, and does not open it.
            data -= {"studies/robustness/accuracy.csv"}
            data = {path for path in data if not path.startswith(("metrics/", "plots/"))}
        others = data - FOR_STUDIES - written - {"studies/benchmark/runs"}
        expected = f"what the study writes, and {', '.join(sorted(FOR_STUDIES))}"
        assert not others, f"{name} reads {', '.join(sorted(others))}; expected {expected}"


@pytest.fixture
def own_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study of two stages, whose second reads what the first writes, in a repository of its own."""
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    stages = {
        "measure": (["metrics/train.json", "plots/val_predictions.csv"], "measured.csv"),
        "draw": (["studies/bright/measured.csv"], "measured.png"),
    }
    folder = tmp_path / "studies/bright"
    folder.mkdir(parents=True)
    described = {
        name: {
            "wdir": "../..",
            "cmd": f"python -m studies.bright.{name}",
            "deps": [f"studies/bright/{name}.py", *data],
            "outs": [{f"studies/bright/{out}": {"cache": False}}],
        }
        for name, (data, out) in stages.items()
    }
    (folder / "dvc.yaml").write_text(json.dumps({"stages": described}))  # JSON is YAML
    for module in (*stages, "__init__"):
        (folder / f"{module}.py").write_text('"""Of a study."""\n')
    (folder.parent / "__init__.py").write_text('"""Studies."""\n\nimport src as src\n')
    return folder


def test_a_study_of_ones_own_may_have_several_stages(own_study: Path) -> None:
    test_a_study_depends_on_its_imports_and_never_on_the_test_split("bright")
    described = (own_study / "dvc.yaml").read_text()
    for path in ("data/prepared/test.npz", "metrics/test.json", "plots/predictions.csv"):
        (own_study / "dvc.yaml").write_text(described.replace("metrics/train.json", path))
        with pytest.raises(
            AssertionError, match=f"measure reads {path}; expected what the study writes, and"
        ):
            test_a_study_depends_on_its_imports_and_never_on_the_test_split("bright")


def test_what_a_study_of_ones_own_lacks_is_named(own_study: Path) -> None:
    package = own_study / "__init__.py"
    package.write_text("")
    with pytest.raises(AssertionError, match=r"studies/bright/__init__\.py: expected a docstring"):
        test_packages_hold_no_code_that_a_dependency_would_miss()
    package.unlink()
    missing = r"studies/bright/__init__\.py is missing; expected a docstring and no code in it"
    with pytest.raises(AssertionError, match=missing):
        test_packages_hold_no_code_that_a_dependency_would_miss()
    with pytest.raises(AssertionError, match=missing):
        test_a_study_depends_on_its_imports_and_never_on_the_test_split("bright")


def test_packages_hold_no_code_that_a_dependency_would_miss() -> None:
    places = ("src", "stages", "studies", "benchmarks", "tests")
    packages = {path.parent for place in places for path in (ROOT / place).rglob("*.py")}
    for package in packages - {ROOT / "src"}:
        expected = PINS if package.parent == ROOT else []
        assert _code_of(package / "__init__.py") == expected, package


def test_every_stage_depends_on_what_pins_the_libraries() -> None:
    pinning = {ROOT / "src/__init__.py", ROOT / "src/runtime/processor.py"}
    assert imported_by(ROOT / "src/__init__.py") | {ROOT / "src/__init__.py"} == pinning
    for name in STAGES:
        assert pinning <= imported_by(ROOT / "stages" / f"{name}.py")


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_refuses_options(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would change nothing: parameters are in params.yaml."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [f"stages/{name}.py", "--lr", "0.1"])
    monkeypatch.delitem(sys.modules, f"stages.{name}", raising=False)  # as in a process of its own
    with pytest.raises(SystemExit, match=r"^1$"):
        runpy.run_module(f"stages.{name}", run_name="__main__")
    assert not list(tmp_path.iterdir())


def test_a_file_stands_for_every_dataset_that_is_built_in() -> None:
    """DVC needs something to look at in place of a folder of images."""
    assert DATASET in PIPELINE["stages"]["prepare"]["deps"]
    files = {path.name for path in (ROOT / OWN_DATA).iterdir() if path.is_file() and not path.suffix}
    assert files - {".gitignore"} == set(BUILT_IN)


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("validate", Params),
        ("prepare", PrepareParams),
        ("train", TrainParams),
        ("evaluate", None),
        ("plot", None),
    ],
)
def test_params_are_those_that_the_stage_reads(name: str, group: type[Params] | None) -> None:
    declared = PIPELINE["stages"][name].get("params", [])
    whole_file = [{"params.yaml": None}]
    assert declared == (whole_file if group is Params else list(group.model_fields) if group else [])
    source = (ROOT / "stages" / f"{name}.py").read_text()
    assert ("src.params" in source) == bool(group)
    if group:
        assert f"read({group.__name__})" in source
    # What trackers are told is no part of a result.
    others = set(
        re.findall(r"read\((\w+)\)", source.replace("TrackedTraining(trackers, read(RunParams)", ""))
    )
    assert others <= ({group.__name__} if group else set())


@pytest.mark.parametrize("name", STAGES)
def test_what_flows_between_stages_is_declared_once(name: str) -> None:
    """Every data dependency is an output of an earlier stage."""
    earlier = [
        path
        for stage in STAGES[: STAGES.index(name)]
        for kind in ("outs", "metrics")
        for path in names(PIPELINE["stages"][stage].get(kind, []))
    ]
    data = data_of(PIPELINE["stages"][name]["deps"])
    assert data - ({DATASET} if name == "prepare" else set()) <= set(earlier)
    if name != "evaluate":
        assert "data/prepared/test.npz" not in data, "only evaluate reads the test split"


def test_the_code_of_figures_or_downloads_is_not_a_dependency_of_training() -> None:
    deps = PIPELINE["stages"]["train"]["deps"]
    assert not {"src/figures", "src/evaluation", "src/data", "src/data/archives.py"} & set(deps)
    assert len([path for path in deps if not path.startswith("data/")]) <= 8


def test_small_results_are_in_git_and_large_ones_in_dvc() -> None:
    for stage in PIPELINE["stages"].values():
        for entry in [*stage.get("outs", []), *stage.get("metrics", [])]:
            path = entry if isinstance(entry, str) else next(iter(entry))
            in_git = isinstance(entry, dict) and entry[path] == {"cache": False}
            assert in_git == path.startswith(("metrics/", "plots/"))


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


def test_the_committed_lock_is_in_the_order_in_which_a_first_run_writes_it() -> None:
    """DVC adds a new stage at the end of a lock, and a run from nothing would not give these bytes."""
    assert list(committed.yaml("dvc.lock")["stages"]) == list(committed.yaml("dvc.yaml")["stages"])


@pytest.mark.parametrize("name", committed.yaml("dvc.yaml")["stages"])
def test_the_committed_lock_matches_code_params_and_results(name: str) -> None:
    stage, stages = committed.yaml("dvc.yaml")["stages"][name], committed.yaml("dvc.lock")["stages"]
    locked, params = stages[name], committed.yaml("params.yaml")
    made = {out["path"]: out["md5"] for other in stages.values() for out in other.get("outs", [])}
    assert locked["cmd"] == stage["cmd"]
    deps = [path.replace("${dataset}", params["dataset"]) for path in stage["deps"]]
    assert sorted(dep["path"] for dep in locked["deps"]) == sorted(deps)
    declared = [*names(stage.get("outs", [])), *names(stage.get("metrics", []))]
    outs = locked.get("outs", [])
    assert sorted(out["path"] for out in outs) == sorted(declared)
    for entry in [*locked["deps"], *outs]:
        # What DVC keeps is not in the commit: it is what another stage has made.
        assert entry["md5"] == (committed.md5(entry["path"]) or made.get(entry["path"])), entry["path"]
    keys = params if stage.get("params") == [{"params.yaml": None}] else stage.get("params")
    assert locked.get("params", {}) == ({"params.yaml": {key: params[key] for key in keys}} if keys else {})


def test_the_committed_results_are_those_of_a_network_that_learnt() -> None:
    if not PARAMS.items() <= committed.params().items():
        pytest.skip("other parameters than `PARAMS` are committed")
    for name, measure in (("test", "accuracy"), ("train", "val_accuracy")):
        assert json.loads(committed.text(f"metrics/{name}.json"))[measure] >= 0.97


def committed_study(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The stages of a study's dvc.yaml, and of its dvc.lock."""
    pipeline, lock = (committed.yaml(f"studies/{name}/{file}")["stages"] for file in ("dvc.yaml", "dvc.lock"))
    return pipeline, lock


def test_every_study_is_of_the_committed_code() -> None:
    """After a change of code a study is old."""
    skip_if_outdated(*committed.studies())


@pytest.mark.parametrize("study", committed.studies())
def test_a_study_is_committed_as_it_was_made(study: str) -> None:
    pipeline, lock = committed_study(study)
    assert {name.split("@")[0] for name in lock} == set(pipeline)
    for locked in lock.values():
        from_before = [dep for dep in locked["deps"] if dep["path"].startswith(f"studies/{study}/")]
        for entry in [*from_before, *locked["outs"]]:
            if not entry["path"].endswith(".py") and not entry["path"].startswith("models/"):
                assert entry["md5"] == committed.md5(entry["path"]), entry["path"]


def test_every_run_of_the_benchmark_is_committed_as_it_was_made() -> None:
    study, recipes = committed.yaml("studies/benchmark/params.yaml"), committed.yaml("recipes.yaml")
    is_old = "benchmark" in committed.outdated_studies()  # which fails on a CI service, see above
    pipeline, lock = committed_study("benchmark")
    assert set(pipeline) == {"recipes", "run", "crossval", "table"}
    assert {f"run@{recipe}" for recipe in study["seeds"]} == set(lock) - {"recipes", "crossval", "table"}
    codes = set()
    for recipe, seeds in study["seeds"].items():
        locked = lock[f"run@{recipe}"]
        path = RECIPE.replace("${key}", recipe)
        assert [dep["path"] for dep in locked["deps"]] == [path]
        assert [out["path"] for out in locked["outs"]] == [f"studies/benchmark/runs/{recipe}.json"]
        described = json.loads(committed.text(path))
        assert described["params"] == recipes["defaults"] | recipes["recipes"][recipe] or is_old
        codes.add(described["code"])
        runs = json.loads(committed.text(f"studies/benchmark/runs/{recipe}.json"))
        assert {"params": runs["params"], "code": runs["made_by"]["code"]} == described
        assert list(runs["rows"]) == [str(seed) for seed in range(seeds)]
    assert len(codes) == 1, "the code of one moment made all of them"
