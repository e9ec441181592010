"""Real `dvc` in temporary clones of this repository."""

from __future__ import annotations

import csv
import json
import os
import re
import urllib.request
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

import pytest
from dvc.repo import Repo
from PIL import Image
from ruamel.yaml import YAML

from src.runtime.errors import UserError
from stages import prepare
from tests.conftest import STAGES, Clone, output


def ran(text: str) -> list[str]:
    """The stages that DVC ran, in order."""
    return [stage for line in text.splitlines() for stage in STAGES if f"Running stage '{stage}'" in line]


def would_run(clone: Clone) -> list[str]:
    """The stages whose own dependencies or parameters have changed, in the order of the pipeline."""
    with chdir(clone.path), Repo() as repo:
        changed = repo.status(targets=["dvc.yaml"])
    return [stage for stage in STAGES if stage in changed]


def test_repro_writes_everything_that_dvc_yaml_declares(reproduced: Clone) -> None:
    assert reproduced.git("status", "--porcelain") == ""
    assert "up to date" in reproduced.dvc("status", "dvc.yaml").stdout
    lock = YAML(typ="safe").load(reproduced.read("dvc.lock"))
    for stage in lock["stages"].values():
        for out in stage.get("outs", []):
            assert (reproduced.path / out["path"]).stat().st_size == out["size"]


def test_stages_write_nothing_else(reproduced: Clone) -> None:
    stages = YAML(typ="safe").load(reproduced.read("dvc.yaml"))["stages"].values()
    declared = [
        each for stage in stages for key in ("outs", "metrics", "plots") for each in stage.get(key, [])
    ]
    outs = {each if isinstance(each, str) else next(iter(each)) for each in declared}
    made = reproduced.git("diff", "--name-only", "--diff-filter=A", "HEAD~", "HEAD").splitlines()
    made += reproduced.git("ls-files", "--others", "--ignored", "--exclude-standard").splitlines()
    written = {path for path in made if not path.startswith(".dvc/") and "__pycache__" not in path}
    assert written <= outs | {"dvc.lock"}


def test_make_repro_says_whether_the_files_are_the_committed_ones(clone: Clone, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    nothing_to_do = tmp_path / "bin/dvc"
    nothing_to_do.write_text("#!/bin/sh\n")
    nothing_to_do.chmod(0o755)
    # The Makefile puts the programs of its own environment first, and a clone has none.
    command = ("make", "--no-print-directory", "--assume-old=.venv/installed", "repro")
    path = {"PATH": f"{nothing_to_do.parent}:{clone.environment['PATH']}"}
    head = clone.git("rev-parse", "--short", "HEAD").strip()
    assert clone.run(*command, **path).stdout.splitlines()[-1] == f"every file is as in commit {head}"
    clone.set_params(lr=0.01)
    assert clone.run(*command, **path).stdout.splitlines()[-1] == " M params.yaml"
    (clone.path / ".git/HEAD").write_text("damaged")
    broken = clone.run(*command, check=False, **path)
    assert broken.returncode
    assert "as in commit" not in broken.stdout


def test_results_have_their_documented_shape(reproduced: Clone) -> None:
    train, test = (json.loads(reproduced.read(f"metrics/{name}.json")) for name in ("train", "test"))
    assert list(train) == [
        "val_accuracy",
        "val_loss",
        "train_accuracy",
        "train_loss",
        "best_epoch",
        "epochs",
        "parameters",
    ]
    assert list(test) == ["accuracy", "loss", "nll", "brier", "ece", "macro", "weighted"]
    assert list(test["macro"]) == list(test["weighted"]) == ["precision", "recall", "f1"]
    columns = {
        "history": "epoch,lr,train_loss,val_loss,train_accuracy,val_accuracy",
        "steps": "epoch,step,train_loss",
        "per_class": "class,precision,recall,f1,support",
        "confusion": "actual,predicted,count",
        "predictions": "index,actual,predicted,confidence,image",
        "calibration": "lower,upper,count,confidence,accuracy,accuracy_low,accuracy_high",
    }
    tables = {}
    for name, header in columns.items():
        lines = reproduced.read(f"plots/{name}.csv").splitlines()
        assert lines[0] == header
        tables[name] = list(csv.DictReader(lines))
    assert [row["epoch"] for row in tables["history"]] == ["0", "1", "2"]
    kept = tables["history"][train["best_epoch"]]
    assert float(kept["val_accuracy"]) == train["val_accuracy"]
    assert len(tables["steps"]) == 2 * 12
    right = [row["actual"] == row["predicted"] for row in tables["predictions"]]
    assert test["accuracy"] == float(f"{sum(right) / 360:.6g}")
    assert sum(int(row["count"]) for row in tables["confusion"]) == 360


def test_a_second_repro_has_nothing_to_do(clone: Clone) -> None:
    lock = clone.read("dvc.lock")
    assert "up to date" in clone.dvc("repro").stdout
    assert clone.read("dvc.lock") == lock
    assert clone.git("status", "--porcelain") == ""


@pytest.mark.slow
def test_two_runs_from_scratch_give_the_same_lock(
    reproduced: Clone, fresh_clone: Callable[[], Clone]
) -> None:
    again = fresh_clone()
    assert ran(output(again.dvc("repro"))) == STAGES
    assert (again.path / "dvc.lock").read_bytes() == (reproduced.path / "dvc.lock").read_bytes()


def test_what_changes_decides_what_runs(clone: Clone) -> None:
    assert would_run(clone) == []
    changes = [
        ("params.yaml", "lr:", "lr: 0.01 #", ["train"]),
        ("params.yaml", "split_seed:", "split_seed: 5 #", ["prepare"]),
        ("src/figures/style.py", "GREY", "GRAY", ["plot"]),
        ("src/evaluation/metrics.py", "CALIBRATION_BINS = 15", "CALIBRATION_BINS = 10", ["evaluate"]),
        ("src/training/loop.py", "background=0.0", "background=0.5", ["train"]),
        ("src/data/archives.py", "TIMEOUT_SECONDS = 30.0", "TIMEOUT_SECONDS = 31.0", ["prepare"]),
    ]
    for file, old, new, expected in changes:
        clone.replace(file, old, new)
        assert would_run(clone) == expected, file
        clone.git("checkout", "--", file)


def test_notations_of_a_number_mean_the_same_to_dvc(clone: Clone) -> None:
    lines = clone.read("params.yaml").splitlines()
    before = next(line for line in lines if line.startswith("lr:"))
    value = float(before.split()[1])
    clone.replace("params.yaml", before, f"lr: {value:e}")
    assert would_run(clone) == []
    clone.git("checkout", "--", "params.yaml")
    assert ran(output(clone.dvc("exp", "run", "--set-param", f"lr={value:e}"))) == []


def test_experiment_reruns_train_evaluate_and_plot_and_is_compared(
    experimented: tuple[Clone, str], tmp_path: Path
) -> None:
    clone, printed = experimented[0].copy(tmp_path / "clone"), experimented[1]
    assert ran(printed) == ["train", "evaluate", "plot"]
    assert "lr: 0.01" in clone.read("params.yaml")

    metrics, params, shown = clone.several("metrics diff --json", "params diff --json", "exp show --csv")
    difference = json.loads(metrics)["metrics/train.json"]["val_loss"]
    assert difference["diff"] == pytest.approx(difference["new"] - difference["old"])
    assert difference["diff"] != 0
    assert list(json.loads(params)["params.yaml"]) == ["lr"]

    rows = list(csv.DictReader(shown.splitlines()))
    experiment = next(row for row in rows if row["Experiment"] == "lr-0.01")
    assert float(experiment["lr"]) == 0.01
    assert float(experiment["accuracy"]) == json.loads(clone.read("metrics/test.json"))["accuracy"]


def test_temporary_experiment_runs_the_code_of_the_workspace(clone: Clone) -> None:
    clone.replace("stages/evaluate.py", 'print(f"', 'print(f"changed code in the workspace, ')
    result = output(clone.dvc("exp", "run", "--temp", "--name", "elsewhere"))
    assert ran(result) == ["evaluate"], "it prints something else and writes the same"
    assert "changed code in the workspace, Digits: test accuracy" in result
    assert "elsewhere" in clone.dvc("exp", "list", "--name-only").stdout
    assert clone.git("status", "--porcelain").split() == ["M", "stages/evaluate.py"]


def test_plots_show_draws_every_plot(clone: Clone) -> None:
    _, compared = clone.several("plots show", "plots diff HEAD --json")
    page = clone.read("dvc_plots/index.html")
    for title in (
        "Training and validation loss",
        "Training and validation accuracy",
        "Learning rate",
        "Confusion matrix of the test split",
    ):
        assert title in page
    pictures = sorted(path.name for path in (clone.path / "plots").glob("*.png"))
    assert len(pictures) == 9
    for picture in pictures:
        assert picture in page
    assert not json.loads(compared).get("errors")


def test_a_clone_shows_results_before_anything_is_run(reproduced: Clone, tmp_path: Path) -> None:
    reproduced.git("clone", "--quiet", str(reproduced.path), str(tmp_path / "second"))
    second = Clone(tmp_path / "second")
    metrics, _ = second.several("metrics show --json", "plots show")
    shown = json.loads(metrics)[""]["data"]
    assert shown["metrics/test.json"]["data"] == json.loads(reproduced.read("metrics/test.json"))
    assert "Training and validation loss" in second.read("dvc_plots/index.html")


def test_divergence_stops_and_the_last_results_come_back(clone: Clone) -> None:
    before = {path: (clone.path / path).read_bytes() for path in ("models/model.pt", "plots/history.csv")}
    changes = ("-S", "optimizer=SGD", "-S", "lr=1000", "-S", "schedule=constant")
    result = clone.dvc("exp", "run", *changes, check=False)
    assert result.returncode != 0
    message = next(line for line in output(result).splitlines() if line.startswith("error:"))
    assert "epoch 1" in message
    assert "lr: 1000" in message
    assert "Traceback" not in output(result)
    assert not (clone.path / "models/model.pt").exists()
    assert not (clone.path / "metrics/train.json").exists()
    assert not [
        path for path in clone.path.glob("*/.*") if path.parent.name in ("models", "plots", "metrics")
    ]

    clone.git("checkout", ".")
    clone.dvc("checkout")
    assert {path: (clone.path / path).read_bytes() for path in before} == before
    assert would_run(clone) == []
    assert clone.git("status", "--porcelain") == ""


def test_git_brings_the_parameters_back_after_a_refused_value_of_the_same_length(clone: Clone) -> None:
    committed = clone.read("params.yaml")
    for letter in "ab":  # git compares size and second, and DVC writes the file twice within one
        refused = clone.dvc("exp", "run", "--set-param", f"dataset=Digit{letter}", check=False)
        assert refused.returncode != 0
        assert f"error: params.yaml: dataset: 'Digit{letter}' is invalid; expected one of" in output(refused)
        assert "Traceback" not in output(refused)
        assert clone.read("params.yaml") != committed
        clone.git("checkout", ".")
        assert clone.read("params.yaml") == committed


def test_a_mistake_in_params_yaml_is_refused_where_no_other_stage_would_run(clone: Clone) -> None:
    original = clone.read("params.yaml")
    for change, said in (
        ("foo: 1", "error: params.yaml: unknown key 'foo'; expected dataset, "),
        ("folds: 1", "error: params.yaml: folds: 1 is invalid; expected an integer ≥ 2"),
    ):
        kept = [line for line in original.splitlines() if not line.startswith("folds:") or "foo" in change]
        (clone.path / "params.yaml").write_text("\n".join([*kept, change]) + "\n")
        refused = clone.dvc("repro", check=False)
        assert refused.returncode != 0
        assert sum(line.startswith(said) for line in refused.stderr.splitlines()) == 1
        assert ran(refused.stdout) == []
        assert "Traceback" not in output(refused)
    (clone.path / "params.yaml").write_text(original)
    again, status = clone.several("repro", "status dvc.yaml")
    assert "Running stage" not in again
    assert "up to date" in status
    assert clone.git("status", "--porcelain") == ""


def test_without_a_network_a_missing_dataset_says_what_to_do(
    reproduced: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That DVC shows what a stage says is tested above."""
    params = re.sub("(?m)^dataset: .*", "dataset: KMNIST", reproduced.read("params.yaml"))
    (tmp_path / "params.yaml").write_text(params)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LENET_DATA_ROOT", str(tmp_path / "raw"))
    monkeypatch.setattr(urllib.request, "_opener", None)  # which remembers the proxies of its first request
    for proxy in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")
    with pytest.raises(UserError) as refusal:
        prepare.main()
    for part in (
        "KMNIST: 4 of its 4 files are missing",
        str(tmp_path / "raw" / "KMNIST" / "raw"),
        "t10k-labels-idx1-ubyte.gz",
        "dataset: Digits",
    ):
        assert part in str(refusal.value)


# That the real archives are read is tested in test_datasets.py, that networks learn MNIST in test_predict.py,
# and the stage that reads archives in test_concurrency.py.
@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["MNIST", "FashionMNIST"])
def test_real_images_run_through_prepare_and_one_epoch(clone: Clone, dataset: str) -> None:
    root = os.environ.get("LENET_DATA_ROOT")
    if not root or not (Path(root) / dataset / "raw").is_dir():
        pytest.skip(f"LENET_DATA_ROOT names no folder with {dataset}")
    clone.set_params(dataset=dataset, epochs=1)
    result = output(clone.dvc("repro", "train", LENET_DATA_ROOT=str(Path(root).absolute())))
    for line in ("50,000 train images", "10,000 val images", "10,000 test images"):
        assert f"{dataset}: {line}" in result
    metrics = json.loads(clone.read("metrics/train.json"))
    assert metrics["val_accuracy"] > {"MNIST": 0.95, "FashionMNIST": 0.75}[dataset]


@pytest.mark.slow
@pytest.mark.parametrize(("model", "parameters"), [("lenet5_1998", 60_000), ("convnet", 893_546)])
def test_every_network_and_recipe_runs_through_all_stages(clone: Clone, model: str, parameters: int) -> None:
    recipe = {
        "augment": "affine",
        "label_smoothing": 0.1,
        "ema": 0.9,
        "warmup_epochs": 1,
        "patience": 5,
        "clip_norm": 1.0,
        "epochs": 3,
    }
    changes = [word for key, value in recipe.items() for word in ("-S", f"{key}={value}")]
    result = output(clone.dvc("exp", "run", "--name", "other", "-S", f"model={model}", *changes))
    assert f"{parameters:,} trainable parameters" in result
    metrics = json.loads(clone.read("metrics/train.json"))
    assert metrics["parameters"] == parameters
    with Image.open(clone.path / "plots/feature_maps.png") as picture:
        assert picture.height > 300
    assert f"model: lenet5 → {model}" in clone.run("python", "-m", "src.compare", "HEAD", "other").stdout
