"""The whole pipeline on a user's own images: Digits in two inks, in colour, in classes with awkward names."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from PIL import Image

from src.data.splits import ImageFormat, load_split
from src.networks.model_file import load_model
from src.runtime.errors import UserError
from src.runtime.paths import ONNX, TEST_SPLIT, TRAIN_SPLIT, VAL_SPLIT
from stages import train
from tests.conftest import Clone, Command, Maker, Predict, new_clone
from tests.own_images import digits_in_ink, save_classes

# Loading PyTorch takes longer than any of these stages on a few hundred images: one process for some of them.
IN_TURN = """
import runpy, sys
names, sys.argv[1:] = sys.argv[1:], []
for name in names:
    runpy.run_module(f"stages.{name}", run_name="__main__")
"""


def stages(clone: Clone, *names: str) -> CompletedProcess[str]:
    """Run stages in turn."""
    return clone.run("python", "-c", IN_TURN, *names)


@pytest.fixture(scope="session")
def inks(made_once: Callable[[str, Maker], Path]) -> Clone:
    """A clone in which all stages have run on the dataset `inks`, whose results are committed."""

    def make(folder: Path) -> None:
        clone = new_clone(folder / "clone")
        save_classes(digits_in_ink(24, rare=1), clone.path / "data/own/inks")
        clone.set_params(dataset="inks", epochs=2, input="pad", augment="affine")
        said = stages(clone, "validate", "prepare", "train", "evaluate", "plot", "export").stdout
        (folder / "said").write_text(said)
        clone.git("add", "--all")
        clone.git("commit", "--quiet", "--message=Inks")

    return Clone(made_once("inks", make) / "clone")


def test_splits_and_model_have_the_classes_and_the_format(inks: Clone) -> None:
    said = (inks.path.parent / "said").read_text()
    assert "data/own/inks: 20 classes, pictures of 32 × 32 pixels" in said
    assert "32 × 32 pixels, colour, whole pictures; a mirror image may change the class" in said
    model = load_model(inks.path / "models/model.pt")
    for path in (TRAIN_SPLIT, VAL_SPLIT, TEST_SPLIT):
        split = load_split(inks.path / path)
        assert split.format == model.format == ImageFormat(32, 3)
        assert split.class_names == model.class_names == sorted(digits_in_ink(1))
        assert split.images.shape[1:] == (32, 32, 3)


def test_tables_hold_every_class_and_figures_are_drawn(inks: Clone) -> None:
    names = sorted(digits_in_ink(1))
    per_class = list(csv.DictReader(io.StringIO(inks.read("plots/per_class.csv"))))
    assert [row["class"] for row in per_class] == names
    confusion = list(csv.DictReader(io.StringIO(inks.read("plots/confusion.csv"))))
    assert list(dict.fromkeys(row["actual"] for row in confusion)) == names
    assert [row["actual"] for row in confusion if row["actual"] == row["predicted"]] == names
    assert 0 <= json.loads(inks.read("metrics/test.json"))["accuracy"] <= 1
    figures = [Image.open(path).convert("RGB") for path in (inks.path / "plots").glob("*.png")]
    assert len(figures) == 9
    assert all(np.asarray(figure).std() > 5 for figure in figures)
    samples = np.asarray(Image.open(inks.path / "plots/samples_train.png").convert("RGB")).astype(int)
    assert (np.abs(samples[..., 0] - samples[..., 1]) > 60).sum() > 1000, "in colour"


def test_own_pictures_are_predicted_by_both_models(inks: Clone, predict: Predict, tmp_path: Path) -> None:
    names, pictures = sorted(digits_in_ink(1)), sorted((inks.path / "data/own/inks").glob("*/0000.png"))
    asked = [str(path) for path in pictures]
    of_torch = predict(inks, "--json", "--plot", str(tmp_path / "plot.png"), *asked)
    answers = json.loads(of_torch.stdout)
    assert [list(answer["probabilities"]) for answer in answers] == [names] * 20
    shown = np.asarray(Image.open(tmp_path / "plot.png").convert("RGB")).astype(int)
    assert (np.abs(shown[..., 0] - shown[..., 1]) > 60).sum() > 1000, "in colour"
    of_onnx = predict(inks, "--csv", "--model", str(ONNX), *asked).stdout
    for row, answer in zip(csv.DictReader(io.StringIO(of_onnx)), answers, strict=True):
        assert row["class"] == answer["class"]
        assert [float(row[name]) for name in names] == pytest.approx(
            list(answer["probabilities"].values()), abs=1e-4
        )


def test_every_class_is_in_the_table_of_the_untrained_network(inks: Clone, predict: Predict) -> None:
    picture = str(next((inks.path / "data/own/inks").glob("*/0000.png")))
    header, line = predict(inks, "--untrained", picture).stdout.splitlines()
    assert all(name in header for name in digits_in_ink(1))
    assert len(re.findall(r"\d%", line)) == 21


def test_a_report_is_written(inks: Clone, command: Command) -> None:
    command(inks, "src.report", "HEAD")
    page = inks.read("report.html")
    (inks.path / "report.html").unlink()
    assert "7 green &#34;a &#39;b" not in page
    for written in ("&lt;", "a, b", "$x$", "\N{SPIRAL SHELL}"):
        assert written in page


def test_another_network_and_augmentation_train_and_one_for_ten_grey_classes_refuses(
    inks: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clone = inks.copy(tmp_path / "clone")
    monkeypatch.chdir(clone.path)
    monkeypatch.delenv("TRACKERS", raising=False)
    clone.set_params(model="convnet", augment="shift_flip", epochs=1)
    train.main()
    assert load_model(clone.path / "models/model.pt").network["model"] == "convnet"
    assert capsys.readouterr().err.splitlines()[-1].startswith("epoch 1/1: ")
    clone.set_params(model="lenet5_1998")
    with pytest.raises(UserError) as refusal:
        train.main()
    assert str(refusal.value) == (
        "model: lenet5_1998 is invalid with 20 classes of colour images; "
        "expected 10 classes of grey images, or another model"
    )
    assert capsys.readouterr().err == "", "it never began"


@pytest.mark.slow
def test_colours_are_learnt_and_without_them_the_inks_are_not_told_apart(
    fresh_clone: Callable[[], Clone],
) -> None:
    clone = fresh_clone()
    save_classes(digits_in_ink(200, rare=4), clone.path / "data/own/inks")
    clone.set_params(dataset="inks", epochs=20, batch_size=64)
    whole = ("prepare", "train", "evaluate")
    stages(clone, *whole)
    with_colour = json.loads(clone.read("metrics/test.json"))["accuracy"]
    predictions = csv.DictReader(io.StringIO(clone.read("plots/predictions.csv")))
    assert len({row["actual"] for row in predictions}) == 20
    (clone.path / "data/own/inks/dataset.yaml").write_text("colour: grey\n")
    stages(clone, *whole)
    grey = json.loads(clone.read("metrics/test.json"))["accuracy"]
    rows = list(csv.DictReader(io.StringIO(clone.read("plots/predictions.csv"))))
    right_digit = [row for row in rows if row["actual"][0] == row["predicted"][0]]
    right_ink = sum(row["actual"] == row["predicted"] for row in right_digit) / len(right_digit)
    print(f"with colour {with_colour:.2%}, grey {grey:.2%}; the ink of {right_ink:.2%} of the right digits")
    assert with_colour >= 0.95
    assert len(right_digit) / len(rows) > 0.85, "digits can be read without their colour"
    # Half of them, and three standard deviations of so many throws of a coin; unequal classes help a little.
    assert abs(right_ink - 0.5) < 0.02 + 1.5 / len(right_digit) ** 0.5
