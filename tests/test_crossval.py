from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from src.data.splits import Split, pixel_statistics, save_split
from src.evaluation.metrics import Evaluation, evaluate
from src.networks.model_file import TrainedModel
from src.params import Params
from src.runtime.errors import UserError
from src.runtime.paths import TRAIN_SPLIT, VAL_SPLIT
from src.training.history import TrainingResult
from src.training.resumable import resumable_training
from studies.crossval import measure
from studies.crossval.folds import Fold, joined, overall, scores_by_class, stratified_folds
from tests.conftest import Clone, bright_squares, output
from tests.test_survival import gone_on_from, kill


def numbered(count: int, classes: int = 4) -> Split:
    """Images that can be told apart by their first two pixels."""
    split = bright_squares(count // classes, classes=classes)
    for number, image in enumerate(split.images):
        image[0, :2] = divmod(number, 256)
    return split


def numbers(split: Split) -> list[int]:
    return [256 * int(image[0, 0]) + int(image[0, 1]) for image in split.images]


def test_joined_is_all_of_both() -> None:
    part = numbered(40)
    halves = [
        replace(part, images=part.images[half], labels=part.labels[half])
        for half in (slice(25), slice(25, 40))
    ]
    assert numbers(joined(*halves)) == numbers(part)
    np.testing.assert_array_equal(joined(*halves).labels, part.labels)


def test_every_image_is_held_out_once_and_meets_no_other_use_in_its_fold() -> None:
    part = numbered(400)
    folds = list(stratified_folds(part, 5, 0.25, seed=3))
    assert [fold.number for fold in folds] == [1, 2, 3, 4, 5]
    assert sorted(number for fold in folds for number in numbers(fold.held_out)) == list(range(400))
    for fold in folds:
        used = [numbers(split) for split in (fold.train, fold.val, fold.held_out)]
        assert [len(one) for one in used] == [240, 80, 80]
        assert sorted(itertools.chain.from_iterable(used)) == list(range(400))
        for split in (fold.train, fold.val, fold.held_out):
            assert len(set(np.bincount(split.labels))) == 1, "stratified"
            assert (split.mean, split.std) == pixel_statistics(fold.train.images)
    again = next(iter(stratified_folds(part, 5, 0.25, seed=3)))
    other = next(iter(stratified_folds(part, 5, 0.25, seed=4)))
    assert numbers(again.held_out) == numbers(folds[0].held_out) != numbers(other.held_out)


def test_another_draw_of_folds_resumes_no_checkpoint_of_this_one() -> None:
    def first(seed: int) -> Fold:
        return next(stratified_folds(numbered(400), 5, 0.25, seed))

    fold = first(3)
    assert measure.digest(fold) == measure.digest(first(3))
    assert measure.digest(fold) != measure.digest(first(4))
    assert measure.digest(fold) != measure.digest(replace(fold, held_out=fold.val))
    relabelled = replace(fold.train, labels=fold.train.labels[::-1].copy())
    assert measure.digest(fold) != measure.digest(replace(fold, train=relabelled))
    mirrored = replace(fold.train, mirror_symmetric=not fold.train.mirror_symmetric)
    assert measure.digest(fold) != measure.digest(replace(fold, train=mirrored))


@pytest.mark.parametrize("images", [1, 2])
def test_a_class_with_too_few_images_to_train_and_to_validate_has_no_folds(images: int) -> None:
    said = rf"only {images} training images; expected here: at least 3 images of each class$"
    with pytest.raises(UserError, match=said):
        next(iter(stratified_folds(bright_squares(images), 2, 0.25, seed=0)))


def test_three_images_of_a_class_have_three_folds() -> None:
    part = bright_squares(3)
    with pytest.raises(UserError, match=r"expected here: an integer ≥ 3 and ≤ 3$"):
        next(iter(stratified_folds(part, 2, 0.5, seed=0)))
    for fold in stratified_folds(part, 3, 0.5, seed=0):
        for split in (fold.train, fold.val, fold.held_out):
            assert set(split.labels) == set(part.labels)


def test_more_folds_than_images_of_a_class_are_refused() -> None:
    said = r"^folds: 21 is invalid, a class has only 20 training images; expected here: .* ≥ 2 and ≤ 20$"
    with pytest.raises(UserError, match=said):
        next(iter(stratified_folds(numbered(80), 21, 0.25, seed=0)))


def evaluated(actual: list[int], predicted: list[int]) -> Evaluation:
    return evaluate(np.eye(2)[predicted] * 5, np.array(actual), ["a", "b"])


def test_scores_worked_out_by_hand() -> None:
    # Precision of a: 1 and 2/3; recall of a: 1/2 and 1; accuracy 3/4 and 3/4.
    folds = [evaluated([0, 0, 1, 1], [0, 1, 1, 1]), evaluated([0, 0, 1, 1], [0, 0, 0, 1])]
    table = scores_by_class(folds).set_index("class")
    assert table.loc["a", "precision_mean"] == pytest.approx(5 / 6)
    assert table.loc["a", "recall_mean"] == pytest.approx(3 / 4)
    assert table.loc["a", "recall_sd"] == pytest.approx(np.std([0.5, 1], ddof=1))
    assert table.loc["b", "f1_mean"] == pytest.approx((4 / 5 + 2 / 3) / 2)
    # Pooled precision of a: 3 of 4; of b: 3 of 4; so is every recall.
    summary = overall(folds, evaluated([0, 0, 1, 1] * 2, [0, 1, 1, 1, 0, 0, 0, 1]))
    assert summary["accuracy"] == {"mean": 0.75, "sd": 0.0, "pooled": 0.75}
    assert summary["macro_f1"]["pooled"] == pytest.approx(0.75)
    assert summary["macro_f1"]["mean"] == pytest.approx((4 / 5 + 2 / 3) / 2)
    half = evaluated([0, 1], [0, 0])
    assert overall([half, evaluated([0, 1], [0, 1])], half)["accuracy"]["sd"] == pytest.approx(0.5**1.5)


def test_a_held_out_fold_chooses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, params: Params
) -> None:
    """Half of the held-out images of the first fold inverted: its network and its choice are the same."""
    monkeypatch.chdir(tmp_path)
    changes = {"folds": 2, "epochs": 6, "val_fraction": 0.25, "lr": 0.001, "split_seed": 7}
    chosen = params.model_copy(update=changes)
    Path("params.yaml").write_text(json.dumps(chosen.model_dump()))
    networks: list[TrainedModel] = []
    results: list[TrainingResult] = []
    folds: set[str] = set()

    @contextmanager
    def seen(*args: Any, **kwargs: Any) -> Iterator[tuple[TrainedModel, TrainingResult]]:  # noqa: ANN401
        with resumable_training(*args, **kwargs) as (trained, result):
            networks.append(trained)
            results.append(result)
            folds.add(kwargs["facts"]["images"])
            # As if it had gone on, and become worse.
            yield trained, replace(result, history=[*result.history, replace(result.best, val_accuracy=0.0)])

    monkeypatch.setattr(measure, "resumable_training", seen)

    def first_fold(part: Split) -> tuple[TrainedModel, pd.Series]:
        networks.clear()
        for path, half in ((TRAIN_SPLIT, slice(120)), (VAL_SPLIT, slice(120, None))):
            save_split(replace(part, images=part.images[half], labels=part.labels[half]), path)
        measure.main()
        return networks[0], pd.read_csv("studies/crossval/folds.csv").loc[0]

    part = bright_squares(40)
    held_out = next(iter(stratified_folds(part, 2, chosen.val_fraction, chosen.split_seed))).held_out
    tested = {image.tobytes() for image in held_out.images[::2]}
    images = np.stack([255 - image if image.tobytes() in tested else image for image in part.images])
    assert (images != part.images).any((1, 2)).sum() == 40

    (network, row), (other, other_row) = first_fold(part), first_fold(replace(part, images=images))
    assert (network.mean, network.std) == (other.mean, other.std)
    assert all(torch.equal(network.weights[name], other.weights[name]) for name in network.weights)
    of_the_choice = ["fold", "images", "best_epoch", "val_accuracy"]
    assert row[of_the_choice].equals(other_row[of_the_choice])
    assert row["loss"] != other_row["loss"]
    best = results[0].best
    assert row["best_epoch"] == best.epoch > 0
    assert row["val_accuracy"] == best.val_accuracy
    assert len(folds) == 4, "none may resume a checkpoint of another"
    table = pd.read_csv("studies/crossval/folds.csv")
    summary = json.loads(Path("studies/crossval/summary.json").read_text())["accuracy"]
    assert table["accuracy"].nunique() == 2
    assert table["accuracy"].mean() == pytest.approx(summary["mean"], abs=1e-6)
    assert np.average(table["accuracy"], weights=table["images"]) == pytest.approx(
        summary["pooled"], abs=1e-6
    )


def test_the_summary_is_printed_in_percent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = {"accuracy": {"mean": 0.9712, "sd": 0.0123, "pooled": 0.9734}}
    found = measure.CrossValidation(pd.DataFrame({"fold": [1, 2]}), pd.DataFrame({"class": ["a"]}), summary)
    measure.write(found, tmp_path, "Squares")
    said = "Squares: accuracy 97.12% ± 1.23 over 2 folds, pooled 97.34%"
    assert capsys.readouterr().out.splitlines()[-1] == said


@pytest.mark.slow
def test_the_study_goes_on_after_the_folds_that_are_done(clone: Clone) -> None:
    clone.set_params(folds=3, epochs=4)
    study = "studies/crossval/dvc.yaml"
    lines = kill(clone, ("dvc", "repro", study), "fold 3 of 3", 0)
    assert "fold 1 of 3" in lines
    shown = output(clone.dvc("repro", study)).splitlines()
    going_on = [line for line in shown if line.startswith("resuming from the checkpoint")]
    assert [gone_on_from([line]) for line in going_on[:2]] == [4, 4], "what was done is not trained again"
    with (clone.path / "studies/crossval/folds.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sum(int(row["images"]) for row in rows) == 1437, "all training images of Digits, and no test image"
    summary = json.loads(clone.read("studies/crossval/summary.json"))
    accuracies = [float(row["accuracy"]) for row in rows]
    assert summary["accuracy"]["mean"] == pytest.approx(np.mean(accuracies))
    assert min(accuracies) <= summary["accuracy"]["pooled"] <= max(accuracies)
    assert not list(clone.path.glob(".dvc/tmp/checkpoints/*/*"))
    assert "up to date" in clone.dvc("status", study).stdout

    refused = clone.dvc("exp", "run", "-S", "folds=1000", study, check=False)
    assert refused.returncode != 0
    assert "error: folds: 1000 is invalid, a class has only" in output(refused)
