from __future__ import annotations

import json

import pandas as pd
import pytest
from scipy.stats import binom

from src.compare.__main__ import report
from src.compare.provenance import Provenance
from src.evaluation.paired import compare
from src.runtime.errors import UserError
from tests.conftest import Clone, output


def predictions(right: int, wrong: int, first_wrong: int = 0) -> pd.DataFrame:
    """A table of `right + wrong` images; the wrong ones are in a row, from `first_wrong`."""
    count = right + wrong
    actual = [str(number % 10) for number in range(count)]
    predicted = list(actual)
    for number in range(first_wrong, first_wrong + wrong):
        predicted[number] = "x"
    return pd.DataFrame({"index": range(count), "actual": actual, "predicted": predicted})


def test_worked_out_by_hand() -> None:
    # A errs on images 0-29, B on 20-39: ten are wrong for both, 20 for A alone, 10 for B alone.
    result = compare(predictions(970, 30), predictions(980, 20, first_wrong=20))
    assert (result.images, result.only_a, result.only_b) == (1000, 10, 20)
    assert result.accuracy_a == pytest.approx(0.97)
    assert result.accuracy_b == pytest.approx(0.98)
    assert result.difference == pytest.approx(0.01)
    assert result.p_value == pytest.approx(2 * binom.cdf(10, 30, 0.5))
    low, high = result.interval
    assert low < 0 < result.difference < high
    # By definition of the exact interval, a share at its lower end makes 20 or more of 30 this improbable.
    share = (low * 1000 / 30 + 1) / 2
    assert binom.sf(19, 30, share) == pytest.approx(0.025)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 5), (0, 6), (1, 8), (2, 9), (3, 12), (40, 60), (39, 61)])
def test_the_interval_excludes_nothing_where_p_is_above_5_percent(only_a: int, only_b: int) -> None:
    a = predictions(1000 - only_b, only_b)
    b = predictions(1000 - only_a, only_a, first_wrong=500)
    for result in (compare(a, b), compare(b, a)):
        low, high = result.interval
        assert (result.p_value < 0.05) == (not low <= 0 <= high)
    assert compare(b, a).interval == pytest.approx(tuple(-end for end in reversed(compare(a, b).interval)))


def test_equal_predictions_do_not_differ() -> None:
    result = compare(predictions(95, 5), predictions(95, 5))
    assert (result.difference, result.interval, result.p_value) == (0.0, (0.0, 0.0), 1.0)
    assert "no parameter differs" in report("main", "workspace", result, {}, *[Provenance(None, None)] * 2)


def test_other_test_sets_are_refused() -> None:
    with pytest.raises(UserError, match="different test sets: 100 images in A, 99 in B"):
        compare(predictions(100, 0), predictions(99, 0))
    other = predictions(100, 0)
    other["actual"] = other["actual"][::-1].reset_index(drop=True)
    with pytest.raises(UserError, match="different test sets: 100 images each"):
        compare(predictions(100, 0), other)


def test_commits_experiments_and_the_workspace(clone: Clone) -> None:
    clone.dvc("exp", "run", "--name", "faster", "--set-param", "lr=0.02")
    told = clone.run("python", "-m", "src.compare").stdout
    assert told == clone.run("python", "-m", "src.compare", "main", "workspace").stdout.replace(
        "main", "HEAD"
    )
    between = json.loads(clone.run("python", "-m", "src.compare", "main", "faster", "--json").stdout)
    assert between["parameters"] == {"lr": [0.005, 0.02]}
    metrics = json.loads(clone.dvc("metrics", "diff", "--json").stdout)["metrics/test.json"]["accuracy"]
    assert between["accuracy_a"] == pytest.approx(metrics["old"])
    assert between["accuracy_b"] == pytest.approx(metrics["new"])
    # Metrics are rounded to six digits.
    assert between["difference"] == pytest.approx(metrics["diff"], abs=2e-6)
    assert between["images"] == 360
    for line in ("A  HEAD", "B  workspace", "of 360 test images", "  lr: 0.005 → 0.02"):
        assert line in told
    environment = json.loads(clone.read("metrics/environment.json"))
    assert between["environment"] == {"a": environment, "b": environment}
    assert between["code"] == []
    assert told.endswith("cpu, 1 thread\nno training code differs\n")
    assert f"trained with: Python {environment['python']}, torch {environment['torch']}, numpy" in told

    for arguments, said in (
        (("nowhere",), "error: nowhere: cannot read plots/predictions.csv"),
        (("main", "--jsn"), "unrecognized arguments: --jsn"),
    ):
        result = clone.run("python", "-m", "src.compare", *arguments, check=False)
        assert result.returncode != 0
        assert said in output(result)
        assert "Traceback" not in output(result)
    clone.set_params(dataset="MNIST")
    result = clone.run("python", "-m", "src.compare", check=False)
    assert output(result) == "error: different test sets: Digits in A, MNIST in B\n"


def test_what_else_than_parameters_may_explain_a_difference(clone: Clone) -> None:
    (clone.path / "src/training/loop.py").open("a").write("# by other code\n")
    clone.dvc("repro", LENET_THREADS="2")
    # What lies in the workspace was trained before this.
    (clone.path / "src/networks/build.py").open("a").write("# by nothing yet\n")

    def told() -> list[str]:
        lines = clone.run("python", "-m", "src.compare").stdout.splitlines()
        return lines[lines.index("no parameter differs") + 1 :]

    code = "training code that differs: src/training"
    caveat = "trained by different code{}: the parameters alone may not explain the difference"
    assert told() == [
        "environment that differs:",
        "  threads: 1 → 2",
        code,
        caveat.format(" and in different environments"),
    ]
    found = json.loads(clone.run("python", "-m", "src.compare", "--json").stdout)
    before = found["environment"]["a"]
    assert before["threads"] == 1
    assert found["environment"]["b"] == before | {"threads": 2}
    assert found["code"] == ["src/training"]

    written = clone.path / "metrics/environment.json"
    without_dvc = before.copy()
    version = without_dvc.pop("dvc")
    written.write_text(json.dumps(without_dvc))
    assert told()[1] == f"  dvc: {version} → not recorded"
    written.write_text("{")
    committed, damaged, *rest = told()
    assert committed.startswith(f"environment of A: Python {before['python']}, torch ")
    assert damaged == "environment of B: not recorded (metrics/environment.json is damaged)"
    assert rest == [code, caveat.format("")]
    written.unlink()
    (clone.path / "metrics/train.json").unlink()
    assert told() == [committed, "environment of B: not recorded", "training code of B: not recorded"]
    found = json.loads(clone.run("python", "-m", "src.compare", "--json").stdout)
    assert (found["environment"], found["code"]) == ({"a": before, "b": None}, None)
