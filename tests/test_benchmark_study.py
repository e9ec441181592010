"""The study of the benchmark, with a few short setups, by real `dvc`."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from ruamel.yaml import YAML

from src.runtime.errors import UserError
from studies.benchmark.readme import BEGIN, END, README, with_results
from studies.benchmark.setups import code_digest
from studies.benchmark.table import GROUPS
from tests import committed
from tests.conftest import ROOT, Clone, output
from tests.test_survival import gone_on_from, kill

STUDY = "studies/benchmark/dvc.yaml"


@pytest.fixture
def study(clone: Clone) -> Clone:
    """A clone whose study has three short setups."""
    path = clone.path / "studies/benchmark/params.yaml"
    params = YAML(typ="safe").load(path)
    params["lenet5"] = {"setups": ["fashion-lenet5-relu-max", "fashion-lenet5-tanh-avg"], "seeds": [3]}
    params["others"] = {"setups": ["digits-convnet-plain"], "seeds": [0]}
    params["defaults"] |= {"dataset": "Digits", "epochs": 1}
    params["setups"] = {
        "fashion-lenet5-relu-max": {},
        "fashion-lenet5-tanh-avg": {"activation": "Tanh", "pooling": "avg"},
        "digits-convnet-plain": {"model": "convnet", "epochs": 4},
    }
    YAML().dump(params, path)
    clone.git("rm", "-rq", "--ignore-unmatch", "studies/benchmark/runs", "studies/benchmark/times")
    (clone.path / "studies/benchmark/dvc.lock").unlink(missing_ok=True)
    return clone


def ran(text: str) -> list[str]:
    start = "> python -m studies.benchmark."
    return [line.removeprefix(start) for line in text.splitlines() if line.startswith(start)]


@pytest.mark.slow
def test_goes_on_where_it_was_and_runs_an_added_seed_alone(study: Clone) -> None:
    *done, killed = ran("\n".join(kill(study, ("dvc", "repro", STUDY), "epoch 2/4", 0)))
    assert killed == "run digits-convnet-plain 0"
    first = output(study.dvc("repro", STUDY))
    runs = {
        "run fashion-lenet5-relu-max 3",
        "run fashion-lenet5-tanh-avg 3",
        "run digits-convnet-plain 0",
    }
    assert set(ran(first)) == {*runs, "table"} - set(done), "what was done is not done again"
    assert ran(first)[-1] == "table"
    assert gone_on_from(first.splitlines()) in (2, 3)
    runs = pd.read_csv(study.path / "studies/benchmark/runs.csv")
    assert list(runs["setup"] + "-" + runs["seed"].astype(str)) == [
        "fashion-lenet5-relu-max-3",
        "fashion-lenet5-tanh-avg-3",
        "digits-convnet-plain-0",
    ]
    assert list(runs["recipe"].unique()) == ["relu-max", "tanh-avg", "plain"]
    assert runs["epochs"].tolist() == [1, 1, 4]
    assert runs["test_accuracy"].between(0, 1).all()
    assert "up to date" in study.dvc("status", STUDY).stdout

    study.replace("studies/benchmark/params.yaml", "  - 3\n", "  - 3\n  - 0\n")
    second = output(study.dvc("repro", STUDY))
    assert sorted(ran(second)) == [
        "run fashion-lenet5-relu-max 0",
        "run fashion-lenet5-tanh-avg 0",
        "table",
    ]
    summary = pd.read_csv(study.path / "studies/benchmark/summary.csv")
    assert summary["n"].tolist() == [2, 2, 1]
    assert summary["test_accuracy_mean"][0] == pytest.approx(
        pd.read_csv(study.path / "studies/benchmark/runs.csv")["test_accuracy"][:2].mean()
    )
    times = json.loads(study.read("studies/benchmark/times/digits-convnet-plain-0.json"))
    assert times["wall_seconds"] > 0
    assert "times" not in study.read("studies/benchmark/dvc.lock")

    study.run("python", "-m", "studies.benchmark.readme")
    table = study.read(str(README)).split(BEGIN)[1].split(END)[0]
    assert f"{100 * summary['test_accuracy_mean'][0]:.2f} %" in table
    assert "(n = 2)" in table
    assert "paired by seed, n = 2" in table

    refused = study.run("python", "-m", "studies.benchmark.run", "no-such-setup", "0", check=False)
    assert refused.returncode != 0
    assert output(refused).startswith(
        "error: 'no-such-setup' is no setup; expected one of digits-convnet-plain, fashion-lenet5-relu"
    )


def test_the_table_is_made_of_all_runs() -> None:
    stages = YAML(typ="safe").load(ROOT / STUDY)["stages"]
    assert [name for name, stage in stages.items() if "matrix" in stage] == list(GROUPS)


def test_the_committed_table_in_the_readme_is_the_one_of_the_committed_results(tmp_path: Path) -> None:
    for name, content in committed.files().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    subprocess.run((sys.executable, "-m", "studies.benchmark.readme"), cwd=tmp_path, check=True)
    assert (tmp_path / README).read_text() == committed.text(str(README)), "`make results` writes it"


def test_a_readme_without_the_markers_is_refused() -> None:
    with pytest.raises(UserError, match=r"docs/results\.md: the line `<!-- results"):
        with_results("# A title\n", "| table |\n")


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
    assert code_digest([MODULE]) == "237b9caff611b8ff6e6e236564df103d717246f8bd68a4f52488dc7d40116c7d"
    assert code_digest([b"a = 1", b"b = 2"]) != code_digest([b"a = 1\nb = 2"])
    described, other = (f'lr: float = Field(gt=0, description="{text}")'.encode() for text in ("Rate", "R."))
    assert code_digest([described]) == code_digest([other])
    assert code_digest([described]) != code_digest([described.replace(b"gt", b"ge")])


def test_the_digest_of_the_code_follows_what_a_run_is_made_of(study: Clone) -> None:
    def code() -> str:
        study.run("python", "-m", "studies.benchmark.setups")
        return json.loads(study.read("studies/benchmark/setups/digits-convnet-plain.json"))["code"]

    first = code()
    study.replace("src/training/loop.py", "Knows nothing of files", "Knows nothing at all of files")
    study.replace("src/report/page.py", "def ", "def another_")
    assert code() == first, "another docstring, and no run makes a report"
    study.replace("src/training/loop.py", "background=0.0", "background=0.5")
    assert code() != first
