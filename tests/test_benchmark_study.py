"""The study of the benchmark, with a few short recipes, by real `dvc`."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from ruamel.yaml import YAML

from src.runtime.errors import UserError
from src.runtime.processor import processor_name
from studies.benchmark.page import BEGIN, END, PAGE, README, Expected, expected, markdown
from studies.benchmark.recipes import code_digest, code_files, read_recipes
from studies.benchmark.study import read_study, refuse_unknown_recipes
from studies.benchmark.waiting import move
from tests import committed
from tests.conftest import Clone, output, skip_if_outdated
from tests.idx_files import archives, source
from tests.test_docs import OLD_FILES
from tests.test_survival import gone_on_from, kill

STUDY = "studies/benchmark/dvc.yaml"


@pytest.fixture
def study(clone: Clone) -> Clone:
    """A clone whose study has three short recipes."""
    recipes = YAML(typ="safe").load(clone.path / "recipes.yaml")
    recipes["defaults"] |= {"dataset": "Digits", "epochs": 1}
    recipes["recipes"] = {
        "digits-lenet5-plain": {},
        "digits-lenet5-tanh-avg": {"activation": "Tanh", "pooling": "avg"},
        "digits-convnet-plain": {"model": "convnet", "epochs": 4},
        "kmnist-lenet5-plain": {"dataset": "KMNIST", "val_fraction": 0.25},
    }
    YAML().dump(recipes, clone.path / "recipes.yaml")
    params = {
        "seeds": {"digits-lenet5-plain": 1, "digits-lenet5-tanh-avg": 2, "digits-convnet-plain": 1},
        "crossval": {"recipe": "digits-lenet5-tanh-avg", "folds": 2, "epochs": 2},
        "waiting": ["kmnist-lenet5-plain"],
        "claims": [["digits-lenet5-tanh-avg", "digits-lenet5-plain", "ReLU and max pooling over the others"]],
    }
    YAML().dump(params, clone.path / "studies/benchmark/params.yaml")
    clone.git("rm", "-rq", "--ignore-unmatch", "studies/benchmark/runs", "studies/benchmark/times")
    (clone.path / "studies/benchmark/dvc.lock").unlink(missing_ok=True)
    return clone


def rows(study: Clone, kind: str, recipe: str) -> dict[str, dict[str, float]]:
    """The `runs` or the `times` of a recipe, by seed."""
    return json.loads(study.read(f"studies/benchmark/{kind}/{recipe}.json"))["rows"]


def ran(text: str) -> list[str]:
    start = "> python -m studies.benchmark."
    return [line.removeprefix(start) for line in text.splitlines() if line.startswith(start)]


@pytest.mark.slow
def test_goes_on_where_it_was_and_runs_an_added_seed_alone(study: Clone) -> None:
    *done, killed = ran("\n".join(kill(study, ("dvc", "repro", STUDY), "epoch 2/4", 0)))
    assert killed == "run digits-convnet-plain 1"
    first = output(study.dvc("repro", STUDY))
    all_runs = {"run digits-lenet5-plain 1", "run digits-lenet5-tanh-avg 2", "run digits-convnet-plain 1"}
    assert set(ran(first)) == {*all_runs, "crossval", "table"} - set(done), "what was done is not done again"
    assert ran(first).index("table") > ran(first).index("run digits-convnet-plain 1")
    assert gone_on_from(first.splitlines()) in (2, 3)
    runs = pd.read_csv(study.path / "studies/benchmark/runs.csv")
    assert list(runs["recipe"] + " " + runs["seed"].astype(str)) == [
        "digits-lenet5-plain 0",
        "digits-lenet5-tanh-avg 0",
        "digits-lenet5-tanh-avg 1",
        "digits-convnet-plain 0",
    ]
    assert runs["epochs"].tolist() == [1, 1, 1, 4]
    assert (runs["best_epoch"] <= runs["epochs"]).all()
    assert runs["test_accuracy"].between(0, 1).all()
    assert "up to date" in study.dvc("status", STUDY).stdout

    study.replace("studies/benchmark/params.yaml", "digits-lenet5-plain: 1", "digits-lenet5-plain: 2")
    second = output(study.dvc("repro", STUDY))
    assert ran(second) == ["run digits-lenet5-plain 2", "table"]
    assert re.findall("(.*): test accuracy", second) == ["digits-lenet5-plain, seed 1"]
    summary = pd.read_csv(study.path / "studies/benchmark/summary.csv")
    assert summary["n"].tolist() == [2, 2, 1]
    runs = pd.read_csv(study.path / "studies/benchmark/runs.csv")
    assert summary["test_accuracy_mean"][0] == pytest.approx(
        runs[runs["recipe"] == "digits-lenet5-plain"]["test_accuracy"].mean()
    )
    assert rows(study, "times", "digits-lenet5-plain")["0"]["wall_seconds"] > 0
    resumed = rows(study, "times", "digits-convnet-plain")["0"]
    assert "wall_seconds" not in resumed, "the time of its last part alone would say too little"
    assert "times" not in study.read("studies/benchmark/dvc.lock")

    study.run("python", "-m", "studies.benchmark.page")
    table = study.read(str(PAGE)).split(BEGIN)[1].split(END)[0]
    row = f"| Digits | `lenet5` | {100 * summary['test_accuracy_mean'][0]:.2f} % ± "
    assert row in table
    machine = f"x86-64 AVX2, {processor_name()}"
    assert re.search(
        rf"\(n = 2\) \| 1 of 1 \| \d+ s \| {re.escape(machine)} \| `make recipe NAME=digits-lenet5-plain",
        table,
    )
    assert f"| not measured | {machine} | `make recipe NAME=digits-convnet-plain` |" in table
    assert "| KMNIST | `lenet5` | waiting for data | " in table
    assert re.search(r"^\| ReLU and max pooling over the others: .* \| 2 \|$", table, re.MULTILINE)

    pooled = json.loads(study.read("studies/benchmark/crossval/summary.json"))["accuracy"]["pooled"]
    said = "`digits-lenet5-tanh-avg` over the training images, one seed, 2 folds of 2\nepochs each: "
    assert said in table
    assert f"{100 * pooled:.2f} % of all images." in table
    folds = pd.read_csv(study.path / "studies/benchmark/crossval/folds.csv")
    assert (folds["best_epoch"] == 2).any(), "of the two epochs that the study gives them"
    assert re.search(r"^\| 9 \| [\d.]+ ± [\d.]+ \| [\d.]+ ± [\d.]+ \| ", table, re.MULTILINE)

    refused = study.run("python", "-m", "studies.benchmark.run", "no-such-recipe", "0", check=False)
    assert refused.returncode != 0
    assert output(refused).startswith(
        "error: 'no-such-recipe' is no recipe; expected one of digits-convnet-plain, digits-lenet5-plain"
    )


@pytest.mark.slow
@pytest.mark.parametrize(("new", "trained"), [("SHARE_OF_RISE = 0.3", "0"), ("SHARE_OF_RISE = 0.2", "01")])
def test_after_a_change_of_code_the_first_seed_decides_about_the_others(
    study: Clone, new: str, trained: str
) -> None:
    name = "digits-lenet5-tanh-avg"

    def run() -> str:
        study.run("python", "-m", "studies.benchmark.recipes")
        return output(study.run("python", "-m", "studies.benchmark.run", name, "2"))

    assert re.findall(r"seed (\d)", run()) == ["0", "1"]
    before, code = rows(study, "runs", name), study.read(f"studies/benchmark/recipes/{name}.json")
    study.replace("src/training/optimization.py", "ONECYCLE_RISE = 0.3", new)
    study.replace("src/training/optimization.py", "else ONECYCLE_RISE", f"else {new.split()[0]}")
    said = run()
    assert study.read(f"studies/benchmark/recipes/{name}.json") != code
    assert re.findall(r"seed (\d)", said) == list(trained)
    assert ("other results than before; every seed is run again" in said) == (trained != "0")
    assert (rows(study, "runs", name) == before) == (trained == "0")
    assert run() == "", "the others were made by this code, too"


@pytest.mark.slow
def test_a_recipe_joins_the_study_once_its_archives_are_at_hand(study: Clone, tmp_path: Path) -> None:
    nowhere = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    settings = {"LENET_DATA_ROOT": str(tmp_path), **nowhere}
    before = study.read("studies/benchmark/params.yaml")
    said = study.run("python", "-m", "studies.benchmark.waiting", **settings).stdout
    assert said.startswith("kmnist-lenet5-plain waits for data: KMNIST: 4 of its 4 files are missing")
    assert study.read("studies/benchmark/params.yaml") == before

    folder = tmp_path / "KMNIST" / "raw"
    folder.mkdir(parents=True, exist_ok=True)
    files = archives("KMNIST")
    for file, content in files.items():
        (folder / file).write_bytes(content)
    small = f"lambda: load_idx_dataset('KMNIST', 10, {source('KMNIST', files)}, data_root())"
    study.replace("src/data/kmnist.py", 'from_torchvision("KMNIST", HIRAGANA)', small)
    study.replace(
        "src/data/kmnist.py",
        "import from_torchvision",
        "import Archive, IdxSource, data_root, load_idx_dataset",
    )
    said = output(study.run("make", "--silent", *OLD_FILES, "results", **settings))
    assert "kmnist-lenet5-plain is part of the study now" in said
    assert "run kmnist-lenet5-plain 5" in ran(said)
    table = study.read(str(PAGE)).split(BEGIN)[1].split(END)[0]
    assert re.search(r"^\| KMNIST \| `lenet5` \| [\d.]+ % ± [\d.]+ \(n = 5\) \|", table, re.MULTILINE)
    params = YAML(typ="safe").load(study.path / "studies/benchmark/params.yaml")
    assert params["waiting"] == []
    assert params["seeds"]["kmnist-lenet5-plain"] == 5


def test_a_recipe_that_joins_the_study_is_a_change_of_two_lines(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    seeds = "# First\nseeds:\n  a: 20\n  b: 5\n\n"
    path.write_text(f'{seeds}# Waiting\nwaiting: [c, d]\n\nclaims:\n  - [a, b, "`a` over `b`"]\n')
    before = path.read_text()
    move(path, "c")
    after = before.replace("  b: 5\n", "  c: 5\n  b: 5\n").replace("[c, d]", "[d]")
    assert path.read_text() == after


@pytest.mark.slow
def test_a_recipe_is_an_experiment_with_the_result_of_the_study(clone: Clone) -> None:
    summary = pd.read_csv(clone.path / "studies/benchmark/summary.csv").set_index("recipe")
    name = "digits-lenet5-plain"
    clone.set_params(seed=3, activation="Tanh", epochs=1)
    said = output(clone.run("make", "--silent", *OLD_FILES, "recipe", f"NAME={name}"))
    mean = f"{100 * summary.loc[name, 'test_accuracy_mean']:.2f} %"
    assert said.startswith(f"{name}: expect a test accuracy of {mean} ± ")
    assert f"{name}-3" in clone.dvc("exp", "list", "--name-only").stdout
    run = json.loads(clone.read(f"studies/benchmark/runs/{name}.json"))["rows"]["3"]
    found = json.loads(clone.read("metrics/test.json"))
    assert (found["accuracy"], found["macro"]["f1"]) == (run["test_accuracy"], run["macro_f1"])
    clone.git("checkout", ".")
    clone.set_params(seed=3)
    again = clone.run("python", "-m", "studies.benchmark.recipe", name, check=False)
    assert again.stderr == (
        f"error: {name}-3: this experiment exists; expected `dvc exp apply {name}-3`, or `dvc exp remove "
        f"{name}-3` to run it again\n"
    )
    waiting = clone.run("python", "-m", "studies.benchmark.recipe", "kmnist-lenet5-plain", check=False)
    assert waiting.stdout.startswith(
        "kmnist-lenet5-plain: the study has no results of this recipe as it is now"
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "defaults:",
            "default:",
            "recipes.yaml: defaults is missing; expected `defaults:` with a mapping below",
        ),
        (
            "dataset: MNIST",
            "dataset: shapes",
            "digits: dataset: 'shapes' is invalid; expected one of Digits, ",
        ),
        ("epochs: 10", "epochs: 0", "recipes.yaml: digits: epochs: 0 is invalid; expected an integer ≥ 1"),
        ("digits: {}", "digits: 5", "recipes.yaml: digits: 5 is invalid; expected `key: value` lines"),
        ("digits: {}", "digits:", None),
    ],
)
def test_a_mistake_in_the_recipes_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, message: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/own/shapes").mkdir(parents=True)
    text = f"{committed.text('recipes.yaml').partition('recipes:')[0]}recipes:\n  digits: {{}}\n"
    assert old in text
    Path("recipes.yaml").write_text(text.replace(old, new))
    if message is None:
        assert read_recipes()["digits"]["epochs"] == 10
        return
    with pytest.raises(UserError) as error:
        read_recipes()
    assert message in str(error.value)
    Path("recipes.yaml").write_text("")
    with pytest.raises(UserError, match="defaults is missing"):
        read_recipes()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("folds: 5", "folds: 1", "crossval.folds: 1 is invalid: Input should be greater than or equal to 2"),
        ("waiting:", "awaiting:", "waiting: Field required"),
        (
            "mnist-lenet5-plain: 5",
            "mnist-lenet5-plain: many",
            "seeds.mnist-lenet5-plain: 'many' is invalid: Input should be a valid ",
        ),
        (', "padding the images over enlarging them"', "", "is invalid: List should have at least 3 items"),
        (
            "waiting: [",
            "waiting: [cats, ",
            "'cats' is not in recipes.yaml; expected one of digits-lenet5-plain, ",
        ),
    ],
)
def test_a_mistake_in_the_parameters_of_the_study_is_named(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    path, text = tmp_path / "params.yaml", committed.text("studies/benchmark/params.yaml")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    with pytest.raises(UserError) as error:
        refuse_unknown_recipes(read_study(path), committed.yaml("recipes.yaml")["recipes"])
    assert message in str(error.value)


def test_a_changed_recipe_has_no_results_yet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, content in committed.files().items():
        if name.startswith("studies/benchmark/"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    name = "digits-lenet5-plain"
    measured = json.loads(Path(f"studies/benchmark/recipes/{name}.json").read_text())["params"]
    found = expected(name, measured)
    assert found is not None
    assert found.accuracy.endswith("(n = 20)")
    assert expected(name, measured | {"epochs": 30}) is None
    assert expected("kmnist-lenet5-plain", measured) is None


def test_a_table_is_not_made_of_runs_of_a_changed_recipe(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, content in committed.files().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    recipes = Path("recipes.yaml")
    recipes.write_text(recipes.read_text().replace("    epochs: 24\n", "    epochs: 25\n"))
    with pytest.raises(UserError, match=r"fashion-convnet-shift-flip: not run as recipes.yaml has it now"):
        markdown()
    monkeypatch.setattr(
        "studies.benchmark.page.expected", lambda *recipe: Expected("99 %", "8 of 12", "9 s", "A")
    )
    summary = Path("studies/benchmark/summary.csv")
    summary.write_text(summary.read_text().replace(",digits-lenet5-plain,", ",gone,"))
    with pytest.raises(UserError, match=r"^gone: not in studies/benchmark/params.yaml any more; expected "):
        markdown()


@pytest.mark.parametrize("key", ["seed", "test_fraction"])
def test_a_recipe_has_no_seed_of_its_own(key: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    text = committed.text("recipes.yaml").replace("{input: resize}", f"{{input: resize, {key}: 0.25}}")
    Path("recipes.yaml").write_text(text)
    with pytest.raises(
        UserError, match=rf"mnist-lenet5-resize: {key}: 0.25 is invalid; expected no {key} in"
    ):
        read_recipes()


def test_a_recipe_that_there_is_not_is_refused(clone: Clone) -> None:
    refused = clone.run("make", "--silent", *OLD_FILES, "recipe", "NAME=best", check=False)
    assert output(refused).startswith(
        "error: NAME: 'best' is not a recipe; expected one of digits-lenet5-plain, "
    )


def test_the_committed_table_in_the_readme_is_the_one_of_the_committed_results(tmp_path: Path) -> None:
    skip_if_outdated("benchmark")
    for name, content in committed.files().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    subprocess.run((sys.executable, "-m", "studies.benchmark.page"), cwd=tmp_path, check=True)
    for page in (PAGE, README):
        assert (tmp_path / page).read_text() == committed.text(str(page)), "`make results` writes it"


MODULE = b'''"""What it is for."""

RATE = 0.5  # of learning


class Layer:
    """A layer."""

    def forward(self, x, *, scale=1):
        """Scale."""
        return f"{x!r:>4}" if x is None else x * scale
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("What it is for.", "What else it is for."),
        ('"""Scale."""', '"""Scale.\n\n        At once.\n        """'),
        ("  # of learning", ""),
        ("x * scale", "(x\n            *  scale)"),
        ('"""A layer."""', "pass  # not a text"),
    ],
)
def test_texts_for_readers_leave_the_digest_of_code_as_it_was(old: str, new: str) -> None:
    changed = MODULE.replace(old.encode(), new.encode())
    assert changed != MODULE
    same = code_digest([changed]) == code_digest([MODULE])
    assert same == ("pass" not in new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.5", "0.25"),
        ("RATE", "SPEED"),
        ("scale=1", "scale=1.0"),
        ("*, scale", "scale"),
        ("x * scale", "x + scale"),
        (":>4", ":>5"),
        ("None", "True"),
    ],
)
def test_a_change_of_what_code_does_changes_its_digest(old: str, new: str) -> None:
    changed = MODULE.replace(old.encode(), new.encode())
    ast.parse(changed)
    assert code_digest([changed]) != code_digest([MODULE])


def test_the_digest_of_code_tells_modules_apart_and_is_the_same_in_every_version_of_python() -> None:
    assert code_files(["src"], ["src/b.py", "src/a.py", "tests/c.py"]) == ["src/a.py", "src/b.py"]
    assert code_digest([MODULE]) == "237b9caff611b8ff6e6e236564df103d717246f8bd68a4f52488dc7d40116c7d"
    assert code_digest([b"a = 1", b"b = 2"]) != code_digest([b"a = 1\nb = 2"])
    described, other = (f'lr: float = Field(gt=0, description="{text}")'.encode() for text in ("Rate", "R."))
    assert code_digest([described]) == code_digest([other])
    assert code_digest([described]) != code_digest([described.replace(b"gt", b"ge")])


def test_the_digest_of_the_code_follows_what_a_run_is_made_of(study: Clone) -> None:
    def code() -> str:
        study.run("python", "-m", "studies.benchmark.recipes")
        return json.loads(study.read("studies/benchmark/recipes/digits-convnet-plain.json"))["code"]

    first = code()
    study.replace("src/training/loop.py", "Knows nothing of files", "Knows nothing at all of files")
    study.replace("src/report/page.py", "def ", "def another_")
    assert code() == first, "another docstring, and no run makes a report"
    study.replace("src/training/loop.py", "background=0.0", "background=0.5")
    assert code() != first
