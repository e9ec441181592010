from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from src.compare.__main__ import (
    LAST_LOOK,
    accuracy_lines,
    difference_line,
    group_lines,
    main,
    parameter_lines,
    result_lines,
)
from src.compare.groups import Group, compare_groups, is_pattern
from src.compare.provenance import Provenance
from src.compare.revisions import Revision, is_same
from src.compare.values import cell_text, change_text, percentage_points, signed
from src.evaluation.paired import compare
from src.evaluation.ranking import Run
from src.runtime.errors import UserError
from tests.conftest import Clone, Command
from tests.experiments import Experiment, add_experiment, add_experiments
from tests.rendered import rendered
from tests.test_paired import comparison, predictions

UNCHANGED = "the workspace has the same parameters, training code and predictions as HEAD: nothing differs"
SAME = Provenance({"torch": "2"}, {"src/a.py": "1"}, images={"data/prepared/train.npz": "1"})


def test_a_change_that_no_cell_shows_is_none() -> None:
    assert change_text(0.98333, 0.9833333) == change_text(1, 1) == change_text("a", 2) == ""
    assert change_text(0.98333, 0.98334) == "+1e\N{MINUS SIGN}05"


def test_the_difference_in_words() -> None:
    assert result_lines(comparison(4, 13, 360)) == [
        "B - A: +2.50 percentage points, 95 % interval +0.13 to +5.28 (paired)",
        "only A right: 4, only B right: 13; McNemar’s test: p = 0.039",
        "a significant difference between these two trainings: the 95 % interval excludes 0",
    ]
    assert result_lines(comparison(12, 4, 360)) == [
        "B - A: -2.22 percentage points, 95 % interval -4.94 to +0.11 (paired)",
        "only A right: 12, only B right: 4; McNemar’s test: p = 0.061",
        "no significant difference: the 95 % interval includes 0",
    ]
    assert accuracy_lines("HEAD", "lr-0.01", comparison(4, 13, 360), "validation") == [
        "A  HEAD     96.39% of 360 validation images",
        "B  lr-0.01  98.89%",
    ]


def test_the_same_predictions_are_no_difference() -> None:
    same = predictions(95, 5)
    assert result_lines(compare(same, same))[-1] == (
        "no significant difference: both predict the same class for every image"
    )
    assert is_same((same, same), {}, (SAME, SAME))
    assert not is_same((same, predictions(96, 4)), {}, (SAME, SAME))
    assert not is_same((same, same), {"lr": (0.1, 0.2)}, (SAME, SAME))
    assert not is_same((same.assign(confidence=0.5), same.assign(confidence=0.4)), {}, (SAME, SAME))
    other: dict[str, Any]
    for other in (
        *({"environment": {"torch": "3"}}, {"code": {"src/a.py": "2"}}, {"edited": ("src/a.py",)}),
        {"images": {"data/prepared/train.npz": "2"}},
        *({"environment": None}, {"code": None, "images": None}),  # not on record
    ):
        assert not is_same((same, same), {}, (SAME, replace(SAME, **other)))


def group(name: str, *seeds: int) -> Group:
    return Group(name, {seed: Revision(f"{name}-{seed}", "0") for seed in seeds}, {})


def test_groups_in_words() -> None:
    a = {seed: Run(accuracy, 0.1) for seed, accuracy in enumerate((0.95, 0.96, 0.97))}
    b = {seed: Run(accuracy, 0.1) for seed, accuracy in enumerate((0.975, 0.98, 0.994))}
    lines = group_lines(group("a*", 0, 1, 2), group("b-more*", 0, 1, 2), compare_groups(a, b), "validation")
    # Differences 2.5, 2.0 and 2.4: their mean is 2.3, their deviation 0.26, Student's quantile 4.30.
    assert lines == [
        "A  a*       96.00% ± 1.00  (3 seeds: 0, 1, 2)",
        "B  b-more*  98.30% ± 0.98  (3 seeds: 0, 1, 2)",
        "mean validation accuracy ± sample standard deviation; the seed is the unit, not the image",
        "B - A: +2.30 percentage points, 95 % interval +1.64 to +2.96 (paired by seed, n = 3)",
        "a significant difference between the settings on these images: the interval over seeds excludes 0",
    ]
    worse = compare_groups(b, {0: Run(0.95, 0.1), 1: Run(0.985, 0.1), 5: Run(0.1, 0.1)})
    assert worse.seeds == [0, 1]
    assert group_lines(group("b", 0, 1, 2), group("c", 0, 1, 5), worse, "test")[-2:] == [
        "B - A: -1.00 percentage points, 95 % interval -20.06 to +18.06 (paired by seed, n = 2)",
        "no significant difference between the settings on these images: the interval over seeds includes 0",
    ]


@pytest.mark.parametrize(
    ("b", "verdict"),
    [
        ({5: Run(0.9, 0.1)}, "nothing can be said of other seeds: the groups have no seed in common"),
        ({0: Run(0.9, 0.1)}, "nothing can be said of other seeds: the groups have seed 0 alone in common"),
        (
            {0: Run(0.9, 0.1), 1: Run(0.9, 0.1)},
            "nothing can be said of other seeds: all of these differ by the same amount",
        ),
    ],
)
def test_too_few_seeds_are_said(b: dict[int, Run], verdict: str) -> None:
    a = {0: Run(0.8, 0.1), 1: Run(0.8, 0.1)}
    assert compare_groups(a, b).verdict == verdict
    lines = group_lines(group("a", *a), group("b", *b), compare_groups(a, b), "validation")
    assert lines[-1] == verdict
    assert not any("interval" in line for line in lines)
    common = len(a.keys() & b.keys())
    assert [line for line in lines if line.startswith("B - A")] == (
        [f"B - A: +10.00 percentage points (paired by seed, n = {common})"] if common else []
    )


def test_a_difference_of_zero_has_no_minus_sign() -> None:
    for zero in (0.0, -0.0, -1e-9):
        line = difference_line(zero, (-0.01, -0.0), "paired")
        assert line == "B - A: +0.00 percentage points, 95 % interval -1.00 to +0.00 (paired)"
        assert signed(100 * zero) == "+0.00"


def test_names_and_patterns() -> None:
    assert all(map(is_pattern, ("lr-0.01*", "lr-0.0?", "lr-[0-9]")))
    assert not any(map(is_pattern, ("HEAD", "main", "lr-0.01_seed-0-abc123", "v1.0", "workspace")))


class Compare:
    """The command in a clone, without the seconds in which a new process loads its libraries."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, clone: Clone, *arguments: str) -> list[str]:
        """The lines that it prints."""
        self.monkeypatch.chdir(clone.path)
        self.monkeypatch.setattr(sys, "argv", ["compare", *arguments])
        self.capsys.readouterr()
        main()
        return self.capsys.readouterr().out.splitlines()

    def json(self, clone: Clone, *arguments: str) -> dict[str, Any]:
        return json.loads("\n".join(self(clone, *arguments, "--json")))

    def refused(self, clone: Clone, *arguments: str) -> str:
        with pytest.raises(UserError) as raised:
            self(clone, *arguments)
        return str(raised.value)


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Compare:
    return Compare(monkeypatch, capsys)


def test_what_is_the_same_is_said(clone: Clone, compared: Compare) -> None:
    assert compared(clone)[-1] == UNCHANGED
    assert compared(clone, "HEAD", "main")[-1] == "main is HEAD: nothing differs"
    clone.git("commit", "--quiet", "--allow-empty", "--message=The same results")
    assert compared(clone, "HEAD~", "main")[-1] == (
        "main has the same parameters, training code and predictions as HEAD~: nothing differs"
    )


@pytest.mark.parametrize(
    ("edited", "path"),
    [
        ("src/networks/lenet5.py", "src/networks"),
        ("src/networks/new.py", "src/networks"),  # which git does not track at first
        ("src/params.py", "src/params.py"),
    ],
)
def test_code_that_was_edited_after_the_training_is_said(
    clone: Clone, compared: Compare, edited: str, path: str
) -> None:
    (clone.path / "src/networks/__pycache__").mkdir(exist_ok=True)
    (clone.path / "src/networks/__pycache__/lenet5.pyc").touch()
    assert compared(clone)[-1] == UNCHANGED
    with (clone.path / edited).open("a") as file:
        file.write("# another\n")
    said = f"code of {{}} that is not what trained it: {path}"
    assert compared(clone)[-2:] == ["no training code differs", said.format("B")]
    assert compared.json(clone)["edited"] == {"a": [], "b": [path]}
    clone.git("add", "--all")
    clone.git("commit", "--quiet", "--message=Without results")
    assert compared(clone, "HEAD", "HEAD~")[-1] == said.format("A")
    assert f"- Code of `HEAD` that is not what trained it: `{path}`" in compared(
        clone, "HEAD~", "HEAD", "--markdown"
    )
    clone.git("rm", "--quiet", edited)
    assert compared(clone, "HEAD~", "workspace")[-1:] == (
        [UNCHANGED.replace("HEAD", "HEAD~")] if edited.endswith("new.py") else [said.format("B")]
    )


@pytest.mark.parametrize("missing", ["dvc.lock", "metrics/environment.json", "metrics/train.json"])
def test_without_a_record_nothing_is_said_to_be_the_same(
    clone: Clone, compared: Compare, missing: str
) -> None:
    (clone.path / missing).unlink()
    lines = compared(clone)
    assert "no parameter differs" in lines
    assert any(line.endswith("of B: not recorded") for line in lines)


def test_commits_experiments_and_the_workspace(
    experimented: tuple[Clone, str], compared: Compare, tmp_path: Path
) -> None:
    clone = experimented[0].copy(tmp_path / "clone")
    lines = clone.run("python", "-m", "src.compare").stdout.splitlines()
    assert lines == [line.replace("main", "HEAD") for line in compared(clone, "main", "workspace")]
    between = compared.json(clone, "main", "lr-0.01")
    assert (between["split"], between["same"]) == ("validation", False)
    assert between["parameters"] == {"lr": [0.005, 0.01]}
    metrics = json.loads(clone.dvc("metrics", "diff", "--json").stdout)
    validation = metrics["metrics/train.json"]["val_accuracy"]
    # Metrics are rounded to six digits.
    assert between["accuracy_a"] == pytest.approx(validation["old"], abs=1e-6)
    assert between["accuracy_b"] == pytest.approx(validation["new"], abs=1e-6)
    assert between["images"] == 240
    for line in ("A  HEAD", "B  workspace", "of 240 validation images", "  lr: 0.005 → 0.01"):
        assert line in "\n".join(lines)
    assert not any("test" in line for line in lines if "McNemar" not in line)
    environment = json.loads(clone.read("metrics/environment.json"))
    assert between["environment"] == {"a": environment, "b": environment}
    assert between["code"] == []
    assert lines[-1] == "no training code differs"
    assert lines[-2].endswith("cpu, 1 thread")
    assert f"trained with: Python {environment['python']}, torch {environment['torch']}, numpy" in lines[-2]

    last = compared(clone, "--test")
    assert last[0] == LAST_LOOK
    assert last[1].endswith("of 360 test images")
    tested = compared.json(clone, "--test")
    assert tested["split"] == "test"
    assert tested["difference"] == pytest.approx(metrics["metrics/test.json"]["accuracy"]["diff"], abs=2e-6)


def test_what_cannot_be_compared_is_refused_in_one_line(clone: Clone, compared: Compare) -> None:
    invalid = "'nowhere' is invalid (unknown Git revision 'nowhere'); expected workspace, a commit, a branch"
    assert compared.refused(clone, "nowhere").startswith(invalid)
    # As in a commit from before they were written.
    clone.git("rm", "--quiet", "plots/val_predictions.csv")
    clone.git("commit", "--quiet", "--message=Without validation predictions")
    commit = clone.git("rev-parse", "HEAD")[:10]
    assert compared.refused(clone, "HEAD", "HEAD~") == (
        "HEAD: plots/val_predictions.csv is missing, as from trials of a search and from older commits; to "
        f"compare its parameters, run `git checkout {commit} -- params.yaml && dvc repro` and name workspace "
        "in its place"
    )
    assert compared.refused(clone, "HEAD~") == (
        "workspace: plots/val_predictions.csv is missing; `dvc repro` writes it"
    )
    with pytest.raises(SystemExit):
        compared(clone, "main", "--jsn")
    assert "unrecognized arguments: --jsn" in compared.capsys.readouterr().err
    clone.git("checkout", "--quiet", "HEAD~", "--", "plots")
    header = clone.read("plots/val_predictions.csv").splitlines()[0]
    (clone.path / "plots/val_predictions.csv").write_text(header)
    (clone.path / "dvc.lock").rename(clone.path / "lock")
    said = "workspace: cannot read plots/val_predictions.csv (no rows)"
    assert compared.refused(clone, "HEAD~", "workspace") == said
    (clone.path / "lock").rename(clone.path / "dvc.lock")
    clone.git("checkout", "--quiet", "HEAD~", "--", "plots")
    for key, value, ours in (
        ("split_seed", 7, 0),
        ("val_fraction", 0.25, 0.16667),
        ("dataset", "MNIST", "Digits"),
    ):
        clone.set_params(**{key: value})
        expected = f"different validation images: {key} is {ours} in HEAD~, {value} in workspace"
        assert compared.refused(clone, "HEAD~") == expected
    (clone.path / "params.yaml").write_text("[1, 2]")
    said = "workspace: cannot read params.yaml (expected `key: value` lines, found list)"
    assert compared.refused(clone, "HEAD~") == said


def test_results_of_other_parameters_or_of_another_model_are_not_compared(
    clone: Clone, compared: Compare, command: Command
) -> None:
    clone.set_params(lr=5e-3)
    assert compared(clone)[-1] == UNCHANGED, "the same number"
    clone.set_params(folds=3)
    assert "  folds: 5 → 3" in compared(clone), "which the pipeline does not read"
    clone.set_params(test_fraction=0.3)
    assert "test_fraction was 0.16667 and is 0.3" in compared.refused(clone), "which prepare reads"
    clone.set_params(test_fraction=0.16667, lr=0.5)
    stale = "the results are of other parameters than params.yaml: lr was 0.005 and is 0.5; expected"
    assert compared.refused(clone) == f"workspace: {stale} `dvc repro` before"
    clone.git("commit", "--quiet", "--all", "--message=Without results")
    remedy = "a revision in which `dvc repro` has run"
    assert compared.refused(clone, "HEAD~", "HEAD") == f"HEAD: {stale} {remedy}"

    # What `dvc exp run -S lr=0.5 studies/robustness/dvc.yaml` leaves: a new model, and nothing evaluated.
    clone.dvc("repro", "train")
    clone.git("commit", "--quiet", "--all", "--message=Trained alone")
    assert compared.refused(clone, "HEAD~2", "HEAD") == (
        f"HEAD: the predictions are of another model than models/model.pt; expected {remedy}"
    )
    head = clone.git("rev-parse", "HEAD").strip()
    clone.git("update-ref", f"refs/exps/{head[:2]}/{head[2:]}/alone-0", head)
    compared(clone, "HEAD~2", "alone-*")  # by the seeds' own metrics, which `train` writes
    assert compared.refused(clone, "HEAD~2", "alone-*", "--test").startswith(
        "alone-0: the predictions are of"
    )
    command(clone, "src.report", "HEAD~2", "HEAD")
    assert "the predictions are of another model" in clone.read("report.html")


def test_results_are_of_no_known_parameters_where_the_lock_is_damaged(
    clone: Clone, compared: Compare, command: Command
) -> None:
    for branch, change in (("ada", {"lr": 0.001}), ("ben", {"weight_decay": 0.1})):
        clone.git("checkout", "--quiet", "-b", branch, "main")
        clone.set_params(**change)
        clone.replace("dvc.lock", "schema: '2.0'", f"schema: '2.0'  # {branch}")
        clone.git("commit", "--quiet", "--all", f"--message={branch}")
    assert clone.run("git", "merge", "ada", check=False).returncode == 1
    assert clone.git("diff", "--name-only", "--diff-filter=U") == "dvc.lock\n"
    assert compared.refused(clone, "main") == (
        "workspace: dvc.lock is damaged; expected resolved conflicts, then `dvc repro`"
    )
    clone.git("commit", "--quiet", "--all", "--message=With conflicts")
    said = "HEAD: dvc.lock is damaged; expected a revision in which `dvc repro` has run"
    assert compared.refused(clone, "main", "HEAD") == said
    assert compared(clone, "main", "HEAD", "--markdown")[0] == "## `main` and `HEAD` cannot be compared"
    command(clone, "src.report", "main", "HEAD")
    assert "HEAD: dvc.lock is damaged" in clone.read("report.html")
    for content in (b"", b"stages: [", b"\xff"):
        (clone.path / "dvc.lock").write_bytes(content)
        assert compared.refused(clone, "main") == (
            "workspace: dvc.lock is damaged; expected `git checkout dvc.lock`, then `dvc repro`"
        )


def test_predictions_that_are_not_the_recorded_ones_are_not_compared(clone: Clone, compared: Compare) -> None:
    for path, option in (("plots/val_predictions.csv", []), ("plots/predictions.csv", ["--test"])):
        written = clone.path / path
        rows = written.read_bytes()
        written.write_bytes(rows.replace(b",0,0,", b",0,1,"))
        refused = f"workspace: {path} is not as `evaluate` wrote it; expected `dvc repro` before"
        assert compared.refused(clone, *option) == refused
        written.write_bytes(rows)
        compared(clone, *option)
    files = {"metrics/test.json": clone.read("metrics/test.json") + "\n"}
    add_experiment(
        clone, "other-0", {}, files=files | {"metrics/train.json": clone.read("metrics/train.json")}
    )
    assert compared.refused(clone, "main", "other-*", "--test") == (
        "other-0: metrics/test.json is not as `evaluate` wrote it; expected a revision in which "
        "`dvc repro` has run"
    )


def test_a_name_of_two_experiments_is_refused(clone: Clone, compared: Compare) -> None:
    add_experiment(clone, "twice", {"lr": 0.01}, {"val_accuracy": 0.9})
    clone.git("commit", "--quiet", "--allow-empty", "--message=Another baseline")
    add_experiment(clone, "twice", {"lr": 0.02}, {"val_accuracy": 0.8})
    clone.git("commit", "--quiet", "--allow-empty", "--message=A third one")
    assert compared.refused(clone, "HEAD~", "twice") == (
        "'twice' is the name of several experiments, or of branches of several remotes; expected a hash "
        "(`dvc exp list -A`) or REMOTE/BRANCH"
    )


def test_a_parameter_that_one_side_lacks_is_said_to_be_missing() -> None:
    assert parameter_lines({"width": (None, 16)})[1] == "  width: (missing) → 16"


SLOW, FAST = {0: 0.90, 1: 0.92, 2: 0.91}, {0: 0.95, 1: 0.96, 2: 0.97}


@pytest.fixture
def groups(clone: Clone) -> Clone:
    """A clone with six experiments, with two learning rates and three seeds."""
    sides = ("slow", 0.0001, SLOW), ("fast", 0.005, FAST)
    experiments = [
        Experiment(f"{side}-{seed}", {"lr": lr, "seed": seed}, {"val_accuracy": accuracy})
        for side, lr, accuracies in sides
        for seed, accuracy in accuracies.items()
    ]
    add_experiments(clone, experiments)
    return clone


def test_experiments_are_compared_by_their_seeds(groups: Clone, compared: Compare) -> None:
    lines = compared(groups, "slow*", "fast*")
    # Differences 5, 4 and 6.
    assert lines[:7] == [
        "A  slow*  91.00% ± 1.00  (3 seeds: 0, 1, 2)",
        "B  fast*  96.00% ± 1.00  (3 seeds: 0, 1, 2)",
        "mean validation accuracy ± sample standard deviation; the seed is the unit, not the image",
        "B - A: +5.00 percentage points, 95 % interval +2.52 to +7.48 (paired by seed, n = 3)",
        "a significant difference between the settings on these images: the interval over seeds excludes 0",
        "parameters that differ:",
        "  lr: 0.0001 → 0.005",
    ]
    assert compared(groups, "fast*", "slow*")[3].startswith(
        "B - A: -5.00 percentage points, 95 % interval -7"
    )
    found = compared.json(groups, "slow*", "fast*")
    assert found["b"]["experiments"] == {str(seed): f"fast-{seed}" for seed in FAST}
    assert (found["split"], found["seeds"], found["verdict"]) == ("validation", [0, 1, 2], lines[4])
    assert (found["a"]["mean"], found["b"]["mean"], found["difference"]) == pytest.approx((0.91, 0.96, 0.05))
    assert (found["a"]["deviation"], found["b"]["deviation"]) == pytest.approx((0.01, 0.01))
    assert found["interval"] == pytest.approx([0.02516, 0.07484], abs=1e-5)
    assert found["p_value"] == pytest.approx(0.01307, abs=1e-5)
    assert found["parameters"] == {"lr": [0.0001, 0.005]}
    assert compared(groups, "slow*", "fast*", "--test")[0] == LAST_LOOK
    tested = compared.json(groups, "slow*", "fast*", "--test")
    accuracy = json.loads(groups.read("metrics/test.json"))["accuracy"]
    assert tested["a"]["mean"] == pytest.approx(accuracy) == tested["b"]["mean"]
    assert "nothing can be said of other seeds: the groups have seed 1 alone in common" in compared(
        groups, "slow*", "fast-1"
    )


def test_a_group_is_found_from_a_later_commit_and_one_of_two_environments_says_so(
    groups: Clone, compared: Compare
) -> None:
    add_experiment(groups, "fast-3", {"lr": 0.005, "seed": 3}, files={"metrics/environment.json": "{}"})
    groups.git("commit", "--quiet", "--allow-empty", "--message=Later")
    lines = compared(groups, "slow*", "fast*")
    assert lines[0] == "A  slow*  91.00% ± 1.00  (3 seeds: 0, 1, 2)"
    assert "environment of B: not the same for all seeds" in lines


def test_of_experiments_with_one_name_a_group_has_that_of_head(groups: Clone, compared: Compare) -> None:
    """As a sweep leaves them that is repeated on the next commit."""
    groups.git("commit", "--quiet", "--allow-empty", "--message=Later")
    for seed in FAST:
        add_experiment(
            groups, f"fast-{seed}", {"lr": 0.005, "seed": seed}, {"val_accuracy": 0.8 + seed / 100}
        )
    assert compared(groups, "slow*", "fast*")[1] == "B  fast*  81.00% ± 1.00  (3 seeds: 0, 1, 2)"
    groups.git("commit", "--quiet", "--allow-empty", "--message=A third one")
    assert compared.refused(groups, "slow*", "fast*") == (
        "'fast*': two experiments of other commits than HEAD are called fast-0; expected one, see "
        "`dvc exp list -A`"
    )


def test_a_group_of_more_than_seeds_is_refused(groups: Clone, compared: Compare) -> None:
    add_experiment(groups, "fast-again", {"lr": 0.005, "seed": 1})
    narrower = "expected a narrower pattern"
    for pattern, refused in (
        ("*-0", f"'*-0': fast-0 and slow-0 differ in more than the seed: lr; {narrower}"),
        ("fast*", f"'fast*': fast-1 and fast-again have the same seed, 1; {narrower}"),
        ("slower*", "'slower*' matches no experiment; `dvc exp list --all-commits` lists their names"),
    ):
        assert compared.refused(groups, "slow*", pattern) == refused


def test_groups_with_other_images_of_ones_own_are_refused(groups: Clone, compared: Compare) -> None:
    for dataset in ("shells", "Digits"):
        for fraction in (0.1, 0.2):
            values = {"dataset": dataset, "test_fraction": fraction, "seed": 0}
            add_experiment(groups, f"{dataset}-{fraction}-0", values, {"val_accuracy": 0.9})
    assert compared.refused(groups, "shells-0.1*", "shells-0.2*") == (
        "different validation images: test_fraction is 0.1 in shells-0.1*, 0.2 in shells-0.2*"
    )
    compared(groups, "Digits-0.1*", "Digits-0.2*")  # which comes with a test split
    add_experiment(groups, "MNIST-0", {"dataset": "MNIST", "seed": 0})
    assert compared.refused(groups, "fast-0*", "MNIST*", "--test") == (
        "different test images: dataset is Digits in fast-0*, MNIST in MNIST*"
    )


def test_groups_that_were_trained_on_changed_images_are_refused(clone: Clone, compared: Compare) -> None:
    """Of images of one's own the parameters say nothing; `dvc.lock` does."""
    val_images = {
        "old-0": "1",
        "old-1": "1",
        "new-0": "2",
        "new-1": "2",
        "mixed-0": "",
        "mixed-1": "1",
        "mixed-2": "2",
    }
    for name, md5 in val_images.items():
        trained = json.loads(clone.read("metrics/train.json")) | {"val_accuracy": 0.9}
        lock = YAML(typ="safe").load(clone.read("dvc.lock"))
        train = lock["stages"]["train"]
        for out in train["outs"]:
            if out["path"] == "metrics/train.json":
                out["md5"] = hashlib.md5(json.dumps(trained).encode()).hexdigest()
        for dep in train["deps"]:
            if dep["path"] == "data/prepared/val.npz":
                dep["md5"] = md5
        if name == "mixed-0":  # of which nothing is on record
            lock = {}
        seed = {"seed": int(name[-1])}
        add_experiment(clone, name, seed, {"val_accuracy": 0.9}, {"dvc.lock": json.dumps(lock)})
    assert compared.refused(clone, "old*", "new*") == (
        "different validation images: data/prepared/val.npz is not the same in old* and new*"
    )
    assert compared.refused(clone, "old*", "mixed*") == (
        "'mixed*': mixed-1 and mixed-2 have different images (data/prepared/val.npz); "
        "expected a narrower pattern"
    )


@pytest.mark.slow
def test_what_else_than_parameters_may_explain_a_difference(clone: Clone, compared: Compare) -> None:
    with (clone.path / "src/training/loop.py").open("a") as file:
        file.write("# by other code\n")
    clone.dvc("repro", LENET_THREADS="2")
    # What lies in the workspace was trained before this.
    with (clone.path / "src/networks/build.py").open("a") as file:
        file.write("# by nothing yet\n")

    def trained() -> list[str]:
        lines = compared(clone)
        return lines[lines.index("no parameter differs") + 1 :]

    code = "training code that differs: src/training"
    caveat = "trained by different code{}"  # to the same predictions
    edited = "code of B that is not what trained it: src/networks"
    assert trained() == [
        "environment that differs:",
        "  threads: 1 → 2",
        code,
        edited,
        caveat.format(" and in different environments"),
    ]
    found = compared.json(clone)
    before = found["environment"]["a"]
    assert before["threads"] == 1
    assert found["environment"]["b"] == before | {"threads": 2}
    assert found["code"] == ["src/training"]

    written = clone.path / "metrics/environment.json"
    without_dvc = before.copy()
    version = without_dvc.pop("dvc")
    written.write_text(json.dumps(without_dvc))
    assert trained()[1] == f"  dvc: {version} → not recorded"
    written.write_text("{")
    committed, damaged, *rest = trained()
    assert committed.startswith(f"environment of A: Python {before['python']}, torch ")
    assert damaged == "environment of B: not recorded (metrics/environment.json is damaged)"
    assert rest == [code, edited, caveat.format("")]
    written.unlink()
    (clone.path / "metrics/train.json").unlink()
    assert trained() == [committed, "environment of B: not recorded", "training code of B: not recorded"]
    found = compared.json(clone)
    assert (found["environment"], found["code"]) == ({"a": before, "b": None}, None)


def test_markdown_shows_the_numbers_of_the_metrics_files(clone: Clone, compared: Compare) -> None:
    names = "index,actual,predicted,confidence,image"
    rows = clone.read("plots/val_predictions.csv").splitlines()
    assert rows[0] == names
    # Of the first images the class that is right, or the next one.
    changed = [row.split(",") for row in rows[1:]]
    for index, row in enumerate(changed[:30]):
        row[2] = row[1] if index < 20 else str((int(row[1]) + 1) % 10)
    files = {
        "plots/val_predictions.csv": "\n".join([names, *map(",".join, changed)]) + "\n",
        "plots/new.png": "a picture",
        "plots/samples_val.png": "another picture",
    }
    right = sum(row[1] == row[2] for row in changed)
    metrics = {"val_accuracy": round(right / 240, 6), "val_loss": 0.123456}
    name = "a|b<c>`d`"
    add_experiment(clone, name, {"lr": 0.02}, metrics, files)
    lines = compared(clone, "--markdown", "main", name)
    shown = rendered("\n".join(lines))
    old = json.loads(clone.read("metrics/train.json"))
    new = old | metrics
    assert shown.tables["Metrics of the best epoch, metrics/train.json"] == [
        ["", "main", name, "difference"],
        *([key, cell_text(old[key]), cell_text(new[key]), change_text(old[key], new[key])] for key in old),
    ]
    found = compared.json(clone, "main", name)
    accuracies = shown.tables[shown.headings[0]][1]
    assert accuracies[1:3] == [f"{side['val_accuracy']:.2%}" for side in (old, new)]
    assert accuracies[3:] == [signed(100 * found["difference"]), percentage_points(found["interval"])]
    assert shown.tables["Parameters that differ"] == [["", "main", name], ["lr", "0.005", "0.02"]]
    assert shown.code[-3:] == ["plots/new.png", name, "plots/samples_val.png"], (
        "one is only in the experiment"
    )

    last = compared(clone, "--markdown", "--test", "main", name)
    assert last[0] == f"> {LAST_LOOK}"
    assert "test accuracy" in "\n".join(last)
    assert rendered("\n".join(last)).html.startswith("<blockquote>")
    with pytest.raises(SystemExit):
        compared(clone, "--markdown", "--json")


def test_parameters_that_json_has_no_type_for(compared: Compare, clone: Clone) -> None:
    with (clone.path / "params.yaml").open("a") as file:
        file.write("made: 2026-11-30\nat: 2026-11-30 10:00:00\n")
    found = compared.json(clone, "main", "workspace")["parameters"]
    assert (found["made"], found["at"]) == ([None, "2026-11-30"], [None, "2026-11-30T10:00:00"])
