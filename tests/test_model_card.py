"""The committed model card, parsed by the library of the Hub: its numbers are those of the results."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest
from huggingface_hub import ModelCard
from scipy.stats import binom, binomtest

from src.params import Params
from src.runtime.paths import MODEL_CARD, PREDICTIONS, TEST_METRICS, TRAIN_METRICS, VAL_PREDICTIONS
from studies.export.card import (
    interval,
    literal,
    mistakes_text,
    model_card,
    robustness_text,
    setup_text,
)
from tests import committed
from tests.conftest import bright_squares, skip_if_outdated


@pytest.fixture(params=["committed", "made anew"])
def card(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelCard:
    """As committed; and as the code makes it of the committed results."""
    if request.param == "committed":
        skip_if_outdated("export")
        return ModelCard(committed.text(str(MODEL_CARD)))
    monkeypatch.chdir(tmp_path)
    for name, content in committed.files().items():
        if name.startswith(("metrics/", "plots/", "studies/robustness/")):
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_bytes(content)
    Path("params.yaml").write_text(committed.params_text())
    # What is prepared is not in git.
    monkeypatch.setattr("studies.export.card.load_split", lambda path: bright_squares(300))
    made = model_card()
    assert "(1,200 training, " in made.text
    return made


def predictions(path: object) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(committed.text(str(path))))


def test_every_number_is_that_of_the_results(card: ModelCard) -> None:
    test, train = (json.loads(committed.text(str(path))) for path in (TEST_METRICS, TRAIN_METRICS))
    found = {(one.dataset_split, one.metric_type): one for one in getattr(card.data, "eval_results", [])}
    assert {key: one.metric_value for key, one in found.items()} == {
        ("validation", "accuracy"): train["val_accuracy"],
        ("test", "accuracy"): test["accuracy"],
        ("test", "f1"): test["macro"]["f1"],
        ("test", "loss"): test["loss"],
        ("test", "expected-calibration-error"): test["ece"],
    }
    for split, path in (("validation", VAL_PREDICTIONS), ("test", PREDICTIONS)):
        table = predictions(path)
        correct = int((table["actual"] == table["predicted"]).sum())
        one = found[split, "accuracy"]
        assert one.dataset_args == {"images": len(table)}
        assert one.metric_args == {"interval_95": list(interval(correct, len(table)))}
        assert f"| {split} | {len(table)} | {correct / len(table):.2%} |" in card.text
    for number in (f"macro F1 {test['macro']['f1']:.4f}", f"Brier score {test['brier']:.4f}"):
        assert number in card.text
    assert f"{train['parameters']:,} parameters" in card.text
    assert card.data.to_dict()["license"] == "mit"


def test_the_mistakes_and_the_robustness_are_those_of_the_results(card: ModelCard) -> None:
    skip_if_outdated("robustness")
    confusion = predictions("plots/confusion.csv")
    wrong = confusion[confusion["actual"] != confusion["predicted"]]
    worst = wrong["count"].max()
    assert card.text.count(" predicted as ") == min(5, len(wrong))
    assert f"\n- {worst} image{'' if worst == 1 else 's'}: " in card.text
    robustness = predictions("studies/robustness/accuracy.csv").set_index(["corruption", "strength"])
    trained = json.loads(committed.text(str(TRAIN_METRICS)))
    assert robustness.loc[("none", 0), "accuracy"] == trained["val_accuracy"], "of the same model and images"
    clean = f"{robustness.loc[('none', 0), 'accuracy']:.2%}"
    for corruption in set(robustness.index.get_level_values(0)) - {"none"}:
        row = next(line for line in card.text.splitlines() if line.startswith(f"| {corruption} |"))
        found = robustness.loc[corruption]
        cells = [f"{each['accuracy']:.2%} ({each['amount']:g})" for each in found.to_dict("records")]
        assert row.endswith(f"| {found['unit'].iloc[0]} | {clean} | {' | '.join(cells)} |")


def test_the_interval_covers_the_truth() -> None:
    """Exactly, of all counts that an accuracy of 98 % gives: Wilson's interval is right on average."""
    n, truth = 360, 0.98
    ends = [interval(correct, n) for correct in range(n + 1)]
    covered = sum(
        binom.pmf(correct, n, truth) for correct, (low, high) in enumerate(ends) if low <= truth <= high
    )
    assert 0.93 <= covered <= 0.99
    assert interval(360, 360)[0] < 1 == interval(360, 360)[1]


def test_the_best_epoch_is_not_the_last(params: Params) -> None:
    train = {"parameters": 61_706, "epochs": 9, "best_epoch": 3}
    text = setup_text(params, train, {"python": "3.11", "threads": 1}, {"training": 1200, "test": 360})
    assert "(1,200 training, 360 test images) for 9 epochs; the best was epoch 3.\n" in text
    assert text.endswith("\n\nEnvironment: python 3.11, threads 1.")


def test_a_class_may_have_any_name() -> None:
    assert literal("T-shirt/top") == "T-shirt/top"
    name = "a|<b>*c*\n"
    counts = {"actual": [name, name, "d"], "predicted": [name, "d", "d"], "count": [3, 2, 4]}
    scores = {
        "class": [*"hgfe", name, "d", "not tested"],
        "precision": [1, 1, 1, 1, 1, 0.7, 0],
        "recall": [0.9, 0.9, 0.9, 0.9, 0.6, 1, 0],
        "f1": [0.94, 0.93, 0.92, 0.91, 0.75, 0.8, 0],
        "support": [3, 4, 5, 6, 5, 4, 0],
    }
    text = mistakes_text(pd.DataFrame(counts), pd.DataFrame(scores))
    shown = "a&#124;&#60;b&#62;&#42;c&#42;&#92;n"
    assert f"- 2 images: {shown} predicted as d\n" in text, "no name begins a line, where it could be markup"
    assert f"\n| {shown} | 1.0000 | 0.6000 | 0.7500 |" in text
    assert "not tested" not in text
    rows = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| ")]
    assert rows[2:] == [f"| {each}" for each in (shown, "d", "e", "f", "g")], "the lowest F1 first"
    lowest = binomtest(4, 4).proportion_ci(method="wilson").low  # the median is 4.5 images, rounded down
    assert (
        "\n\nThe median class has 4 test images. With so many, the 95 % interval of a recall of 1 begins at "
        f"{lowest:.2f} (Wilson): differences between classes that are smaller than {1 - lowest:.2f} may be "
        "chance."
    ) in text


def test_the_interval_of_an_accuracy_of_90_percent_is_of_so_many_images() -> None:
    rows = [("none", 0, 0.0, "", 0.9), ("blur", 1, 0.5, "pixels", 0.8)]
    table = pd.DataFrame(rows, columns=["corruption", "strength", "amount", "unit", "accuracy"])
    ends = binomtest(216, 240).proportion_ci(method="wilson")
    assert robustness_text(table.assign(images=240)).endswith(
        "\n\nThese are of one network. With this many images, the 95 % interval of an accuracy of 90 % is "
        f"{ends.low:.2%} to {ends.high:.2%} (Wilson)."
    )
